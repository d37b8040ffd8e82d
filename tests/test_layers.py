"""Residual, the norms and the layers of noise: gradients, formulas, running statistics, bits, files."""

import numpy as np
import pytest

import fastreg as fr
from fastreg import checkpoint, container, kernels, reference
from fastreg._core.engine import Engine
from fastreg.layers import some_width
from fastreg.layout import aligned_zeros
from fastreg.ops import NONE
from fastreg.plan import lower

ENGINES = {"compiled": Engine, "reference": reference.Engine}
STEP, TOLERANCE = 2e-5, 1e-7  # of central differences in float64
INPUTS, OUTPUTS, ROWS = 4, 3, 7

T = "tanh"
BLOCK = [fr.BatchNorm(), fr.Activation(T), fr.Dense(3, T), fr.Dense(5)]
NETWORKS = {
    "residual": [fr.Dense(5, T), fr.Residual([fr.Dense(3, T), fr.Dense(5)]), fr.Dense(OUTPUTS)],
    "block that ends with an activation": [fr.Dense(5), fr.Residual([fr.Dense(5, T)]), fr.Dense(OUTPUTS)],
    "block of an activation": [fr.Dense(5), fr.Residual([fr.Activation(T)]), fr.Dense(OUTPUTS)],
    "block of nothing": [fr.Dense(5, T), fr.Residual([fr.Activation("identity")]), fr.Dense(OUTPUTS)],
    "around the input": [fr.Residual([fr.Dense(INPUTS, T)]), fr.Dense(OUTPUTS)],
    "around a noisy input": [fr.Dropout(0.3), fr.Residual([fr.Dropout(0.3), fr.Dense(INPUTS, T)]), fr.Dense(OUTPUTS)],
    "at the end": [fr.Dense(OUTPUTS), fr.Residual([fr.Dense(OUTPUTS, T)])],
    "one after the other": [fr.Dense(5, T), *[fr.Residual([fr.Dense(5, T)])] * 3, fr.Dense(OUTPUTS)],
    "nested": [
        fr.Dense(5), fr.Residual([fr.Dense(5, T), fr.Residual([fr.Residual([fr.Dense(5)]), fr.Dense(5, T)])]),
        fr.Dense(OUTPUTS),
    ],
    "nested at their ends": [fr.Dense(5), fr.Residual([fr.Residual([fr.Dense(5, T)])]), fr.Dense(OUTPUTS)],
    "softmax behind a skip": [fr.Dense(5), fr.Residual([fr.Activation("softmax")]), fr.Dense(OUTPUTS)],
    "drop path": [fr.Dense(5, T), *[fr.Residual([fr.Dense(5, T)], 0.4)] * 2, fr.Dense(OUTPUTS)],
    "batch norm": [fr.Dense(5), fr.BatchNorm(), fr.Activation(T), fr.Dense(OUTPUTS)],
    "batch norm of the input": [fr.BatchNorm(epsilon=0.1), fr.Dense(5, T), fr.Dense(OUTPUTS)],
    "batch norm at the end": [fr.Dense(5, T), fr.Dense(OUTPUTS), fr.BatchNorm()],
    "layer norm": [fr.Dense(5), fr.LayerNorm(), fr.Activation(T), fr.Dense(OUTPUTS)],
    "layer norm of the input": [fr.LayerNorm(epsilon=0.1), fr.Dense(5, T), fr.Dense(OUTPUTS)],
    "norms in blocks": [fr.Dense(5), fr.Residual(BLOCK, 0.3), fr.LayerNorm(), fr.Residual(BLOCK), fr.Dense(OUTPUTS)],
    "gaussian noise": [fr.GaussianNoise(0.2), fr.Dense(5, T), fr.GaussianNoise(0.5), fr.Dense(OUTPUTS)],
    "gaussian noise in a block": [fr.Dense(5), fr.Residual([fr.GaussianNoise(0.5), fr.Dense(5, T)]), fr.Dense(OUTPUTS)],
    "multiplicative noise": [
        fr.MultiplicativeNoise(0.2), fr.Dense(5, T), fr.MultiplicativeNoise(0.5), fr.Dense(OUTPUTS),
    ],
    "feature mask": [fr.FeatureMask(0.3, -1.5), fr.Dense(5, T), fr.FeatureMask(0.4, 0.5), fr.Dense(OUTPUTS)],
    "swap noise": [fr.SwapNoise(0.4), fr.Dense(5, T), fr.Dense(OUTPUTS)],
    "drop connect": [fr.DropConnect(0.3), fr.Dense(5, T), fr.DropConnect(0.5), fr.Dense(5, T), fr.Dense(OUTPUTS)],
}  # fmt: skip
EVERYTHING = [
    fr.SwapNoise(0.1), fr.FeatureMask(0.1, 0.25), fr.GaussianNoise(0.1), fr.Dense(24, "relu"), fr.Dropout(0.2),
    fr.Residual([fr.BatchNorm(), fr.Activation("selu"), fr.DropConnect(0.2), fr.Dense(24, "relu"), fr.Dropout(0.1),
                 fr.Dense(24)], drop_path=0.3),
    fr.LayerNorm(), fr.MultiplicativeNoise(0.3), fr.Dense(OUTPUTS),
]  # fmt: skip

