"""A user's own loss: the numbers of a kernel, what goes wrong in it, and what the network says of it."""

import signal
import threading

import numpy as np
import pytest

import fastreg as fr
from fastreg import CustomLoss

RNG = np.random.default_rng(0)
X, REALS = RNG.normal(size=(60, 4)), RNG.normal(size=(60, 3))
LABELS = RNG.integers(0, 3, 60)
WEIGHTS = RNG.uniform(0.5, 2, 60) * (RNG.random(60) > 0.2)

every_engine = pytest.mark.parametrize("engine", ["compiled", "reference"])
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def squared(outputs, targets):
    d = outputs - targets
    return (d * d).mean(axis=1), 2 * d / d.shape[1]


def softmax(outputs, labels):
    p = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    if labels.ndim == 1:
        labels = np.eye(p.shape[1], dtype=p.dtype)[labels]
    return -(labels * np.log(p)).sum(axis=1), p - labels


def logistic(outputs, targets):
    p = 1 / (1 + np.exp(-outputs))
    losses = -targets * np.log(p) - (1 - targets) * np.log(1 - p)
    return losses.mean(axis=1), (p - targets) / p.shape[1]


def network(loss, engine="compiled", dtype="float64", units=3):
    layers = [fr.Dense(6, "relu", weight_penalty=fr.L2(1e-3)), fr.Dropout(0.2), fr.Dense(units)]
    return fr.Network(layers, loss=loss, seed=0, dtype=dtype, engine=engine)


TWINS = {
    "squared_error": (squared, "identity", REALS),
    "cross_entropy": (softmax, "softmax", LABELS),
    "soft targets": (softmax, "softmax", RNG.dirichlet(np.ones(3), 60)),
    "binary_cross_entropy": (logistic, "sigmoid", (REALS > 0).astype(int)),
}


@every_engine
@every_dtype
@pytest.mark.parametrize("name", TWINS)
def test_a_function_trains_as_the_kernel_of_its_formula(name, dtype, engine):
    function, link, y = TWINS[name]
    loss = "cross_entropy" if name == "soft targets" else name
    nets = [network(each, engine, dtype) for each in (loss, CustomLoss(function, link))]
    settings = {"batch_size": 7, "epochs": 4, "sample_weight": WEIGHTS, "validation": (X, y)}
    histories = [net.fit(X, y, **settings) for net in nets]
    rtol = 1e-4 if dtype == "float32" else 1e-10
    for column in ("loss", "objective", "val_loss"):
        np.testing.assert_allclose(histories[0][column], histories[1][column], rtol=rtol)
    np.testing.assert_allclose(nets[0].forward(X), nets[1].forward(X), rtol=100 * rtol, atol=rtol)
    figures = [net.evaluate(X, y, sample_weight=WEIGHTS)["loss"] for net in nets]
    assert figures[1] == pytest.approx(figures[0], rel=10 * rtol)
    if link == "identity":
        np.testing.assert_array_equal(nets[1].predict(X), nets[1].forward(X))
    else:
        assert nets[1].predict_proba(X).shape == (60, 3)
        assert nets[1].predict(X).dtype == np.int64


def test_the_two_engines_call_it_with_the_same():
    seen = {"compiled": [], "reference": []}
    for engine, calls in seen.items():

        def function(outputs, targets, calls=calls):
            calls.append((outputs, targets))
            return squared(outputs, targets)

        network(CustomLoss(function), engine).fit(X, REALS, epochs=2, batch_size=25)
    assert [z.shape for z, _ in seen["compiled"]] == [(25, 3), (25, 3), (10, 3)] * 2
    for (z, t), (z_, t_) in zip(*seen.values(), strict=True):
        np.testing.assert_allclose(z, z_, rtol=1e-10, atol=1e-12)
        np.testing.assert_array_equal(t, t_)


@every_engine
def test_what_it_keeps_stays_and_what_it_writes_reaches_nothing(engine):
    kept = []

    def function(outputs, targets):
        result = squared(outputs, targets)
        kept.append((outputs, outputs.copy()))
        targets[...] = np.nan
        return result

    nets = [network(CustomLoss(each), engine) for each in (function, squared)]
    y = REALS.copy()
    for net in nets:
        net.fit(X, y, epochs=2, batch_size=20)
    assert nets[0].forward(X).tobytes() == nets[1].forward(X).tobytes()
    np.testing.assert_array_equal(y, REALS)
    assert all(np.array_equal(now, then) for now, then in kept)


@every_engine
def test_one_column_of_y_serves_all_outputs(engine):
    """Mean and logarithm of the variance of a normal distribution: the loss that most write themselves."""

    def normal(outputs, targets):
        mean, log_variance, y = outputs[:, 0], outputs[:, 1], targets[:, 0]
        scaled = (y - mean) ** 2 * np.exp(-log_variance)
        return (scaled + log_variance) / 2, np.stack([(mean - y) * np.exp(-log_variance), (1 - scaled) / 2], axis=1)

    rng = np.random.default_rng(1)
    x = rng.uniform(-1, 1, (600, 1))
    y = x[:, 0] + np.exp(x[:, 0]) * rng.normal(size=600)
    net = fr.Network([fr.Dense(2)], loss=CustomLoss(normal), seed=0, engine=engine)
    net.fit(x, y, epochs=150, optimizer=fr.Adam(0.02))
    np.testing.assert_allclose(net.predict(np.array([[0.0]])), [[0, 0]], atol=0.2)
    np.testing.assert_allclose(net.parameters["0.weight"], [[1, 2]], atol=0.35)


