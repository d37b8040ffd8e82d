"""The NumPy interpreter against definitions: published random numbers, finite differences, optimality."""

import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest

from fastreg import reference
from fastreg.initial import write_initial_weights
from fastreg.layers import ACTIVATIONS, Activation, Dense, Dropout
from fastreg.layout import aligned_zeros
from fastreg.optimizers import SGD, Adam, AdamW
from fastreg.penalties import L1, L2
from fastreg.plan import lower
from fastreg.reference.kernels import BLOCK
from fastreg.reference.philox import CAPACITY, Masks, Philox

RNG = np.random.default_rng(0)
DTYPES = ["float32", "float64"]


# Random numbers


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [  # kat_vectors of Random123
        ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ([2**32 - 1] * 4, [2**32 - 1] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            "d16cfe09 94fdcceb 5001e420 24126ea1",
        ),
    ],
)
def test_philox_known_answers(counter, key, words):
    out = np.empty(4, np.uint32)
    block, stream, low, high = counter
    seed, step = key[0] | key[1] << 32, low | high << 32
    reference.random_words(out, seed=seed, stream=stream, step=step, first_block=block)
    assert " ".join(f"{word:08x}" for word in out) == words


def words_of(n_blocks, **key):
    out = np.empty(4 * n_blocks, np.uint32)
    reference.random_words(out, **key)
    return out


def test_words_do_not_depend_on_how_many_are_drawn():
    key = {"seed": 2**63 + 5, "stream": 2 << 16 | 3, "step": 2**40 + 1}
    every = words_of(2 * CAPACITY + 3, first_block=7, **key)
    for block in (0, 1, CAPACITY - 1, CAPACITY, 2 * CAPACITY + 2):
        np.testing.assert_array_equal(every[4 * block : 4 * block + 4], words_of(1, first_block=7 + block, **key))


