"""Layers: frozen descriptions without maths. A layer lowers itself by calling the plan's builder.

Where a new layer goes: one frozen dataclass here with a `lower`; a verb that the builder lacks goes there.
"""

from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from numbers import Integral
from typing import Any

import numpy as np

from fastreg.checks import brief, check_name, check_number
from fastreg.initial import check_init
from fastreg.penalties import Penalty, as_penalty
from fastreg.schedules import Schedule, as_schedule

ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "softmax", "selu")
_SYNONYMS = {"linear": "identity", "logistic": "sigmoid"}
_INTERVALS = {"rate": "[0, 1)", "sigma": "[0, inf)", "value": "(-inf, inf)"}  # of noise


class Layer:
    """What every layer can do."""

    def lower(self, builder):
        """Add the layer to the plan by calling the `fastreg.builder.Builder`."""
        raise NotImplementedError(f"{type(self).__name__}.lower(builder) must call the builder")


@dataclass(frozen=True)
class Activation(Layer):
    """An activation function: a layer of its own, or the `activation` of a `Dense`.

    Parameters
    ----------
    name : {"identity", "relu", "leaky_relu", "sigmoid", "tanh", "softmax", "selu"}
        "linear" means "identity", "logistic" means "sigmoid". Softmax acts on each row. "selu" keeps mean 0 and
        variance 1 from layer to layer (Klambauer et al., 2017), with init "auto" and standardized inputs.
    leak : float > 0, default 0.01
        The slope of "leaky_relu" below zero.
    """

    name: str
    leak: float = 0.01

    def __post_init__(self):
        check_name("activation", self.name, (*ACTIVATIONS, *_SYNONYMS))
        object.__setattr__(self, "name", _SYNONYMS.get(self.name, self.name))
        object.__setattr__(self, "leak", check_number("leak", self.leak, "(0, inf)"))
        if self.leak != 0.01 and self.name != "leaky_relu":
            raise ValueError(f"leak belongs to 'leaky_relu'; {self.name!r} has none")

    def lower(self, builder):
        builder.activation(self)


class Parametric(Layer):
    """A layer with parameters, which are called by its `name`, or by its number among such layers."""

    name: str | None


class Noise(Layer):
    """A layer that acts in training, and in predictions from samples. Its settings are among `_INTERVALS`."""

    schedule: Schedule | None = None

    def __post_init__(self):
        for name, interval in _INTERVALS.items():
            if hasattr(self, name):
                object.__setattr__(self, name, check_number(name, getattr(self, name), interval))
        as_schedule(f"{type(self).__name__} schedule", self.schedule)

    __repr__ = brief


@dataclass(frozen=True, repr=False)
class Dropout(Noise):
    """Inverted dropout: in training each unit is 0 with probability `rate`, the others are scaled up.

    Before the first `Dense` it drops inputs. At inference it does nothing. (Srivastava et al., 2014.)

    Parameters
    ----------
    rate : float in [0, 1)
        Used to 1/65536; kept units are scaled by 1 / (1 - rate).
    schedule : Schedule, optional
        Multiplies the rate step by step, such as `FlatCosine()`.
    """

    rate: float
    schedule: Schedule | None = field(default=None, kw_only=True)

    def lower(self, builder):
        builder.dropout(self.rate, self.schedule)


@dataclass(frozen=True, repr=False)
class GaussianNoise(Noise):
    """Additive noise: in training x + sigma * z, z being independent standard normal numbers. (Bishop, 1995.)

    Parameters
    ----------
    sigma : float >= 0
    schedule : Schedule, optional
        As for `Dropout`.
    """

    sigma: float
    schedule: Schedule | None = field(default=None, kw_only=True)

    def lower(self, builder):
        builder.noise("gaussian_noise", self.sigma, self.schedule)


@dataclass(frozen=True, repr=False)
class MultiplicativeNoise(Noise):
    """Multiplicative noise of mean 1: in training x * (1 + sigma * z), z being independent standard normal numbers.

    sigma = sqrt(rate / (1 - rate)) has the mean and variance of a dropout. (Srivastava et al., 2014, section 10;
    "GaussianDropout" of Keras.)

    Parameters
    ----------
    sigma : float >= 0
    schedule : Schedule, optional
        As for `Dropout`.
    """

    sigma: float
    schedule: Schedule | None = field(default=None, kw_only=True)

    def lower(self, builder):
        builder.noise("multiplicative_noise", self.sigma, self.schedule)


