"""Learning curves of one training."""

from fastreg.history import History
from fastreg.plot.display import COLORS, INK, Display, new_figure

_TRAINING, _VALIDATION, _PENALTY = COLORS[:3]


class LearningCurveDisplay(Display):
    """Training and validation loss over the epochs, the gap between them, and where overfitting begins.

    Make one with `from_history`; the constructor takes the numbers themselves. Epochs are given from 0, as
    indices, and shown from 1, as progress bars count them.

    Parameters
    ----------
    loss : sequence of float, (epochs,)
        Training loss, without penalties.
    val_loss : sequence of float, (epochs,), optional
    penalty : sequence of float, (epochs,), optional
        Drawn in a panel of its own, unless it is 0 throughout.
    best_epoch : int, optional
        Marked by a star on the validation loss, or without one on the training loss.
    overfit_epoch : int, optional
        Marked by a vertical line.

    Attributes
    ----------
    ax_ : matplotlib Axes
        With the losses.
    penalty_ax_ : matplotlib Axes or None
        With the penalty.
    figure_ : matplotlib Figure

    Examples
    --------
    >>> history = net.fit(X, y, epochs=100, validation=(X_val, y_val))
    >>> display = LearningCurveDisplay.from_history(history, unit="nats")
    >>> display.figure_.savefig("learning_curve.png")
    """

    def __init__(self, *, loss, val_loss=None, penalty=None, best_epoch=None, overfit_epoch=None):
        self.loss, self.val_loss, self.penalty = loss, val_loss, penalty
        self.best_epoch, self.overfit_epoch = best_epoch, overfit_epoch

    @classmethod
    def from_history(cls, history, *, ax=None, unit=None, patience=5):
        """Draw what `fit` returned.

        Parameters
        ----------
        history : History
        ax : Axes, or pair of Axes, optional
            See `plot`.
        unit : str, optional
            Of the loss, for the labels: "nats" for a cross-entropy.
        patience : int >= 1
            Of `History.overfit_epoch`.

        Returns
        -------
        LearningCurveDisplay

        Raises
        ------
        ValueError
            If `history` is no `History`, or has no epoch.
        ImportError
            Without matplotlib.
        """
        if not isinstance(history, History):
            raise ValueError(f"history must be the History that fit returns, got {history!r}")
        display = cls(
            loss=history["loss"],
            val_loss=history.get("val_loss"),
            penalty=history.get("penalty"),
            best_epoch=history.best_epoch,
            overfit_epoch=history.overfit_epoch(patience),
        )
        return display.plot(ax, unit=unit)

    def plot(self, ax=None, *, unit=None):
        """Draw; return the display.

        Parameters
        ----------
        ax : Axes, or pair of Axes, optional
            Where to draw the losses, or the losses and the penalty; a single one leaves out the penalty. None
            makes a figure, with a panel for the penalty if there is any. pyplot does not know that figure:
            notebooks show the display, `display.figure_.savefig(...)` writes it.
        unit : str, optional
            Of the loss, for the labels.
        """
        if not len(self.loss):
            raise ValueError("there is no epoch to draw")
        self.ax_, self.penalty_ax_ = _new_axes(self._penalized) if ax is None else _given_axes(ax)
        self.figure_ = self.ax_.figure.canvas.figure  # the whole, where ax is in a subfigure
        self._draw_losses(self.ax_)
        _finish(self.ax_, "mean loss", unit)
        self.ax_.legend()
        if self.penalty_ax_ is not None:
            self.penalty_ax_.plot(self._epochs, self.penalty, color=_PENALTY)
            _finish(self.penalty_ax_, "penalty", unit)
        return self

    def _draw_losses(self, ax):
        epochs, watched = self._epochs, self.loss
        ax.plot(epochs, self.loss, color=_TRAINING, label="training")
        if self.val_loss is not None:
            watched = self.val_loss
            ax.plot(epochs, watched, color=_VALIDATION, label="validation")
            gap = f"gap, {watched[-1] - self.loss[-1]:+.3g} at the end"
            ax.fill_between(epochs, self.loss, watched, color=_VALIDATION, alpha=0.15, linewidth=0, label=gap)
        if self.overfit_epoch is not None:
            label = f"overfits after epoch {self.overfit_epoch + 1}"
            ax.axvline(self.overfit_epoch + 1, color=INK, linestyle=":", label=label)
        if self.best_epoch is not None:
            value = watched[self.best_epoch]
            label = f"best epoch {self.best_epoch + 1}, {value:.3g}"
            ax.plot(
                self.best_epoch + 1, value, linestyle="none", marker="*", markersize=12, color=INK,
                markeredgecolor="white", label=label, zorder=3,
            )  # fmt: skip

    @property
    def _epochs(self):
        return range(1, len(self.loss) + 1)

    @property
    def _penalized(self):
        return self.penalty is not None and any(self.penalty)


def _new_axes(with_penalty):
    """Return the axes of a new figure: of the losses, and of the penalty or None."""
    figure = new_figure("LearningCurveDisplay")
    if with_penalty:
        return tuple(figure.subplots(2, 1, sharex=True, height_ratios=[3, 1]))
    return figure.subplots(), None


def _given_axes(ax):
    """Return the axes that the caller gave: of the losses, and of the penalty or None."""
    axes = (ax, None) if hasattr(ax, "plot") else tuple(ax)
    if len(axes) != 2:
        raise ValueError(f"ax must be an Axes, or a pair of Axes for loss and penalty, got {len(axes)} of them")
    return axes


def _finish(ax, quantity, unit):
    ax.set_ylabel(f"{quantity} ({unit})" if unit else quantity)
    ax.set_xlabel("epoch")
    ax.label_outer()
    ax.set_ylim(bottom=0, auto=None)  # auto=None: grows with what is drawn later
