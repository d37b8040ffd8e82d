"""Callbacks and early stopping: when they are asked, what they may do, and which weights are left."""

import _thread
import math
import threading

import numpy as np
import pytest

import fastreg as fr
from fastreg.callbacks import Stop


@pytest.fixture(params=["reference", "compiled"])
def engine(request):
    return request.param


@pytest.fixture
def tables():
    """Training and validation rows whose labels are noise: validation gets worse from some epoch on."""
    rng = np.random.default_rng(3)
    X, y = rng.normal(size=(80, 6)), rng.integers(0, 2, 80)
    y[:80:2] = X[:80:2, 0] > 0
    return (X[:40], y[:40]), (X[40:], y[40:])


def network(engine, **settings):
    layers = [fr.Dense(16, "tanh"), fr.Dropout(0.2), fr.Dense(2)]
    return fr.Network(layers, loss="cross_entropy", dtype="float64", seed=1, engine=engine, **settings)


def fit(net, tables, **settings):
    defaults = {
        "epochs": 60,
        "batch_size": 8,
        "optimizer": fr.SGD(0.1, momentum=0.9),
        "validation": tables[1],
    }
    return net.fit(*tables[0], **defaults | settings)


# ---- early stopping alone, on a list


def text_003():
    """The validation losses of text 003's simulated training."""
    return [2.0 * math.exp(-e / 25) + 0.2 if e < 30 else 0.3 + 0.01 * (e - 30) for e in range(60)]


def test_text_003_is_best_at_epoch_30():
    assert fr.EarlyStopping(patience=10).on(text_003()) == Stop(best_epoch=30, stop_epoch=40)
    assert fr.EarlyStopping(patience=30).on(text_003()) == Stop(best_epoch=30, stop_epoch=None)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("settings", "values", "expected"),
    [
        ({"patience": 2}, [], (None, None)),
        ({"patience": 2}, [3], (0, None)),
        ({"patience": 2}, [3, 2, 2, 2, 1], (1, 3)),  # as good is no better
        ({"patience": 1}, [3, 2, 1, 2, 0], (2, 3)),
        ({"patience": 2}, [3, 4, 2, 4, 1, 5], (4, None)),
        ({"patience": 2}, [NAN, 5, NAN, NAN, 1], (1, 3)),
        ({"patience": 2}, [NAN, NAN, NAN], (None, 1)),
        ({"patience": 2}, [INF, INF, 1], (None, 1)),
        ({"patience": 3}, [NAN, INF, 7, 6], (3, None)),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.5, 2.4, 0], (0, 2)),
        ({"patience": 2, "min_delta": 0.5}, [3, 2.6, 2.4, 2.2, 2], (2, 4)),
        ({"patience": 2, "warmup": 3}, [0, 0, 0, 5, 4, 3, 3, 3], (5, 7)),
        ({"patience": 2, "warmup": 2}, [0, 0, NAN, NAN], (None, 3)),
        ({"patience": 2, "mode": "max"}, [1, 2, 3, 2, 1, 9], (2, 4)),
        ({"patience": 2, "monitor": "val_accuracy"}, [0.5, 0.6, 0.6, 0.6], (1, 3)),
        ({"patience": 2, "monitor": "test_r2"}, [0.5, 0.6, 0.6, 0.6], (1, 3)),
        ({"patience": 2, "monitor": "val_mae"}, [0.6, 0.5, 0.5, 0.5], (1, 3)),
    ],
)
def test_patience_table(settings, values, expected):
    assert fr.EarlyStopping(**settings).on(values) == expected


