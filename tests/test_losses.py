"""Losses in both engines: gradients against differences, smoothed targets, what is measured and what is trained."""

import numpy as np
import pytest

import fastreg as fr
from fastreg import kernels, reference
from fastreg._core.engine import Engine
from fastreg.balance import row_factors
from fastreg.layout import aligned_zeros
from fastreg.plan import lower

ENGINES = {"compiled": Engine, "reference": reference.Engine}
ROWS, INPUTS, OUTPUTS = 7, 4, 3
RNG = np.random.default_rng(0)
LABELS = RNG.integers(0, OUTPUTS, ROWS, dtype=np.int32)
SOFT, BITS, REALS = RNG.dirichlet(np.ones(OUTPUTS), ROWS), RNG.integers(0, 2, (ROWS, OUTPUTS)), RNG.normal(size=(7, 3))

every_engine = pytest.mark.parametrize("engine", ENGINES)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])

CELLS = [
    (fr.CrossEntropy(), LABELS),
    (fr.CrossEntropy(0.1), LABELS),
    (fr.CrossEntropy(0.1), SOFT),
    (fr.CrossEntropy(0.2, smoothing="others"), LABELS),
    (fr.CrossEntropy(0.2, smoothing="others"), SOFT),
    (fr.BinaryCrossEntropy(0.1), BITS.astype(float)),
    (fr.AbsoluteError(), REALS),
    (fr.Huber(0.5), REALS),
    (fr.Huber(5.0), REALS),
    (fr.Quantile((0.1, 0.5, 0.9)), REALS[:, :1]),
    (fr.Poisson(), RNG.poisson(2, (ROWS, OUTPUTS)).astype(float)),
]


@pytest.mark.parametrize("weighted", [False, True])
@every_engine
@pytest.mark.parametrize(("loss", "targets"), CELLS, ids=repr)
def test_the_training_gradient_equals_central_differences(loss, targets, engine, weighted):
    plan = lower(
        [fr.Dense(5, "tanh"), fr.Dense(OUTPUTS)], loss, INPUTS, "float64", optimizer=fr.SGD(0.1),
        labels=targets.ndim == 1,
    )  # fmt: skip
    rng = np.random.default_rng(1)
    params, x = aligned_zeros(plan.layout.size, "float64"), rng.normal(size=(ROWS, INPUTS))
    for view in plan.layout.views(params).values():
        view[...] = rng.normal(size=view.shape)
    weights = rng.uniform(0.2, 2, ROWS) if weighted else None
    targets = np.repeat(targets, OUTPUTS // targets.shape[1], axis=1) if targets.ndim == 2 else targets
    interpreter, gradient, scratch = ENGINES[engine](plan, params), np.empty_like(params), np.empty_like(params)
    interpreter.gradient(gradient, x, targets, weights)
    numeric = np.zeros_like(params)
    for field in plan.layout.fields:
        for i in range(field.start, field.stop):
            at, values = params[i], []
            for params[i] in (at + 2e-5, at - 2e-5):
                values.append(interpreter.gradient(scratch, x, targets, weights))
            params[i] = at
            numeric[i] = (values[0] - values[1]) / 4e-5
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-8)


# ---- smoothed targets


def smoothed_by_hand(labels, s, smoothing, classes):
    true, other = (1 - s + s / classes, s / classes) if smoothing == "uniform" else (1 - s, s / (classes - 1))
    return np.where(np.arange(classes) == labels[:, None], true, other)


def cross_entropy_of(z, targets):
    return float(-(targets * (z - np.log(np.exp(z).sum(axis=1, keepdims=True)))).sum(axis=1).mean())


def first_loss(net, X, y, **settings):
    """The loss that the first step is taken on."""
    return net.fit(X, y, epochs=1, batch_size=len(X), optimizer=fr.SGD(1e-9), **settings)["loss"][0]