every_engine = pytest.mark.parametrize("kind", ENGINES)
both = pytest.mark.parametrize("engine", ENGINES)


def plan_of(layers, **settings):
    return lower(layers, "squared_error", INPUTS, "float64", **settings)


def problem(layers, rows=ROWS, seed=0):
    """A plan, parameters that are no special ones, and a batch."""
    plan, rng = plan_of(layers), np.random.default_rng(seed)
    params = aligned_zeros(plan.layout.size, "float64")
    for view in plan.layout.views(params).values():
        view[...] = rng.uniform(0.2, 0.9, view.shape) * rng.choice([-1, 1], view.shape)
    return plan, params, rng.normal(size=(rows, INPUTS)), rng.normal(size=(rows, OUTPUTS))


def table(rows=300, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(rows, INPUTS))
    return X, (X @ rng.normal(size=(INPUTS, OUTPUTS)) + rng.normal(size=(rows, OUTPUTS))).argmax(axis=1)


def classifier(layers=tuple(EVERYTHING), **settings):
    return fr.Network(layers, loss="cross_entropy", **({"seed": 3, "dtype": "float64"} | settings))


# ---- gradients


@every_engine
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_equals_central_differences(name, kind):
    plan, params, x, y = problem(NETWORKS[name])
    engine, gradient = ENGINES[kind](plan, params), np.full_like(params, np.nan)

    def loss():
        return engine.gradient(gradient, x, y, seed=5, step=2)

    loss()
    analytic = gradient.copy()
    for field in plan.layout.fields:
        numeric = np.zeros(field.size)
        for i in range(field.start, field.stop if field.trained else field.start):
            at, values = params[i], []
            for params[i] in (at + STEP, at - STEP):
                values.append(loss())
            params[i] = at
            numeric[i - field.start] = (values[0] - values[1]) / (2 * STEP)
        here = analytic[field.start : field.stop]
        assert np.abs(here - numeric).max() <= TOLERANCE * max(np.abs(here).max(), np.abs(numeric).max(), 0.1), (
            field.name
        )


@pytest.mark.parametrize("name", NETWORKS)
def test_engines_agree(name):
    plan, params, x, y = problem(NETWORKS[name], rows=300)
    found = []
    for kind in ENGINES.values():
        gradient, outputs, noisy = np.empty_like(params), np.empty((300, OUTPUTS)), np.empty((300, OUTPUTS))
        engine = kind(plan, np.abs(params))  # variances are positive
        loss = engine.gradient(gradient, x, y, seed=5, step=2)
        engine.forward(outputs, x)
        engine.forward(noisy, x, seed=5, step=2)
        found.append((loss, gradient, outputs, noisy))
    for compiled, twin in zip(*found, strict=True):
        np.testing.assert_allclose(compiled, twin, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["norms in blocks", "drop connect", "nested", "gaussian noise in a block"])
