"""What one call of `fit` asks for, checked when it is made."""

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreg.augment import Augmentation
from fastreg.balance import check_class_weight
from fastreg.data import as_count


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The arguments of `Network.fit` that are no data. `metrics` maps names to functions."""

    epochs: int
    batch_size: int | str
    optimizer: Any
    callbacks: tuple = ()
    metrics: dict
    augment: tuple = ()
    class_weight: Any = None
    shuffle: bool
    n_threads: int | None
    verbose: int

    def __post_init__(self):
        as_count("epochs", self.epochs)
        if not (isinstance(self.batch_size, str) and self.batch_size == "auto"):
            as_count("batch_size", self.batch_size)
        check_class_weight(self.class_weight)
        self._check_augment()
        if isinstance(self.optimizer, type) or not hasattr(self.optimizer, "kernel"):
            raise ValueError(f"optimizer must be such as SGD(0.01) or Adam(), got {self.optimizer!r}")
        self._check_callbacks()
        if not isinstance(self.shuffle, bool | np.bool_):
            raise ValueError(f"shuffle must be True or False, got {self.shuffle!r}")
        if self.n_threads is not None:
            as_count("n_threads", self.n_threads)
        if not isinstance(self.verbose, bool):
            as_count("verbose", self.verbose, low=0)

    def _check_augment(self):
        if not isinstance(self.augment, tuple | list):
            raise ValueError(f"augment must be a list such as [RandomFlip(), Mixup(0.2)], got {self.augment!r}")
        for number, augmentation in enumerate(self.augment):
            known = isinstance(augmentation, Augmentation) or callable(augmentation)
            if isinstance(augmentation, type) or not known:
                raise ValueError(f"augment[{number}] is {augmentation!r}, no callable and no RandomFlip() or the like")

    def _check_callbacks(self):
        if not isinstance(self.callbacks, tuple | list):
            raise ValueError(f"callbacks must be a list such as [EarlyStopping()], got {self.callbacks!r}")
        for number, callback in enumerate(self.callbacks):
            if isinstance(callback, type) or not (callable(callback) or hasattr(callback, "start")):
                raise ValueError(f"callbacks[{number}] is {callback!r}, no callable and no EarlyStopping()")
        if sum(getattr(callback, "restore_best", False) for callback in self.callbacks) > 1:
            raise ValueError("callbacks: of several EarlyStopping at most one can have restore_best=True")

    @property
    def augmentations(self):
        """What of `augment` the engine does."""
        return tuple(each for each in self.augment if isinstance(each, Augmentation))

    @property
    def functions(self):
        """What of `augment` are functions of the user's own."""
        return tuple(each for each in self.augment if not isinstance(each, Augmentation))

    def rows_per_batch(self, n_rows):
        """Return the batch size for a table of `n_rows`: at most all of them."""
        if isinstance(self.batch_size, str):
            return min(200, n_rows)
        if self.batch_size > n_rows:
            message = f"batch_size={self.batch_size} is more than the {n_rows} rows of X: using all"
            warnings.warn(message, stacklevel=6)  # the caller of fit
        return min(self.batch_size, n_rows)
