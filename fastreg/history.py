"""The record of a training: one list per figure, one entry per epoch."""

from collections.abc import Mapping

import numpy as np

from fastreg.data import as_count


class History(Mapping):
    """What a call of `fit` measured, as a mapping of names to lists. Epochs are indices into them, from 0.

    Columns
        loss            mean data loss of the epoch's batches, each measured before its update
        penalty         mean penalty, likewise; objective = loss + penalty
        <metric>        of the training rows after the epoch, all units on
        val_loss, val_objective, val_<metric>       of the validation rows after the epoch, all units on
        <set>_loss, <set>_objective, <set>_<metric> of each further set
        learning_rate   of the epoch's last step
        seconds         that the epoch took; epochs trained in one call share its time evenly

    Attributes
    ----------
    n_epochs : int
        How many epochs were trained to their end.
    best_epoch : int or None
        The epoch whose weights the network got where a callback kept the best, as `EarlyStopping` does;
        otherwise that of the lowest val_loss, or without validation of the lowest objective.
    gap : list of float, or None
        val_loss minus loss of each epoch; None without a validation set called "val". The training loss was
        measured before the updates of its epoch and with units dropped, so that the gap may begin below 0.
    generalization_gap : float or None
        Validation minus training data loss, both measured by `evaluate` at the returned weights; None without
        a validation set called "val".
    ended : {"finished", "stopped", "cancelled"}
        What ended the training: the last epoch, a callback, or `cancel()`.
    """

    def __init__(self, names):
        self._columns: dict[str, list] = {name: [] for name in names}
        self._arrived: list[dict] = []  # figures that nobody has asked for yet: a thousand numbers cost less as arrays
        self.n_epochs = 0
        self.kept_epoch = None
        self.generalization_gap = None
        self.ended = "finished"

    def __getitem__(self, name):
        self._enter()
        return self._columns[name]

    def __iter__(self):
        return iter(self._columns)

    def __len__(self):
        return len(self._columns)

    def __repr__(self):
        return f"History({self.n_epochs} epochs: {', '.join(self)})"

    @property
    def best_epoch(self):
        if self.kept_epoch is not None:
            return self.kept_epoch
        return _lowest(self["val_loss" if "val_loss" in self else "objective"])

    @property
    def gap(self):
        if "val_loss" not in self:
            return None
        return [val - train for val, train in zip(self["val_loss"], self["loss"], strict=True)]

    def overfit_epoch(self, patience=5):
        """Return the epoch after which the network overfits, or None.

        It is the one of the lowest val_loss, if at least `patience` epochs follow, all of them worse, while
        the training loss is lower at the end than there.
        """
        as_count("patience", patience)
        best = _lowest(self.get("val_loss", ()))
        if best is None or self.n_epochs - 1 - best < patience:
            return None
        worse = all(value > self["val_loss"][best] for value in self["val_loss"][best + 1 :])
        return best if worse and self["loss"][-1] < self["loss"][best] else None

    def to_frame(self):
        """Return the columns as a pandas DataFrame whose index "epoch" counts from 0.

        Raises
        ------
        ImportError
            Without pandas.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("History.to_frame() needs pandas; install it with: pip install pandas") from error
        return pd.DataFrame(dict(self), index=pd.RangeIndex(self.n_epochs, name="epoch"))

    def extend(self, figures):
        """Append the epochs in `figures`, a mapping of names to arrays or lists of one length."""
        self._arrived.append(figures)
        self.n_epochs += len(figures["loss"])

    def memory(self):
        """Return what a checkpoint holds of it."""
        return {"figures": np.array(list(self.values()), np.float64).T}  # (epochs, columns)

    def recall(self, memory):
        """Begin with the epochs that another one of these columns had."""
        figures = memory["figures"]
        self.extend(dict(zip(self, figures.T, strict=True)))

    def _enter(self):
        for figures in self._arrived:
            for name, values in figures.items():
                self._columns[name].extend(np.asarray(values).tolist())
        self._arrived.clear()


def _lowest(values):
    """Return the index of the first lowest number, or None if there is none. NaN is no number."""
    numbers = [(value, epoch) for epoch, value in enumerate(values) if value == value]
    return min(numbers)[1] if numbers else None
