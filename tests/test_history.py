"""The record of a training: what is best, when overfitting begins, how wide the gap is, and the frame of it all."""

import runpy
import sys
from math import exp
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr

NAN = float("nan")


def history_of(**columns):
    history = fr.History(columns)
    history.extend(columns)
    return history


@pytest.mark.parametrize(
    ("val", "train", "patience", "expected"),
    [
        ([3, 2, 1, 2, 3, 4], [5, 4, 3, 2, 1, 0], 3, 2),
        ([3, 2, 1, 2, 3, 4], [5, 4, 3, 2, 1, 0], 4, None),  # too few epochs behind the lowest
        ([3, 2, 1, 2, 1, 4], [5, 4, 3, 2, 1, 0], 3, None),  # one of them is as good
        ([3, 2, 1, 2, 3, 4], [5, 4, 3, 2, 1, 3], 3, None),  # training did not go on
        ([3, 2, 1, NAN, 3, 4], [5, 4, 3, 2, 1, 0], 3, None),  # NaN is not worse
        ([NAN, 2, 1, 2, 3, 4], [5, 4, 3, 2, 1, 0], 3, 2),
        ([NAN] * 6, [5, 4, 3, 2, 1, 3], 3, None),
        ([], [], 1, None),
    ],
)
def test_overfit_epoch(val, train, patience, expected):
    assert history_of(loss=train, val_loss=val).overfit_epoch(patience) == expected


@pytest.mark.parametrize("seed", range(50))
def test_overfit_epoch_against_the_definition(seed):
    rng = np.random.default_rng(seed)
    train, val = rng.integers(0, 9, (2, 12)).tolist()
    patience = int(rng.integers(1, 9))
    best = val.index(min(val))
    later = val[best + 1 :]
    overfits = len(later) >= patience and min(later) > val[best] and train[-1] < train[best]
    assert history_of(loss=train, val_loss=val).overfit_epoch(patience) == (best if overfits else None)


def test_five_epochs_of_patience_by_default():
    assert history_of(loss=[6, 5, 4, 3, 2, 1], val_loss=[1, 2, 2, 2, 2, 2]).overfit_epoch() == 0
    assert history_of(loss=[5, 4, 3, 2, 1], val_loss=[1, 2, 2, 2, 2]).overfit_epoch() is None


@pytest.mark.parametrize("patience", [0, -1, 2.5, None])
def test_bad_patience(patience):
    with pytest.raises(ValueError, match="patience must be an int >= 1"):
        history_of(loss=[1], val_loss=[1]).overfit_epoch(patience)


def test_best_epoch():
    assert history_of(loss=[], objective=[]).best_epoch is None
    history = history_of(loss=[4, 3, 2, 1], objective=[NAN, 2, 1, 1])
    assert history.best_epoch == 2
    assert history.overfit_epoch() is None
    assert history_of(loss=[2, 1, 0], objective=[3, 2, 1], val_loss=[2, 1, 3]).best_epoch == 1


def test_gap():
    history = history_of(loss=[4.0, 2.0, 1.0], val_loss=[3.5, 2.25, NAN])
    assert history.gap[:2] == [-0.5, 0.25]
    assert np.isnan(history.gap[2])
    assert history_of(loss=[1.0]).gap is None
    assert history_of(loss=[1.0], test_loss=[1.0]).gap is None


@pytest.mark.parametrize(("lambda_reg", "block"), [(0.0, 0), (0.01, 1)])
def test_text_002_is_found_to_overfit_where_it_does(lambda_reg, block):
    """The text's own program prints the epoch of its lowest validation loss, from 1, and its final gap."""
    folder = Path(__file__).parent / "texts"
    figures = runpy.run_path(str(folder / "text_002.py"))["run"](lambda_reg)
    history = history_of(loss=list(figures["data_loss"]), val_loss=list(figures["val_loss"]))
    printed = [line for line in (folder / "text_002.txt").read_text().splitlines() if "lowest" in line][block]
    assert f"at epoch {history.overfit_epoch() + 1}; final gap {history.gap[-1]:.6f}" in printed
    assert history.best_epoch == history.overfit_epoch()


def test_text_003_is_found_to_overfit_from_epoch_30():
    """Its simulated training; epochs from 0, as the text counts."""
    train = [2.0 * exp(-e / 20) + 0.1 for e in range(60)]
    val = [2.0 * exp(-e / 25) + 0.2 if e < 30 else 0.3 + 0.01 * (e - 30) for e in range(60)]
    assert history_of(loss=train, val_loss=val).overfit_epoch() == 30
    assert history_of(loss=train, val_loss=val).overfit_epoch(patience=29) == 30
    assert history_of(loss=train, val_loss=val).overfit_epoch(patience=30) is None


@pytest.fixture
def trained():
    """A history of a network that overfits: labels are noise."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(80, 5)), rng.integers(0, 2, 80)
    net = fr.Network([fr.Dense(16, "tanh"), fr.Dense(2)], loss="cross_entropy", dtype="float64", seed=0)
    return net.fit(
        X[:40], y[:40], epochs=60, optimizer=fr.Adam(0.01), validation=(X[40:], y[40:]), metrics=["accuracy"]
    )


def test_a_real_training_on_noise_overfits(trained):
    best = trained.overfit_epoch()
    assert best == trained.best_epoch == np.argmin(trained["val_loss"])
    assert trained.gap == [val - train for val, train in zip(trained["val_loss"], trained["loss"])]
    assert trained.gap[-1] > max(trained.gap[: best + 1])
    assert trained.generalization_gap > trained.gap[best]


def test_frame_has_every_column_and_epochs_from_0(trained):
    pytest.importorskip("pandas", reason="a frame is pandas'")
    frame = trained.to_frame()
    assert frame.index.name == "epoch"
    assert frame.index.tolist() == list(range(60))
    assert frame.to_dict("list") == dict(trained)
    assert frame["val_loss"].idxmin() == trained.best_epoch
    frame.loc[0, "loss"] = -1
    assert trained["loss"][0] > 0


def test_frame_of_a_training_without_epochs():
    pytest.importorskip("pandas", reason="a frame is pandas'")
    frame = fr.History(["loss", "seconds"]).to_frame()
    assert frame.shape == (0, 2)
    assert frame.index.name == "epoch"


def test_frame_without_pandas_says_how_to_get_it(trained, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="to_frame.* needs pandas; install it with: pip install pandas"):
        trained.to_frame()
