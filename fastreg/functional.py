"""The textbook's functions: the formulas of four teaching texts under their own names, on compiled kernels.

A program that defines these functions itself can drop its definitions and put one line on top:

    from fastreg.functional import l2_gradient, l2_penalty, sigmoid, softmax

Where its names differ, it says so: `from fastreg.functional import relu_derivative as relu_dash`.

Arguments are numbers, lists or arrays of any shape, and stay as they are; results are new. A Python number gives a
Python float; float32 and float16 give float32, everything else float64. What is wrong with an argument is a ValueError
that says its name.

The texts
    000  Regularization example with simple Python: one sigmoid neuron, squared error, L2
    001  L1 and L2 regularization, step by step: ReLU, softmax and cross-entropy in NumPy (neuralthreads)
    002  L2 regularization (weight decay): the gradient 2 lambda w on weights only (SolveWithPython)
    003  Regularization techniques: L2, L1, dropout, early stopping, augmentation, label smoothing

What has no kernel is NumPy's: logarithm and quotient of the cross-entropy (the engine fuses it with the softmax, where
neither arises), soft labels, which are made once, and the draws of 003's masks, which are to be NumPy's own bits. The
engine's ways are `kernels.cross_entropy`, which takes logits, and `kernels.dropout`, whose masks are never stored.
"""

from collections.abc import Callable
from numbers import Integral

import numpy as np

from fastreg import kernels
from fastreg.checks import check_number
from fastreg.data import as_count, as_numbers

__all__ = [
    "augment_batch",
    "create_dropout_masks",
    "cross_entropy",
    "cross_entropy_derivative",
    "dropout",
    "l1_gradient",
    "l1_penalty",
    "l2_gradient",
    "l2_penalty",
    "regularized_loss",
    "relu",
    "relu_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "smooth_labels",
    "softmax",
    "softmax_derivative",
]


# ---- activations ----------------------------------------------------------------------------------------------------


def sigmoid(x):
    """Logistic function, ``1 / (1 + exp(-x))`` (text 000).

    Parameters
    ----------
    x : number or array
        Of any size: the exponential cannot overflow.

    Returns
    -------
    float or array like x
        In [0, 1], at most 2 ULP off (2.4 on machines without FMA).
    """
    return _mapped(kernels.sigmoid, x)


def sigmoid_derivative(x):
    """Slope of the logistic function, ``sigmoid(x) * (1 - sigmoid(x))`` (text 000).

    Parameters
    ----------
    x : number or array
        What goes into the sigmoid, not what comes out of it.

    Returns
    -------
    float or array like x
    """
    array = _floats("x", x)
    y, slope = np.empty_like(array), np.ones_like(array)
    kernels.sigmoid(y, array)
    kernels.sigmoid_gradient(slope, slope, y)
    return _returned(slope, x)


def relu(x, leak=0):
    """Rectifier, ``leak * x`` where x <= 0 and x elsewhere (text 001).

    Parameters
    ----------
    x : number or array
    leak : float, default 0
        The slope below zero.

    Returns
    -------
    float or array like x
    """
    leak = _leak(leak)
    return _mapped(kernels.leaky_relu, x, leak) if leak else _mapped(kernels.relu, x)


def relu_derivative(x, leak=0):
    """Slope of the rectifier, `leak` where x <= 0 and 1 elsewhere (text 001, `relu_dash`).

    Parameters
    ----------
    x : number or array
        What goes into the rectifier.
    leak : float, default 0

    Returns
    -------
    float or array like x
    """
    array = _floats("x", x)
    slope = np.ones_like(array)
    kernels.leaky_relu_gradient(slope, slope, array, _leak(leak))
    return _returned(slope, x)


