"""The rows of each epoch: the table itself, or what functions of the user's own make of it.

A function gets the whole table once an epoch, before batches are gathered, and numbers that are its own: from a
generator keyed by seed, epoch and its place in the list. So a training is as reproducible as the functions are.
"""

from dataclasses import replace

import numpy as np

from fastreg.data import Dataset, as_dataset, as_table


class Transformed:
    """The `Dataset` of each epoch.

    Parameters
    ----------
    data : Dataset
    functions : sequence of callables
        `function(X, y, rng) -> (X, y)`, called one after the other.
    loss : Loss
    plan : Plan
    seed : int
    """

    def __init__(self, data, functions, loss, plan, seed):
        self._data, self._functions, self._loss, self._plan, self._seed = data, functions, loss, plan, seed
        self._epoch, self._made = None, data

    def of(self, epoch):
        """Return the rows of an epoch; those of the last one asked for are kept."""
        if self._functions and epoch != self._epoch:
            self._made = self._data
            for number, function in enumerate(self._functions):
                self._made = self._call(number, function, self._made, epoch)
            self._epoch = epoch
        return self._made

    def _call(self, number, function, data, epoch):
        rng = np.random.Generator(np.random.Philox(key=[self._seed, epoch], counter=[0, 0, 0, number]))
        y = data.targets[:, 0] if data.flat and not data.labels else data.targets
        name = getattr(function, "__name__", repr(function))
        made = function(_read_only(data.X), _read_only(y), rng)
        if not isinstance(made, tuple) or len(made) != 2:
            raise ValueError(f"augment: {name}(X, y, rng) must return a pair (X, y), got {type(made).__name__}")
        return self._checked(name, made, data)

    def _checked(self, name, made, data) -> Dataset:
        names, plan = (f"X of {name}", f"y of {name}"), self._plan
        X = as_table(names[0], made[0], plan.dtype, plan.n_inputs)
        checked = as_dataset(X, made[1], None, self._loss, plan, names=names)
        if len(X) != len(data.X) or checked.labels != data.labels:
            raise ValueError(
                f"augment: {name} was given {len(data.X)} rows and targets of shape {data.targets.shape}, and returned"
                f" {len(X)} and {checked.targets.shape}; rows and the kind of targets must stay"
            )
        return replace(data, X=checked.X, targets=checked.targets)  # weights are of rows, whatever becomes of them


def _read_only(array):
    view = array.view()
    view.flags.writeable = False
    return view
