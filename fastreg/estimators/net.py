"""The numbers of a fitted estimator in one buffer, and the engines that compute with them."""

import os
from contextlib import suppress
from itertools import pairwise

import numpy as np

from fastreg import kernels
from fastreg._core.engine import Engine
from fastreg.data import is_finite
from fastreg.errors import ModelStateError
from fastreg.estimators.outputs import OUTPUTS
from fastreg.estimators.regularizers import Regularizers
from fastreg.inference import Inference
from fastreg.layout import aligned_zeros
from fastreg.penalties import L2
from fastreg.plan import lower

_PLAIN = Regularizers()


class Net:
    """A network with its parameters.

    Parameters
    ----------
    units : tuple of int
        Columns of the input, of each hidden layer and of the output.
    activation, out_activation : str
        scikit-learn's names.
    dtype : dtype
    buffer : ndarray, optional
        All parameters, as they lie in another net of these units and this dtype; zeros at the start.

    Attributes
    ----------
    coefs, intercepts : tuples of views of `buffer`
    """

    def __init__(self, units, activation, out_activation, dtype, buffer=None):
        self.units, self.activation, self.out_activation = tuple(map(int, units)), activation, out_activation
        self.dtype, self.loss = np.dtype(dtype), OUTPUTS[out_activation]
        plan = self.plan()
        layout = self._layout = plan.layout
        if buffer is None:
            _check_memory(layout.n_parameters, self.dtype)
            buffer = aligned_zeros(layout.size, self.dtype)
        elif buffer.shape != (layout.size,) or buffer.dtype != self.dtype:
            raise ModelStateError(
                f"{buffer.dtype} parameters of shape {buffer.shape} are not those of units {self.units}"
            )
        self.buffer = buffer
        self.coefs, self.intercepts = self.views(self.buffer)
        # No `self` in there: what refers to itself is freed when Python looks for it, not when it is dropped.
        self._inference = Inference(lambda labels: Engine(plan, buffer), self.loss, units[-1], self.dtype)

    @property
    def n_outputs(self):
        return self.units[-1]

    def plan(self, optimizer=None, regularizers=_PLAIN):
        """Return the plan that trains with `optimizer` (None: no steps), so regularized."""
        layers = regularizers.layers(self.units, self.activation)
        return lower(
            layers, self.loss.smoothed(regularizers.label_smoothing), self.units[0], self.dtype,
            penalties={"*.weight": L2(regularizers.strength)}, optimizer=optimizer, labels=self.loss.labels,
        )  # fmt: skip

    def views(self, buffer):
        """Return the weights and the biases in a flat array like `buffer`."""
        views = tuple(self._layout.views(buffer).values())
        return views[: len(views) // 2], views[len(views) // 2 :]

    def holds(self, coefs, intercepts):
        """Whether these lists are this net's own arrays."""
        given, own = [*coefs, *intercepts], [*self.coefs, *self.intercepts]
        return len(given) == len(own) and all(a is b for a, b in zip(given, own, strict=True))

    def writable(self):
        """Return this net, or a copy if its numbers may not be written: a memory map of a file."""
        return self if self.buffer.flags.writeable else self.copied()

    def copied(self, **changes):
        """Return a net with the same numbers in a buffer of its own."""
        settings = {name: getattr(self, name) for name in ("units", "activation", "out_activation", "dtype")}
        net = Net(**settings | changes)
        net.assign(self.coefs, self.intercepts)
        return net

    def assign(self, coefs, intercepts):
        """Copy these numbers in."""
        for view, values in zip((*self.coefs, *self.intercepts), (*coefs, *intercepts), strict=True):
            view[...] = values

    def targets(self, y):
        """Return y (rows, outputs), for a classifier booleans, as the kernels take it."""
        if self.loss.labels:
            return np.ascontiguousarray(y.argmax(axis=1), dtype=np.int32)
        return np.ascontiguousarray(y, dtype=self.dtype)

    def raw_outputs(self, X, n_threads):
        """Return the outputs (rows, outputs) before their activation."""
        return self._inference.outputs(X, n_threads)

    def activate(self, outputs):
        """Apply the activation of the outputs in place."""
        if self.loss.link != "identity":
            getattr(kernels, self.loss.link)(outputs, outputs)
        return outputs

    def check_finite(self):
        """Demand that no parameter is NaN or infinite."""
        if is_finite(self.buffer):
            return
        for name, arrays in (("coefs_", self.coefs), ("intercepts_", self.intercepts)):
            for number, array in enumerate(arrays):
                bad = int((~np.isfinite(array)).sum())
                if bad:
                    raise ModelStateError(
                        f"{name}[{number}] has {bad} value(s) that are NaN or infinite: fit anew, with warm_start=False"
                    )


def _check_memory(n_parameters, dtype):
    """Demand that the parameters fit into this machine, before any are drawn: the system might grant what it lacks."""
    with suppress(AttributeError, ValueError, OSError):  # not every system tells
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        needed = n_parameters * dtype.itemsize
        if needed > memory > 0:
            raise MemoryError(
                f"hidden_layer_sizes: {n_parameters} weights need {needed / 2**30:.1f} GiB, this machine has"
                f" {memory / 2**30:.1f}"
            )


def net_of(coefs, intercepts, n_inputs, activation, out_activation):
    """Return a net with copies of these parameters, the first of `n_inputs` rows.

    Raises
    ------
    ModelStateError
        For shapes that make no network.
    """
    try:
        coefs, intercepts = ([np.asarray(a) for a in arrays] for arrays in (coefs, intercepts))
    except ValueError as error:
        raise ModelStateError(f"coefs_ and intercepts_ must be lists of arrays: {error}") from None
    if len(coefs) != len(intercepts) or not coefs:
        raise ModelStateError(f"coefs_ has {len(coefs)} arrays and intercepts_ {len(intercepts)}: one each per layer")
    units = [n_inputs]
    for number, (coef, intercept) in enumerate(zip(coefs, intercepts, strict=True)):
        for name, array in (("coefs_", coef), ("intercepts_", intercept)):
            if array.dtype.kind not in "biuf":
                raise ModelStateError(f"{name}[{number}] must hold real numbers, got dtype {array.dtype}")
        units.append(coef.shape[1] if coef.ndim == 2 else 0)
        if coef.shape != (units[-2], units[-1]) or not units[-1]:
            raise ModelStateError(f"coefs_[{number}] has shape {coef.shape}, expected ({units[-2]}, units)")
        if intercept.shape != (units[-1],):
            raise ModelStateError(f"intercepts_[{number}] has shape {intercept.shape}, expected ({units[-1]},)")
    single = all(array.dtype == np.float32 for array in (*coefs, *intercepts))
    net = Net(units, activation, out_activation, np.float32 if single else np.float64)
    net.assign(coefs, intercepts)
    return net


def draw(net, random_state, dtype):
    """Write scikit-learn's initial parameters (Glorot and Bengio, 2010), rounded to `dtype`, into the net."""
    factor = 2.0 if net.activation == "logistic" else 6.0
    for number, (fan_in, fan_out) in enumerate(pairwise(net.units)):
        bound = np.sqrt(factor / (fan_in + fan_out))
        net.coefs[number][...] = random_state.uniform(-bound, bound, (fan_in, fan_out)).astype(dtype, copy=False)
        net.intercepts[number][...] = random_state.uniform(-bound, bound, fan_out).astype(dtype, copy=False)