@dataclass(frozen=True, repr=False)
class FeatureMask(Noise):
    """In training each number becomes `value` with probability `rate`; unlike in `Dropout` the others stay as they are.

    For tables: what is masked looks like a missing value that was filled with `value`. (Vincent et al., 2008.)

    Parameters
    ----------
    rate : float in [0, 1)
        Used to 1/65536.
    value : float, default 0
        The mean of a standardized column.
    schedule : Schedule, optional
        As for `Dropout`.
    """

    rate: float
    value: float = 0.0
    schedule: Schedule | None = field(default=None, kw_only=True)

    def lower(self, builder):
        builder.noise("feature_mask", self.rate, self.schedule, value=self.value)


@dataclass(frozen=True, repr=False)
class SwapNoise(Noise):
    """In training each number of the input becomes, with probability `rate`, that of another row in its column.

    All other rows of the batch are equally likely, so each column keeps its distribution. It must stand before all
    layers with parameters, and changes no predictions, not even those from samples. (The denoising autoencoder of
    M. Jahrer's Porto Seguro solution, 2017.)

    Parameters
    ----------
    rate : float in [0, 1)
        Used to 1/65536.
    schedule : Schedule, optional
        As for `Dropout`.
    """

    rate: float
    schedule: Schedule | None = field(default=None, kw_only=True)

    def lower(self, builder):
        builder.input_noise("swap_noise", self.rate, self, self.schedule)


@dataclass(frozen=True, repr=False)
class DropConnect(Noise):
    """Drops weights of the `Dense` behind it: in training each is 0 with probability `rate`, the others are scaled up.

    One mask for all rows of a batch, for the product and its gradients; biases stay. (Wan et al., 2013, who draw one
    for each row.)

    Parameters
    ----------
    rate : float in [0, 1)
        Used to 1/65536; kept weights are scaled by 1 / (1 - rate).
    schedule : Schedule, optional
        As for `Dropout`.
    """

    rate: float
    schedule: Schedule | None = field(default=None, kw_only=True)

    def lower(self, builder):
        builder.drop_connect("dropout", self.rate, self.schedule)


@dataclass(frozen=True)
class Dense(Parametric):
    """A fully connected layer, activation(x @ weight + bias).

    Parameters
    ----------
    units : int > 0
        Columns of the output.
    activation : str or Activation, default "identity"
    weight_penalty, bias_penalty : Penalty, optional
        Such as `L1(1e-5) + L2(1e-4)`; None or 0 for none.
    init : str, array or callable, default "auto"
        Initial weights, of shape (inputs, units): "he_uniform", "glorot_uniform", "lecun_uniform", "zeros";
        "auto" is the first for ReLUs, the third for "selu" and the second otherwise. Or the weights themselves, or a
        callable `init(shape, uniform)`, where `uniform(shape)` draws from [0, 1). Biases start at zero.
    name : str, optional
        Names the parameters "name.weight" and "name.bias" in place of the layer's number.

    Raises
    ------
    ValueError
        For a setting out of its range, or an unknown activation or init (with the nearest name).
    """

    units: int
    activation: str | Activation = "identity"
    _: KW_ONLY
    weight_penalty: Penalty | None = None
    bias_penalty: Penalty | None = None
    init: Any = field(default="auto", compare=False)  # arrays have no single answer to ==
    name: str | None = None

    def __post_init__(self):
        settle = partial(object.__setattr__, self)
        settle("units", _check_units(self.units))
        if not isinstance(self.activation, Activation):
            settle("activation", Activation(self.activation))
        settle("weight_penalty", as_penalty("weight_penalty", self.weight_penalty))
        settle("bias_penalty", as_penalty("bias_penalty", self.bias_penalty))
        settle("init", check_init(self.init))
        _check_layer_name(self.name)

    def lower(self, builder):
        builder.dense(
            self.units,
            self.activation,
            weight_penalty=self.weight_penalty,
            bias_penalty=self.bias_penalty,
            name=self.name,
        )