def softmax(x, axis=None):
    """Softmax, ``exp(x) / sum(exp(x))`` (text 001), shifted by the maximum so that it cannot overflow.

    Parameters
    ----------
    x : number or array
    axis : int or None, default None
        What sums to 1: the whole array, as in text 001 for the column of one sample, or each slice along this axis.
        For a batch (rows, classes) it is 1.

    Returns
    -------
    float or array like x
    """
    array = _floats("x", x)
    if axis is None:
        return _returned(_softmax_last(array.reshape(-1)).reshape(array.shape), x)
    if not isinstance(axis, Integral) or not -array.ndim <= axis < array.ndim:
        raise ValueError(f"axis must be None or an axis of x, which has shape {array.shape}, got {axis!r}")
    result = _softmax_last(np.moveaxis(array, axis, -1))
    return np.ascontiguousarray(np.moveaxis(result, -1, axis))


def softmax_derivative(x):
    """Jacobian of the softmax over the whole array, ``s_i * (delta_ij - s_j)`` with s = softmax(x) (text 001).

    Parameters
    ----------
    x : array of n numbers
        The column (n, 1) of text 001, or any other shape in row order.

    Returns
    -------
    array (n, n)
        Symmetric; rows and columns sum to 0.
    """
    s = _softmax_last(_floats("x", x).reshape(-1))
    jacobian = np.eye(s.size, dtype=s.dtype)
    kernels.softmax_gradient(jacobian, jacobian, np.tile(s, (s.size, 1)))
    return jacobian


# ---- losses ---------------------------------------------------------------------------------------------------------


def cross_entropy(y_true, y_pred):
    """Categorical cross-entropy, ``-sum(y_true * log(y_pred + 1e-100))`` (text 001, `cross_E`).

    Parameters
    ----------
    y_true : number or array
        One-hot or soft targets.
    y_pred : number or array like y_true
        Probabilities, such as `softmax` gives.

    Returns
    -------
    float
        The sum over all elements; for the mean of a batch divide by its rows.

    Raises
    ------
    ValueError
        If y_pred has negative elements, or another shape than y_true.
    """
    y_true, y_pred = _probabilities(y_true, y_pred)
    return 0.0 - float(np.sum(y_true * np.log(y_pred + _tiny(y_pred)), dtype=np.float64))


def cross_entropy_derivative(y_true, y_pred):
    """Gradient of the cross-entropy in y_pred, ``-y_true / (y_pred + 1e-100)`` (text 001, `cross_E_grad`).

    Parameters
    ----------
    y_true, y_pred : number or array
        As for `cross_entropy`.

    Returns
    -------
    float or array like y_pred
    """
    target, prediction = _probabilities(y_true, y_pred)
    return _returned(0.0 - target / (prediction + _tiny(prediction)), y_true, y_pred)


def regularized_loss(y_true, y_pred, weights, lambda_reg=0.0):
    """Squared error with an L2 penalty, ``mean((y_true - y_pred)**2) + lambda_reg * sum(weights**2)``.

    Text 000, `compute_loss`, has one row and one output, where the mean is that row's squared error.

    Parameters
    ----------
    y_true, y_pred : number or array
        Of one shape, or one of them a number.
    weights : number, array, or list of either
        Such as ``[W1, W2]``, whose shapes may differ.
    lambda_reg : float >= 0, default 0.0

    Returns
    -------
    float

    Notes
    -----
    The gradient of the penalty is ``2 * lambda_reg * weights`` (`l2_gradient`); the program of text 000 reports this
    loss but steps with half of it.
    """
    target, prediction = _pair(y_true, y_pred)
    if not target.size:
        raise ValueError("y_true and y_pred are empty, and have no mean")
    strength = _strength(lambda_reg)
    row = (1, target.size)
    error = kernels.squared_error(None, prediction.reshape(row), target.reshape(row), output_weight=1 / target.size)
    return error + sum(kernels.l2(w, strength) for w in _tensors(weights))


# ---- penalties ------------------------------------------------------------------------------------------------------


