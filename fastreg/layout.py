"""Where each parameter lives in the one flat buffer, and the names to reach it by."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

import numpy as np

ALIGNMENT = 64  # bytes: one cache line, one AVX-512 register


@dataclass(frozen=True)
class Field:
    """One array in the flat buffer: `start` counts elements, rows are unpadded."""

    name: str
    start: int
    shape: tuple
    trained: bool = True  # otherwise running statistics

    @property
    def size(self):
        return prod(self.shape)

    @property
    def stop(self):
        return self.start + self.size


@dataclass(frozen=True)
class Layout:
    """Fields of a flat buffer of `size` elements; the gaps between them hold zeros.

    Parameters, gradient, optimizer state and snapshots share one layout, so each is one copy away
    from another. What is not trained stands behind all that is, from `trained` on.
    """

    fields: tuple
    size: int
    trained: int

    @classmethod
    def arrange(cls, shapes, dtype, state=None):
        """Place arrays (a mapping of names to shapes) one after the other, each 64-byte aligned; then the state."""
        step = ALIGNMENT // np.dtype(dtype).itemsize
        fields, start, trained = [], 0, 0
        for group in (shapes, state or {}):
            for name, shape in group.items():
                fields.append(Field(name, start, tuple(shape), group is shapes))
                start = -(-fields[-1].stop // step) * step
            trained = start if group is shapes else trained
        return cls(tuple(fields), start, trained)

    @property
    def names(self):
        return tuple(field.name for field in self.fields)

    @property
    def n_parameters(self):
        """How many numbers are trained (gaps not counted)."""
        return sum(field.size for field in self.fields if field.trained)

    def views(self, buffer):
        """Return the fields of `buffer` as a dict of arrays that share its memory."""
        return {field.name: buffer[field.start : field.stop].reshape(field.shape) for field in self.fields}


class Parameters(Mapping):
    """The parameters by name: `parameters["0.weight"]` is a view, assigning copies new values in.

    Parameters
    ----------
    layout : Layout
    buffer : ndarray of shape (layout.size,)
    """

    def __init__(self, layout, buffer):
        self._views = layout.views(buffer)

    def __getitem__(self, name):
        if name not in self._views:
            raise KeyError(f"no parameter is called {name!r}; there are {', '.join(self)}")
        return self._views[name]

    def __setitem__(self, name, values):
        view = self[name]
        with np.errstate(over="ignore"):  # what overflows is found, and said, below
            values = np.asarray(values, dtype=view.dtype)
        if values.shape != view.shape:
            raise ValueError(f"parameter {name!r} has shape {view.shape}, the new values {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError(f"the new values of parameter {name!r} contain NaN or infinity in {view.dtype}")
        view[...] = values

    def __iter__(self):
        return iter(self._views)

    def __len__(self):
        return len(self._views)

    def __repr__(self):
        shapes = ", ".join(f"{name!r}: {view.shape}" for name, view in self.items())
        return f"Parameters({{{shapes}}})"


def aligned_zeros(size, dtype):
    """Return `size` zeros of `dtype` that start at a multiple of 64 bytes."""
    dtype = np.dtype(dtype)
    memory = np.zeros(size * dtype.itemsize + ALIGNMENT, np.uint8)
    offset = -memory.ctypes.data % ALIGNMENT
    return memory[offset : offset + size * dtype.itemsize].view(dtype)