@dataclass(frozen=True)
class Residual(Layer):
    """A block of layers with a way around it: x + block(x).

    With stochastic depth (Huang et al., 2016) each row of a training batch takes the block with probability
    1 - drop_path, x + block(x) / (1 - drop_path), and otherwise is x; at inference all take it. (He et al., 2016.)

    Parameters
    ----------
    block : sequence of layers
        They must end as wide as they begin.
    drop_path : float in [0, 1), default 0
        Used to 1/65536.
    schedule : Schedule, optional
        Multiplies drop_path step by step.

    Examples
    --------
    >>> block = [BatchNorm(), Activation("relu"), Dense(64, "relu"), Dense(64)]
    >>> net = Network([Dense(64), Residual(block, drop_path=0.1), Dense(10)], loss="cross_entropy")
    """

    block: tuple
    drop_path: float = 0.0
    schedule: Schedule | None = field(default=None, kw_only=True)

    def __post_init__(self):
        if isinstance(self.block, Layer) or not np.iterable(self.block):
            raise ValueError(f"block must be a sequence such as [Dense(10)], got {self.block!r}")
        block = tuple(self.block)
        for number, layer in enumerate(block):
            if not isinstance(layer, Layer):
                raise ValueError(f"block[{number}] is {layer!r}, not a layer such as Dense(10)")
        if not block:
            raise ValueError("block must have at least one layer")
        object.__setattr__(self, "block", block)
        object.__setattr__(self, "drop_path", check_number("drop_path", self.drop_path, "[0, 1)"))
        as_schedule("Residual schedule", self.schedule)

    __repr__ = brief

    def lower(self, builder):
        builder.residual(self.block, self.drop_path, self.schedule)


@dataclass(frozen=True)
class BatchNorm(Parametric):
    """Batch normalization (Ioffe & Szegedy, 2015): scale * (x - mean) / sqrt(variance + epsilon) + shift, by columns.

    In training mean and (biased) variance are those of the batch, at inference running averages of the batches':
    average <- (1 - momentum) * average + momentum * statistic, of the unbiased variance. These are state, not trained,
    and stand among `Network.parameters` as "name.mean" and "name.variance"; scale and shift are trained. Row weights
    do not count. A batch of one row, whose variance is unknown, gives shift, and moves the mean alone.

    Parameters
    ----------
    momentum : float in [0, 1], default 0.1
        The share of the newest batch (PyTorch's convention; Keras calls one minus this momentum).
    epsilon : float > 0, default 1e-5
    name : str, optional
        Names the parameters "name.scale" and so on in place of the layer's number.
    """

    momentum: float = 0.1
    epsilon: float = 1e-5
    _: KW_ONLY
    name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "momentum", check_number("momentum", self.momentum, "[0, 1]"))
        object.__setattr__(self, "epsilon", check_number("epsilon", self.epsilon, "(0, inf)"))
        _check_layer_name(self.name)

    def lower(self, builder):
        builder.norm("batch_norm", self.epsilon, momentum=self.momentum, name=self.name)


@dataclass(frozen=True)
class LayerNorm(Parametric):
    """Layer normalization (Ba et al., 2016): scale * (x - mean) / sqrt(variance + epsilon) + shift, by rows.

    Mean and (biased) variance are those of each row, in training and at inference; scale and shift are trained.

    Parameters
    ----------
    epsilon : float > 0, default 1e-5
    name : str, optional
        Names the parameters "name.scale" and "name.shift" in place of the layer's number.
    """

    epsilon: float = 1e-5
    _: KW_ONLY
    name: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "epsilon", check_number("epsilon", self.epsilon, "(0, inf)"))
        _check_layer_name(self.name)

    def lower(self, builder):
        builder.norm("layer_norm", self.epsilon, name=self.name)


def flattened(layers):
    """Yield the layers in the order in which they lower themselves, those of blocks in place of the blocks."""
    for layer in layers:
        if isinstance(layer, Residual):
            yield from flattened(layer.block)
        else:
            yield layer


def some_width(layers):
    """Return a number of inputs that fits the layers: that of a block on the input, otherwise any."""
    for layer in layers:
        if isinstance(layer, Residual):
            units = [inner.units for inner in flattened(layer.block) if isinstance(inner, Dense)]
            if units:
                return units[-1]
        elif isinstance(layer, Dense):
            break
    return 1


def _check_units(units):
    if isinstance(units, bool) or not isinstance(units, Integral) or units < 1:
        raise ValueError(f"units must be an integer >= 1, got {units!r}")
    return int(units)


def _check_layer_name(name):
    if name is not None and (not isinstance(name, str) or not name or set(name) & set(".*?[]")):
        raise ValueError(f"name must be a text without any of . * ? [ ], got {name!r}")