def l1_penalty(weights, lambda_reg):
    """L1 penalty, ``lambda_reg * sum(|weights|)`` (texts 001 and 003).

    Parameters
    ----------
    weights : number or array
    lambda_reg : float >= 0

    Returns
    -------
    float
    """
    return kernels.l1(_floats("weights", weights), _strength(lambda_reg))


def l1_gradient(weights, lambda_reg):
    """Subgradient of the L1 penalty, ``lambda_reg * sign(weights)``, 0 at 0 (texts 001 and 003).

    Parameters
    ----------
    weights : number or array
    lambda_reg : float >= 0

    Returns
    -------
    float or array like weights
    """
    return _gradient(kernels.l1, weights, lambda_reg)


def l2_penalty(weights, lambda_reg):
    """L2 penalty, ``lambda_reg * sum(weights**2)`` (all four texts).

    Parameters
    ----------
    weights : number or array
    lambda_reg : float >= 0

    Returns
    -------
    float
    """
    return kernels.l2(_floats("weights", weights), _strength(lambda_reg))


def l2_gradient(weights, lambda_reg):
    """Gradient of the L2 penalty, ``2 * lambda_reg * weights`` (texts 001, 002 and 003).

    Parameters
    ----------
    weights : number or array
    lambda_reg : float >= 0

    Returns
    -------
    float or array like weights
    """
    return _gradient(kernels.l2, weights, lambda_reg)


# ---- dropout and labels ---------------------------------------------------------------------------------------------


def dropout(x, p=0.5, training=True, *, rng=None):
    """Inverted dropout, ``x * mask / (1 - p)`` with a mask of 0 (probability p) and 1 (text 003).

    Parameters
    ----------
    x : number or array
    p : float in [0, 1), default 0.5
        Probability that an element becomes 0.
    training : bool, default True
        At inference, False, the result is a copy of x: the scaling has been done in training. (The prose of text 003
        scales at inference; its program does not.)
    rng : numpy.random.Generator or RandomState, optional
        Draws the mask. None is NumPy's global state, as in text 003: the same np.random.seed gives the same bits.

    Returns
    -------
    float or array like x
    """
    array, p, binomial = _floats("x", x), check_number("p", p, "[0, 1)"), _drawer(rng, "binomial")
    if not training:
        return _returned(array.copy(), x)
    mask = np.asarray(binomial(1, 1 - p, size=array.shape), dtype=array.dtype)
    return _returned(array * mask / array.dtype.type(1 - p), x)


def create_dropout_masks(layer_sizes, dropout_rates, *, rng=None):
    """One inverted dropout mask per layer: 0 with the layer's rate, else 1 / (1 - rate) (text 003).

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer.
    dropout_rates : sequence of float in [0, 1)
        As many. A layer of rate 0 has a mask of ones, and draws nothing.
    rng : numpy.random.Generator or RandomState, optional
        As for `dropout`.

    Returns
    -------
    list of float64 arrays (size,)
    """
    sizes = [as_count(f"layer_sizes[{i}]", size, low=0) for i, size in enumerate(layer_sizes)]
    rates = [check_number(f"dropout_rates[{i}]", rate, "[0, 1)") for i, rate in enumerate(dropout_rates)]
    if len(sizes) != len(rates):
        raise ValueError(
            f"layer_sizes has {len(sizes)} entries but dropout_rates has {len(rates)}; each layer needs one"
        )
    binomial = _drawer(rng, "binomial")
    return [
        binomial(1, 1 - rate, size=size) / (1 - rate) if rate else np.ones(size) for size, rate in zip(sizes, rates)
    ]