def test_a_wrong_way_back_is_seen(name):
    """What the central differences would not forgive: each operation of the way back counts."""
    plan, params, x, y = problem(NETWORKS[name])
    whole, part = np.empty_like(params), np.empty_like(params)
    Engine(plan, params).gradient(whole, x, y, seed=5, step=2)
    for number in range(len(plan.backward)):
        fewer = lower(NETWORKS[name], "squared_error", INPUTS, "float64")
        object.__setattr__(fewer, "backward", np.delete(plan.backward, number))
        Engine(fewer, params).gradient(part, x, y, seed=5, step=2)
        assert not np.allclose(whole, part), plan.backward[number]


# ---- the plan


def test_a_chain_needs_two_gradient_slots_and_a_block_three():
    chain = plan_of([fr.Dense(4, T), fr.LayerNorm(), fr.Activation(T), fr.Dense(4, T), fr.Dense(3)])
    assert len(chain.slots) - chain.first_gradient == 2
    block = plan_of([fr.Dense(4, T), fr.Residual([fr.Dense(4, T), fr.Dense(4, T)]), fr.Dense(3)])
    assert len(block.slots) - block.first_gradient == 3
    assert block.backward["accumulate"].tolist().count(1) == 1
    many = plan_of([fr.Dense(4, T), *[fr.Residual([fr.Dense(4, T), fr.Dense(4)])] * 20, fr.Dense(3)])
    assert len(many.slots) - many.first_gradient == 2  # a block that ends without activation leaves its gradient alone


def test_additive_noise_costs_nothing_on_the_way_back():
    plain, noisy = plan_of([fr.Dense(4, T), fr.Dense(3)]), plan_of([fr.Dense(4, T), fr.GaussianNoise(1), fr.Dense(3)])
    assert noisy.backward["op"].tolist() == plain.backward["op"].tolist()


