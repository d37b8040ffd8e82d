"""Training: what is recorded, what goes on from one fit to the next, what ends it and what is left then."""

import _thread
import itertools
import sys
import threading
import time

import numpy as np
import pytest

import fastreg as fr
from fastreg import train

NESTEROV = fr.SGD(0.05, momentum=0.9, nesterov=True)
OPTIMIZERS = [fr.SGD(0.05), fr.SGD(0.05, momentum=0.9), NESTEROV, fr.Adam(0.01), fr.AdamW(0.01)]


@pytest.fixture(params=["reference", "compiled"])
def engine(request):
    return request.param


@pytest.fixture
def table():
    """61 rows of 5 columns, labels of 3 classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(61, 5))
    return X, np.argmax(X[:, :3], axis=1)


def classifier(engine, **settings):
    layers = [
        fr.Dropout(0.1),
        fr.Dense(8, "relu", weight_penalty=fr.L1(1e-3) + fr.L2(1e-3)),
        fr.Dropout(0.3),
        fr.Dense(3),
    ]
    return fr.Network(layers, loss="cross_entropy", **{"dtype": "float64", "seed": 0, "engine": engine} | settings)


def line(engine):
    """A linear regression, whose training is stable exactly for learning rates below a bound."""
    return fr.Network([fr.Dense(1)], loss="squared_error", dtype="float64", seed=0, engine=engine)


def weights(net):
    return np.concatenate([value.ravel() for value in net.parameters.values()])


def nothing(run):
    """A callback that does nothing but make every epoch a call of its own."""


# ---- what is recorded


def test_columns_of_the_history(engine, table):
    history = classifier(engine).fit(
        *table,
        epochs=3,
        optimizer=fr.SGD(0.125),
        validation={"val": table, "test": table},
        metrics=["accuracy", first_code],
    )
    assert list(history) == [
        "loss", "penalty", "objective", "accuracy", "first_code",
        "val_loss", "val_objective", "val_accuracy", "val_first_code",
        "test_loss", "test_objective", "test_accuracy", "test_first_code",
        "learning_rate", "seconds",
    ]  # fmt: skip
    assert {len(values) for values in history.values()} == {3} == {history.n_epochs}
    assert all(type(value) is float for values in history.values() for value in values)
    assert history["learning_rate"] == [0.125] * 3
    assert min(history["seconds"]) > 0
    assert history["val_accuracy"] == history["accuracy"]


def first_code(y_true, prediction):
    return prediction[0]


def test_training_figures_are_measured_before_the_update(engine, table):
    net = fr.Network([fr.Dense(3, weight_penalty=fr.L2(0.1))], loss="cross_entropy", dtype="float64", engine=engine)
    net.build(5)
    before = net.evaluate(*table)
    history = net.fit(*table, epochs=1, batch_size=61)
    for name in ("loss", "penalty", "objective"):
        assert history[name] == [pytest.approx(before[name], rel=1e-12)]


def test_an_epoch_averages_its_batches_by_their_weight(engine, table):
    X, y = table
    net, w = classifier(engine), np.arange(61) % 4
    net = fr.Network([fr.Dense(3, weight_penalty=fr.L2(0.1))], loss="cross_entropy", dtype="float64", engine=engine)
    net.build(5)
    whole = net.evaluate(X, y, sample_weight=w)
    frozen = fr.SGD(0.0)
    history = net.fit(X, y, epochs=1, batch_size=10, sample_weight=w, optimizer=frozen)
    assert history["loss"] == [pytest.approx(whole["loss"], rel=1e-12)]
    assert history["penalty"] == [pytest.approx(whole["penalty"], rel=1e-12)]


def test_validation_has_all_units_and_plain_rows(engine, table):
    X, y = table
    net = classifier(engine)
    history = net.fit(X[:40], y[:40], epochs=4, validation=(X[40:], y[40:]), metrics=["accuracy"])
    at_end = net.evaluate(X[40:], y[40:], metrics=["accuracy"])
    assert history["val_loss"][-1] == at_end["loss"]
    assert history["val_objective"][-1] == pytest.approx(at_end["objective"], rel=1e-14)
    assert history["val_accuracy"][-1] == at_end["accuracy"]
    assert history["accuracy"][-1] == net.evaluate(X[:40], y[:40], metrics=["accuracy"])["accuracy"]
    gap = at_end["loss"] - net.evaluate(X[:40], y[:40])["loss"]
    assert history.generalization_gap == pytest.approx(gap, rel=1e-14)
    assert net.fit(X, y, epochs=1).generalization_gap is None


def test_validation_may_have_another_kind_of_target(engine, table):
    X, y = table
    history = classifier(engine).fit(X, y, epochs=1, validation={"hard": (X, y), "soft": (X, np.eye(3)[y])})
    assert history["soft_loss"] == [pytest.approx(history["hard_loss"][0], rel=1e-13)]


def test_two_columns_of_one_name(engine, table):
    def val_loss(y_true, prediction):
        return 0

    with pytest.raises(ValueError, match="two columns would be 'val_loss'"):
        classifier(engine).fit(*table, validation=table, metrics=[val_loss])


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_it_learns(engine, table, optimizer):
    net = classifier(engine, dtype="float32")
    net.fit(*table, epochs=150, batch_size=16, optimizer=optimizer)
    assert net.evaluate(*table, metrics=["accuracy"])["accuracy"] > 0.9


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-10), ("float32", 1e-4)])
def test_engines_train_the_same(table, optimizer, dtype, tolerance):
    first, second = (
        classifier(engine, dtype=dtype).fit(*table, epochs=25, batch_size=8, optimizer=optimizer)
        for engine in ("reference", "compiled")
    )
    np.testing.assert_allclose(first["objective"], second["objective"], rtol=tolerance)


# ---- the order of rows, and what goes on


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_two_fits_have_the_bits_of_one(engine, table, optimizer, dtype):
    once, twice = classifier(engine, dtype=dtype), classifier(engine, dtype=dtype)
    history = once.fit(*table, epochs=6, batch_size=16, optimizer=optimizer)
    parts = [twice.fit(*table, epochs=n, batch_size=16, optimizer=optimizer)["objective"] for n in (2, 4)]
    assert np.array_equal(weights(once), weights(twice))
    assert parts[0] + parts[1] == history["objective"]


@pytest.mark.parametrize("rows", [1, 2, 61])
def test_looking_at_every_epoch_changes_no_bit(engine, table, rows, monkeypatch):
    X, y = table[0][:rows], table[1][:rows]
    nets = [classifier(engine) for _ in range(3)]
    histories = [nets[0].fit(X, y, epochs=40, optimizer=NESTEROV)]
    histories.append(nets[1].fit(X, y, epochs=40, optimizer=NESTEROV, callbacks=[nothing]))
    monkeypatch.setattr(train, "_ROWS_PER_LAP", 7 * rows)
    histories.append(nets[2].fit(X, y, epochs=40, optimizer=NESTEROV))
    for net, history in zip(nets[1:], histories[1:], strict=True):
        assert np.array_equal(weights(net), weights(nets[0]))
        for name in ("loss", "penalty", "objective"):
            assert history[name] == histories[0][name]


def test_threads_change_no_bit(engine, table):
    results = []
    for n_threads in (None, 1, 2, 64):
        net = classifier(engine)
        net.fit(*table, epochs=3, n_threads=n_threads)
        results.append(weights(net))
    assert all(np.array_equal(result, results[0]) for result in results)


def test_another_optimizer_begins_without_memory(engine, table):
    momentum, heavier = fr.SGD(0.01, momentum=0.5), fr.SGD(0.01, momentum=0.9)
    net, fresh = line(engine), line(engine)
    X, y = table[0], table[0][:, 0]
    net.fit(X, y, epochs=3, batch_size=61, optimizer=momentum)
    fresh.build(5)
    for name in fresh.parameters:
        fresh.parameters[name] = net.parameters[name]
    for one in (net, fresh):  # the whole table at once: the order of rows plays no part but in rounding
        one.fit(X, y, epochs=3, batch_size=61, shuffle=False, optimizer=heavier)
    assert np.array_equal(weights(net), weights(fresh))


def test_every_epoch_has_its_own_order_unless_told_otherwise(engine):
    """One row per batch and a learning rate of 1/2: the bias follows the targets in the order of the rows."""

    def biases(**settings):
        net = fr.Network([fr.Dense(1, init="zeros")], loss="squared_error", dtype="float64", seed=1, engine=engine)
        seen = []
        net.fit(
            np.zeros((5, 1)),
            np.arange(5.0),
            epochs=6,
            batch_size=1,
            optimizer=fr.SGD(0.5),
            callbacks=[lambda run: seen.append(float(net.parameters["0.bias"][0]))],
            **settings,
        )
        return seen

    assert biases(shuffle=False) == [4.0] * 6
    assert len(set(biases())) > 1
    assert biases() == biases()


def test_partial_fit_is_one_pass_in_the_given_order_with_the_last_optimizer(engine, table):
    one, other = classifier(engine), classifier(engine)
    for net in (one, other):
        net.fit(*table, epochs=2, optimizer=NESTEROV)
    history = one.partial_fit(*table, batch_size=20)
    other.fit(*table, epochs=1, batch_size=20, shuffle=False, optimizer=NESTEROV)
    assert history.n_epochs == 1
    assert np.array_equal(weights(one), weights(other))
    assert classifier(engine).partial_fit(*table)["learning_rate"] == [1e-3]


def test_weights_are_repetitions_and_zero_is_absence(engine, table):
    X, y = table
    times = np.arange(61) % 3
    weighted, repeated = (
        fr.Network([fr.Dense(3)], loss="cross_entropy", dtype="float64", seed=0, engine=engine) for _ in range(2)
    )
    weighted.fit(X, y, epochs=20, batch_size=61, sample_weight=times, optimizer=fr.SGD(0.5))
    Xr, yr = np.repeat(X, times, axis=0), np.repeat(y, times)
    repeated.fit(Xr, yr, epochs=20, batch_size=len(Xr), optimizer=fr.SGD(0.5))
    np.testing.assert_allclose(weights(weighted), weights(repeated), rtol=1e-10)


def test_auto_batch_size_is_200_at_most(engine):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(450, 2)), rng.normal(size=450)
    one, other = line(engine), line(engine)
    one.fit(X, y, epochs=1)
    other.fit(X, y, epochs=1, batch_size=200)
    assert np.array_equal(weights(one), weights(other))


# ---- what ends it


def test_cancel_from_a_callback(engine, table):
    net = classifier(engine)
    history = net.fit(*table, epochs=50, callbacks=[lambda run: net.cancel() if run.epoch == 3 else None])
    assert (history.n_epochs, history.ended) == (4, "cancelled")
    assert net.fit(*table, epochs=2).ended == "finished"


def test_cancel_from_another_thread(engine, table):
    net = classifier(engine)
    threading.Timer(0.2, net.cancel).start()
    began = time.perf_counter()
    history = net.fit(*table, epochs=10**6, batch_size=1)
    assert time.perf_counter() - began < 30
    assert history.ended == "cancelled"
    assert np.isfinite(weights(net)).all()
    net.fit(*table, epochs=2)


def test_cancel_without_a_fit_does_nothing(engine, table):
    net = classifier(engine)
    net.cancel()
    assert net.fit(*table, epochs=2).ended == "finished"


@pytest.mark.parametrize("callbacks", [[], [nothing]], ids=["many epochs at once", "epoch by epoch"])
def test_an_interrupt_is_raised_again_and_the_network_goes_on(engine, table, callbacks):
    net = classifier(engine)
    interrupt = threading.Timer(0.2, _thread.interrupt_main)
    interrupt.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            net.fit(*table, epochs=10**6, batch_size=1, callbacks=callbacks)
    finally:
        interrupt.cancel()
    assert np.isfinite(weights(net)).all()
    assert net.fit(*table, epochs=2, batch_size=1).n_epochs == 2


def test_one_fit_at_a_time(engine, table):
    net = classifier(engine)
    messages = []

    def meanwhile(run):
        for attempt in (net.fit, net.partial_fit):
            with pytest.raises(RuntimeError, match="fit is already running on this object$") as e:
                attempt(*table)
            messages.append(str(e.value))

    def in_thread(run):
        thread = threading.Thread(target=meanwhile, args=(run,))
        thread.start()
        thread.join()

    history = net.fit(*table, epochs=2, callbacks=[in_thread])
    assert history.n_epochs == 2
    assert len(messages) == 4
    with pytest.raises(RuntimeError):
        net.fit(*table, callbacks=[lambda run: net.reset()])
    net.fit(*table, epochs=1)


# ---- divergence


def slowly_diverging(table):
    """Full batches of a linear regression, a step 1.5 times too long: the loss grows until it overflows."""
    X = table[0] * 100
    return {"X": X, "y": X[:, 0], "batch_size": len(X), "optimizer": fr.SGD(1e10), "epochs": 50}


@pytest.mark.parametrize("callbacks", [[], [nothing]], ids=["many epochs at once", "epoch by epoch"])
def test_divergence_keeps_the_weights_of_the_best_epoch(engine, table, callbacks):
    net, task = line(engine).build(5), slowly_diverging(table)
    before = weights(net)
    with pytest.raises(fr.DivergenceError) as error:
        net.fit(**task, callbacks=callbacks)
    assert error.value.epoch > 3
    assert error.value.batch == 0
    assert error.value.last_loss > 1e200
    assert error.value.kept is None  # every epoch was worse than the weights it began with
    assert f"epoch {error.value.epoch + 1}, batch 1 (last finite loss" in str(error.value)
    assert "from before this fit" in str(error.value)
    assert np.array_equal(weights(net), before)


@pytest.mark.parametrize("rate", [1e2, 1e6, 1e20])
def test_divergence_leaves_a_network_no_worse_than_it_was(engine, rate):
    X = np.random.default_rng(0).normal(size=(100, 3))
    y, net = X @ [1, 2, 3], fr.Network([fr.Dense(1)], loss="squared_error", dtype="float64", seed=0, engine=engine)
    net.fit(X, y, epochs=60, optimizer=fr.SGD(0.1))
    before = net.evaluate(X, y)["loss"]
    with pytest.raises(fr.DivergenceError):
        net.fit(X, y, epochs=1000, optimizer=fr.SGD(rate))
    assert net.evaluate(X, y)["loss"] <= before


def test_divergence_after_a_good_start_keeps_the_good_epoch(engine, table):
    """The loss falls for some epochs; then a callback spoils the weights."""
    X, y = table[0], table[0][:, 0]
    net, snapshots = line(engine), []

    def spoil(run):
        snapshots.append(weights(net))
        if run.epoch == 5:
            net.parameters["0.weight"][:] = 1e308

    with pytest.raises(fr.DivergenceError) as error:
        net.fit(X, y, epochs=20, batch_size=10, optimizer=fr.SGD(0.05), callbacks=[spoil])
    assert (error.value.epoch, error.value.kept) == (6, 4)  # the lowest objective is that with which epoch 5 began
    assert np.array_equal(weights(net), snapshots[4])


@pytest.mark.parametrize("callbacks", [[], [nothing]], ids=["many epochs at once", "epoch by epoch"])
def test_divergence_in_the_first_epoch_gives_the_weights_from_before(engine, table, callbacks):
    net = line(engine).build(5)
    before = weights(net)
    X = table[0] * 1e100
    with pytest.raises(
        fr.DivergenceError, match=r"epoch 1, batch 2 \(last finite loss .*from before this fit"
    ) as error:
        net.fit(X, X[:, 0], batch_size=10, optimizer=fr.SGD(1.0), callbacks=callbacks)
    assert (error.value.epoch, error.value.batch, error.value.kept) == (0, 1, None)
    assert np.array_equal(weights(net), before)


def test_divergence_of_the_very_first_batch(engine, table):
    net = line(engine)
    X = table[0] * 1e200
    with pytest.raises(fr.DivergenceError, match=r"epoch 1, batch 1 \(no finite loss before\)"):
        net.fit(X, X[:, 0])


def test_a_last_update_that_overflows_is_divergence(engine, table):
    net = line(engine).build(5)
    before = weights(net)
    X = table[0] * 1e100
    with pytest.raises(fr.DivergenceError) as error:
        net.fit(X, X[:, 0], epochs=1, batch_size=61, optimizer=fr.SGD(1e200))
    assert (error.value.epoch, error.value.batch) == (0, 0)
    assert np.array_equal(weights(net), before)


@pytest.mark.parametrize("optimizer", [fr.SGD(1e10, momentum=0.9), fr.Adam(1e200)], ids=repr)
def test_after_divergence_the_optimizer_starts_afresh(engine, table, optimizer):
    X, y = table[0], table[0][:, 0]
    net = line(engine).build(5)
    with pytest.raises(fr.DivergenceError):
        net.fit(X * 100, y, epochs=200, batch_size=61, optimizer=optimizer)
    assert not net._state.buffers.any()
    assert not net._state.scalars.any()
    net.reset()
    net.fit(X, y, epochs=300, batch_size=61, optimizer=fr.SGD(0.1))
    assert net.evaluate(X, y)["loss"] < 1e-3


def test_divergence_error_survives_pickling():
    import pickle

    error = pickle.loads(pickle.dumps(fr.DivergenceError(2, 3, 1.5, 1)))
    assert (error.epoch, error.batch, error.last_loss, error.kept) == (2, 3, 1.5, 1)
    assert "epoch 3, batch 4 (last finite loss 1.5)" in str(error)
    assert isinstance(error, ValueError)


# ---- verbose


def test_silence_by_default(engine, table, capfd):
    classifier(engine).fit(*table, epochs=2, validation=table)
    assert capfd.readouterr() == ("", "")


def test_a_bar_where_tqdm_is_installed(engine, table, capfd):
    pytest.importorskip("tqdm")
    classifier(engine).fit(*table, epochs=2, validation=table, verbose=1)
    out, err = capfd.readouterr()
    assert out == ""
    assert "2/2" in err
    assert "val_loss=" in err


def test_lines_where_it_is_not(engine, table, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm", None)
    classifier(engine).fit(*table, epochs=2, metrics=["accuracy"], verbose=1)
    out, err = capfd.readouterr()
    assert err == ""
    first, second = out.splitlines()
    assert first.startswith("epoch 1/2  loss ")
    assert second.startswith("epoch 2/2  loss ")
    assert "accuracy" in second


# ---- settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        *itertools.product(
            [{"epochs": 0}, {"epochs": 2.5}, {"epochs": True}, {"epochs": "3"}],
            ["epochs must be an int >= 1, got "],
        ),
        *itertools.product(
            [{"batch_size": 0}, {"batch_size": 8.0}, {"batch_size": None}, {"batch_size": "all"}],
            ["batch_size must be an int >= 1, got "],
        ),
        *itertools.product(
            [{"n_threads": 0}, {"n_threads": -5}, {"n_threads": 1.5}], ["n_threads must be an int >= 1"]
        ),
        ({"optimizer": "sgd"}, "optimizer must be such as .*got 'sgd'"),
        ({"optimizer": fr.SGD}, "optimizer must be such as"),
        ({"shuffle": "yes"}, "shuffle must be True or False, got 'yes'"),
        ({"verbose": -1}, "verbose must be an int >= 0, got -1"),
        ({"callbacks": fr.EarlyStopping()}, "callbacks must be a list"),
        ({"callbacks": [fr.EarlyStopping]}, r"callbacks\[0\] is <class"),
        ({"callbacks": [nothing, 7]}, r"callbacks\[1\] is 7"),
        ({"metrics": ["precision"]}, "unknown metric 'precision'"),
    ],
)
def test_bad_settings(table, setting, message):
    net = classifier("reference")
    with pytest.raises(ValueError, match=message):
        net.fit(*table, **setting)
    with pytest.raises(fr.NotBuiltError):
        net.summary()


def test_a_batch_larger_than_the_table_is_the_table_with_one_warning(engine, table):
    one, other = classifier(engine), classifier(engine)
    with pytest.warns(UserWarning, match="batch_size=100 is more than the 61 rows of X") as warnings:
        one.fit(*table, epochs=3, batch_size=100)
    assert len(warnings) == 1
    assert warnings[0].filename == __file__
    other.fit(*table, epochs=3, batch_size=61)
    assert np.array_equal(weights(one), weights(other))