def test_text_003_smooths_by_its_code_and_describes_the_uniform_way():
    np.testing.assert_allclose(
        smoothed_by_hand(np.array([2]), 0.1, "uniform", 3), [[0.0333, 0.0333, 0.9333]], atol=1e-4
    )
    numbers = fr.CrossEntropy(0.1, smoothing="others").numbers(3, training=True)
    onehot = np.eye(3)[[2]]
    np.testing.assert_allclose((1 - numbers[0]) * onehot + numbers[1], [[0.05, 0.05, 0.9]], rtol=1e-15)


@pytest.mark.parametrize("smoothing", ["uniform", "others"])
@every_engine
def test_training_is_on_smoothed_labels_and_evaluation_on_plain_ones(engine, smoothing):
    X, loss = np.random.default_rng(2).normal(size=(ROWS, INPUTS)), fr.CrossEntropy(0.3, smoothing=smoothing)
    net = fr.Network([fr.Dense(OUTPUTS)], loss=loss, seed=0, dtype="float64", engine=engine).build(INPUTS)
    z = net.forward(X)
    onehot, smooth = np.eye(OUTPUTS)[LABELS], smoothed_by_hand(LABELS, 0.3, smoothing, OUTPUTS)
    assert net.evaluate(X, LABELS)["loss"] == pytest.approx(cross_entropy_of(z, onehot), rel=1e-12)
    assert net.evaluate(X, SOFT)["loss"] == pytest.approx(cross_entropy_of(z, SOFT), rel=1e-12)
    history = net.fit(X, LABELS, epochs=1, optimizer=fr.SGD(1e-9), validation=(X, LABELS))
    assert history["loss"] == [pytest.approx(cross_entropy_of(z, smooth), rel=1e-12)]
    assert history["val_loss"] == [pytest.approx(cross_entropy_of(z, onehot), rel=1e-6)]
    assert history.generalization_gap == 0


@every_engine
def test_binary_targets_are_smoothed_towards_a_half(engine):
    X, y = np.random.default_rng(2).normal(size=(ROWS, INPUTS)), BITS[:, 0]
    net = fr.Network([fr.Dense(1)], loss=fr.BinaryCrossEntropy(0.2), seed=0, dtype="float64", engine=engine)
    p = 1 / (1 + np.exp(-net.build(INPUTS).forward(X)[:, 0]))
    t = 0.8 * y + 0.1
    wanted = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean()
    assert net.evaluate(X, y)["loss"] == pytest.approx(-np.log(np.where(y, p, 1 - p)).mean(), rel=1e-12)
    assert first_loss(net, X, y) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("classes", [2, 16, 17, 64, 65])
@every_dtype
def test_smoothed_labels_have_the_bits_of_smoothed_rows(classes, dtype):
    rng = np.random.default_rng(3)
    z, labels = rng.normal(size=(50, classes)).astype(dtype), rng.integers(0, classes, 50, dtype=np.int32)
    weights, number = rng.uniform(size=50).astype(dtype), np.dtype(dtype).type
    taken, spread = number(0.1), number(0.1 / classes)
    rows = np.where(np.arange(classes) == labels[:, None], number(1 - float(taken)) + spread, spread).astype(dtype)
    results = []
    for kernel, targets, own in (
        (kernels.cross_entropy_labels, labels, {"taken": float(taken), "spread": float(spread)}),
        (kernels.cross_entropy, rows, {}),
    ):
        dz = np.empty_like(z)
        results.append((kernel(dz, z, targets, weights, 0.1, **own), dz.tobytes()))
    assert results[0] == results[1]


@every_dtype
def test_a_smoothed_loss_takes_large_logits(dtype):
    z, dz = np.array([[1e4, -1e4, 0]], dtype), np.empty((1, 3), dtype)
    total = kernels.cross_entropy_labels(dz, z, np.array([0], np.int32), taken=0.3, spread=0.1)
    assert total == pytest.approx(0.1 * 2e4 + 0.1 * 1e4, rel=1e-6)
    np.testing.assert_allclose(dz, [[0.2, -0.1, -0.1]], atol=1e-6)
    z[0, 1] = -np.inf  # nothing is wanted there without smoothing, and infinitely much with it
    assert kernels.cross_entropy_labels(None, z, np.array([0], np.int32)) == 0
    assert kernels.cross_entropy_labels(None, z, np.array([0], np.int32), taken=0.3, spread=0.1) == np.inf


