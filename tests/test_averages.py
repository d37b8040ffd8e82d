"""Averages of the weights: by hand, in both engines, and as what everybody sees while training goes on without them."""

import numpy as np
import pytest

import fastreg as fr

ENGINES = ("compiled", "reference")
OPTIMIZERS = [
    lambda **more: fr.SGD(0.1, **more),
    lambda **more: fr.SGD(0.02, 0.9, nesterov=True, **more),
    lambda **more: fr.AdamW(0.03, clip_norm=0.5, schedule=fr.Cosine(), **more),
]
every_engine = pytest.mark.parametrize("engine", ENGINES)
every_optimizer = pytest.mark.parametrize("optimizer", OPTIMIZERS)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 5))
    return X, np.argmax(X[:, :3] + rng.normal(size=(120, 3)), axis=1)


def network(engine="compiled", dtype="float64"):
    layers = [fr.Dense(9, "relu", weight_penalty=fr.L1(0.01) + fr.L2(0.01)), fr.Dropout(0.2), fr.Dense(3)]
    return fr.Network(layers, loss="cross_entropy", seed=1, engine=engine, dtype=dtype)


def weights(net):
    return net._model.weights.copy()


class After:
    """Keeps the weights after each step."""

    every_steps = 1

    def __init__(self):
        self.weights = []

    def start(self, run):
        self.weights.append(run.weights.copy())
        return self

    def after_steps(self, run):
        self.weights.append(run.weights.copy())


@every_engine
@every_optimizer
def test_averages_by_hand(engine, optimizer, data):
    raw, averaged = After(), After()
    settings = {"epochs": 3, "batch_size": 25}
    plain = network(engine).fit(*data, **settings, optimizer=optimizer(), callbacks=[raw])
    net = network(engine)
    history = net.fit(*data, **settings, optimizer=optimizer(average=fr.EMA(0.6)), callbacks=[averaged])
    average = raw.weights[0]
    for t, (w, found) in enumerate(zip(raw.weights[1:], averaged.weights[1:], strict=True), 1):
        d = min(0.6, (t - 1) / (t + 9))
        average = d * average + (1 - d) * w
        np.testing.assert_allclose(found, average, rtol=1e-12, atol=1e-15)
    np.testing.assert_array_equal(weights(net), averaged.weights[-1])
    assert t == 15
    assert min(0.6, 14 / 24) < 0.6  # still young
    assert history["loss"] == plain["loss"]  # training did not notice
    assert history["penalty"] == plain["penalty"]


@every_engine
def test_running_statistics_are_averaged_too(engine, data):
    raw, averaged, layers = After(), After(), [fr.Dense(9), fr.BatchNorm(), fr.Activation("relu"), fr.Dense(3)]
    for optimizer, after in ((fr.SGD(0.1), raw), (fr.SGD(0.1, average=fr.EMA(0.6)), averaged)):
        net = fr.Network(layers, loss="cross_entropy", seed=1, engine=engine, dtype="float64")
        net.fit(*data, epochs=2, batch_size=30, optimizer=optimizer, callbacks=[after])
    average = raw.weights[0]
    for t, (w, found) in enumerate(zip(raw.weights[1:], averaged.weights[1:], strict=True), 1):
        d = min(0.6, (t - 1) / (t + 9))
        average = d * average + (1 - d) * w
        np.testing.assert_allclose(found, average, rtol=1e-12, atol=1e-15)
    assert net.parameters["1.mean"].any()


@every_optimizer
def test_a_decay_of_0_is_the_weights(optimizer, data):
    plain, averaged = network(dtype="float32"), network(dtype="float32")
    plain.fit(*data, epochs=3, optimizer=optimizer())
    averaged.fit(*data, epochs=3, optimizer=optimizer(average=fr.EMA(0)))
    np.testing.assert_allclose(weights(averaged), weights(plain), rtol=1e-6, atol=1e-7)


@every_engine
def test_a_second_fit_goes_on_from_the_weights(engine, data):
    optimizer = fr.SGD(0.05, 0.9, average=fr.EMA(0.9))
    whole, twice = network(engine), network(engine)
    whole.fit(*data, epochs=6, optimizer=optimizer)
    for _ in range(2):
        twice.fit(*data, epochs=3, optimizer=optimizer)
    assert weights(twice).tobytes() == weights(whole).tobytes()


def test_everybody_sees_the_averages(data):
    seen = []

    def look(run):
        seen.append((run.network.evaluate(*data)["loss"], run.history["val_loss"][-1], run.weights.copy()))

    net = network()
    optimizer = fr.Adam(0.05, average=fr.EMA(0.9))
    history = net.fit(*data, epochs=4, optimizer=optimizer, validation=data, callbacks=[look], metrics=["accuracy"])
    for measured, recorded, _ in seen:
        assert measured == recorded
    assert seen[-1][2].tobytes() == weights(net).tobytes()
    assert net.evaluate(*data, metrics=["accuracy"])["accuracy"] == history["accuracy"][-1]


