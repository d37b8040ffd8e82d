"""Decoupled weight decay as a penalty: by hand, as what it equals, and where it is one too many."""

import numpy as np
import pytest

import fastreg as fr

ENGINES = ("compiled", "reference")
every_engine = pytest.mark.parametrize("engine", ENGINES)


@pytest.fixture
def data():
    rng = np.random.default_rng(3)
    X = rng.normal(size=(120, 5))
    return X, np.argmax(X[:, :3] + rng.normal(size=(120, 3)), axis=1)


def network(penalty=None, bias_penalty=None, engine="compiled", **settings):
    layers = [fr.Dense(9, "tanh", weight_penalty=penalty, bias_penalty=bias_penalty), fr.Dense(3)]
    return fr.Network(layers, loss="cross_entropy", seed=1, engine=engine, dtype="float64", **settings)


def weights(net):
    return net._model.weights.copy()


@every_engine
@pytest.mark.parametrize("scaled", [True, False])
def test_one_step_by_hand(engine, scaled, data):
    plain, decayed = network(engine=engine), network(fr.WeightDecay(0.3, scaled), fr.WeightDecay(0.2), engine=engine)
    before = decayed.build(5).parameters["0.weight"].copy()
    decayed.parameters["0.bias"] = bias = np.linspace(-1, 1, 9)
    plain.build(5).parameters["0.bias"] = bias
    for net in (plain, decayed):
        history = net.fit(*data, epochs=1, batch_size=120, optimizer=fr.Adam(0.1))
    assert history["penalty"] == [0.0]
    share = 0.3 * (0.1 if scaled else 1)
    expected = plain.parameters["0.weight"] - share * before
    np.testing.assert_allclose(decayed.parameters["0.weight"], expected, rtol=1e-12, atol=1e-15)
    np.testing.assert_allclose(decayed.parameters["0.bias"], plain.parameters["0.bias"] - 0.02 * bias, rtol=1e-12)
    np.testing.assert_array_equal(decayed.parameters["1.weight"], plain.parameters["1.weight"])


@every_engine
def test_under_plain_sgd_it_is_l2(engine, data):
    nets = network(fr.WeightDecay(0.2), engine=engine), network(fr.L2(0.1), engine=engine)
    for net in nets:
        net.fit(*data, epochs=5, optimizer=fr.SGD(0.1, schedule=fr.Cosine()))
    np.testing.assert_allclose(weights(nets[0]), weights(nets[1]), rtol=1e-10, atol=1e-13)


@every_engine
def test_on_all_weights_it_is_adamw_to_the_bit(engine, data):
    penalties = {"*.weight": fr.WeightDecay(0.5)}
    nets = network(engine=engine, penalties=penalties), network(engine=engine)
    nets[0].fit(*data, epochs=5, optimizer=fr.Adam(0.01, schedule=fr.OneCycle()))
    nets[1].fit(*data, epochs=5, optimizer=fr.AdamW(0.01, weight_decay=0.5, schedule=fr.OneCycle()))
    assert weights(nets[0]).tobytes() == weights(nets[1]).tobytes()


@every_engine
@pytest.mark.parametrize("scaled", [True, False])
def test_schedules(engine, scaled, data):
    """With a learning rate of 0 in the gradient's place: weights shrink by the product of all steps."""
    decay = fr.WeightDecay(0.01, scaled, schedule=fr.Exponential())
    net = network(decay, engine=engine)
    before = net.build(5).parameters["0.weight"].copy()
    X = np.zeros_like(data[0])
    net.fit(X, data[1], epochs=2, batch_size=20, optimizer=fr.SGD(0.5, schedule=fr.Cosine()))
    t = np.arange(12) / 12
    rates = 0.5 * (1 + np.cos(np.pi * t)) / 2 if scaled else 1
    np.testing.assert_allclose(net.parameters["0.weight"], before * np.prod(1 - rates * 0.01 * 0.01**t), rtol=1e-12)


@every_engine
def test_beside_other_penalties(engine, data):
    net = network(fr.L1(0.001) + fr.WeightDecay(0.1) + fr.L2(0.01), engine=engine)
    history = net.fit(*data, epochs=3)
    assert history["penalty"][-1] > 0
    penalty = fr.L1(1.0) + fr.WeightDecay(5.0)
    w = np.array([1.0, -2.0])
    assert penalty.value(w) == 3
    assert fr.WeightDecay(5.0).value(w) == 0
    assert fr.WeightDecay(5.0).gradient(w).tolist() == [0, 0]
    assert fr.WeightDecay(5.0).prox(w, 0.1).tolist() == [1, -2]
    assert fr.WeightDecay(1.0) + fr.WeightDecay(2.0) == fr.WeightDecay(3.0)


def test_two_decays_are_an_error(data):
    for penalty, optimizer in [
        (fr.WeightDecay(0.1), fr.AdamW()),
        (fr.WeightDecay(0.1) + fr.WeightDecay(0.1, scaled_by_lr=False), fr.SGD()),
    ]:
        net = network(penalty)
        with pytest.raises(ValueError, match=r"0\.weight has two decays, WeightDecay"):
            net.fit(*data, optimizer=optimizer)
    network(fr.WeightDecay(0.1)).fit(*data, epochs=1, optimizer=fr.AdamW(weight_decay=0))
    network(fr.WeightDecay(0)).fit(*data, epochs=1, optimizer=fr.AdamW())
    network(None, fr.WeightDecay(0.1)).fit(*data, epochs=1, optimizer=fr.AdamW())  # of biases it has none


@pytest.mark.parametrize(
    "make", [lambda: fr.WeightDecay(-1), lambda: fr.WeightDecay(1, 2), lambda: fr.WeightDecay(1, schedule=3)]
)
def test_wrong_settings(make):
    with pytest.raises(ValueError, match="must be"):
        make()


def test_summary_and_files(data, tmp_path):
    net = network(fr.WeightDecay(0.1, scaled_by_lr=False, schedule=fr.Cosine()))
    net.fit(*data, epochs=2)
    assert "WeightDecay(strength=0.1, scaled_by_lr=False, schedule=Cosine(final=0.0))" in net.summary()
    fr.save(net, tmp_path / "n.frg")
    back = fr.load(tmp_path / "n.frg")
    for one in (net, back):
        one.fit(*data, epochs=1)
    assert weights(back).tobytes() == weights(net).tobytes()
