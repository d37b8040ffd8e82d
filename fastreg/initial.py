"""Initial weights: uniform numbers of the network's own random stream, scaled to the layer's width."""

from math import prod, sqrt

import numpy as np

from fastreg import reference
from fastreg.checks import check_name

STREAM = 2  # of the Philox counter: 0 is dropout, 1 the order of rows


def he_uniform(shape, uniform):
    """U(-b, b) with b = sqrt(6 / inputs), for ReLUs (He et al., 2015)."""
    return _symmetric(sqrt(6 / shape[0]), shape, uniform)


def glorot_uniform(shape, uniform):
    """U(-b, b) with b = sqrt(6 / (inputs + units)) (Glorot and Bengio, 2010)."""
    return _symmetric(sqrt(6 / sum(shape)), shape, uniform)


def lecun_uniform(shape, uniform):
    """U(-b, b) with b = sqrt(3 / inputs): outputs of variance 1 (LeCun et al., 1998)."""
    return _symmetric(sqrt(3 / shape[0]), shape, uniform)


def zeros(shape, uniform):
    """All weights 0."""
    return np.zeros(shape)


_SCHEMES = {scheme.__name__: scheme for scheme in (he_uniform, glorot_uniform, lecun_uniform, zeros)}

_AUTO = {"relu": he_uniform, "leaky_relu": he_uniform, "selu": lecun_uniform}  # by activation


def check_init(init):
    """Return `init` if it is a scheme's name or a callable; arrays become read-only float64 copies."""
    if isinstance(init, str):
        return check_name("init", init, ("auto", *_SCHEMES))
    if callable(init):
        return init
    try:
        if init is None or np.iscomplexobj(init):
            raise TypeError
        weight = np.array(init, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"init must be a scheme's name, an array or a callable, got {init!r}") from None
    weight.flags.writeable = False
    return weight


def initial_weight(init, shape, activation, *, seed, layer):
    """Return the initial weights, of `shape` (inputs, units), of the dense layer numbered `layer`."""
    if isinstance(init, str):
        init = _SCHEMES.get(init, _AUTO.get(activation, glorot_uniform))
    weight = init(shape, _uniform_stream(seed, layer)) if callable(init) else init
    weight = np.asarray(weight, dtype=np.float64)
    if weight.shape != tuple(shape):
        raise ValueError(f"init of layer {layer} has shape {weight.shape}, its weights have {tuple(shape)}")
    return weight


def write_initial_weights(buffer, plan, layers, *, seed, ones=()):
    """Fill the flat `buffer` with the initial parameters of `layers`, flat, which were lowered to `plan`.

    Vectors begin with zeros, those with a name in `ones` with ones.
    """
    buffer[:] = 0  # with the gaps
    named = plan.layout.views(buffer)
    views = list(named.values())  # all weights come first
    for name in ones:
        named[name][...] = 1
    dense = [record for record in plan.forward if record["op"] == b"dense"]
    inits = [layer.init for layer in layers if hasattr(layer, "init")]
    for number, (init, record) in enumerate(zip(inits, dense, strict=True)):
        activation = record["kernel"].decode()
        weight = initial_weight(init, views[number].shape, activation, seed=seed, layer=number)
        with np.errstate(over="ignore"):  # found, and said, here
            views[number][...] = weight
        if not np.isfinite(views[number]).all():
            raise ValueError(f"init of layer {number} contains NaN or infinity in {buffer.dtype}")


def _symmetric(bound, shape, uniform):
    return (2 * uniform(shape) - 1) * bound


def _uniform_stream(seed, layer):
    """Return `uniform(shape)`: successive doubles in [0, 1) of 53 bits, two random words each."""
    block = 0

    def uniform(shape):
        nonlocal block
        size = prod(np.atleast_1d(shape).tolist())
        words = np.empty(-(-2 * size // 4) * 4, np.uint32)
        reference.random_words(words, seed=seed, stream=STREAM << 16 | layer, first_block=block)
        block += words.size // 4
        high, low = words[: 2 * size].reshape(-1, 2).T
        return ((high >> 5) * 2.0**26 + (low >> 6)).reshape(shape) / 2.0**53

    return uniform
