"""Callbacks: what runs after each epoch and may end the training.

The protocol
    callback(run) -> bool | None      called after each epoch; True ends the training.
    callback.start(run) -> watcher    optional: called once before the first epoch. What it returns takes the
                                      callback's place, and keeps the memory of this run, so that the callback
                                      itself can be shared.

A watcher has what it needs of
    watcher(run) -> bool | None       as above.
    watcher.after_steps(run)          called after every `watcher.every_steps` steps, and after the last one; where
                                      an epoch ends, when the callbacks have seen it.
    watcher.memory() -> dict          of numbers, texts and arrays by name: goes into checkpoints. Names, types and
                                      all but the first length of arrays are those that it has before the first epoch.
    watcher.recall(memory)            called in place of the epochs that a resumed run does not repeat.
    watcher.close()                   called when training ends, whatever ended it.

`run` is a `fastreg.train.Run`: `run.epoch` (of the epoch just finished, from 0), `run.epochs` (asked for),
`run.step` and `run.steps_per_epoch`, `run.history`, `run.network`, `run.learning_rate_scale`, which multiplies the
learning rates of the steps to come, and `run.keep()`, which makes the present weights those that the network will have
at the end.
"""

from dataclasses import dataclass
from typing import NamedTuple

from fastreg.checks import check_name, check_number
from fastreg.data import as_count
from fastreg.metrics import greater_is_better


class Stop(NamedTuple):
    """Where early stopping would have ended: epochs counted from 0."""

    best_epoch: int | None
    """The epoch with the best value; None if no value was a number."""
    stop_epoch: int | None
    """The last epoch that would have been trained; None if patience never ran out."""


@dataclass(frozen=True)
class EarlyStopping:
    """Ends the training when a figure has stopped getting better, and gives back the best weights.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A column of the `History`. NaN and infinity are never best.
    patience : int >= 1, default 10
        Training ends after this many epochs in a row without a better value.
    min_delta : float >= 0, default 0
        Better means better by more than this.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better. "auto" knows losses and the metrics that have names.
    restore_best : bool, default True
        Whether the network has the weights of the best epoch when training ends, whatever ended it: patience,
        the last epoch, `cancel()`, Ctrl-C, divergence or an exception in a callback.
    warmup : int >= 0, default 0
        This many first epochs are not looked at.

    Raises
    ------
    ValueError
        For a setting out of its range; in `fit`, for a `monitor` that is not recorded there.

    References
    ----------
    Prechelt, "Early stopping - but when?", 1998.
    """

    monitor: str = "val_loss"
    patience: int = 10
    min_delta: float = 0.0
    mode: str = "auto"
    restore_best: bool = True
    warmup: int = 0

    def __post_init__(self):
        _check_monitor(self)
        as_count("warmup", self.warmup, low=0)
        if not isinstance(self.restore_best, bool):
            raise ValueError(f"restore_best must be True or False, got {self.restore_best!r}")

    def on(self, values):
        """Return where training would have ended, had the monitored figure had these values, as a `Stop`."""
        watch = _Watch(self)
        for epoch, value in enumerate(values):
            watch.see(epoch, value)
            if watch.impatient:
                return Stop(watch.best_epoch, epoch)
        return Stop(watch.best_epoch, None)

    def start(self, run):
        """Return what watches one run."""
        _demand_recorded(self, run)
        return _Watch(self)


@dataclass(frozen=True)
class ReduceOnPlateau:
    """Lowers the learning rate when a figure has stopped getting better, for the rest of this fit.

    `run.learning_rate_scale`, which multiplies the learning rate and its schedule, is multiplied by `factor`.

    Parameters
    ----------
    monitor : str, default "val_loss"
        A column of the `History`. NaN is never better.
    factor : float in (0, 1), default 0.1
    patience : int >= 1, default 10
        It is lowered after this many epochs in a row without a better value.
    min_delta : float >= 0, default 0
        Better means better by more than this.
    mode : {"auto", "min", "max"}, default "auto"
        Whether less or more is better. "auto" knows losses and the metrics that have names.
    cooldown : int >= 0, default 0
        This many epochs after it was lowered are not counted.
    lowest : float in [0, 1], default 0
        The scale becomes no smaller by it.

    Raises
    ------
    ValueError
        For a setting out of its range; in `fit`, for a `monitor` that is not recorded there.
    """

    monitor: str = "val_loss"
    factor: float = 0.1
    patience: int = 10
    min_delta: float = 0.0
    mode: str = "auto"
    cooldown: int = 0
    lowest: float = 0.0

    def __post_init__(self):
        _check_monitor(self)
        check_number("factor", self.factor, "(0, 1)")
        as_count("cooldown", self.cooldown, low=0)
        check_number("lowest", self.lowest, "[0, 1]")

    def start(self, run):
        """Return what watches one run."""
        _demand_recorded(self, run)
        return _Plateau(self, run)