@pytest.mark.parametrize("seed", range(50))
def test_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 6, 30).astype(float)
    values[rng.random(30) < 0.2] = NAN
    patience, warmup = int(rng.integers(1, 6)), int(rng.integers(0, 4))
    found = fr.EarlyStopping(patience=patience, warmup=warmup).on(values)

    def best_until(epoch):
        seen = [(v, e) for e, v in enumerate(values[: epoch + 1]) if e >= warmup and v == v]
        return min(seen)[1] if seen else None

    def waited(epoch):
        best = best_until(epoch)
        return epoch - (warmup - 1 if best is None else best)

    stop = next((e for e in range(warmup, 30) if waited(e) >= patience), None)
    assert found == (best_until(29 if stop is None else stop), stop)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monitor": 3}, "monitor must be"),
        ({"patience": 0}, "patience must be an int >= 1, got 0"),
        ({"patience": 1.5}, "patience must be an int >= 1, got 1.5"),
        ({"min_delta": -1}, "min_delta must be a finite number >= 0, got -1"),
        ({"min_delta": NAN}, "min_delta must be a finite number >= 0, got nan"),
        ({"mode": "mx"}, "unknown mode 'mx'"),
        ({"restore_best": 1}, "restore_best must be True or False, got 1"),
        ({"warmup": -1}, "warmup must be an int >= 0, got -1"),
        ({"monitor": "val_f1"}, r"mode='auto' does not know .*'val_f1'.*pass mode='max' or mode='min'"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        fr.EarlyStopping(**settings)


# ---- early stopping in a fit


def test_it_ends_the_training_and_restores_the_best(engine, tables):
    net, stopping = network(engine), fr.EarlyStopping(patience=5)
    history = fit(net, tables, callbacks=[stopping])
    best = history.best_epoch
    assert history.ended == "stopped"
    assert history.n_epochs == best + 6 < 60
    assert stopping.on(history["val_loss"]) == (best, best + 5)
    assert net.evaluate(*tables[1])["loss"] == history["val_loss"][best] == min(history["val_loss"])


def test_without_restoring_the_last_weights_stay(engine, tables):
    net = network(engine)
    history = fit(net, tables, callbacks=[fr.EarlyStopping(patience=5, restore_best=False)])
    assert history.ended == "stopped"
    assert net.evaluate(*tables[1])["loss"] == history["val_loss"][-1]
    assert history.best_epoch == int(np.argmin(history["val_loss"]))


def interrupt(run):
    raise KeyboardInterrupt


def break_down(run):
    raise ZeroDivisionError("a callback broke down")


def diverge(run):
    run.network.parameters["0.weight"][:] = np.nan


@pytest.mark.parametrize(
    ("at_end", "raises"),
    [
        (None, None),
        (lambda run: True, None),
        (lambda run: run.network.cancel(), None),
        (interrupt, KeyboardInterrupt),
        (break_down, ZeroDivisionError),
        (diverge, fr.DivergenceError),
    ],
    ids=["finished", "stopped", "cancelled", "interrupted", "exception", "diverged"],
)
def test_the_best_weights_are_left_whatever_ends_the_training(engine, tables, at_end, raises):
    net, histories = network(engine), []

    def end(run):
        histories.append(run.history)
        return at_end(run) if at_end and run.epoch == 29 else None

    settings = {"epochs": 30 if at_end is None else 60, "callbacks": [end, fr.EarlyStopping(patience=50)]}
    if raises:
        with pytest.raises(raises):
            fit(net, tables, **settings)
    else:
        fit(net, tables, **settings)
    losses = histories[-1]["val_loss"]
    assert len(losses) == 30
    assert int(np.argmin(losses)) < 29
    assert net.evaluate(*tables[1])["loss"] == min(losses)
    assert fit(net, tables, epochs=1).n_epochs == 1  # and the network goes on


def test_the_best_weights_are_left_after_ctrl_c_in_the_engine(engine, tables):
    net, seen = network(engine), []
    pressed = threading.Timer(0.3, _thread.interrupt_main)
    callbacks = [lambda run: seen.append(run.history["val_loss"][-1]), fr.EarlyStopping(patience=10**6)]
    pressed.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(net, tables, epochs=10**6, batch_size=1, callbacks=callbacks)
    finally:
        pressed.cancel()
    assert net.evaluate(*tables[1])["loss"] == min(seen)


@pytest.mark.parametrize("monitor", ["loss", "objective", "accuracy", "val_accuracy", "test_objective"])
def test_any_column_can_be_watched(engine, tables, monitor):
    net = network(engine)
    validation = {"val": tables[1], "test": tables[1]}
    stopping = fr.EarlyStopping(monitor, patience=4)
    history = fit(net, tables, validation=validation, metrics=["accuracy"], callbacks=[stopping])
    best = stopping.on(history[monitor]).best_epoch
    assert history.best_epoch == best
    if not monitor.endswith("objective") and monitor != "loss":
        rows = tables[1] if monitor.startswith("val") else tables[0]
        assert net.evaluate(*rows, metrics=["accuracy"])["accuracy"] == history[monitor][best]


def test_nan_is_never_best(engine, tables):
    def nan_at_first(y_true, prediction):
        nan_at_first.calls += 1
        return NAN if nan_at_first.calls <= 4 else 1 / nan_at_first.calls

    nan_at_first.calls = 0
    stopping = fr.EarlyStopping("val_nan_at_first", mode="max", patience=3)
    history = fit(network(engine), tables, metrics=[nan_at_first], callbacks=[stopping])
    assert np.isnan(history["val_nan_at_first"][:2]).all()
    assert history.best_epoch == 2
    assert history.n_epochs == 6


def test_watching_what_is_not_recorded_is_an_error_that_says_so(engine, tables):
    net = network(engine)
    missing = r"monitor='val_loss'.*it records loss, penalty, objective, .*Pass validation=\(X_val, y_val\)"
    with pytest.raises(ValueError, match=missing):
        fit(net, tables, validation=None, callbacks=[fr.EarlyStopping()])
    with pytest.raises(fr.NotBuiltError):
        net.summary()
    fit(net, tables, epochs=1)
    before = net.forward(tables[0][0])
    with pytest.raises(ValueError, match="monitor='val_accuracy'"):
        fit(net, tables, callbacks=[fr.EarlyStopping("val_accuracy")])
    assert np.array_equal(net.forward(tables[0][0]), before)


def test_settings_can_be_shared_by_several_trainings(engine, tables):
    stopping = fr.EarlyStopping(patience=3)
    first, second = (fit(network(engine), tables, callbacks=[stopping]) for _ in range(2))
    assert first["val_loss"] == second["val_loss"]
    assert stopping == fr.EarlyStopping(patience=3)


def test_only_one_may_restore(engine, tables):
    several = [fr.EarlyStopping(), fr.EarlyStopping("loss")]
    with pytest.raises(ValueError, match="at most one can have restore_best=True"):
        fit(network(engine), tables, callbacks=several)
    fit(network(engine), tables, callbacks=[several[0], fr.EarlyStopping("loss", restore_best=False)])


# ---- the protocol


def test_callbacks_are_asked_after_each_epoch_until_one_says_true(engine, tables):
    calls = []

    def first(run):
        calls.append(("first", run.epoch, run.history.n_epochs, run.epochs, run.network is net))
        return run.epoch == 2

    def second(run):
        calls.append(("second", run.epoch))

    net = network(engine)
    history = fit(net, tables, callbacks=[first, second])
    assert calls == [
        call for e in range(3) for call in (("first", e, e + 1, 60, True), ("second", e))
    ]  # the other one sees the last epoch too
    assert (history.n_epochs, history.ended) == (3, "stopped")


def test_keep_decides_which_weights_are_left(engine, tables):
    net, kept = network(engine), []

    def keep(run):
        if run.epoch in (2, 4):
            run.keep()
            kept.append(net.parameters["0.weight"].copy())

    history = fit(net, tables, epochs=9, callbacks=[keep])
    assert np.array_equal(net.parameters["0.weight"], kept[-1])
    assert history.best_epoch == 4


class Counter:
    """A callback with a memory per run."""

    def __init__(self):
        self.log = []

    def start(self, run):
        self.log.append(("start", run.epoch))
        return Counting(self.log)


class Counting:
    def __init__(self, log):
        self.log = log

    def __call__(self, run):
        self.log.append(run.epoch)

    def close(self):
        self.log.append("close")


@pytest.mark.parametrize(
    ("other", "raises", "epochs"),
    [(None, None, [0, 1, 2]), (lambda run: True, None, [0]), (break_down, ZeroDivisionError, [])],
)
def test_start_and_close(engine, tables, other, raises, epochs):
    counter = Counter()
    settings = {"epochs": 3, "callbacks": [other, counter] if other else [counter]}
    if raises:
        with pytest.raises(raises):
            fit(network(engine), tables, **settings)
    else:
        fit(network(engine), tables, **settings)
    assert counter.log == [("start", -1), *epochs, "close"]


def test_what_has_started_is_closed_when_another_cannot_start(engine, tables):
    counter = Counter()
    with pytest.raises(ValueError, match="monitor"):
        fit(network(engine), tables, validation=None, callbacks=[counter, fr.EarlyStopping()])
    assert counter.log == [("start", -1), "close"]


class Steps:
    """Writes down each look between steps, and each end of an epoch; may do something at one of the looks."""

    def __init__(self, every_steps, at=None, do=None):
        self.every_steps, self.log, self.at, self.do = every_steps, [], at, do

    def start(self, run):
        return self

    def __call__(self, run):
        self.log.append(("epoch", run.epoch))

    def after_steps(self, run):
        self.log.append((run.step, run.history.n_epochs, run.network._state.step))
        if run.step == self.at:
            self.do(run)


def test_looks_between_steps_come_when_they_are_due_and_after_the_last(engine, tables):
    steps = Steps(4)
    fit(network(engine), tables, epochs=2, batch_size=9, callbacks=[steps])  # of 9, 9, 9, 9, 4 rows
    assert steps.log == [(4, 0, 4), ("epoch", 0), (8, 1, 8), ("epoch", 1), (10, 2, 10)]


def test_a_look_after_an_epoch_comes_when_all_others_have_seen_it(engine, tables):
    steps = Steps(5)
    fit(network(engine), tables, epochs=9, callbacks=[steps, lambda run: run.epoch == 1])
    assert steps.log == [("epoch", 0), (5, 1, 5), ("epoch", 1), (10, 2, 10)]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("every_steps", [[1], [2], [3, 5], [7], [1000]])
def test_looks_between_steps_change_no_bit(engine, tables, every_steps, weighted):
    def trained(*callbacks):
        net = network(engine)
        weights = np.arange(40) % 3 if weighted else None
        settings = {"epochs": 6, "batch_size": 9, "metrics": ["accuracy"], "sample_weight": weights}
        history = dict(fit(net, tables, callbacks=[fr.EarlyStopping(patience=4), *callbacks], **settings))
        del history["seconds"]
        return history, [value.tobytes() for value in net.parameters.values()], net._state.buffers.tobytes()

    assert trained(*map(Steps, every_steps)) == trained()


def test_between_steps_a_training_can_be_cancelled(engine, tables):
    net, steps = network(engine), Steps(3, at=6, do=lambda run: run.cancel())
    history = fit(net, tables, callbacks=[steps])  # 5 steps an epoch
    assert (history.ended, history.n_epochs, net._state.step, net._state.epoch) == ("cancelled", 1, 6, 1)
    assert steps.log == [(3, 0, 3), ("epoch", 0), (6, 1, 6)]


def test_a_batch_that_diverges_is_counted_within_its_epoch(engine, tables):
    def spoil(run):
        run.network._model.weights[...] = np.inf

    with pytest.raises(fr.DivergenceError) as caught:
        fit(network(engine), tables, callbacks=[Steps(2, at=8, do=spoil)])
    assert (caught.value.epoch, caught.value.batch) == (1, 3)
