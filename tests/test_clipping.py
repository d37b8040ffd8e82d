"""Clipping of the gradient, by norm and by value: against NumPy by hand, in both engines, to the bit over threads."""

from dataclasses import replace

import numpy as np
import pytest

import fastreg as fr
from fastreg import kernels
from fastreg.model import interpreter
from fastreg.plan import lower
from fastreg.state import State

ENGINES = ("compiled", "reference")
LAYERS = (
    fr.Dense(70, "relu", weight_penalty=fr.L1(0.02) + fr.L2(0.01)),
    fr.Dropout(0.2),
    fr.Dense(80, "tanh", weight_penalty=fr.L1(0.01, "clip"), bias_penalty=fr.L2(0.3)),
    fr.Dense(1),
)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(300, 90))
    return X, 10 * X[:, 0] * X[:, 1]


def network(engine="compiled", dtype="float64", layers=LAYERS, **settings):
    return fr.Network(layers, loss="squared_error", seed=1, engine=engine, dtype=dtype, **settings)


def weights(net):
    return np.concatenate([values.reshape(-1) for values in net.parameters.values()])


def gradient_at(net, X, y):
    """The gradient of the whole table: of the loss, and of the smooth penalties."""
    model = net._model
    engine = model.engine(False, fr.SGD())
    gradient = np.zeros_like(model.weights)
    engine.gradient(gradient, X, y[:, None])
    engine.penalty(gradient)
    return gradient


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("largest", [0.01, 1.0, 1e6])
def test_one_step_by_norm(engine, largest, data):
    X, y = data
    layers = [fr.Dense(70, "relu", weight_penalty=fr.L2(0.1) + fr.L1(0.1, "subgradient")), fr.Dense(1)]
    net = network(engine, layers=layers).build(90)
    gradient, before = gradient_at(net, X, y), net._model.weights.copy()
    net.fit(X, y, epochs=1, batch_size=300, shuffle=False, optimizer=fr.SGD(0.1, clip_norm=largest))
    norm = np.linalg.norm(gradient)
    assert 1 < norm < 1e6
    expected = before - 0.1 * min(1, largest / norm) * gradient
    np.testing.assert_allclose(net._model.weights, expected, rtol=1e-12, atol=1e-15)
    if largest < norm:
        np.testing.assert_allclose(np.linalg.norm(net._model.weights - before), 0.1 * largest, rtol=1e-12)


@pytest.mark.parametrize("engine", ENGINES)
def test_one_step_by_value(engine, data):
    X, y = data
    net = network(engine, layers=[fr.Dense(70, "relu", weight_penalty=fr.L2(0.1)), fr.Dense(1)]).build(90)
    gradient, before = gradient_at(net, X, y), net._model.weights.copy()
    net.fit(X, y, epochs=1, batch_size=300, shuffle=False, optimizer=fr.SGD(0.1, clip_value=0.5))
    assert (np.abs(gradient) > 0.5).any()
    np.testing.assert_allclose(net._model.weights, before - 0.1 * np.clip(gradient, -0.5, 0.5), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("clip", [{"clip_norm": 0.7}, {"clip_value": 0.05}], ids=str)
@pytest.mark.parametrize(
    "optimizer", [fr.SGD, lambda **clip: fr.SGD(0.01, 0.9, **clip), lambda **clip: fr.AdamW(0.01, **clip)]
)
def test_engines_agree(optimizer, clip, data):
    nets = [network(engine) for engine in ENGINES]
    histories = [net.fit(*data, epochs=3, batch_size=64, optimizer=optimizer(**clip)) for net in nets]
    np.testing.assert_allclose(weights(nets[0]), weights(nets[1]), rtol=1e-8, atol=1e-10)
    for name in ("loss", "penalty"):
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [fr.SGD(0.01, 0.9), fr.AdamW(0.01)], ids=repr)
def test_a_norm_that_is_never_reached_changes_no_bit(optimizer, dtype, data):
    """The penalties go through passes of their own then: those of the one pass have the same bits."""
    plain = network(dtype=dtype)
    one = plain.fit(*data, epochs=3, optimizer=optimizer)
    clipped = network(dtype=dtype)
    two = clipped.fit(*data, epochs=3, optimizer=replace(optimizer, clip_norm=1e9))
    assert weights(plain).tobytes() == weights(clipped).tobytes()
    assert one["penalty"] == two["penalty"]


