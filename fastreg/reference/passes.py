"""Forward and backward segments, bound to a number of rows.

Every record becomes calls without arguments over views of preallocated slots. A step then is a walk through
lists of calls: no name is looked up and no shape computed in it.
"""

from functools import partial

import numpy as np

from fastreg.ops import NONE
from fastreg.reference import kernels
from fastreg.reference.philox import Masks, Philox, threshold_and_scale


class Noise:
    """The dropout masks of all layers, at the step that `step` says."""

    def __init__(self, plan, rows, seed, step, n_steps=1):
        self.step = step
        self._layers = {}
        philox = None
        for record in plan.forward[plan.forward["rate"] != NONE]:
            rate, layer = float(plan.scalars[record["rate"]]), int(record["layer"])
            if threshold_and_scale(rate)[0] > 0:
                philox = philox or Philox(seed)
                shape = rows, int(record["n_out"])
                self._layers[layer] = Masks(philox, shape, rate, layer, n_steps)

    def masks(self, record):
        """Return the `Masks` of an operation, None where it drops nothing."""
        return self._layers.get(int(record["layer"]))


class Pass:
    """A batch's way through the network and back.

    Parameters
    ----------
    plan : fastreg.plan.Plan
    params : ndarray, flat
    rows : int
    gradient : ndarray, flat, optional
        What `backward` writes. Without it the pass is one of inference: nothing is dropped.
    noise : Noise, optional

    Attributes
    ----------
    x : ndarray (rows, n_inputs)
        To be filled.
    outputs : ndarray (rows, n_outputs)
        Raw, after `forward`.
    loss : callable (dz, z, targets, weights, scale) -> float
    """

    def __init__(self, plan, params, rows, gradient=None, noise=None):
        self.rows, self.noise = rows, noise
        self.slopes = {}  # by dropout layer: what multiplies its gradient, kept from the way forward
        self.params, self.gradient_of_params = params, gradient
        self._slots = [np.empty(rows * width, plan.dtype) for width in plan.slots]
        self.x = self.slot(0, plan.n_inputs)
        self.outputs = self.slot(plan.output, plan.n_outputs)
        self._dz = self.slot(plan.loss[0]["dy"], plan.n_outputs)
        self.loss = plan.own_loss or _loss(plan.loss[0], plan.scalars)
        self._forward = _bind(plan.forward, self)
        self._backward = _bind(plan.backward, self) if gradient is not None else []

    def forward(self):
        for call in self._forward:
            call()

    def forward_and_loss(self, targets, weights, scale):
        """Return sum w_i l_i, and leave the gradient of the outputs in its slot."""
        self.forward()
        return self.loss(self._dz, self.outputs, targets, weights, scale)

    def backward(self):
        for call in self._backward:
            call()

    def slot(self, number, columns):
        """Return a slot as (rows, columns); gradients are packed to the width of their layer."""
        return self._slots[number][: self.rows * columns].reshape(self.rows, columns)


def _bind(segment, bound):
    return [call for record in segment for call in _BINDERS[record["op"]](record, bound)]


def _dense(record, bound):
    x, y = bound.slot(record["x"], record["n_in"]), bound.slot(record["y"], record["n_out"])
    yield partial(kernels.gemm_nn, y, x, *_weight_and_bias(record, bound.params))
    drop = _drop(record, bound, y, behind_relu=True)
    if drop:
        yield drop
    elif record["kernel"]:
        yield _elementwise(record, y, y)


def _dense_backward(record, bound):
    x, dy = bound.slot(record["x"], record["n_in"]), bound.slot(record["dy"], record["n_out"])
    if int(record["layer"]) in bound.slopes:
        yield partial(np.multiply, dy, bound.slopes[int(record["layer"])], dy)
    elif record["kernel"]:
        yield _elementwise(record, dy, dy, bound.slot(record["y"], record["n_out"]))
    dweight, dbias = _weight_and_bias(record, bound.gradient_of_params)
    yield partial(kernels.gemm_tn, dweight, x, dy)
    if dbias is not None:
        yield partial(kernels.column_sum, dbias, dy)
    if record["dx"] != NONE:
        weight, _ = _weight_and_bias(record, bound.params)
        dx = bound.slot(record["dx"], record["n_in"])
        yield partial(kernels.gemm_nt, dx, dy, weight, accumulate=bool(record["accumulate"]))


