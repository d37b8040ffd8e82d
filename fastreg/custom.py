"""A user's own loss: a function of NumPy arrays, called between the engine's forward and backward pass.

The engines hand over where a batch lies. The function gets copies: what it keeps stays what it was, and what it writes
into them reaches nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastreg.checks import check_name
from fastreg.losses import Loss


@dataclass(frozen=True)
class CustomLoss(Loss):
    """A loss whose value and gradient are a function of yours.

    Parameters
    ----------
    function : callable, ``function(outputs, targets) -> (values, gradient)``
        `outputs` are the raw ones of a batch, (n, outputs), in the network's dtype. `targets` are of the same shape, a
        single column of y being repeated; under link "softmax" with y of codes they are int32 labels (n,), but in
        training with `Mixup` or `CutMix` those of the blended rows, shares of the classes, (n, outputs). `values` are
        the losses of the rows, (n,), `gradient` their derivatives by the outputs, (n, outputs). Row weights are applied
        to what it returns. It is called once per batch, and for every 256 rows (`engine="reference"`: 1,024) of an
        evaluation.
    link : {"identity", "softmax", "sigmoid", "exp"}, default "identity"
        What makes predictions of raw outputs, as under `SquaredError`, `CrossEntropy`, `BinaryCrossEntropy`, `Poisson`.
        The function gets the raw outputs all the same.
    name : str, default "custom"
        For messages.

    Raises
    ------
    ValueError
        For a setting out of its range; in `fit`, for values or a gradient of another shape. What the function raises
        ends the training with the weights of the last whole step, as Ctrl-C does.

    Notes
    -----
    The price of the call is some microseconds per batch, that of the function its own: a step of 5 microseconds
    (200 rows, 16 inputs, 10 classes) takes 8 with a function that does nothing, and 32 with its cross-entropy written
    in NumPy (`make custom`). The loss is computed by one thread. No file holds a function: such a network is not saved.

    Examples
    --------
    >>> def log_cosh(outputs, targets):
    ...     d = outputs - targets
    ...     return np.log(np.cosh(d)).mean(axis=1), np.tanh(d) / d.shape[1]
    >>> net = Network([Dense(64, "relu"), Dense(1)], loss=CustomLoss(log_cosh))
    """

    function: Callable
    link: str = "identity"  # type: ignore[misc]
    name: str = "custom"  # type: ignore[misc]

    def __post_init__(self):
        if not callable(self.function):
            raise ValueError(f"CustomLoss function must be callable, got {self.function!r}")
        check_name("link", self.link, ("identity", "softmax", "sigmoid", "exp"))
        if not isinstance(self.name, str):
            raise ValueError(f"CustomLoss name must be a text, got {self.name!r}")

    def kernel(self, labels):
        return ""

    def columns(self, n_outputs, given):
        return 1 if given == 1 and self.link != "softmax" else n_outputs

    def bound(self, n_outputs, labels, dtype):
        """Return what the engines call."""
        return Bound(self, n_outputs, labels, np.dtype(dtype))


@dataclass(frozen=True, eq=False)
class Bound:
    """A function as the loss of a plan, with the signature of the reference's kernels."""

    loss: CustomLoss
    n_outputs: int
    labels: bool
    dtype: Any

    def __call__(self, dz, z, targets, weights=None, scale=1.0):
        """Return sum_i w_i l_i; dz, where it is not None, receives scale * w_i * dl_i/dz."""
        values, gradient = self._results(z.copy(), targets.copy())
        if dz is not None:
            np.multiply(gradient, scale if weights is None else (scale * weights)[:, None], out=dz)
        weighted = values if weights is None else values * weights
        return float(np.add.accumulate(weighted, dtype=np.float64)[-1]) if len(weighted) else 0.0  # in order of rows

    def in_memory(self, dz, z, targets, weights, scale):
        """Do the same with memoryviews of the compiled engine's bytes."""
        matrix = -1, self.n_outputs
        return self(
            None if dz is None else np.frombuffer(dz, self.dtype).reshape(matrix),
            np.frombuffer(z, self.dtype).reshape(matrix),
            np.frombuffer(targets, np.int32) if self.labels else np.frombuffer(targets, self.dtype).reshape(matrix),
            None if weights is None else np.frombuffer(weights, self.dtype),
            scale,
        )

    def _results(self, z, targets):
        returned = self.loss.function(z, targets)
        if not isinstance(returned, tuple | list) or len(returned) != 2:
            raise ValueError(f"{self._what} must return a pair, values and gradient, got {type(returned).__name__}")
        values, gradient = (np.asarray(array) for array in returned)
        for name, array, shape in (("values", values, z.shape[:1]), ("gradient", gradient, z.shape)):
            if array.shape != shape or array.dtype.kind not in "fiu":
                raise ValueError(
                    f"{self._what}: {name} must be numbers of shape {shape}, got {array.dtype} {array.shape}"
                )
        return values, gradient

    @property
    def _what(self):
        return f"the function of loss {self.loss.name!r}"
