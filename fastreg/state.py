"""What training remembers from one call of `fit` to the next."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreg.layout import aligned_zeros


@dataclass(eq=False)
class State:
    """The optimizer's memory, which the engine updates in place, and how far the random streams have come."""

    optimizer: Any
    buffers: np.ndarray  # (plan.buffers, layout.size): momentum, or moments; averages, see `exchange`
    scalars: np.ndarray  # (2,): updates made; SGD's memory of its step sizes
    epoch: int = 0  # whole epochs so far: keys the order of the rows
    step: int = 0  # whole steps so far: keys the dropout masks

    @classmethod
    def after(cls, state, plan, optimizer):
        """Return what training goes on with: `state` (None at the start) if its optimizer is an equal one.

        Another optimizer begins without memory; the random streams go on.
        """
        if state is not None and state.optimizer == optimizer:
            return state
        epoch, step = (state.epoch, state.step) if state is not None else (0, 0)
        return cls.new(plan, optimizer, epoch, step)

    @classmethod
    def new(cls, plan, optimizer, epoch=0, step=0):
        """Return a state without memory for training by `plan`."""
        return cls(optimizer, _zeros((plan.buffers, plan.layout.size), plan.dtype), np.zeros(2), epoch, step)

    def copy(self):
        buffers = _zeros(self.buffers.shape, self.buffers.dtype)
        return State(self.optimizer, buffers, np.zeros(2)).become(self)

    def become(self, other):
        """Take over the numbers of `other`; return self."""
        self.buffers[...], self.scalars[...] = other.buffers, other.scalars
        self.epoch, self.step = other.epoch, other.step
        return self

    def exchange(self, weights):
        """Exchange averages of the weights, where the optimizer makes any, for the weights that it moves.

        Only while the engine runs are those in `weights` and the averages in the last buffer. Before the first update,
        which begins the averages, there is nothing to exchange.
        """
        if self._averages and self.scalars[0] > 0:
            weights[...], self.buffers[-1] = self.buffers[-1].copy(), weights.copy()

    def start_from(self, weights):
        """Let these be the weights that the optimizer moves, and their averages."""
        if self._averages:
            self.buffers[-1] = weights

    @property
    def _averages(self):
        return getattr(self.optimizer, "average", None) is not None

    def forget(self):
        """Drop the optimizer's memory; the random streams go on."""
        self.buffers[...] = 0
        self.scalars[...] = 0


def _zeros(shape, dtype):
    return aligned_zeros(shape[0] * shape[1], dtype).reshape(shape)