def smooth_labels(labels, num_classes, smoothing=0.1):
    """Soft targets of integer labels: 1 - smoothing for the true class, the rest shared by the others (text 003).

    Parameters
    ----------
    labels : int or array of ints
        Classes 0..num_classes-1.
    num_classes : int >= 2
    smoothing : float in [0, 1], default 0.1

    Returns
    -------
    float64 array (*labels.shape, num_classes)
        Rows of sum 1, such as `Network.fit` takes for cross-entropy.

    Notes
    -----
    The other classes have ``smoothing / (num_classes - 1)`` each, as in the program of text 003: [0.05, 0.05, 0.9] for
    class 2 of 3. The prose of 003 has [0.033, 0.033, 0.933]: all classes share `smoothing`, the true one as well. That
    convention (PyTorch, Keras) is ``smooth_labels(labels, C, smoothing * (C - 1) / C)``.
    """
    classes, smoothing = as_count("num_classes", num_classes, low=2), check_number("smoothing", smoothing, "[0, 1]")
    labels = _labels(labels, classes)
    soft = np.full((*labels.shape, classes), smoothing / (classes - 1))
    np.put_along_axis(soft, labels[..., np.newaxis], 1 - smoothing, axis=-1)
    return soft


_TRANSFORMS: dict[
    str, Callable[[np.ndarray], np.ndarray]
] = {  # of an image (height, width[, channels]), in the order of text 003
    "flip_h": lambda image: image[:, ::-1],
    "flip_v": lambda image: image[::-1],
    "rotate_90": np.rot90,
    "rotate_180": lambda image: image[::-1, ::-1],
    "crop_center": lambda image: _cropped(image),
    "brightness_up": lambda image: _brightened(image, 1.2),
    "brightness_down": lambda image: _brightened(image, 0.8),
}


def augment_batch(images, labels, augmentation_factor=4, *, rng=None):
    """Each image, and behind it `augmentation_factor` - 1 different transforms of it, with its label (text 003).

    The transforms are flip_h and flip_v (left and right, top and bottom change places), rotate_90 (counterclockwise),
    rotate_180, crop_center (what is not in the middle four fifths of height and width becomes 0), brightness_up and
    brightness_down (times 1.2 and 0.8; integers are rounded and kept in their type's range).

    Parameters
    ----------
    images : sequence, or array (n, height, width) or (n, height, width, channels)
        Of an array, the images must be square where rotate_90 is among what is drawn. Names of images, as in the text's
        simulation, get the transform's name behind their own.
    labels : sequence of as many
    augmentation_factor : int in 1..8, default 4
    rng : numpy.random.Generator or RandomState, optional
        What draws; None is NumPy's global state, as in the text.

    Returns
    -------
    images, labels : lists of n * augmentation_factor, or arrays where arrays were given

    See Also
    --------
    fastreg.augment : augmentation while a network is trained, other images every epoch.
    """
    factor, choice = as_count("augmentation_factor", augmentation_factor), _drawer(rng, "choice")
    if factor > len(_TRANSFORMS) + 1:
        raise ValueError(f"augmentation_factor must be at most {len(_TRANSFORMS) + 1}, got {factor}: transforms differ")
    if len(images) != len(labels):
        raise ValueError(f"images and labels must be as many, got {len(images)} and {len(labels)}")
    all_images, all_labels = [], []
    for image, label in zip(images, labels, strict=True):
        names = choice(list(_TRANSFORMS), factor - 1, replace=False)
        all_images += [image, *(_augmented(image, name) for name in names)]
        all_labels += [label] * factor
    return _like(images, all_images), _like(labels, all_labels)


def _augmented(image, name):
    return f"{image}_{name}" if isinstance(image, str) else _TRANSFORMS[name](as_numbers("images", image))


def _cropped(image):
    height, width = (round(0.1 * side) for side in image.shape[:2])
    cropped = np.zeros_like(image)
    middle = np.s_[height : image.shape[0] - height, width : image.shape[1] - width]
    cropped[middle] = image[middle]
    return cropped


def _brightened(image, factor):
    if image.dtype.kind not in "iu":
        return (image * factor).astype(image.dtype)
    limits = np.iinfo(image.dtype)
    return np.clip(np.rint(image * factor), limits.min, limits.max).astype(image.dtype)