@pytest.mark.parametrize("clip", [{"clip_norm": 0.7}, {"clip_value": 0.05}], ids=str)
def test_threads_change_no_bit(clip):
    rng = np.random.default_rng(1)
    X, y = rng.normal(size=(64, 700)), rng.normal(size=(64, 300))
    layers = [fr.Dense(700, "relu", weight_penalty=fr.L2(0.01)), fr.Dense(300)]
    plan = lower(layers, "squared_error", 700, "float64", optimizer=fr.AdamW(0.01, **clip))
    outcomes = set()
    for threads in (1, 2, 3, 7):
        params = np.random.default_rng(2).normal(size=plan.layout.size)
        for field, after in zip(plan.layout.fields, [*plan.layout.fields[1:], None], strict=True):
            params[field.stop : after.start if after else None] = 0
        state, results = State.new(plan, None), np.empty((3, 3))
        interpreter("compiled")[0](plan, params).run(
            X, y, None, np.arange(64), np.array([0, 20, 40, 64]), np.full(3, 0.01), state, results,
            seed=1, step=0, threads=threads,
        )  # fmt: skip
        outcomes.add((params.tobytes(), state.buffers.tobytes(), results.tobytes()))
    assert len(outcomes) == 1


@pytest.mark.parametrize("engine", ENGINES)
def test_gradients_whose_squares_overflow_are_clipped(engine):
    X, y = np.full((4, 1), 1e12, np.float32), np.full(4, 1e13, np.float32)
    net = network(engine, "float32", layers=[fr.Dense(1, init="zeros")])
    net.fit(X, y, epochs=1, optimizer=fr.SGD(1.0, clip_norm=1.0))
    assert net.parameters["0.weight"] == pytest.approx(1.0)  # the bias's part is 1e-12 of it


@pytest.mark.parametrize("engine", ENGINES)
def test_nothing_is_clipped_where_nothing_moves(engine, data):
    """A batch of weight 0 makes no step, and its penalty is still in the history."""
    X, y = data
    sample_weight = np.where(np.arange(300) < 150, 1.0, 0.0)
    histories = []
    for clip in ({}, {"clip_norm": 1e9}):
        net = network(engine)
        history = net.fit(
            X, y, epochs=2, batch_size=150, shuffle=False, sample_weight=sample_weight, optimizer=fr.Adam(**clip)
        )
        histories.append((weights(net).tobytes(), history["penalty"]))
    assert histories[0] == histories[1]


@pytest.mark.parametrize(
    "settings", [{"clip_norm": 0}, {"clip_norm": -1.0}, {"clip_value": "1"}, {"clip_norm": np.inf}], ids=str
)
def test_wrong_settings(settings):
    with pytest.raises(ValueError, match="must be a finite number > 0"):
        fr.SGD(**settings)
    with pytest.raises(ValueError, match="choose one"):
        fr.Adam(clip_norm=1, clip_value=1)


def test_resume_and_files(data, tmp_path):
    optimizer = fr.SGD(0.01, 0.9, clip_norm=0.5)
    whole, part = network(), network()
    whole.fit(*data, epochs=4, optimizer=optimizer)
    part.fit(*data, epochs=2, optimizer=optimizer)
    fr.save(part, tmp_path / "part.frg")
    back = fr.load(tmp_path / "part.frg")
    back.fit(*data, epochs=2, optimizer=optimizer)
    assert weights(back).tobytes() == weights(whole).tobytes()


# ---- kernels


@pytest.mark.parametrize("module", ["kernels", "reference"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clamp_at_its_edges(module, dtype):
    x = np.array([-np.inf, -2, -1, -0.5, -0.0, 0.0, 1, 1.5, np.inf, np.nan], dtype)
    getattr(fr, module).clamp(x, 1.0)
    np.testing.assert_array_equal(x, np.array([-1, -1, -1, -0.5, 0, 0, 1, 1, 1, np.nan]))
    assert np.signbit(x[4])


@pytest.mark.parametrize("module", ["kernels", "reference"])
def test_squares_of_float32_are_summed_in_float64(module):
    assert getattr(fr, module).square_sum(np.full(4, 3e38, np.float32)) == pytest.approx(3.6e77)
    assert getattr(fr, module).square_sum(np.full(3, 1e-30, np.float32)) == pytest.approx(3e-60)
    assert np.isnan(getattr(fr, module).square_sum(np.array([1, np.nan])))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [1, 15, 16, 17, 4096, 4099, 9001])
def test_order_of_a_sum_of_squares(dtype, size):
    """16 lanes within chunks of 4,096, lanes one after the other, chunks likewise, all in float64."""
    x = np.random.default_rng(size).normal(size=size).astype(dtype)
    total = 0.0
    for start in range(0, size, 4096):
        lanes = [0.0] * 16
        for i, value in enumerate(x[start : start + 4096].tolist()):
            lanes[i % 16] += value * value
        chunk = 0.0
        for lane in lanes:
            chunk += lane
        total += chunk
    assert kernels.square_sum(x) == total