def slow_mask(shape, rate, seed, step, layer):
    """The mask number by number, as it is defined."""
    threshold, stride = min(round(65536 * rate), 65535), -(-shape[1] // 16) * 16
    kept = np.empty(shape)
    for row, unit in np.ndindex(*shape):
        block, number = divmod(row * stride + unit, 8)
        word = int(words_of(1, seed=seed, stream=layer, step=step, first_block=block)[number // 2])
        kept[row, unit] = (word >> 16 * (number % 2) & 0xFFFF) >= threshold
    return kept * 65536 / (65536 - threshold)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (2, 16), (4, 17)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_mask_number_by_number(shape, dtype):
    mask = np.empty(shape, dtype)
    reference.dropout_mask(mask, 0.3, seed=2**33 + 1, step=2**32 + 9, layer=5)
    np.testing.assert_array_equal(mask, slow_mask(shape, 0.3, 2**33 + 1, 2**32 + 9, 5).astype(dtype))


@pytest.mark.parametrize("first_step", [0, 2**32 - 3])
def test_masks_of_many_steps_are_those_of_each(first_step):
    rows, columns = 7, 33
    masks = Masks(Philox(3), (rows, columns), 0.4, 2, n_steps=6)
    for step in range(first_step, first_step + 6):
        one = np.empty((rows - 2, columns))
        reference.dropout_mask(one, 0.4, seed=3, step=step, layer=2)
        np.testing.assert_array_equal(masks.at(step, rows - 2), one != 0)


@pytest.mark.parametrize("rate", [0.0, 1e-9, 0.1, 0.5, 0.999, 1 - 1e-9])
def test_dropout_mask_statistics(rate):
    mask = np.empty((500, 1000))
    reference.dropout_mask(mask, rate, seed=1)
    kept = 1 - min(round(65536 * rate), 65535) / 65536
    deviation = np.sqrt(kept * (1 - kept) / mask.size)
    assert abs((mask > 0).mean() - kept) <= 5 * deviation
    np.testing.assert_array_equal(np.unique(mask[mask > 0]), 1 / kept)
    for axis in (0, 1):
        spread = np.sqrt(kept * (1 - kept) / mask.shape[axis])
        assert abs((mask > 0).mean(axis=axis) - kept).max() <= 6 * spread + 2 / mask.shape[axis]


def test_masks_of_layers_steps_and_seeds_are_independent():
    keys = [dict(zip(("seed", "step", "layer"), key)) for key in np.ndindex(2, 2, 2)]
    kept = []
    for key in keys:
        mask = np.empty((100, 160))
        reference.dropout_mask(mask, 0.5, **key)
        kept.append(mask.ravel() > 0)
    agreement = np.corrcoef(kept)[np.triu_indices(len(keys), 1)]
    assert abs(agreement).max() <= 5 / np.sqrt(16_000)


def test_dropout_in_place():
    x = RNG.standard_normal((9, 20))
    expected, mask = np.empty_like(x), np.empty_like(x)
    reference.dropout(expected, x, 0.5, seed=4, layer=1)
    reference.dropout_mask(mask, 0.5, seed=4, layer=1)
    np.testing.assert_array_equal(expected, x * mask)
    reference.dropout(x, x, 0.5, seed=4, layer=1)
    np.testing.assert_array_equal(x, expected)


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10, 1001])
def test_shuffle_is_fisher_yates(n):
    order, expected = np.empty(n, np.int64), list(range(n))
    reference.shuffle(order, seed=9, step=2)
    words = words_of(n // 2 + 1, seed=9, stream=1 << 16, step=2).tolist()
    for k, i in enumerate(range(n - 1, 0, -1)):
        number = words[2 * k] << 32 | words[2 * k + 1]
        j = number * (i + 1) >> 64
        expected[i], expected[j] = expected[j], expected[i]
    assert order.tolist() == expected


def test_shuffle_is_uniform():
    counts = np.zeros((5, 5))
    order = np.empty(5, np.int64)
    for step in range(2000):
        reference.shuffle(order, seed=0, step=step)
        counts[np.arange(5), order] += 1
    assert abs(counts - 400).max() <= 5 * np.sqrt(2000 * 0.2 * 0.8)


# Kernels


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_gradients_of_activations(name):
    kernel, gradient = getattr(reference, name), getattr(reference, f"{name}_gradient")
    x, dy = RNG.standard_normal((4, 7)), RNG.standard_normal((4, 7))
    y, dx, numeric = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for place in np.ndindex(x.shape):
        ends = []
        for h in (1e-6, -1e-6):
            moved = x.copy()
            moved[place] += h
            kernel(y, moved)
            ends.append((y * dy).sum())
        numeric[place] = (ends[0] - ends[1]) / 2e-6
    kernel(y, x)
    gradient(dx, dy, y)
    np.testing.assert_allclose(dx, numeric, rtol=1e-7, atol=1e-9)
    gradient(dy, dy, y)
    np.testing.assert_array_equal(dy, dx)
    kernel(x, x)
    np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "tanh"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_extreme_inputs_saturate(name, dtype):
    x = np.array([[-1e4, 1e4], [1e4, 1e4], [-1e4, -1e4], [-20, 20]], dtype)
    out = np.empty_like(x)
    getattr(reference, name)(out, x)
    ends = {"sigmoid": (0, 1), "softmax": (0, 1), "tanh": (-1, 1)}[name]
    np.testing.assert_allclose(out[0], ends, atol=1e-12)
    assert np.isfinite(out).all()


def test_relu_keeps_nan():
    out = np.empty(3)
    reference.relu(out, np.array([np.nan, -1, 2]))
    np.testing.assert_array_equal(out, [np.nan, 0, 2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_long_arrays_are_no_different(dtype):
    """Kernels that work in blocks give every element what a short array gets."""
    n = 2 * BLOCK + 5
    x, y = (RNG.standard_normal(n).astype(dtype) for _ in range(2))
    for name in ("relu", "leaky_relu", "sigmoid"):
        whole, part = np.empty_like(x), np.empty_like(x[-9:])
        getattr(reference, name)(whole, x)
        getattr(reference, name)(part, x[-9:])
        np.testing.assert_array_equal(whole[-9:], part)
        getattr(reference, f"{name}_gradient")(whole, y, x)
        getattr(reference, f"{name}_gradient")(part, y[-9:], x[-9:])
        np.testing.assert_array_equal(whole[-9:], part)
    for name, value in (("l1", abs(x).sum()), ("l2", (x.astype("f8") ** 2).sum())):
        gradient = np.zeros_like(x)
        assert getattr(reference, name)(x, 0.5, gradient) == pytest.approx(value / 2, rel=1e-5)
        np.testing.assert_allclose(gradient, np.sign(x) / 2 if name == "l1" else x)


def softmax(z):
    return np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)


def loss_case(name, m=6, n=5):
    z = RNG.standard_normal((m, n))
    if name == "cross_entropy_labels":
        targets = RNG.integers(0, n, m).astype(np.int32)
        return z, targets, lambda z: -np.log(softmax(z)[np.arange(m), targets]), {}
    if name == "cross_entropy":
        targets = RNG.dirichlet(np.ones(n), m)
        return z, targets, lambda z: -(targets * np.log(softmax(z))).sum(axis=1), {}
    targets = RNG.random((m, n))
    if name == "squared_error":
        return z, targets, lambda z: ((z - targets) ** 2).sum(axis=1) / 3, {"output_weight": 1 / 3}

    def binary(z):
        s = 1 / (1 + np.exp(-z))
        return -(targets * np.log(s) + (1 - targets) * np.log(1 - s)).sum(axis=1) / 3

    return z, targets, binary, {"output_weight": 1 / 3}


@pytest.mark.parametrize("weights", [None, RNG.random(6)])
@pytest.mark.parametrize("name", ["cross_entropy_labels", "cross_entropy", "binary_cross_entropy", "squared_error"])
def test_losses(name, weights):
    z, targets, textbook, named = loss_case(name)
    kernel, w = getattr(reference, name), np.ones(6) if weights is None else weights
    dz = np.empty_like(z)
    value = kernel(dz, z, targets, weights, 0.7, **named)
    assert value == pytest.approx((w * textbook(z)).sum(), rel=1e-12)
    assert kernel(None, z, targets, weights, **named) == value
    numeric = np.empty_like(z)
    for place in np.ndindex(z.shape):
        h = np.zeros_like(z)
        h[place] = 1e-6
        numeric[place] = (w * (textbook(z + h) - textbook(z - h))).sum() / 2e-6
    np.testing.assert_allclose(dz, 0.7 * numeric, rtol=1e-6, atol=1e-9)
    kernel(z, z, targets, weights, 0.7, **named)
    np.testing.assert_array_equal(z, dz)


@pytest.mark.parametrize("name", ["cross_entropy_labels", "binary_cross_entropy"])
def test_losses_of_hopeless_logits_are_finite(name):
    z = np.array([[1000.0, -1000.0]])
    targets = np.array([1], np.int32) if name == "cross_entropy_labels" else np.array([[0.0, 1.0]])
    assert getattr(reference, name)(z.copy(), z, targets) == 2000


def test_products_accumulate():
    a, b, bias, out = RNG.random((3, 4)), RNG.random((4, 5)), RNG.random(5), np.ones((3, 5))
    reference.gemm_nn(out, a, b, bias, accumulate=True)
    np.testing.assert_allclose(out, 1 + a @ b + bias)
    reference.gemm_nt(out, a, b.T.copy(), bias)
    np.testing.assert_allclose(out, a @ b + bias)
    reference.gemm_tn(out, a.T.copy(), b)
    np.testing.assert_allclose(out, a @ b)


@pytest.mark.parametrize("rows", [0, 1, BLOCK, BLOCK + 1])
def test_column_sum(rows):
    x, out = RNG.random((rows, 3)), np.empty(3)
    reference.column_sum(out, x)
    np.testing.assert_allclose(out, x.sum(axis=0))


@pytest.mark.parametrize("nesterov", [False, True])
def test_sgd(nesterov):
    w, u, g = RNG.random((3, 9))
    old, velocity = w.copy(), 0.9 * u - 0.1 * g
    reference.sgd(w, g, u, learning_rate=0.1, momentum=0.9, nesterov=nesterov, decay=0.01)
    np.testing.assert_allclose(u, velocity)
    np.testing.assert_allclose(w, old + (0.9 * velocity - 0.1 * g if nesterov else velocity) - 0.01 * old)


def test_state_below_the_smallest_becomes_0():
    w, g = np.zeros(3), np.zeros(3)
    u = np.array([1e-30, -1.2e-30, 1.0])
    reference.sgd(w, g, u, learning_rate=0.1, momentum=0.9)
    np.testing.assert_allclose(u, [0, -1.08e-30, 0.9])
    m = np.array([1e-30, -1.2e-30, 1.0])
    reference.adam(w, g, m, np.ones(3), learning_rate=0.1, t=1)
    np.testing.assert_allclose(m, [0, -1.08e-30, 0.9])


def test_adam():
    w, g, step = *RNG.random((2, 9)), np.empty(9)
    old, m, v = w.copy(), np.zeros(9), np.zeros(9)
    reference.adam(w, g, m, v, learning_rate=0.1, t=1, decay=0.01, floor=0.5, step=step)
    np.testing.assert_allclose(step, 0.1 / (np.maximum(g, 0.5) + 1e-8))
    np.testing.assert_allclose(w, old - step * g - 0.01 * old)


# The engine


def trainer(layers, loss, n_inputs, *, dtype="float64", seed=0, **settings):
    plan = lower(layers, loss, n_inputs, dtype, **settings)
    params = aligned_zeros(plan.layout.size, dtype)
    write_initial_weights(params, plan, layers, seed=seed)
    biases = [view for view in plan.layout.views(params).values() if view.ndim == 1]
    for bias in biases:
        bias[:] = RNG.standard_normal(bias.shape) / 10
    state = SimpleNamespace(buffers=np.zeros((plan.buffers, plan.layout.size), dtype), scalars=np.zeros(2, np.float64))
    return reference.Engine(plan, params), state


def batch_for(loss, rows, n_inputs, n_outputs):
    x = RNG.standard_normal((rows, n_inputs))
    if loss == "cross_entropy_labels":
        return x, RNG.integers(0, n_outputs, rows).astype(np.int32)
    if loss == "cross_entropy":
        return x, RNG.dirichlet(np.ones(n_outputs), rows)
    return x, RNG.random((rows, n_outputs))


def numeric_gradient(function, params, where):
    slopes = np.zeros_like(params)
    for i in where:
        old, ends = params[i], []
        for h in (1e-6, -1e-6):
            params[i] = old + h
            ends.append(function())
        params[i] = old
        slopes[i] = (ends[0] - ends[1]) / 2e-6
    return slopes


def trained_places(plan):
    return [i for field in plan.layout.fields for i in range(field.start, field.stop)]


@pytest.mark.parametrize("weights", [None, RNG.random(5)], ids=["unweighted", "weighted"])
@pytest.mark.parametrize("loss", ["cross_entropy_labels", "cross_entropy", "binary_cross_entropy", "squared_error"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_gradient_by_finite_differences(activation, loss, weights):
    labels = loss == "cross_entropy_labels"
    layers = [
        *(Dropout(0.2), Dense(6, activation), Dropout(0.4), Dense(5, activation)),
        *(Activation("tanh"), Dropout(0.3), Activation(activation), Dense(4)),
    ]
    engine, _ = trainer(layers, loss.removesuffix("_labels"), 3, labels=labels)
    x, targets = batch_for(loss, 5, 3, 4)
    gradient, unused = np.full((2, engine.params.size), np.nan)
    engine.gradient(gradient, x, targets, weights, seed=5, step=7)
    numeric = numeric_gradient(
        lambda: engine.gradient(unused, x, targets, weights, seed=5, step=7),
        engine.params,
        trained_places(engine.plan),
    )
    assert abs(gradient - numeric).max() <= 1e-7 * abs(numeric).max()
    gaps = np.delete(gradient, trained_places(engine.plan))
    assert not gaps.any()


@pytest.mark.parametrize("penalty", [L2(0.3), L1(0.3, "subgradient"), L1(0.3, "clip"), L1(0.1, "clip") + L2(1)])
def test_penalty_gradient_by_finite_differences(penalty):
    layers = [Dense(4, "relu", weight_penalty=penalty), Dense(2, bias_penalty=penalty)]
    engine, _ = trainer(layers, "squared_error", 3)
    gradient = np.zeros_like(engine.params)
    assert engine.penalty(gradient) == engine.penalty()
    numeric = numeric_gradient(engine.penalty, engine.params, trained_places(engine.plan))
    np.testing.assert_allclose(gradient, numeric, rtol=1e-7, atol=1e-9)


def test_inference_drops_nothing_and_agrees_with_evaluate():
    layers = [Dropout(0.5), Dense(4, "tanh"), Dropout(0.5), Dense(3, "sigmoid")]
    engine, _ = trainer(layers, "squared_error", 2)
    x, targets = batch_for("squared_error", 2500, 2, 3)
    weights, out = RNG.random(2500), np.empty((2500, 3))
    engine.forward(out, x)
    views = engine.plan.layout.views(engine.params)
    hidden = np.tanh(x @ views["0.weight"] + views["0.bias"])
    expected = 1 / (1 + np.exp(-(hidden @ views["1.weight"] + views["1.bias"])))
    np.testing.assert_allclose(out, expected, rtol=1e-12)
    total, weight = engine.evaluate(x, targets, weights)
    assert weight == pytest.approx(weights.sum())
    assert total == pytest.approx((weights * ((expected - targets) ** 2).mean(axis=1)).sum())
    assert engine.evaluate(x[:0], targets[:0]) == (0, 0)


def run(engine, state, data, *, steps, batch=None, rate=0.1, seed=0, step=0, weights=None):
    x, targets = data
    batch = batch or len(x)
    order = np.resize(np.arange(len(x)), steps * batch)
    rates = np.broadcast_to(np.asarray(rate, np.float64), steps)
    results = np.zeros((steps, 3))
    bounds = np.arange(steps + 1) * batch
    status = engine.run(x, targets, weights, order, bounds, rates, state, results, seed=seed, step=step)
    return status, results


LAYERS = (Dropout(0.2), Dense(8, "relu", weight_penalty=L1(1e-3) + L2(1e-2)), Dropout(0.5), Dense(3))


@pytest.mark.parametrize("optimizer", [SGD(), SGD(momentum=0.9), SGD(momentum=0.9, nesterov=True), AdamW()])
def test_run_is_gradient_penalty_and_update_step_by_step(optimizer):
    engine, state = trainer(LAYERS, "cross_entropy", 4, optimizer=optimizer, labels=True)
    other, _ = trainer(LAYERS, "cross_entropy", 4, optimizer=optimizer, labels=True)
    other.params[:] = engine.params
    data = batch_for("cross_entropy_labels", 10, 4, 3)
    status, results = run(engine, state, data, steps=5, batch=4, rate=np.linspace(0.1, 0.01, 5), seed=3, step=90)
    assert (status, engine.steps_done, state.scalars[0]) == ("done", 5, 5)
    gradient = np.empty_like(other.params)
    rows = np.resize(np.arange(10), 4)
    loss = other.gradient(gradient, data[0][rows], data[1][rows], seed=3, step=90)
    assert results[0].tolist() == pytest.approx([4 * loss, 4, other.penalty()], rel=1e-12)
    one, alone = trainer(LAYERS, "cross_entropy", 4, optimizer=optimizer, labels=True)
    one.params[:] = other.params
    for s in range(5):  # the same, a run for each step
        part = [array[np.resize(np.arange(10), 20)[4 * s : 4 * s + 4]] for array in data]
        run(one, alone, part, steps=1, rate=np.linspace(0.1, 0.01, 5)[s], seed=3, step=90 + s)
    np.testing.assert_array_equal(one.params, engine.params)
    np.testing.assert_array_equal(alone.scalars, state.scalars)


def test_long_ranges_go_block_by_block():
    """A plan with more parameters than a block: figures and gradients are those of whole arrays."""
    penalty = L1(1e-3) + L2(1e-2)
    layers = [Dense(300, weight_penalty=penalty, bias_penalty=L2(1.0)), Dense(2, weight_penalty=penalty)]
    for optimizer in (SGD(momentum=0.5), Adam()):
        engine, state = trainer(layers, "squared_error", 200, optimizer=optimizer)
        assert engine.params.size > BLOCK
        before = engine.params.copy()
        x, targets = batch_for("squared_error", 3, 200, 2)
        gradient = np.empty_like(before)
        engine.gradient(gradient, x, targets)
        penalty_value = engine.penalty(gradient)
        _, results = run(engine, state, (x, targets), steps=1, rate=0.01)
        assert results[0, 2] == pytest.approx(penalty_value, rel=1e-12)
        floor = np.where(np.arange(before.size) < engine.plan.update["stop"][0], 1e-3, 0)
        step = 0.01 / (np.maximum(abs(gradient), floor) + 1e-8) if optimizer == Adam() else 0.01
        moved = before - step * gradient
        shrunk = np.sign(moved) * np.maximum(abs(moved) - step * floor, 0)
        np.testing.assert_allclose(engine.params, shrunk, rtol=1e-9, atol=1e-15)


def test_a_batch_of_no_weight_makes_no_update():
    engine, state = trainer(LAYERS, "cross_entropy", 4, optimizer=Adam(), labels=True)
    before = engine.params.copy()
    data = batch_for("cross_entropy_labels", 6, 4, 3)
    status, results = run(engine, state, data, steps=2, batch=3, weights=np.zeros(6))
    assert status == "done"
    np.testing.assert_array_equal(engine.params, before)
    assert results.tolist() == [[0, 0, engine.penalty()]] * 2
    assert not state.scalars.any()


def test_divergence_stops_before_the_update():
    engine, state = trainer([Dense(1)], "squared_error", 2, optimizer=SGD(), dtype="float32")
    x = np.ones((4, 2), np.float32)
    x[2] = 1e30  # its error squared is no float32
    status, results = run(engine, state, (x, np.zeros((4, 1), np.float32)), steps=4, batch=1, rate=1e-3)
    assert (status, engine.steps_done) == ("diverged", 2)
    assert np.isfinite(engine.params).all()
    assert not np.isfinite(results[2, 0])
    assert results[3].tolist() == [0, 0, 0]


def once_running(engine, action):
    """Call `action` from another thread as soon as the engine has made a step."""

    def wait():
        while not engine.steps_done:
            time.sleep(0.001)
        action()

    thread = threading.Thread(target=wait)
    thread.start()
    return thread


def test_cancel_from_another_thread():
    engine, state = trainer([Dense(1)], "squared_error", 2, optimizer=SGD())
    data = batch_for("squared_error", 8, 2, 1)
    thread = once_running(engine, engine.cancel)
    status, _ = run(engine, state, data, steps=400_000, batch=1, rate=1e-6)
    thread.join()
    assert status == "cancelled"
    assert 0 < engine.steps_done == state.scalars[0] < 400_000
    assert run(engine, state, data, steps=3)[0] == "done"


def test_ctrl_c_comes_between_steps():
    engine, state = trainer([Dense(1)], "squared_error", 2, optimizer=SGD())
    data = batch_for("squared_error", 8, 2, 1)
    handler = signal.getsignal(signal.SIGINT)
    thread = once_running(engine, lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        run(engine, state, data, steps=400_000, batch=1, rate=1e-6)
    thread.join()
    assert 0 < engine.steps_done == state.scalars[0] < 400_000
    assert signal.getsignal(signal.SIGINT) is handler


# Proximal L1


OPTIMIZERS = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
}


def lasso(optimizer, rates, strength=0.4, batch=None):
    """Train a lasso with two dead inputs; return the weights, and the gradient of the data loss."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((600, 12)) @ (np.eye(12) + 0.3 * rng.standard_normal((12, 12)))
    x[:, [3, 7]] = 0
    truth = np.array([2, -1.5, 0, 1, 0, 0, 1, 0, -3, 0, 0, 0.5])
    y = (x @ truth + 0.1 * rng.standard_normal(600))[:, None]
    layer = Dense(1, weight_penalty=L1(strength))
    engine, state = trainer([layer], "squared_error", 12, optimizer=optimizer)
    status, _ = run(engine, state, (x, y), steps=len(rates), batch=batch, rate=rates)
    assert status == "done"
    gradient = np.empty_like(engine.params)
    engine.gradient(gradient, x, y)
    return engine.params[:12], gradient[:12]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_proximal_l1_ends_at_the_optimum(name):
    w, g = lasso(OPTIMIZERS[name], 0.02 * np.ones(6000))
    zero = w == 0
    assert 4 <= zero.sum() <= 9
    assert zero[[3, 7]].all()
    assert abs(g[zero]).max() <= 0.4 * (1 + 1e-6)
    np.testing.assert_allclose(g[~zero], -0.4 * np.sign(w[~zero]), rtol=1e-6)


def test_every_optimizer_finds_the_same_weights():
    first, *others = (lasso(optimizer, 0.02 * np.ones(6000))[0] for optimizer in OPTIMIZERS.values())
    for other in others:
        np.testing.assert_allclose(other, first, rtol=1e-6)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_zeros_under_minibatches_with_a_cosine_schedule(name):
    exact, _ = lasso(SGD(), 0.02 * np.ones(6000))
    rates = (0.005 if name != "adam" else 0.02) * (1 + np.cos(np.linspace(0, np.pi, 6000))) / 2
    w, _ = lasso(OPTIMIZERS[name], rates, batch=200)
    np.testing.assert_array_equal(w == 0, exact == 0)
    np.testing.assert_allclose(w, exact, atol=0.02)


def test_without_strength_the_proximal_step_is_nothing():
    for optimizer in OPTIMIZERS.values():
        ends = []
        for penalty in (None, L1(0.0)):
            engine, state = trainer([Dense(3, weight_penalty=penalty)], "squared_error", 4, optimizer=optimizer)
            engine.params[:] = np.linspace(-1, 1, engine.params.size)
            run(engine, state, (np.ones((2, 4)), np.ones((2, 3))), steps=20)
            ends.append(engine.params)
        np.testing.assert_array_equal(*ends)
