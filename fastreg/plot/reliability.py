"""Reliability diagram: whether a probability of 0.9 is right in nine cases of ten."""

from typing import Any

import numpy as np

from fastreg.calibration import calibration
from fastreg.plot.display import COLORS, INK, Display, new_figure
from fastreg.preprocessing import Classes

_ACCURACY, _GAP = COLORS[5], COLORS[1]


class ReliabilityDisplay(Display):
    """Accuracy over confidence in bins of equal width, the gap between them, and how many rows each bin has.

    Make one with `from_network` or `from_predictions`.

    Parameters
    ----------
    bins : fastreg.calibration.Bins

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the diagram.
    rows_ax_ : matplotlib Axes or None
        With the histogram of the confidence.
    figure_ : matplotlib Figure

    References
    ----------
    DeGroot and Fienberg, "The comparison and evaluation of forecasters", 1983; Guo et al., "On calibration of modern
    neural networks", 2017.

    Examples
    --------
    >>> ReliabilityDisplay.from_network(net, X_test, y_test).figure_.savefig("reliability.png")
    """

    rows_ax_: Any = None

    def __init__(self, bins):
        self.bins = bins

    @classmethod
    def from_network(cls, network, X, y, *, n_bins=15, ax=None):
        """Draw what a network says of the rows of X. See `from_predictions`.

        An estimator or a preset stands for a network as well; y has its classes then, and codes otherwise.
        """
        probabilities = network.predict_proba(X)
        return cls.from_predictions(_as_codes(y, network), probabilities, n_bins=n_bins, ax=ax)

    @classmethod
    def from_predictions(cls, y_true, probabilities, *, n_bins=15, ax=None):
        """Draw probabilities.

        Parameters
        ----------
        y_true : array of shape (n,) or (n, outputs)
            Codes; for several sigmoid outputs zeros and ones, which are taken all together.
        probabilities : array of shape (n, classes), (n,) or (n, outputs)
            As `predict_proba` returns them.
        n_bins : int >= 1
        ax : Axes, or pair of Axes, optional
            Where to draw the diagram, or the diagram and the histogram. None makes a figure, see
            `LearningCurveDisplay.plot`.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        y_true, probabilities = np.asarray(y_true), np.asarray(probabilities)
        if y_true.ndim == 2:
            y_true, probabilities = y_true.reshape(-1), probabilities.reshape(-1)
        return cls(calibration(y_true, probabilities, n_bins)[0]).plot(ax)

    def plot(self, ax=None):
        """Draw; return the display."""
        if ax is None:
            ax = new_figure("ReliabilityDisplay", (5, 6)).subplots(2, 1, sharex=True, height_ratios=[3, 1])
        self.ax_, self.rows_ax_ = (ax, None) if hasattr(ax, "plot") else tuple(ax)
        self.figure_ = self.ax_.figure.canvas.figure
        self._draw_diagram(self.ax_)
        if self.rows_ax_ is not None:
            self._draw_rows(self.rows_ax_)
        (self.rows_ax_ or self.ax_).set_xlabel("confidence")
        return self

    def _draw_diagram(self, ax):
        bins, filled = self.bins, self.bins.counts > 0
        left, width = bins.edges[:-1][filled], np.diff(bins.edges)[filled]
        accuracy, confidence = bins.accuracy[filled], bins.confidence[filled]
        ax.bar(left, accuracy, width, align="edge", color=_ACCURACY, edgecolor="white", label="accuracy")
        ax.bar(
            left, confidence - accuracy, width, accuracy, align="edge", facecolor="none", edgecolor=_GAP, hatch="///",
            label="gap to confidence",
        )  # fmt: skip
        ax.plot([0, 1], [0, 1], linestyle=":", color=INK, label="calibrated")
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 1)
        ax.set_ylabel("accuracy")
        ax.set_title(f"expected calibration error {100 * bins.error:.3g} %")
        ax.legend(loc="lower right")

    def _draw_rows(self, ax):
        bins = self.bins
        share = 100 * bins.counts / bins.counts.sum()
        ax.bar(bins.edges[:-1], share, np.diff(bins.edges), align="edge", color=_ACCURACY, edgecolor="white")
        ax.set_ylabel("rows (%)")


def _as_codes(y, model):
    """Return y as positions in the classes of a model that knows them; of several outputs it has zeros and ones."""
    y, classes = np.asarray(y), getattr(model, "classes_", None)
    return y if classes is None or y.ndim != 1 else Classes(np.asarray(classes)).encode(y)