def _like(given, results):
    """Return results as the list or the array that was given."""
    if not isinstance(given, np.ndarray):
        return results
    shapes = {np.shape(result) for result in results}
    if len(shapes) > 1:
        raise ValueError(f"rotate_90 makes images of shapes {sorted(shapes)}: an array needs square ones, or a list")
    return np.array(results, given.dtype)


# ---- what goes in, and what comes out -------------------------------------------------------------------------------


def _floats(name, values):
    """Return `values` as a contiguous array for the kernels: float32 where they are, else float64."""
    array = as_numbers(name, values)
    single = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return np.require(array, np.float32 if single else np.float64, ["C", "A"])


def _returned(result, *given):
    """Return `result` as what was given: an array; of numbers a number, NumPy's own where one was."""
    if np.ndim(result):
        return result
    return result[()] if any(isinstance(value, np.ndarray | np.generic) for value in given) else float(result)


def _mapped(kernel, x, *numbers):
    array = _floats("x", x)
    out = np.empty_like(array)
    kernel(out, array, *numbers)
    return _returned(out, x)


def _gradient(kernel, weights, lambda_reg):
    array = _floats("weights", weights)
    gradient = np.zeros_like(array)
    kernel(array, _strength(lambda_reg), gradient)
    return _returned(gradient, weights)


def _softmax_last(x):
    """Return the softmax over the last axis in a new, contiguous array."""
    out = np.array(x, order="C")
    if out.size:
        rows = out.reshape(-1, out.shape[-1])
        kernels.softmax(rows, rows)
    return out


def _pair(y_true, y_pred):
    """Return both as contiguous arrays of one shape and dtype."""
    arrays = _floats("y_true", y_true), _floats("y_pred", y_pred)
    shapes = {array.shape for array in arrays if array.ndim}
    if len(shapes) > 1:
        raise ValueError(
            f"y_true has shape {arrays[0].shape} but y_pred has shape {arrays[1].shape}; they must be equal"
        )
    shape, dtype = shapes.pop() if shapes else (), np.result_type(*arrays)
    return tuple(np.require(np.broadcast_to(array, shape), dtype, ["C", "A"]) for array in arrays)


def _probabilities(y_true, y_pred):
    """Return the pair if its predictions have a logarithm."""
    y_true, y_pred = _pair(y_true, y_pred)
    if (y_pred < 0).any():
        raise ValueError(
            f"y_pred must be probabilities, got {y_pred[y_pred < 0][0]}; for raw outputs use softmax first"
        )
    return y_true, y_pred


def _tiny(array):
    """Return text 001's 1e-100, or the smallest normal number where that is larger, as in float32."""
    return max(1e-100, float(np.finfo(array.dtype).tiny))


def _tensors(weights):
    """Return the weights of all layers as arrays for the kernels."""
    if isinstance(weights, list | tuple) and any(isinstance(w, np.ndarray) for w in weights):
        return [_floats(f"weights[{i}]", w) for i, w in enumerate(weights)]
    return [_floats("weights", weights)]


def _leak(leak):
    return check_number("leak", leak, "(-inf, inf)")


def _strength(lambda_reg):
    return check_number("lambda_reg", lambda_reg, "[0, inf)")


def _drawer(rng, method):
    """Return the method that draws; None is NumPy's global state, which nothing else in fastreg touches."""
    if rng is None:
        return getattr(np.random, method)
    if isinstance(rng, np.random.Generator | np.random.RandomState):
        return getattr(rng, method)
    raise ValueError(f"rng must be None or a generator such as np.random.default_rng(0), got {rng!r}")


def _labels(labels, classes):
    """Return the labels as integers, all of them below `classes`."""
    array = as_numbers("labels", labels)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"labels must be integers 0..{classes - 1}, got {array.dtype}")
    bad = (array < 0) | (array >= classes)
    if bad.any():
        raise ValueError(f"labels must be integers 0..{classes - 1} for num_classes={classes}, got {array[bad][0]}")
    return array.astype(np.intp)
