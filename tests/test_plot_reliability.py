"""Reliability diagrams: bars of the right height over the right rows."""

import sys

import numpy as np
import pytest

import fastreg as fr
from fastreg import metrics
from fastreg.plot import ReliabilityDisplay

pytest.importorskip("matplotlib", reason="figures are drawn by matplotlib")
from matplotlib.figure import Figure

P = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [0.99, 0.01]])
Y = np.array([0, 0, 1, 1, 0, 0])


def draw(y=Y, p=P, **settings):
    display = ReliabilityDisplay.from_predictions(y, p, **settings)
    display.figure_.canvas.draw()
    return display


def bars(container):
    return [(bar.get_x(), bar.get_y(), bar.get_width(), bar.get_height()) for bar in container]


def test_bars_are_accuracies_and_their_gaps_to_the_confidence():
    display = draw(n_bins=5)
    accuracy, gap = display.ax_.containers
    np.testing.assert_allclose(bars(accuracy), [(0.4, 0, 0.2, 0.5), (0.8, 0, 0.2, 0.75)])
    np.testing.assert_allclose(bars(gap), [(0.4, 0.5, 0.2, 0.1), (0.8, 0.75, 0.2, 0.9225 - 0.75)])
    assert display.ax_.get_title() == f"expected calibration error {100 * metrics.ece(Y, P, 5):.3g} %"
    labels = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert labels == ["calibrated", "accuracy", "gap to confidence"]


def test_the_histogram_counts_all_rows():
    (rows,) = draw(n_bins=5).rows_ax_.containers
    np.testing.assert_allclose([height for *_, height in bars(rows)], [0, 0, 100 / 3, 0, 200 / 3])


def test_one_column_is_the_probability_of_a_one():
    for column, both in zip(draw(p=P[:, 1]).ax_.containers, draw().ax_.containers, strict=True):
        np.testing.assert_allclose(bars(column), bars(both))


def test_several_outputs_are_taken_together():
    together = draw(np.stack([Y, Y], axis=1), P[:, [1, 1]]).ax_.containers[0]
    np.testing.assert_allclose(bars(together), bars(draw().ax_.containers[0]))


@pytest.mark.parametrize(("loss", "units"), [("cross_entropy", 3), ("binary_cross_entropy", 1)])
def test_a_network_and_its_rows(loss, units):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 4)), rng.integers(0, max(units, 2), 50)
    net = fr.Network([fr.Dense(units)], loss=loss, seed=0)
    net.fit(X, y, epochs=1)
    display = ReliabilityDisplay.from_network(net, X, y)
    assert display.bins.error == pytest.approx(net.evaluate(X, y, metrics=["ece"])["ece"], rel=1e-6)


@pytest.mark.parametrize("names", [np.array(["ant", "bee", "cow"], object), np.array([3, 5, 9])])
def test_estimators_and_presets_are_measured_in_their_own_classes(names):
    estimators = pytest.importorskip("fastreg.estimators")
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    codes = np.argmax(X[:, :3] + rng.normal(size=(200, 3)), axis=1)
    estimator = estimators.MLPClassifier((), solver="lbfgs", random_state=0).fit(X, names[codes])
    preset = fr.presets.tabular_classifier(layers=(), epochs=3, seed=0)
    preset.fit(X, names[codes])
    for model in (estimator, preset):
        assert list(model.classes_) == list(names)
        wanted = metrics.ece(codes, model.predict_proba(X))
        assert ReliabilityDisplay.from_network(model, X, names[codes].tolist()).bins.error == wanted
        with pytest.raises(ValueError, match="y has the class"):
            ReliabilityDisplay.from_network(model, X, np.roll(names, 1)[codes] * 2)


def test_an_estimator_of_several_labels_has_zeros_and_ones():
    estimators = pytest.importorskip("fastreg.estimators")
    X = np.random.default_rng(0).normal(size=(60, 3))
    bits = (X[:, :2] > 0).astype(int)
    model = estimators.MLPClassifier((), solver="lbfgs", random_state=0).fit(X, bits)
    wanted = metrics.ece(bits.ravel(), model.predict_proba(X).ravel())
    assert ReliabilityDisplay.from_network(model, X, bits).bins.error == wanted


def test_given_axes_and_a_notebook():
    one = Figure().subplots()
    assert draw(ax=one).rows_ax_ is None
    assert one.get_xlabel() == "confidence"
    pair = Figure().subplots(2, 1)
    assert draw(ax=pair).rows_ax_ is pair[1]
    assert draw()._repr_png_().startswith(b"\x89PNG")


def test_classes_that_are_no_codes_are_refused():
    with pytest.raises(ValueError, match=r"y_true\[0\]=5 is none of the codes 0\.\.1"):
        draw(Y + 5)


def test_bad_bins():
    with pytest.raises(ValueError, match="n_bins must be an int >= 1, got 0"):
        draw(n_bins=0)


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="ReliabilityDisplay needs matplotlib"):
        draw()