def test_nothing_is_fused_into_what_a_skip_reads():
    plan = plan_of([fr.Dense(4), fr.Residual([fr.Activation("relu"), fr.Dropout(0.5), fr.Dense(4)]), fr.Dense(3)])
    ops = list(zip(plan.forward["op"].tolist(), plan.forward["kernel"].tolist(), strict=True))
    assert ops == [(b"dense", b""), (b"activation", b"relu"), (b"noise", b"dropout"), (b"dense", b""), (b"add", b""),
                   (b"dense", b"")]  # fmt: skip
    fused = plan_of([fr.Dense(4, "relu"), fr.Residual([fr.Dropout(0.5), fr.Dense(4)]), fr.Dense(3)])
    assert fused.forward["rate"][0] == NONE


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([fr.Dense(4), fr.Residual([fr.Dense(3)]), fr.Dense(3)], "it gets 4 columns and makes 3"),
        ([fr.Residual([fr.Dense(3)]), fr.Dense(3)], "it gets 4 columns and makes 3"),
        ([fr.Dense(4), fr.SwapNoise(0.1), fr.Dense(3)], r"SwapNoise\(rate=0.1\) works on inputs"),
        ([fr.BatchNorm(), fr.SwapNoise(0.1), fr.Dense(3)], "works on inputs"),
        ([fr.DropConnect(0.1), fr.Activation(T), fr.Dense(3)], "directly before the Dense"),
        ([fr.Dense(3), fr.DropConnect(0.1)], "stands last: noise in the outputs cannot be fitted"),
        ([fr.Dense(3), fr.GaussianNoise(0.1)], "stands last"),
        ([fr.Residual([fr.Activation(T)])], "at least one Dense"),
        ([fr.BatchNorm(name="a"), fr.Dense(3, name="a")], "two layers are called 'a'"),
    ],
)
def test_no_network(layers, message):
    with pytest.raises(ValueError, match=message):
        plan_of(layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fr.Residual(fr.Dense(3)), "block must be a sequence"),
        (lambda: fr.Residual([]), "block must have at least one layer"),
        (lambda: fr.Residual([fr.Dense(3), "relu"]), r"block\[1\] is 'relu'"),
        (lambda: fr.Residual([fr.Dense(3)], 1.0), r"drop_path must be a number in \[0, 1\), got 1.0"),
        (lambda: fr.BatchNorm(1.5), r"momentum must be a number in \[0, 1\], got 1.5"),
        (lambda: fr.BatchNorm(epsilon=0), "epsilon must be a finite number > 0, got 0"),
        (lambda: fr.LayerNorm(name="a.b"), "name must be a text"),
        (lambda: fr.GaussianNoise(-1), "sigma must be a finite number >= 0, got -1"),
        (lambda: fr.MultiplicativeNoise(np.nan), "sigma must be a finite number >= 0, got nan"),
        (lambda: fr.FeatureMask(1), r"rate must be a number in \[0, 1\), got 1"),
        (lambda: fr.FeatureMask(0.1, np.inf), "value must be a number"),
        (lambda: fr.SwapNoise("x"), r"rate must be a number in \[0, 1\), got 'x'"),
        (lambda: fr.DropConnect(-0.1), r"rate must be a number in \[0, 1\), got -0.1"),
    ],
)
def test_settings_are_checked(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_network_may_begin_with_a_block():
    net = classifier([fr.Residual([fr.Dense(7, T), fr.Dense(INPUTS)]), fr.Dense(OUTPUTS)])
    assert some_width(net._spec.layers) == INPUTS
    assert net.build(INPUTS).parameters["0.weight"].shape == (INPUTS, 7)
    with pytest.raises(ValueError, match="it gets 5 columns and makes 4"):
        classifier([fr.Residual([fr.Dense(INPUTS)]), fr.Dense(OUTPUTS)]).build(5)


# ---- the norms, and their running statistics


def normalized(x, axis, epsilon):
    return (x - x.mean(axis, keepdims=True)) / np.sqrt(x.var(axis, keepdims=True) + epsilon)


@pytest.mark.parametrize("module", [kernels, reference])
@pytest.mark.parametrize("rows", [2, 33, 600])
def test_norms_as_pytorch_documents_them(module, rows):
    rng = np.random.default_rng(rows)
    x, scale, shift, epsilon = rng.normal(2, 3, (rows, 20)), rng.normal(size=20), rng.normal(size=20), 1e-3
    mean, variance, out = np.empty(20), np.empty(20), np.empty_like(x)
    module.column_moments(mean, variance, x)
    np.testing.assert_allclose(mean, x.mean(axis=0), rtol=1e-13)
    np.testing.assert_allclose(variance, x.var(axis=0, ddof=1), rtol=1e-13)
    module.batch_norm(out, x, scale, shift, mean, variance, epsilon=epsilon, correction=(rows - 1) / rows)
    np.testing.assert_allclose(out, scale * normalized(x, 0, epsilon) + shift, rtol=1e-11, atol=1e-11)
    module.layer_norm(out, x, scale, shift, epsilon=epsilon)
    np.testing.assert_allclose(out, scale * normalized(x, 1, epsilon) + shift, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_moments_of_columns_far_from_zero(dtype):
    """Two passes: a large mean does not swamp the variance."""
    x = (1e3 + np.random.default_rng(0).normal(size=(1000, 3))).astype(dtype)
    mean, variance = np.empty(3, dtype), np.empty(3, dtype)
    kernels.column_moments(mean, variance, x)
    np.testing.assert_allclose(variance, x.astype(np.float64).var(axis=0, ddof=1), rtol=1e-5)


@both
def test_running_statistics_follow_the_batches(engine):
    X, y = table(60)
    net = classifier([fr.BatchNorm(momentum=0.3, name="n"), fr.Dense(OUTPUTS)], engine=engine)
    net.fit(X, y, epochs=2, batch_size=20, shuffle=False, optimizer=fr.SGD(0.1))
    mean, variance = np.zeros(INPUTS), np.ones(INPUTS)
    for _ in range(2):
        for rows in np.split(X, 3):
            mean += 0.3 * (rows.mean(axis=0) - mean)
            variance += 0.3 * (rows.var(axis=0, ddof=1) - variance)
    np.testing.assert_allclose(net.parameters["n.mean"], mean, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(net.parameters["n.variance"], variance, rtol=1e-12)
    weights = {name: np.array(values) for name, values in net.parameters.items()}
    x = (X - mean) / np.sqrt(variance + 1e-5) * weights["n.scale"] + weights["n.shift"]
    np.testing.assert_allclose(net.forward(X), x @ weights["1.weight"] + weights["1.bias"], rtol=1e-11, atol=1e-12)


@both
def test_state_is_no_parameter(engine):
    """Neither counted nor penalized nor decayed, and no gradient of it is left at the door."""
    net = classifier([fr.Dense(5), fr.BatchNorm(), fr.Dense(OUTPUTS)], penalties={"*": fr.L2(1.0)}, engine=engine)
    net.build(INPUTS)
    assert list(net.parameters) == ["0.weight", "2.weight", "0.bias", "1.scale", "1.shift", "2.bias", "1.mean",
                                    "1.variance"]  # fmt: skip
    assert f"{4 * 5 + 5 * 3 + 5 + 5 + 5 + 3} parameters" in net.summary()
    assert [line for line in net.summary().splitlines() if "1.variance" in line and line.endswith("not trained")]
    trained = sum(np.square(v).sum() for n, v in net.parameters.items() if n not in ("1.mean", "1.variance"))
    X, y = table(40)
    assert net.evaluate(X, y)["penalty"] == pytest.approx(trained, rel=1e-12)
    plan = net._model.plan_for(fr.AdamW(weight_decay=0.1), True)
    gradient = np.full(plan.layout.size, np.nan)
    ENGINES[engine](plan, net._model.weights).gradient(gradient, X, y.astype(np.int32))
    assert not gradient[plan.layout.trained :].any()
    with pytest.raises(ValueError, match="matches no parameter"):
        classifier([fr.BatchNorm(), fr.Dense(3)], penalties={"*.mean": fr.L2(1.0)})


@both
def test_a_step_that_is_not_made_moves_no_statistics(engine):
    X, y = table(40)
    net = classifier([fr.BatchNorm(), fr.Dense(OUTPUTS)], engine=engine)
    net.fit(X, y, epochs=1, batch_size=20, shuffle=False, sample_weight=np.repeat([1.0, 0.0], 20))
    np.testing.assert_allclose(net.parameters["0.mean"], 0.1 * X[:20].mean(axis=0), rtol=1e-12)


@both
def test_a_batch_of_one_row_moves_the_mean_alone(engine):
    X, y = table(21)
    net = classifier([fr.BatchNorm(), fr.Dense(OUTPUTS)], engine=engine)
    net.fit(X, y, epochs=1, batch_size=20, shuffle=False)
    mean = 0.1 * X[:20].mean(axis=0)
    np.testing.assert_allclose(net.parameters["0.mean"], mean + 0.1 * (X[20] - mean), rtol=1e-12)
    np.testing.assert_allclose(net.parameters["0.variance"], 0.9 + 0.1 * X[:20].var(axis=0, ddof=1), rtol=1e-12)


# ---- drop path, drop connect


@both
def test_drop_path_is_what_its_formula_says(engine):
    """x + block(x) / (1 - p) where a row's number keeps the block, else x: one layer, by hand."""
    plan, params, x, y = problem([fr.Dense(5), fr.Residual([fr.Dense(5, T)], 0.5), fr.Dense(OUTPUTS)])
    w = plan.layout.views(params)
    mask = np.empty((ROWS, 1))
    reference.dropout_mask(mask, 0.5, seed=5, step=2)
    assert set(mask.ravel().tolist()) == {0.0, 2.0}
    h = x @ w["0.weight"] + w["0.bias"]
    h = h + mask * np.tanh(h @ w["1.weight"] + w["1.bias"])
    loss = np.mean((h @ w["2.weight"] + w["2.bias"] - y) ** 2)
    assert ENGINES[engine](plan, params).gradient(np.empty_like(params), x, y, seed=5, step=2) == pytest.approx(loss)


@both
def test_drop_connect_is_what_its_formula_says(engine):
    plan, params, x, y = problem([fr.DropConnect(0.5), fr.Dense(OUTPUTS)])
    w, mask = plan.layout.views(params), np.empty((INPUTS, OUTPUTS))
    reference.dropout_mask(mask, 0.5, seed=5, step=2)
    gradient = np.empty_like(params)
    loss = ENGINES[engine](plan, params).gradient(gradient, x, y, seed=5, step=2)
    errors = x @ (w["0.weight"] * mask) + w["0.bias"] - y
    assert loss == pytest.approx(np.mean(errors**2))
    expected = 2 / errors.size * mask * (x.T @ errors)
    np.testing.assert_allclose(plan.layout.views(gradient)["0.weight"], expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("layers", [[fr.DropConnect(0.25)], [fr.Dropout(0.25)], [fr.GaussianNoise(1.0)],
                                    [fr.MultiplicativeNoise(0.7)]])  # fmt: skip
def test_noise_keeps_the_expected_output(layers):
    """Of a linear network, over 4,000 steps; within 4.5 standard errors."""
    plan, params, x, _ = problem([*layers, fr.Dense(OUTPUTS)])
    engine, plain, noisy = Engine(plan, params), np.empty((ROWS, OUTPUTS)), np.empty((4000, ROWS, OUTPUTS))
    engine.forward(plain, x)
    for step, out in enumerate(noisy):
        engine.forward(out, x, seed=1, step=step)
    error = noisy.std(axis=0) / np.sqrt(len(noisy))
    assert (error > 0.001).all()
    assert (np.abs(noisy.mean(axis=0) - plain) < 4.5 * error).all()


def test_a_block_is_kept_in_expectation():
    plan, params, x, _ = problem([fr.Dense(5), fr.Residual([fr.Dense(5, T)], 0.3), fr.Dense(OUTPUTS)])
    engine, plain, noisy = Engine(plan, params), np.empty((ROWS, OUTPUTS)), np.empty((4000, ROWS, OUTPUTS))
    engine.forward(plain, x)
    for step, out in enumerate(noisy):
        engine.forward(out, x, seed=1, step=step)
    assert (np.abs(noisy.mean(axis=0) - plain) < 4.5 * noisy.std(axis=0) / np.sqrt(len(noisy))).all()


# ---- the same bits, whatever happens


def weights_of(net):
    return b"".join(np.ascontiguousarray(values).tobytes() for values in net.parameters.values())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_threads_gives_the_same_bits(dtype):
    X, y = table(700)
    wide = list(EVERYTHING)
    wide[3] = fr.Dense(200, "relu")
    wide[5] = fr.Residual(
        [fr.BatchNorm(), fr.DropConnect(0.2), fr.Dense(300, "selu"), fr.LayerNorm(), fr.Dense(200)], 0.3
    )
    found = set()
    for n_threads in (1, 2, 3):
        net = classifier(wide, dtype=dtype)
        net.fit(X, y, epochs=2, batch_size=350, n_threads=n_threads)
        found.add(weights_of(net) + net.forward(X).tobytes())
    assert len(found) == 1


@both
def test_two_fits_are_one(engine):
    X, y = table()
    whole, parts = classifier(engine=engine), classifier(engine=engine)
    whole.fit(X, y, epochs=4, batch_size=64)
    parts.fit(X, y, epochs=2, batch_size=64)
    parts.fit(X, y, epochs=2, batch_size=64)
    assert weights_of(whole) == weights_of(parts)


@both
def test_files_bring_back_all_of_it(engine, tmp_path):
    X, y = table()
    net = classifier(engine=engine)
    net.fit(X, y, epochs=2, batch_size=64)
    fr.save(net, tmp_path / "net.frg")
    fr.save_safetensors(net, tmp_path / "net.safetensors")
    twin = fr.load(tmp_path / "net.frg")
    assert weights_of(twin) == weights_of(net)
    assert twin.summary() == net.summary()
    assert np.array_equal(
        fr.load_safetensors(classifier(engine=engine), tmp_path / "net.safetensors").forward(X), net.forward(X)
    )
    for each in (net, twin):
        each.fit(X, y, epochs=1, batch_size=64)
    assert weights_of(twin) == weights_of(net)


@both
@pytest.mark.parametrize("steps", [1, 7, 13])
def test_a_training_that_was_cut_off_goes_on_with_the_same_bits(engine, steps, tmp_path):
    X, y = table()
    settings = {"epochs": 4, "batch_size": 64, "optimizer": fr.Adam(1e-2)}
    whole, net = classifier(engine=engine), classifier(engine=engine)
    whole.fit(X, y, **settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "write", lambda *content: (container.write(*content), net.cancel()))
        net.fit(X, y, **settings, callbacks=[fr.Checkpoint(tmp_path / "net.frg", every=steps, unit="steps")])
    assert weights_of(net) != weights_of(whole)
    resumed, _ = fr.resume(tmp_path / "net.frg", X, y)
    assert weights_of(resumed) == weights_of(whole)


@both
def test_everything_learns(engine):
    X, y = table(600)
    net = classifier(engine=engine)
    history = net.fit(X, y, epochs=30, optimizer=fr.Adam(1e-2))
    assert history["loss"][-1] < 0.8 * history["loss"][0]
    assert net.evaluate(X, y, metrics=["accuracy"])["accuracy"] > 0.6


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_selu_at_its_edges(dtype):
    """It loses nothing near zero, and goes on to its limits."""
    x = np.array([-1e-30, -1e-8, -1e-3, -1, -20, -1000, -np.inf, 0, 1e-30, 1e30, np.inf, np.nan], dtype)
    y, dx = np.empty_like(x), np.empty_like(x)
    kernels.selu(y, x)
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    with np.errstate(over="ignore"):
        expected = scale * np.where(x > 0, x, alpha * np.expm1(x.astype(np.float64)))
    np.testing.assert_allclose(y, expected, rtol=4 * np.finfo(dtype).eps)
    kernels.selu_gradient(dx, np.ones_like(x), y)
    expected = scale * np.where(x > 0, 1, alpha * np.exp(np.where(x > 0, 0, x).astype(np.float64)))
    np.testing.assert_allclose(dx[:-1], expected[:-1], rtol=4 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps)
    assert np.isnan(dx[-1])


@pytest.mark.parametrize("module", [kernels, reference])
def test_norms_of_constant_numbers_are_finite(module):
    """A dead unit, and a row without variance: the epsilon is all that divides."""
    x, ones, zeros = np.full((9, 4), 3.0), np.ones(4), np.zeros(4)
    mean, variance, y = np.empty(4), np.empty(4), np.empty_like(x)
    module.column_moments(mean, variance, x)
    assert mean.tolist() == [3] * 4
    assert not variance.any()
    module.batch_norm(y, x, ones, ones, mean, variance)
    assert (y == 1).all()
    module.layer_norm(y, x, ones, ones)
    assert (y == 1).all()
    module.batch_norm_gradient(y, np.ones_like(x), x, ones, zeros, np.full(4, 9.0), mean, variance)
    assert not y.any()
    module.layer_norm_gradient(y, np.ones_like(x), x, ones)
    assert not y.any()


# ---- predictions from samples


REGRESSION = [fr.Dropout(0.2), fr.Dense(30, "relu"), fr.Dropout(0.5), fr.Dense(1)]


@both
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_are_passes_by_hand(engine, dtype):
    """Mean and deviation of what the training's own noise makes of the rows, at the steps 2^63 + s."""
    X, _ = table(20)
    X = X.astype(dtype)
    net = fr.Network(REGRESSION, loss="squared_error", seed=3, dtype=dtype, engine=engine).build(INPUTS)
    weights, outputs = {name: np.array(v, np.float64) for name, v in net.parameters.items()}, []
    for sample in range(5):
        masks = np.empty(X.shape), np.empty((20, 30))
        for layer, (mask, rate) in enumerate(zip(masks, (0.2, 0.5), strict=True)):
            reference.dropout_mask(mask, rate, seed=3, step=2**63 + sample, layer=layer)
        h = np.maximum(X * masks[0] @ weights["0.weight"] + weights["0.bias"], 0) * masks[1]
        outputs.append((h @ weights["1.weight"] + weights["1.bias"])[:, 0])
    mean, std = net.predict(X, samples=5, return_std=True)
    tolerance = {"rtol": 1e-4, "atol": 1e-5} if dtype == "float32" else {"rtol": 1e-10}
    np.testing.assert_allclose(mean, np.mean(outputs, axis=0), **tolerance)
    np.testing.assert_allclose(std, np.std(outputs, axis=0), **tolerance)
    assert np.array_equal(net.predict(X, samples=5), mean)
    assert mean.dtype == std.dtype == dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_samples_do_not_depend_on_threads_or_on_what_follows(dtype):
    X, y = table(3000)
    wide = [*EVERYTHING[1:3], fr.Dense(300, "relu"), fr.Dropout(0.3), fr.DropConnect(0.2), *EVERYTHING[3:]]
    net = classifier(wide, dtype=dtype)
    net.fit(X[:300], y[:300], epochs=1)
    found = set()
    for threads in (1, 2, 3):
        out = np.empty((3000, OUTPUTS), dtype)
        net._model.engine(False).forward(out, X.astype(dtype), threads=threads, seed=3, step=2**63)
        found.add(out.tobytes())
    assert len(found) == 1
    np.testing.assert_array_equal(net.predict_proba(X[:700], samples=3), net.predict_proba(X, samples=3)[:700])


@both
def test_sampled_classes_and_probabilities(engine):
    X, y = table()
    net = classifier(engine=engine)
    net.fit(X, y, epochs=5)
    p, std = net.predict_proba(X, samples=20, return_std=True)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    codes, of_codes = net.predict(X, samples=20, return_std=True)
    assert np.array_equal(codes, p.argmax(axis=1))
    assert np.array_equal(of_codes, std[np.arange(len(X)), codes])
    assert 0 < std.max() < 0.5
    assert np.array_equal(net.predict_proba(X, samples=20), p)
    assert not np.array_equal(net.predict_proba(X), p)


@both
def test_sampled_binary(engine):
    X, y = table()
    net = fr.Network(
        [fr.Dense(9, "relu"), fr.Dropout(0.3), fr.Dense(1)], loss="binary_cross_entropy", seed=1, engine=engine
    )
    net.fit(X, y > 0, epochs=5)
    p, std = net.predict_proba(X, samples=9, return_std=True)
    codes, of_codes = net.predict(X, samples=9, return_std=True)
    assert p.shape == std.shape == (300, 2)
    assert np.array_equal(codes, (p[:, 1] > 0.5).astype(np.int64))
    assert np.array_equal(of_codes, std[:, 1])


@both
def test_without_noise_all_samples_are_the_prediction(engine):
    X, y = table()
    net = classifier([fr.BatchNorm(), fr.Dense(OUTPUTS)], engine=engine)
    net.fit(X, y, epochs=1)
    p, std = net.predict_proba(X, samples=3, return_std=True)
    np.testing.assert_allclose(p, net.predict_proba(X), rtol=1e-12)
    assert std.max() < 1e-12


@both
def test_swap_noise_is_not_in_samples(engine):
    X, y = table()
    net = classifier([fr.SwapNoise(0.9), fr.Dense(OUTPUTS)], engine=engine)
    net.fit(X, y, epochs=1)
    np.testing.assert_allclose(net.predict_proba(X, samples=3), net.predict_proba(X), rtol=1e-12)


def test_what_samples_refuse():
    X, y = table()
    net = classifier()
    net.fit(X, y, epochs=1)
    before = X.tobytes()
    net.predict(X, samples=2)
    assert X.tobytes() == before
    for samples in (0, True, 1.5):
        with pytest.raises(ValueError, match="samples must be an int >= 1"):
            net.predict(X, samples=samples)
    for predict in (net.predict, net.predict_proba):
        with pytest.raises(ValueError, match="return_std=True needs samples"):
            predict(X, return_std=True)
