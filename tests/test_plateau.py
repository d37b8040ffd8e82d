"""ReduceOnPlateau: when it lowers the learning rate, against the rule in plain words, and through a resumption."""

import numpy as np
import pytest

import fastreg as fr
from fastreg.callbacks import _Plateau

RNG = np.random.default_rng(3)
X = RNG.normal(size=(61, 5))
Y = np.argmax(X[:, :3] + RNG.normal(size=(61, 3)), axis=1)
VALIDATION = (X[:20] + 0.5, Y[:20])


def network():
    return fr.Network([fr.Dense(8, "relu"), fr.Dense(3)], loss="cross_entropy", seed=1)


def lowered(values, **settings):
    """The epochs whose end lowers the rate."""
    watch = _Plateau(fr.ReduceOnPlateau(**{"patience": 2} | settings), None)
    return [epoch for epoch, value in enumerate(values) if watch.see(value)]


@pytest.mark.parametrize(
    ("values", "settings", "expected"),
    [
        ([5, 4, 3, 2, 1], {}, []),
        ([5, 5, 5, 5, 5, 5], {}, [2, 4]),
        ([5, 6, 4, 6, 6, 6, 6], {}, [4, 6]),
        ([5, 6, 6, 6, 6, 6, 6, 6], {"cooldown": 2}, [2, 6]),
        ([5, 6, 6, 6, 4, 6, 6], {"cooldown": 2}, [2, 6]),
        ([5, 4.9, 4.9, 4.8, 4.7], {"min_delta": 0.15}, [2]),
        ([5, np.nan, np.nan, 4, 4], {}, [2]),
        ([1, 2, 3, 3, 3], {"mode": "max"}, [4]),
        ([1, 2, 2, 2], {"monitor": "val_accuracy"}, [3]),
        ([1, 1], {"patience": 1}, [1]),
    ],
)
def test_when_it_lowers(values, settings, expected):
    assert lowered(values, **settings) == expected


def by_pytorch(values, patience, cooldown, min_delta):
    """The rule of ReduceLROnPlateau(threshold_mode="abs"), whose patience is one less."""
    best, bad, cooling, epochs = np.inf, 0, 0, []
    for epoch, value in enumerate(values):
        if value < best - min_delta:
            best, bad = value, 0
        else:
            bad += 1
        if cooling > 0:
            cooling, bad = cooling - 1, 0
        if bad > patience - 1:
            epochs.append(epoch)
            cooling, bad = cooldown, 0
    return epochs


@pytest.mark.parametrize("seed", range(30))
def test_it_lowers_when_pytorch_does(seed):
    rng = np.random.default_rng(seed)
    values = np.round(np.exp(-np.arange(200) / 30) + 0.2 * rng.normal(size=200), 1)
    settings = {"patience": int(rng.integers(1, 5)), "cooldown": int(rng.integers(0, 4)), "min_delta": 0.05}
    assert lowered(values, **settings) == by_pytorch(values, **settings)


def test_the_rate_falls_and_stays_above_the_lowest():
    plateau = fr.ReduceOnPlateau("loss", factor=0.1, patience=1, min_delta=1e9, lowest=2e-3)
    history = network().fit(
        X, Y, epochs=7, optimizer=fr.SGD(0.5, schedule=fr.StepDecay(0.5, every=0.5)), callbacks=[plateau]
    )
    steps = np.where(np.arange(1, 8) / 7 - 1 / 7 < 0.5, 1, 0.5)
    scales = [1, 1, 0.1, 0.01, 2e-3, 2e-3, 2e-3]
    np.testing.assert_allclose(history["learning_rate"], 0.5 * steps * scales, rtol=1e-12)


def test_the_next_fit_begins_with_the_whole_rate():
    net, plateau = network(), fr.ReduceOnPlateau("loss", patience=1, min_delta=1e9)
    for _ in range(2):
        history = net.fit(X, Y, epochs=3, optimizer=fr.SGD(0.5), callbacks=[plateau])
        np.testing.assert_allclose(history["learning_rate"], [0.5, 0.5, 0.05])


@pytest.mark.parametrize("at", [1, 17, 33, 46])
def test_resume_in_the_middle(at, tmp_path):
    callbacks = [
        fr.ReduceOnPlateau(patience=2, factor=0.3, cooldown=1),
        fr.ReduceOnPlateau("loss", 0.7, patience=1, min_delta=0.1),
    ]
    settings = {"epochs": 10, "batch_size": 13, "validation": VALIDATION, "optimizer": fr.SGD(1.0, 0.9)}
    whole = network()
    figures = whole.fit(X, Y, **settings, callbacks=callbacks)
    assert len(set(figures["learning_rate"])) > 3

    def stop(run):
        return run.network.cancel() if run.step >= at else None

    path = tmp_path / "c.frg"
    network().fit(X, Y, **settings, callbacks=[*callbacks, stop, fr.Checkpoint(path)])

    def stop(run):
        return None

    net, history = fr.resume(path, X, Y, validation=VALIDATION, callbacks=[*callbacks, stop])
    assert history["learning_rate"] == figures["learning_rate"]
    assert net._model.weights.tobytes() == whole._model.weights.tobytes()


def test_what_is_not_recorded_cannot_be_watched():
    with pytest.raises(ValueError, match=r"ReduceOnPlateau\(monitor='val_loss'\) watches a figure .* Pass validation"):
        network().fit(X, Y, callbacks=[fr.ReduceOnPlateau()])


@pytest.mark.parametrize(
    "settings",
    [
        {"monitor": 3}, {"factor": 1}, {"factor": 0}, {"patience": 0}, {"min_delta": -1}, {"mode": "least"},
        {"cooldown": -1}, {"lowest": 2}, {"monitor": "speed"},
    ],
    ids=str,
)  # fmt: skip
def test_wrong_settings(settings):
    with pytest.raises(ValueError, match="|".join(settings)):
        fr.ReduceOnPlateau(**settings)


def test_a_rate_that_is_lower_already_does_not_rise():
    """By another callback's doing: `lowest` says how far this one goes down, not where the rate must be."""
    low = fr.ReduceOnPlateau("loss", factor=0.01, patience=1, mode="max")
    high = fr.ReduceOnPlateau("loss", factor=0.5, patience=1, mode="max", lowest=0.5)
    history = network().fit(X, Y, epochs=6, optimizer=fr.SGD(0.1), callbacks=[low, high])
    rates = history["learning_rate"]
    assert rates[-1] < 0.1 * 0.01
    assert list(rates) == sorted(rates, reverse=True)