# ---- what goes wrong


@every_engine
def test_an_error_ends_the_fit_with_the_weights_of_the_last_whole_step(engine):
    calls = []

    def function(outputs, targets):
        calls.append(1)
        if len(calls) == 6:
            raise ZeroDivisionError("in the sixth batch")
        return squared(outputs, targets)

    nets = [network(CustomLoss(each), engine) for each in (function, squared)]
    with pytest.raises(ZeroDivisionError, match="in the sixth batch"):
        nets[0].fit(X, REALS, epochs=3, batch_size=10, shuffle=False, optimizer=fr.SGD(0.1))
    nets[1].fit(X[:50], REALS[:50], epochs=1, batch_size=10, shuffle=False, optimizer=fr.SGD(0.1))
    assert nets[0].forward(X).tobytes() == nets[1].forward(X).tobytes()
    nets[0].fit(X, REALS, epochs=1)  # usable


@every_engine
def test_an_error_in_evaluation_is_raised(engine):
    def function(outputs, targets):
        raise KeyError("no")

    net = network(CustomLoss(function), engine).build(4)
    with pytest.raises(KeyError, match="no"):
        net.evaluate(np.tile(X, (40, 1)), np.tile(REALS, (40, 1)))


@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals need the main thread")
@every_engine
def test_ctrl_c_within_it_ends_the_training(engine):
    calls = []

    def function(outputs, targets):
        calls.append(1)
        if len(calls) == 3:
            signal.raise_signal(signal.SIGINT)
        return squared(outputs, targets)

    net = network(CustomLoss(function), engine)
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, REALS, epochs=50, batch_size=10)
    assert len(calls) == 3
    assert np.isfinite(net.forward(X)).all()


@every_engine
@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (lambda z, t: squared(z, t)[0], "must return a pair, values and gradient, got ndarray"),
        (lambda z, t: None, "must return a pair, values and gradient, got NoneType"),
        (lambda z, t: (1.0, z), r"values must be numbers of shape \(10,\), got float64 \(\)"),
        (lambda z, t: (z[:, 0], z[:, :1]), r"gradient must be numbers of shape \(10, 3\), got float64 \(10, 1\)"),
        (lambda z, t: (z[:, 0] * 1j, z), "values must be numbers of shape"),
    ],
)
def test_what_is_no_loss_is_refused(returned, message, engine):
    net = network(CustomLoss(returned, name="mine"), engine)
    with pytest.raises(ValueError, match=f"the function of loss 'mine'.*{message}"):
        net.fit(X, REALS, batch_size=10)


@every_engine
def test_nan_is_a_divergence(engine):
    net = network(CustomLoss(lambda z, t: (z[:, 0] * np.nan, z)), engine)
    with pytest.raises(fr.DivergenceError):
        net.fit(X, REALS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CustomLoss("mse"), "function must be callable, got 'mse'"),
        (lambda: CustomLoss(squared, link="log"), "unknown link 'log'"),
        (lambda: CustomLoss(squared, name=3), "name must be a text"),
    ],
)
def test_settings_out_of_range_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_it_cannot_be_saved_and_says_so_before_training(tmp_path):
    net = network(CustomLoss(squared))
    with pytest.raises(ValueError, match=r"loss is CustomLoss.*cannot be saved: a file holds .* but no functions"):
        fr.save(net.build(4), tmp_path / "net.frg")
    with pytest.raises(ValueError, match="cannot be saved"):
        net.fit(X, REALS, callbacks=[fr.Checkpoint(tmp_path / "run.frg")])
    assert list(tmp_path.iterdir()) == []


def test_it_runs_beside_others_in_threads():
    """Two trainings at once: each call finds its own batch."""
    results = {}

    def train(k):
        net = network(CustomLoss(squared))
        net.fit(X, REALS, epochs=20, batch_size=10)
        results[k] = net.forward(X).tobytes()

    threads = [threading.Thread(target=train, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results.values())) == 1
    assert len(results) == 4


@every_engine
@pytest.mark.parametrize("mixing", [fr.Mixup(), fr.CutMix()])
def test_labels_of_blended_rows_are_shares_of_the_classes(engine, mixing):
    seen = []

    def recorded(outputs, targets):
        seen.append(targets)
        return softmax(outputs, targets)

    net = network(CustomLoss(recorded, "softmax"), engine)
    net.fit(X, LABELS, epochs=1, batch_size=20, augment=[mixing])
    assert [(targets.shape, targets.dtype) for targets in seen] == [((20, 3), np.float64)] * 3
    assert all(np.allclose(targets.sum(axis=1), 1) for targets in seen)
    seen.clear()
    net.evaluate(X, LABELS)
    assert {(targets.ndim, targets.dtype.name) for targets in seen} == {(1, "int32")}
