"""Forward and backward segments, bound to a number of rows.

Every record becomes calls without arguments over views of preallocated slots. A step then is a walk through
lists of calls: no name is looked up and no shape computed in it.
"""

from functools import partial

import numpy as np

from fastreg.ops import NONE
from fastreg.reference import kernels
from fastreg.reference import noise as kernels_of_noise
from fastreg.reference.philox import Masks, Philox, threshold_and_scale

_MASKED = (b"dropout", b"relu")  # kernels whose masks are drawn for many steps at once


class Noise:
    """The random numbers of all layers, at the step that `step` says: the masks of dropouts, and the keys of the rest.

    The first row of a pass is the table's row `first_row`. `numbers` has a row of the plan's scalars for each step from
    the first one on, where they change.
    """

    def __init__(self, plan, rows, seed, step, n_steps=1, numbers=None):
        self.step, self.first_row = step, 0
        self._seed, self._scalars = seed, plan.scalars
        self._layers = {}
        philox = None
        dropouts = np.isin(plan.forward["op"], (b"dense", b"noise")) & np.isin(plan.forward["kernel"], _MASKED)
        for record in plan.forward[dropouts & (plan.forward["rate"] != NONE)]:
            rates, layer = (plan.scalars if numbers is None else numbers.T)[record["rate"]], int(record["layer"])
            if np.any(threshold_and_scale(rates)[0]):
                philox = philox or Philox(seed)
                shape = rows, int(record["n_out"])
                self._layers[layer] = Masks(philox, shape, rates, layer, n_steps, step)

    def masks(self, record):
        """Return the `Masks` of an operation, None where it drops nothing."""
        return self._layers.get(int(record["layer"]))

    def rate(self, record):
        return float(self._scalars[record["rate"]])

    def key(self, record):
        """Return what a kernel of noise is called with."""
        return {"seed": self._seed, "step": self.step, "layer": int(record["layer"])}


class Pass:
    """A batch's way through the network and back.

    Parameters
    ----------
    plan : fastreg.plan.Plan
    params : ndarray, flat
    rows : int
    gradient : ndarray, flat, optional
        What `backward` writes. Without it the pass is one of inference, by running statistics.
    noise : Noise, optional
        Without it nothing is dropped.

    Attributes
    ----------
    x : ndarray (rows, n_inputs)
        To be filled.
    outputs : ndarray (rows, n_outputs)
        Raw, after `forward`.
    loss : callable (dz, z, targets, weights, scale) -> float
    """

    def __init__(self, plan, params, rows, gradient=None, noise=None):
        self.rows, self.noise, self.training = rows, noise, gradient is not None
        self.slopes = {}  # by dropout layer: what multiplies its gradient, kept from the way forward
        self.masked = {}  # by where they start: weights of which some are dropped
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
    weight, bias = _weight_and_bias(record, bound.params)
    yield partial(kernels.gemm_nn, y, x, bound.masked.get(int(record["weight"]), weight), bias)
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
        weight = bound.masked.get(int(record["weight"]), weight)
        dx = bound.slot(record["dx"], record["n_in"])
        yield partial(kernels.gemm_nt, dx, dy, weight, accumulate=bool(record["accumulate"]))


def _drop_connect(record, bound):
    if bound.noise:
        weight, _ = _weight_and_bias(record, bound.params)
        masked = bound.masked[int(record["weight"])] = np.empty_like(weight)
        yield _noisy(record, bound.noise, masked, weight)


def _drop_connect_backward(record, bound):
    dweight, _ = _weight_and_bias(record, bound.gradient_of_params)
    yield _noisy(record, bound.noise, dweight, dweight)


def _activation(record, bound):
    yield _elementwise(record, *_slots(record, bound, "y", "x"))


def _activation_backward(record, bound):
    yield _elementwise(record, *_slots(record, bound, "dx", "dy", "y"))


def _add(record, bound):
    yield partial(kernels.add, *_slots(record, bound, "y", "x", "skip"))


def _noise(record, bound):
    x, y = _slots(record, bound, "x", "y")
    if bound.noise and record["kernel"] not in _MASKED:
        yield _rows_noisy(record, bound, y, x)
        return
    if record["x"] != record["y"]:
        yield partial(np.copyto, y, x)
    drop = _drop(record, bound, y)
    if drop:
        yield drop


