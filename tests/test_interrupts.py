"""Contract 9: signals are answered amid a step, and what they leave is the weights of a whole one.

tools/threads.py prints the latencies; here they only have to be far below what a step or an epoch takes.
"""

import os
import signal
import threading
import time

import numpy as np
import pytest

import fastreg as fr
import fastreg.threads

OPTIMIZER = fr.SGD(1e-6, momentum=0.9)
SECONDS = 0.6  # that an answer may take on a machine with other work to do

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals are those of POSIX")


@pytest.fixture(autouse=True)
def many_threads(monkeypatch):
    monkeypatch.setattr(fastreg.threads, "usable_threads", lambda: 64)


# ---- work to be interrupted


def table(rows, inputs):
    X = np.random.default_rng(0).normal(size=(rows, inputs)).astype("float32")
    return X, X[:, 0].copy()


def network(*layers):
    return fr.Network([*layers, fr.Dense(1)], loss="squared_error", seed=0)


# name: (rows, inputs, layers, batch size)
TRAININGS = {
    "one huge batch": (4000, 1200, (fr.Dropout(0.1), fr.Dense(1200, "tanh")), 4000),
    "many tiny batches": (500, 20, (fr.Dense(8, "relu"), fr.Dropout(0.5)), 1),
    "a large update": (30, 2000, (fr.Dense(2000, "relu", weight_penalty=fr.L1(1e-6)),), 1),
    "one unit": (2000, 2000, (), 200),
}


def latency(call, after):
    """Seconds that KeyboardInterrupt takes to come out of a call that lasts, with Ctrl-C at a given time."""
    sent = []

    def interrupt():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)

    timer = threading.Timer(after, interrupt)
    timer.start()
    try:
        call()
    except KeyboardInterrupt:
        return time.perf_counter() - sent[0]
    finally:
        timer.cancel()
    raise AssertionError("the call was over before its interrupt")


def weights_after(steps, net, X, y, settings):
    """The weights that so many steps give when nothing comes between."""
    per_epoch = -(-len(X) // settings["batch_size"])
    whole, rest = divmod(steps, per_epoch)
    if whole:
        net.fit(X, y, epochs=whole, **settings)
    if rest:
        rows = rest * settings["batch_size"]
        net.fit(X[:rows], y[:rows], epochs=1, **settings)
    return net._model.weights


@pytest.mark.parametrize("n_threads", [1, 2, 4])
@pytest.mark.parametrize("name", TRAININGS)
def test_an_interrupted_training_has_the_weights_of_its_whole_steps(name, n_threads):
    rows, inputs, layers, batch_size = TRAININGS[name]
    X, y = table(rows, inputs)
    settings = {"batch_size": batch_size, "optimizer": OPTIMIZER, "shuffle": False, "n_threads": n_threads}
    net, other = (network(*layers).build(inputs) for _ in range(2))
    for one in (net, other):
        one.fit(X[:batch_size], y[:batch_size], epochs=1, **settings)
    assert latency(lambda: net.fit(X, y, epochs=10**5, **settings), after=0.15) < SECONDS
    steps = net._state.step
    assert np.array_equal(net._model.weights, weights_after(steps - 1, other, X, y, settings | {"n_threads": 1}))
    net.fit(X[:batch_size], y[:batch_size], epochs=1, **settings)
    assert net._state.step == steps + 1


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("name", ["predict", "evaluate"])
def test_inference_can_be_interrupted(name, threads, monkeypatch):
    X, y = table(20_000, 1500)
    net = network(fr.Dense(1500, "tanh")).build(1500)
    monkeypatch.setattr(fastreg.threads, "usable_threads", lambda: threads)
    expected = net.predict(X[-300:])

    def forever():
        while True:
            net.predict(X) if name == "predict" else net.evaluate(X, y)

    assert latency(forever, after=0.15) < SECONDS
    assert np.array_equal(net.predict(X[-300:]), expected)


# ---- handlers of one's own


@pytest.fixture
def on_alarm():
    """Call a function on SIGALRM, again and again so many seconds after it has returned."""
    before = signal.getsignal(signal.SIGALRM)

    def install(function, seconds):
        def handler(number, frame):
            function()
            signal.setitimer(signal.ITIMER_REAL, seconds)  # not before: a slow function would interrupt itself

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, seconds)

    yield install
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


HUGE = TRAININGS["one huge batch"]


@pytest.fixture(scope="module")
def huge():
    return table(*HUGE[:2])


def train(net, data, n_threads, epochs=2):
    settings = {"batch_size": HUGE[3], "optimizer": OPTIMIZER, "shuffle": False}
    net.fit(*data, epochs=epochs, n_threads=n_threads, **settings)
    return net._model.weights.copy()


def test_what_a_handler_raises_comes_out(on_alarm, huge):
    def stop():
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise LookupError("a handler's")

    net = network(*HUGE[2])
    on_alarm(stop, 0.15)
    with pytest.raises(LookupError, match="a handler's"):
        train(net, huge, n_threads=3, epochs=1000)
    assert train(net, huge, n_threads=3, epochs=1).size


def test_a_handler_may_train_and_predict_within_a_step(on_alarm, huge):
    """It finds the pool taken, by its own thread: it computes alone, and the step that it interrupted goes on."""
    X, y = table(600, 300)
    outer, expected = network(*HUGE[2]).build(HUGE[1]), train(network(*HUGE[2]), huge, n_threads=1)
    found = []

    def nested():
        net = network(fr.Dense(300, "tanh"))
        net.fit(X, y, epochs=1, optimizer=OPTIMIZER, n_threads=3)
        found.append(net._model.weights.tobytes() + net.predict(X).tobytes())
        assert np.isfinite(outer.predict(huge[0][:300])).all()

    nested()
    on_alarm(nested, 0.05)
    weights = train(outer, huge, n_threads=3)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert np.array_equal(weights, expected)
    assert len(found) > 2
    assert len(set(found)) == 1


def test_a_handler_may_not_train_the_same_network(on_alarm, huge):
    net = network(*HUGE[2])
    on_alarm(lambda: net.fit(*huge), 0.1)
    with pytest.raises(RuntimeError, match="already running"):
        train(net, huge, n_threads=3, epochs=1000)