def _activation(record, bound):
    yield _elementwise(record, *_slots(record, bound, "y", "x"))


def _activation_backward(record, bound):
    yield _elementwise(record, *_slots(record, bound, "dx", "dy", "y"))


def _dropout(record, bound):
    x, y = _slots(record, bound, "x", "y")
    if record["x"] != record["y"]:
        yield partial(np.copyto, y, x)
    drop = _drop(record, bound, y)
    if drop:
        yield drop


def _dropout_backward(record, bound):
    dx, dy = _slots(record, bound, "dx", "dy")
    slope = bound.slopes.get(int(record["layer"]), 1)
    yield partial(np.multiply, dy, slope, dx)


def _drop(record, bound, x, *, behind_relu=False):
    """Return the call that drops units of x in place; None at inference, or where nothing is dropped.

    Behind a ReLU it does the ReLU too: one product with the slope of both is cheaper than two passes, and the
    same product is all that the way back takes.
    """
    masks = bound.noise.masks(record) if bound.noise else None
    if masks is None:
        return None
    noise, rows, scale = bound.noise, bound.rows, masks.scale
    slope = bound.slopes[int(record["layer"])] = np.empty_like(x)

    def drop():
        stays = masks.at(noise.step, rows)
        if behind_relu:
            stays = np.logical_and(stays, x > 0)
        np.multiply(stays, scale, out=slope, dtype=slope.dtype)
        np.multiply(x, slope, out=x)

    return drop


def _slots(record, bound, *names):
    return [bound.slot(record[name], record["n_out"]) for name in names]


_BINDERS = {
    b"dense": _dense,
    b"activation": _activation,
    b"dropout": _dropout,
    b"dense_backward": _dense_backward,
    b"activation_backward": _activation_backward,
    b"dropout_backward": _dropout_backward,
}

_ALPHA = {b"leaky_relu": "leak", b"leaky_relu_gradient": "leak", b"relu_gradient": "scale"}


def _elementwise(record, *arrays):
    """Return the call of an activation or its gradient; alpha goes to those that have a use for it."""
    name = record["kernel"]
    named = {_ALPHA[name]: float(record["alpha"])} if name in _ALPHA else {}
    return partial(getattr(kernels, name.decode()), *arrays, **named)


_SMOOTHED = ("taken", "spread")
_NUMBERS = {
    b"cross_entropy": _SMOOTHED,
    b"cross_entropy_labels": _SMOOTHED,
    b"binary_cross_entropy": ("smoothing",),
    b"huber": ("delta",),
}


def _loss(record, scalars):
    """Return the loss's kernel; those without an output weight always have the weight 1. Its numbers may change."""
    kernel, own = getattr(kernels, record["kernel"].decode()), scalars[record["strength"] :]
    kernel = kernel if record["alpha"] == 1 else partial(kernel, output_weight=float(record["alpha"]))
    if record["strength"] == NONE:
        return kernel
    if record["kernel"] == b"quantile":
        return partial(_with_levels, kernel, own[: record["n_out"]])
    names = _NUMBERS[record["kernel"]]
    return lambda *batch: kernel(*batch, **dict(zip(names, own.tolist(), strict=False)))


def _with_levels(kernel, levels, dz, z, targets, weights=None, scale=1.0):
    return kernel(dz, z, targets, levels.astype(z.dtype), weights, scale)


def _weight_and_bias(record, buffer):
    n_in, n_out = int(record["n_in"]), int(record["n_out"])
    weight = buffer[record["weight"] :][: n_in * n_out].reshape(n_in, n_out)
    bias = buffer[record["bias"] :][:n_out] if record["bias"] != NONE else None
    return weight, bias
