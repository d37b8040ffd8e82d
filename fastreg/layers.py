"""Layers: frozen descriptions without maths. A layer lowers itself by calling the plan's builder.

Where a new layer goes: one frozen dataclass here with a `lower`; a verb that the builder lacks goes there.
"""

from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from numbers import Integral
from typing import Any

from fastreg.checks import check_name, check_number
from fastreg.initial import check_init
from fastreg.penalties import Penalty, as_penalty

ACTIVATIONS = ("identity", "relu", "leaky_relu", "sigmoid", "tanh", "softmax")
_SYNONYMS = {"linear": "identity", "logistic": "sigmoid"}


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
    name : {"identity", "relu", "leaky_relu", "sigmoid", "tanh", "softmax"}
        "linear" means "identity", "logistic" means "sigmoid". Softmax acts on each row.
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


@dataclass(frozen=True)
class Dropout(Layer):
    """Inverted dropout: in training each unit is 0 with probability `rate`, the others are scaled up.

    Before the first `Dense` it drops inputs. At inference it does nothing. (Srivastava et al., 2014.)

    Parameters
    ----------
    rate : float in [0, 1)
        Used to 1/65536; kept units are scaled by 1 / (1 - rate).
    """

    rate: float

    def __post_init__(self):
        object.__setattr__(self, "rate", check_number("rate", self.rate, "[0, 1)"))

    def lower(self, builder):
        builder.dropout(self.rate)


@dataclass(frozen=True)
class Dense(Layer):
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
        "auto" is the first for ReLUs and the second otherwise. Or the weights themselves, or a callable
        `init(shape, uniform)`, where `uniform(shape)` draws from [0, 1). Biases start at zero.
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


def _check_units(units):
    if isinstance(units, bool) or not isinstance(units, Integral) or units < 1:
        raise ValueError(f"units must be an integer >= 1, got {units!r}")
    return int(units)


def _check_layer_name(name):
    if name is not None and (not isinstance(name, str) or not name or set(name) & set(".*?[]")):
        raise ValueError(f"name must be a text without any of . * ? [ ], got {name!r}")