def test_no_smoothing_has_the_plan_and_the_bits_of_none():
    X = RNG.normal(size=(ROWS, INPUTS))
    plans = [
        lower([fr.Dense(3)], loss, INPUTS, "float32", optimizer=fr.Adam())
        for loss in ("cross_entropy", fr.CrossEntropy(0))
    ]
    assert str(plans[0]) == str(plans[1])
    nets = [fr.Network([fr.Dense(3)], loss=loss, seed=0) for loss in ("cross_entropy", fr.CrossEntropy(0.0))]
    first, second = (net.fit(X, LABELS, epochs=3) and net.forward(X).tobytes() for net in nets)
    assert first == second


@every_dtype
@pytest.mark.parametrize(("loss", "y"), CELLS[1:], ids=repr)
def test_both_engines_train_the_same(loss, y, dtype):
    X = np.random.default_rng(4).normal(size=(ROWS, INPUTS))
    outputs = []
    for engine in ENGINES:
        net = fr.Network([fr.Dense(6, "relu"), fr.Dense(OUTPUTS)], loss=loss, seed=0, dtype=dtype, engine=engine)
        net.fit(X, y, epochs=20, batch_size=3)
        outputs.append(net.forward(X))
    np.testing.assert_allclose(*outputs, rtol=1e-4 if dtype == "float32" else 1e-10)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fr.CrossEntropy(1), r"label_smoothing must be a number in \[0, 1\), got 1"),
        (lambda: fr.CrossEntropy(0.1, smoothing="other"), "unknown smoothing 'other'; did you mean 'others'"),
        (lambda: fr.BinaryCrossEntropy(-0.1), r"label_smoothing must be a number in \[0, 1\), got -0.1"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_smoothed_network_comes_back_from_its_file(tmp_path):
    for number, loss in enumerate([fr.CrossEntropy(0.1, smoothing="others"), fr.BinaryCrossEntropy(0.25)]):
        net = fr.Network([fr.Dense(2)], loss=loss, seed=0).build(3)
        fr.save(net, tmp_path / f"{number}.frg")
        assert repr(fr.load(tmp_path / f"{number}.frg")) == repr(net)


@pytest.mark.parametrize("smoothing", ["uniform", "others"])
@every_engine
def test_smoothing_follows_its_schedule_step_by_step(engine, smoothing):
    """At a learning rate of almost nothing, the losses of the steps are those of their own smoothing."""
    X, schedule = RNG.normal(size=(ROWS, INPUTS)), fr.Cosine()
    loss = fr.CrossEntropy(0.3, smoothing=smoothing, schedule=schedule)
    net = fr.Network([fr.Dense(OUTPUTS)], loss=loss, seed=0, dtype="float64", engine=engine).build(INPUTS)
    history = net.fit(X, LABELS, epochs=5, batch_size=ROWS, optimizer=fr.SGD(1e-12), validation=(X, LABELS))
    strengths = 0.3 * np.array([schedule.factor(k / 5) for k in range(5)])
    wanted = [cross_entropy_of(net.forward(X), smoothed_by_hand(LABELS, s, smoothing, OUTPUTS)) for s in strengths]
    assert history["loss"] == pytest.approx(wanted, rel=1e-9)
    assert history["val_loss"] == pytest.approx([net.evaluate(X, LABELS)["loss"]] * 5, rel=1e-9)


@every_engine
def test_binary_smoothing_follows_its_schedule(engine):
    X, y = RNG.normal(size=(ROWS, INPUTS)), BITS[:, 0]
    net = fr.Network(
        [fr.Dense(1)], loss=fr.BinaryCrossEntropy(0.4, schedule=fr.Cosine()), seed=0, dtype="float64", engine=engine
    )
    p = 1 / (1 + np.exp(-net.build(INPUTS).forward(X)[:, 0]))
    history = net.fit(X, y, epochs=2, batch_size=ROWS, optimizer=fr.SGD(1e-12))
    for loss, s in zip(history["loss"], (0.4, 0.2), strict=True):
        t = (1 - s) * y + s / 2
        assert loss == pytest.approx(-(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(), rel=1e-9)


# ---- losses of regression


def fitted_constants(loss, y, units=1, engine="compiled"):
    """What a network without inputs to speak of says: the constants that minimize the loss."""
    X = np.zeros((len(y), 1))
    net = fr.Network([fr.Dense(units)], loss=loss, seed=0, dtype="float64", engine=engine)
    for rate in (0.1, 0.01, 1e-3, 1e-4):
        net.fit(X, y, epochs=400, batch_size=len(y), optimizer=fr.Adam(rate))
    return net.predict(X)[0]


@every_engine
def test_each_loss_has_the_minimum_that_it_is_known_for(engine):
    y = np.random.default_rng(5).gamma(2.0, size=101)
    assert fitted_constants("absolute_error", y, engine=engine) == pytest.approx(np.median(y), abs=1e-3)
    assert fitted_constants("poisson", y, engine=engine) == pytest.approx(y.mean(), rel=1e-3)
    assert fitted_constants(fr.Huber(100), y, engine=engine) == pytest.approx(y.mean(), rel=1e-3)
    assert fitted_constants(fr.Huber(1e-3), y, engine=engine) == pytest.approx(np.median(y), abs=5e-3)
    levels = (0.1, 0.5, 0.9)
    quantiles = fitted_constants(fr.Quantile(levels), y, units=3, engine=engine)
    np.testing.assert_allclose(quantiles, np.quantile(y, levels), atol=5e-3)


def test_quantiles_of_noise_cover_their_share():
    """Noise whose width grows with x: the share of rows below each output is its level."""
    rng = np.random.default_rng(6)
    X = rng.uniform(size=(4000, 1))
    y = X[:, 0] + (0.2 + X[:, 0]) * rng.normal(size=4000)
    levels = np.array([0.05, 0.5, 0.95])
    net = fr.Network([fr.Dense(32, "tanh"), fr.Dense(3)], loss=fr.Quantile(levels), seed=0)
    net.fit(X[:3000], y[:3000], epochs=60, optimizer=fr.Adam(0.01))
    outputs = net.predict(X[3000:])
    assert outputs.shape == (1000, 3)
    np.testing.assert_allclose((y[3000:, None] <= outputs).mean(axis=0), levels, atol=0.03)
    width = outputs[:, 2] - outputs[:, 0]
    assert np.corrcoef(width, X[3000:, 0])[0, 1] > 0.95


@every_engine
def test_poisson_predicts_means_and_reports_half_the_deviance(engine):
    X, y = RNG.normal(size=(ROWS, INPUTS)), RNG.poisson(2, ROWS)
    net = fr.Network([fr.Dense(1)], loss="poisson", seed=0, dtype="float64", engine=engine).build(INPUTS)
    z = net.forward(X)[:, 0]
    np.testing.assert_allclose(net.predict(X), np.exp(z), rtol=1e-14)
    logs = np.where(y > 0, y * (np.log(np.maximum(y, 1)) - z), 0)
    assert net.evaluate(X, y)["loss"] == pytest.approx((np.exp(z) - y + logs).mean(), rel=1e-12)
    assert net.evaluate(X, y, metrics=["mae"])["mae"] == pytest.approx(abs(y - np.exp(z)).mean(), rel=1e-12)
    with pytest.raises(ValueError, match="predict_proba is for classification; this network has loss 'poisson'"):
        net.predict_proba(X)
    with pytest.raises(ValueError, match=r"y\[0\]=-1 is outside \[0, inf\), where poisson has its targets"):
        net.fit(X, -np.ones(ROWS, int))


@pytest.mark.parametrize("loss", [fr.AbsoluteError(), fr.Huber(), fr.Quantile(0.3), fr.Poisson()], ids=repr)
def test_predictions_have_the_form_of_y(loss):
    X = RNG.normal(size=(ROWS, INPUTS))
    for y in (REALS[:, 0], REALS[:, :1]):
        net = fr.Network([fr.Dense(1)], loss=loss, seed=0)
        net.fit(X, abs(y), epochs=1)
        assert net.predict(X).shape == y.shape


def test_quantiles_want_one_column_and_an_output_for_each_level():
    X, loss = RNG.normal(size=(ROWS, INPUTS)), fr.Quantile((0.1, 0.9))
    with pytest.raises(ValueError, match=r"needs 2 output\(s\), one for each level; the network has 3"):
        fr.Network([fr.Dense(3)], loss=loss)
    net = fr.Network([fr.Dense(2)], loss=loss, seed=0)
    with pytest.raises(ValueError, match=r"y has shape \(7, 3\), but quantile takes 1 column\(s\)"):
        net.fit(X, REALS)
    for y in (REALS[:, 0], REALS[:, :1]):
        net.fit(X, y, epochs=1)
        assert net.predict(X).shape == (ROWS, 2)


@every_dtype
def test_losses_take_extreme_errors(dtype):
    big = np.finfo(dtype).max
    z, t, dz = np.array([[big, -big, 0, 1e-30]], dtype), np.zeros((1, 4), dtype), np.empty((1, 4), dtype)
    for module in (kernels, reference):
        with np.errstate(over="ignore"):
            assert module.huber(dz, z, t, delta=1e-3) in (np.inf, pytest.approx(2e-3 * float(big), rel=1e-5))
        np.testing.assert_array_equal(dz, np.array([[1e-3, -1e-3, 0, 1e-30]], dtype))
    for module in (kernels, reference):
        one = np.array([[big, 0]], dtype), np.zeros((1, 2), dtype), np.empty((1, 2), dtype)
        assert module.absolute_error(one[2], *one[:2]) == big
        np.testing.assert_array_equal(one[2], [[1, 0]])
        assert module.quantile(one[2], *one[:2], np.array([0.5, 0.5], dtype)) == big / 2
        np.testing.assert_array_equal(one[2], [[0.5, 0]])


def test_rows_of_weight_0_count_nothing():
    X, y = RNG.normal(size=(ROWS, INPUTS)), REALS.copy()
    weights = np.ones(ROWS)
    weights[2], y[2] = 0, 1e6
    for loss in (fr.AbsoluteError(), fr.Huber(), fr.Quantile((0.1, 0.5, 0.9))):
        targets = y[:, 0] if isinstance(loss, fr.Quantile) else y
        nets = [fr.Network([fr.Dense(3)], loss=loss, seed=0, dtype="float64") for _ in range(2)]
        nets[0].fit(X, targets, epochs=3, batch_size=ROWS, sample_weight=weights, shuffle=False)
        keep = weights > 0
        nets[1].fit(X[keep], targets[keep], epochs=3, batch_size=ROWS - 1, shuffle=False)
        np.testing.assert_allclose(nets[0].forward(X), nets[1].forward(X), rtol=1e-12)


# ---- class weights


@every_engine
def test_class_weights_are_row_weights_in_training_alone(engine):
    X, y = np.random.default_rng(7).normal(size=(40, INPUTS)), np.repeat([0, 1, 1, 2], 10)
    weights = np.random.default_rng(8).uniform(size=40)
    by_class = {"balanced": [4 / 3, 2 / 3, 4 / 3], "given": [1, 0.25, 5]}
    for class_weight, factors in (("balanced", by_class["balanced"]), ({1: 0.25, np.int64(2): 5}, by_class["given"])):
        nets = [fr.Network([fr.Dense(3)], loss="cross_entropy", seed=0, engine=engine) for _ in range(2)]
        settings = {"epochs": 3, "validation": (X, y)}
        first = nets[0].fit(X, y, class_weight=class_weight, sample_weight=weights, **settings)
        second = nets[1].fit(X, y, sample_weight=weights * np.array(factors)[y], **settings)
        assert first["loss"] == pytest.approx(second["loss"], rel=1e-6)
        np.testing.assert_allclose(nets[0].forward(X), nets[1].forward(X), rtol=1e-5, atol=1e-6)
        assert first["val_loss"][-1] == nets[0].evaluate(X, y)["loss"]
        gap = nets[0].evaluate(X, y)["loss"] - nets[0].evaluate(X, y, sample_weight=weights)["loss"]
        assert first.generalization_gap == pytest.approx(gap, rel=1e-5)


def test_balanced_weights_are_those_of_scikit_learn():
    oracle = pytest.importorskip("sklearn.utils.class_weight")
    y = RNG.choice([0, 2, 3], 50, p=[0.7, 0.2, 0.1]).astype(np.int32)
    wanted = oracle.compute_sample_weight("balanced", y)
    np.testing.assert_allclose(row_factors("balanced", y, fr.CrossEntropy(), 5), wanted, rtol=1e-12)


def test_class_weights_of_zeros_and_ones():
    X, y = np.random.default_rng(7).normal(size=(40, INPUTS)), np.repeat([0, 1, 1, 1], 10)
    nets = [fr.Network([fr.Dense(1)], loss="binary_cross_entropy", seed=0) for _ in range(2)]
    nets[0].fit(X, y, epochs=3, class_weight="balanced")
    nets[1].fit(X, y, epochs=3, sample_weight=np.where(y, 2 / 3, 2))
    np.testing.assert_allclose(nets[0].forward(X), nets[1].forward(X), rtol=1e-5)


CLASSES_OF_7 = np.array([0, 1, 2, 0, 1, 2, 0])


@pytest.mark.parametrize(
    ("y", "class_weight", "message"),
    [
        (CLASSES_OF_7, "balance", "unknown class_weight 'balance'; did you mean 'balanced'"),
        (CLASSES_OF_7, [1, 2, 3], "unknown class_weight"),
        (CLASSES_OF_7, {3: 1.0}, r"class_weight has a weight for class 3, but classes are 0\.\.2"),
        (CLASSES_OF_7, {"a": 1.0}, "codes of classes as keys"),
        (CLASSES_OF_7, {0: -1.0}, r"class_weight\[0\] must be a finite number >= 0, got -1.0"),
        (CLASSES_OF_7, {0: 0, 1: 0, 2: 0}, "class_weight is all zero"),
        (SOFT, "balanced", "class_weight needs y to be codes of classes"),
    ],
)
def test_class_weights_that_mean_nothing_are_refused(y, class_weight, message):
    X, net = RNG.normal(size=(ROWS, INPUTS)), fr.Network([fr.Dense(3)], loss="cross_entropy", seed=0)
    with pytest.raises(ValueError, match=message):
        net.fit(X, y, class_weight=class_weight)
    with pytest.raises(fr.NotBuiltError):
        net.predict(X)


@pytest.mark.parametrize("class_weight", ["balanced", {0: 0.5, 2: 3}])
def test_class_weights_come_back_from_a_checkpoint(tmp_path, class_weight):
    X, path = RNG.normal(size=(ROWS, INPUTS)), tmp_path / "run.frg"
    nets = [fr.Network([fr.Dense(3)], loss=fr.CrossEntropy(0.1), seed=0) for _ in range(2)]
    nets[0].fit(X, CLASSES_OF_7, epochs=6, class_weight=class_weight)

    def stop(run):
        return run.epoch == 2

    nets[1].fit(X, CLASSES_OF_7, epochs=6, class_weight=class_weight, callbacks=[fr.Checkpoint(path), stop])
    with pytest.raises(fr.CheckpointMismatchError, match="class_weight: "):
        fr.resume(path, X, CLASSES_OF_7, class_weight={1: 2.0}, callbacks=[])
    nets[1].reset().fit(X, CLASSES_OF_7, epochs=6, class_weight=class_weight, callbacks=[fr.Checkpoint(path, every=4)])
    net, _ = fr.resume(path, X, CLASSES_OF_7, class_weight=class_weight)
    assert net.forward(X).tobytes() == nets[0].forward(X).tobytes()