class _Plateau:
    """The memory of one `ReduceOnPlateau` during one run."""

    def __init__(self, settings, run):
        self.settings, self.sign, self.run = settings, _sign(settings), run
        self.best, self.waited, self.cooling = float("inf"), 0, 0  # of sign * value: less is better

    def __call__(self, run):
        if self.see(run.history[self.settings.monitor][-1]):
            scale = run.learning_rate_scale
            run.learning_rate_scale = min(scale, max(scale * self.settings.factor, self.settings.lowest))

    def see(self, value):
        """Take an epoch's value into account; return whether patience has run out."""
        self.waited = 0 if self.cooling else self.waited + 1
        self.cooling = max(self.cooling - 1, 0)
        if self.sign * value < self.best - self.settings.min_delta:  # never true of NaN
            self.best, self.waited = self.sign * value, 0
        if self.waited < self.settings.patience:
            return False
        self.waited, self.cooling = 0, self.settings.cooldown
        return True

    def memory(self):
        scale = float(self.run.learning_rate_scale)  # of whoever else changes it too
        return {"best": float(self.best), "waited": self.waited, "cooling": self.cooling, "scale": scale}

    def recall(self, memory):
        if memory["waited"] < 0 or memory["cooling"] < 0 or not 0 <= memory["scale"] < float("inf"):
            raise ValueError(f"{memory!r} cannot be the memory of a ReduceOnPlateau")
        self.run.learning_rate_scale = memory["scale"]
        self.best, self.waited, self.cooling = memory["best"], memory["waited"], memory["cooling"]


def _check_monitor(settings):
    """Check what the settings of all who watch a figure have in common."""
    if not isinstance(settings.monitor, str):
        raise ValueError(f"monitor must be the name of a column of the History, got {settings.monitor!r}")
    as_count("patience", settings.patience)
    check_number("min_delta", settings.min_delta, "[0, inf)")
    check_name("mode", settings.mode, ("auto", "min", "max"))
    _sign(settings)


def _demand_recorded(settings, run):
    """Demand that the figure to be watched is one of the history's columns."""
    if settings.monitor not in run.history:
        missing = " Pass validation=(X_val, y_val)" if settings.monitor.startswith("val_") else ""
        raise ValueError(
            f"{type(settings).__name__}(monitor={settings.monitor!r}) watches a figure that this fit does not record;"
            f" it records {', '.join(run.history)}.{missing}"
        )


class _Watch:
    """The memory of one early stopping during one run."""

    def __init__(self, settings):
        self.settings, self.sign = settings, _sign(settings)
        self.best, self.best_epoch = float("inf"), None  # of sign * value: less is better
        self.impatient = False

    def __call__(self, run):
        if self.see(run.epoch, run.history[self.settings.monitor][-1]) and self.settings.restore_best:
            run.keep()
        return self.impatient

    def memory(self):
        return {"best": float(self.best), "best_epoch": -1 if self.best_epoch is None else self.best_epoch}

    def recall(self, memory):
        if memory["best_epoch"] < -1:
            raise ValueError(f"best_epoch {memory['best_epoch']} cannot be")
        self.best, self.best_epoch = memory["best"], None if memory["best_epoch"] < 0 else memory["best_epoch"]

    def see(self, epoch, value):
        """Take the value of `epoch` into account; return whether it is the best so far."""
        if epoch < self.settings.warmup:
            return False
        better = self.sign * value < self.best - self.settings.min_delta  # never true of NaN
        if better:
            self.best, self.best_epoch = self.sign * value, epoch
        since = self.settings.warmup - 1 if self.best_epoch is None else self.best_epoch
        self.impatient = epoch - since >= self.settings.patience
        return better


def _sign(settings):
    """Return 1 where less is better, -1 where more is."""
    if settings.mode != "auto":
        return 1 if settings.mode == "min" else -1
    greater = greater_is_better(settings.monitor)
    if greater is not None:
        return -1 if greater else 1
    raise ValueError(
        f"mode='auto' does not know whether more or less of monitor={settings.monitor!r} is better;"
        " pass mode='max' or mode='min'"
    )