def _noise_backward(record, bound):
    dx, dy = _slots(record, bound, "dx", "dy")
    if record["kernel"] not in _MASKED:
        yield _rows_noisy(record, bound, dx, dy)
        return
    slope = bound.slopes.get(int(record["layer"]), 1)
    yield partial(np.multiply, dy, slope, dx)


def _rows_noisy(record, bound, y, x):
    """Return the call of a noise in the rows of the batch."""
    if record["kernel"] != b"swap_noise":
        return _noisy(record, bound.noise, y, x, rows=True)
    return _noisy(record, bound.noise, y, x) if bound.training else partial(np.copyto, y, x)


def _noisy(record, noise, y, x, rows=False):
    kernel = getattr(kernels_of_noise, record["kernel"].decode())
    value = {"value": float(record["alpha"])} if record["kernel"] == b"feature_mask" else {}

    def call():
        place = {"first_row": noise.first_row} if rows else {}
        kernel(y, x, noise.rate(record), **value, **place, **noise.key(record))

    return call


def _drop(record, bound, x, *, behind_relu=False):
    """Return the call that drops units of x in place; None at inference, or where nothing is dropped.

    Behind a ReLU it does the ReLU too: one product with the slope of both is cheaper than two passes, and the
    same product is all that the way back takes.
    """
    masks = bound.noise.masks(record) if bound.noise else None
    if masks is None:
        return None
    noise, rows = bound.noise, bound.rows
    slope = bound.slopes[int(record["layer"])] = np.empty_like(x)

    def drop():
        stays = masks.at(noise.step, noise.first_row + rows)[noise.first_row :]
        if behind_relu:
            stays = np.logical_and(stays, x > 0)
        np.multiply(stays, masks.scale_at(noise.step), out=slope, dtype=slope.dtype)
        np.multiply(x, slope, out=x)

    return drop


def _moments(record, bound):
    if not bound.training:
        return
    mean, variance = _statistics(record, bound.gradient_of_params)
    yield partial(kernels.column_moments, mean, variance, *_slots(record, bound, "x"))
    if bound.rows < 2:  # one row has no variance: the running one stays
        yield partial(np.copyto, variance, _statistics(record, bound.params)[1])


def _norm(record, bound):
    settings = _norm_settings(record, bound)
    yield _norm_call(record, _slots(record, bound, "y", "x"), _vectors(record, bound.params), settings)


def _norm_sums(record, bound):
    sums = _vectors(record, bound.gradient_of_params)
    yield _norm_call(record, sums, _slots(record, bound, "dy", "x"), _norm_settings(record, bound))


def _norm_backward(record, bound):
    arrays = _slots(record, bound, "dx", "dy", "x"), _vectors(record, bound.params)[:1]
    settings = _norm_settings(record, bound)
    sums = _vectors(record, bound.gradient_of_params) if settings["statistics"] else []
    yield _norm_call(record, arrays[0], [*arrays[1], *sums], settings)


def _norm_call(record, first, second, settings):
    kernel = getattr(kernels, record["kernel"].decode())
    return partial(kernel, *first, *second, *settings["statistics"], **settings["numbers"])


def _norm_settings(record, bound):
    """Return by what columns are normalized, and the numbers that the kernels take."""
    numbers = {"epsilon": float(record["alpha"])}
    if record["mean"] == NONE:
        return {"statistics": [], "numbers": numbers}
    if bound.training:
        numbers["correction"] = (bound.rows - 1) / bound.rows if bound.rows else 1.0
    buffer = bound.gradient_of_params if bound.training else bound.params
    return {"statistics": _statistics(record, buffer), "numbers": numbers}


def _vectors(record, buffer):
    return [buffer[record[name] :][: record["n_out"]] for name in ("weight", "bias")]


def _statistics(record, buffer):
    return [buffer[record[name] :][: record["n_out"]] for name in ("mean", "variance")]


def _slots(record, bound, *names):
    return [bound.slot(record[name], record["n_out"]) for name in names]


_BINDERS = {
    b"dense": _dense,
    b"activation": _activation,
    b"noise": _noise,
    b"add": _add,
    b"drop_connect": _drop_connect,
    b"moments": _moments,
    b"norm": _norm,
    b"dense_backward": _dense_backward,
    b"activation_backward": _activation_backward,
    b"noise_backward": _noise_backward,
    b"drop_connect_backward": _drop_connect_backward,
    b"norm_sums": _norm_sums,
    b"norm_backward": _norm_backward,
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
