"""Losses in both engines: gradients against differences, smoothed targets, what is measured and what is trained."""

import numpy as np
import pytest

import fastreg as fr
from fastreg import kernels, reference
from fastreg._core.engine import Engine
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
