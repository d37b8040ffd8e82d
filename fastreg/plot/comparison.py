"""Learning curves of several trainings in one picture."""

from collections.abc import Mapping
from itertools import cycle, product

import numpy as np

from fastreg.history import History
from fastreg.metrics import greater_is_better
from fastreg.plot.display import COLORS, INK, Display, new_figure


class ComparisonDisplay(Display):
    """One figure of several trainings over their epochs, the best of each marked by a star and told in the legend.

    Make one with `from_histories`; the constructor takes the numbers themselves.

    Parameters
    ----------
    curves : dict of names to sequences of float, (epochs,) each
    figure : str
        What they are, such as "val_loss".
    training : dict of names to sequences of float, optional
        The same figure on the training rows: drawn thin and dotted.

    Attributes
    ----------
    ax_ : matplotlib Axes
    figure_ : matplotlib Figure

    Examples
    --------
    >>> histories = {f"L2({s:g})": network(s).fit(X, y, validation=validation) for s in (0, 1e-4, 1e-2)}
    >>> ComparisonDisplay.from_histories(histories, unit="nats").figure_.savefig("l2.png")
    """

    def __init__(self, curves, figure, *, training=None):
        self.curves, self.figure, self.training = curves, figure, training or {}

    @classmethod
    def from_histories(cls, histories, figure="val_loss", *, ax=None, unit=None):
        """Draw what several calls of `fit` returned.

        Parameters
        ----------
        histories : dict of names to History
        figure : str, default "val_loss"
            A column that all of them have.
        ax : Axes, optional
        unit : str, optional
            Of the figure, for the label.

        Raises
        ------
        ValueError
            If there is no history, or one lacks the column; says which.
        ImportError
            Without matplotlib.
        """
        if not isinstance(histories, Mapping) or not histories:
            raise ValueError(f"histories must be a dict of names to what fit returned, got {histories!r}")
        for name, history in histories.items():
            if not isinstance(history, History) or not len(history.get(figure, ())):
                raise ValueError(f"histories[{name!r}] has no {figure!r}: it is {history!r}")
        curves = {name: history[figure] for name, history in histories.items()}
        on_training_rows = figure.removeprefix("val_")
        known = {name: history.get(on_training_rows) for name, history in histories.items()}
        training = {name: curve for name, curve in known.items() if figure != on_training_rows and curve}
        return cls(curves, figure, training=training).plot(ax, unit=unit)

    def plot(self, ax=None, *, unit=None):
        """Draw into `ax`, or into a figure of its own; return the display."""
        self.ax_ = new_figure("ComparisonDisplay").subplots() if ax is None else ax
        self.figure_ = self.ax_.figure.canvas.figure
        styles = cycle(product(("-", "--", "-."), COLORS))
        for (name, curve), (line, color) in zip(self.curves.items(), styles, strict=False):
            self._draw(name, np.asarray(curve, float), line, color)
        if self.training:
            self.ax_.plot([], [], ":", color=INK, linewidth=0.8, label="on the training rows")
        self.ax_.set_xlabel("epoch")
        self.ax_.set_ylabel(f"{self.figure} ({unit})" if unit else self.figure)
        self.ax_.legend()
        return self

    def _draw(self, name, curve, line, color):
        epochs = np.arange(1, len(curve) + 1)
        best = _best(curve, greater_is_better(self.figure))
        label = name if best is None else f"{name}: {curve[best]:.3g} at epoch {best + 1}"
        self.ax_.plot(epochs, curve, line, color=color, label=label)
        if name in self.training:
            trained = self.training[name]
            self.ax_.plot(range(1, len(trained) + 1), trained, ":", color=color, linewidth=0.8)
        if best is not None:
            self.ax_.plot(best + 1, curve[best], "*", color=color, markersize=11, markeredgecolor="white", zorder=3)


def _best(curve, greater):
    """Return where the best number stands; None without one, or where nobody knows what is better."""
    finite = np.flatnonzero(np.isfinite(curve))
    if greater is None or not len(finite):
        return None
    return int(finite[np.argmax(curve[finite]) if greater else np.argmin(curve[finite])])