def test_early_stopping_keeps_averages_and_the_next_fit_begins_there(data):
    optimizer, kept = fr.SGD(1.5, average=fr.EMA(0.5)), []
    net = network()
    stopping = fr.EarlyStopping("val_loss", patience=2)
    callbacks = [lambda run: kept.append(run.weights.copy()), stopping]
    history = net.fit(*data, epochs=60, optimizer=optimizer, validation=data, callbacks=callbacks)
    assert history.ended == "stopped"
    assert weights(net).tobytes() == kept[history.best_epoch].tobytes()
    assert net._state.buffers[-1].tobytes() == weights(net).tobytes()
    assert net.evaluate(*data)["loss"] == min(history["val_loss"])


def test_divergence_restores_and_starts_over(data):
    net = network(dtype="float32")
    with pytest.raises(fr.DivergenceError):
        net.fit(data[0] * 1e18, data[1], epochs=30, optimizer=fr.SGD(1e18, average=fr.EMA(0.9)))
    assert np.isfinite(weights(net)).all()
    before = weights(net)
    net.fit(*data, epochs=1, batch_size=120, optimizer=fr.SGD(0.0, average=fr.EMA(0.9)))
    np.testing.assert_allclose(weights(net), before, rtol=1e-6)


def test_batches_without_weight_and_cancelled_runs_average_nothing(data):
    net = network()
    optimizer = fr.SGD(0.1, average=fr.EMA(0.9))
    before = weights(net.build(5))

    class AtOnce:
        def start(self, run):
            run.cancel()
            return lambda run: None

    net.fit(*data, epochs=2, optimizer=optimizer, callbacks=[AtOnce()])
    assert weights(net).tobytes() == before.tobytes()
    outcomes = []
    for sample_weight, rows in ((np.repeat([1.0, 0.0], 60), 120), (None, 60)):
        net = network()
        net.fit(
            data[0][:rows], data[1][:rows], epochs=1, batch_size=60, shuffle=False, optimizer=optimizer,
            sample_weight=sample_weight,
        )  # fmt: skip
        outcomes.append(weights(net).tobytes())
    assert len(set(outcomes)) == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_optimizer
def test_threads_and_laps_change_no_bit(optimizer, dtype, data):
    outcomes = set()
    looks = {"callbacks": [lambda run: False]}, {"callbacks": [After()]}
    for settings in ({}, {"n_threads": 1}, {"n_threads": 2}, *looks):
        net = network(dtype=dtype)
        net.fit(*data, epochs=4, batch_size=32, optimizer=optimizer(average=fr.EMA(0.9)), **settings)
        outcomes.add(weights(net).tobytes())
    assert len(outcomes) == 1


@every_engine
@pytest.mark.parametrize("at", [1, 4, 6])
def test_resume_in_the_middle(engine, at, data, tmp_path):
    optimizer = fr.AdamW(0.03, average=fr.EMA(0.9), schedule=fr.OneCycle(), clip_norm=1.0)
    settings = {"epochs": 3, "batch_size": 32, "optimizer": optimizer, "validation": data}
    whole, path = network(engine), tmp_path / "c.frg"
    figures = whole.fit(*data, **settings)

    class Stop:
        def __init__(self, every_steps):
            self.every_steps = every_steps

        def start(self, run):
            return self

        def after_steps(self, run):
            if run.step == self.every_steps:
                run.cancel()

    network(engine).fit(*data, **settings, callbacks=[fr.Checkpoint(path, unit="steps"), Stop(at)])
    net, history = fr.resume(path, *data, validation=data, callbacks=[Stop(1000)])
    assert weights(net).tobytes() == weights(whole).tobytes()
    for name in ("loss", "val_loss", "learning_rate"):
        assert history[name] == figures[name]
    again = fr.resume(path, *data, validation=data, callbacks=[Stop(1000)])  # the file is as it was
    assert weights(again.network).tobytes() == weights(whole).tobytes()


@every_optimizer
def test_a_file_goes_on_in_the_same_bits(optimizer, data, tmp_path):
    net, path = network(), tmp_path / "n.frg"
    net.fit(*data, epochs=2, optimizer=optimizer(average=fr.EMA(0.9)))
    fr.save(net, path)
    back = fr.load(path)
    assert weights(back).tobytes() == weights(net).tobytes()
    for one in (net, back):
        one.fit(*data, epochs=2, optimizer=optimizer(average=fr.EMA(0.9)))
    assert weights(back).tobytes() == weights(net).tobytes()


@pytest.mark.parametrize("average", [0.9, "ema", fr.Constant()])
def test_what_is_no_average(average):
    with pytest.raises(ValueError, match="average must be such as EMA"):
        fr.Adam(average=average)


@pytest.mark.parametrize("decay", [1, -0.1, np.nan])
def test_decays_out_of_range(decay):
    with pytest.raises(ValueError, match="EMA decay must be a number in"):
        fr.EMA(decay)
