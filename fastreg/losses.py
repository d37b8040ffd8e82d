"""Losses: what is minimized, which activation is fused with it, and which kernel computes both."""

from dataclasses import dataclass, field
from numbers import Real
from typing import Any, ClassVar

from fastreg.checks import brief, check_name, check_number
from fastreg.schedules import Schedule, as_schedule


class Loss:
    """What a loss tells the plan. Its formula is the kernel.

    A new loss is a frozen dataclass below with some of these, and its line in `_LOSSES`.
    """

    name: ClassVar[str]
    link: ClassVar[str]
    """The activation that turns raw outputs into predictions; the kernel contains it."""
    schedule: Schedule | None = None
    """Multiplies the kernel's own numbers in training, step by step."""

    def kernel(self, labels):
        """Return the kernel's name for integer labels (True) or a float matrix of targets (False)."""
        if labels:
            raise ValueError(f"{self.name} takes a float matrix of targets, not integer labels")
        return self.name

    def columns(self, n_outputs, given):
        """Return how many columns y must have; it has so many. All outputs are compared with a single one."""
        return n_outputs

    def output_weight(self, n_outputs):
        """Return the weight of one output in the loss of a row: here the mean over outputs."""
        return 1.0 / n_outputs

    def bound(self, n_outputs, labels, dtype):
        """Return what engines call where `kernel` is ""."""
        raise NotImplementedError(f"{self.name} has a kernel")

    def numbers(self, n_outputs, training):
        """Return the kernel's own numbers: those of the plan that trains, or of the one that only measures."""
        return ()


@dataclass(frozen=True)
class CrossEntropy(Loss):
    """Softmax cross-entropy, -sum_c t_c log softmax(z)_c, of labels or of targets whose rows sum to 1.

    Parameters
    ----------
    label_smoothing : float in [0, 1), default 0
        Training is on smoothed targets; `evaluate` and validation are not. Called s below, C being the classes.
    smoothing : {"uniform", "others"}, default "uniform"
        "uniform": the true class has 1 - s + s / C, all others s / C, as in PyTorch and Keras. "others": the true class
        has 1 - s, all others s / (C - 1). Soft targets t accordingly: (1 - s) t + s / C, and
        (1 - s - s / (C - 1)) t + s / (C - 1).
    schedule : Schedule, optional
        Multiplies s step by step.

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7.
    """

    name: ClassVar[str] = "cross_entropy"
    link: ClassVar[str] = "softmax"

    label_smoothing: float = 0.0
    smoothing: str = "uniform"
    schedule: Schedule | None = field(default=None, kw_only=True)

    def __post_init__(self):
        check_number("label_smoothing", self.label_smoothing, "[0, 1)")
        check_name("smoothing", self.smoothing, ("uniform", "others"))
        as_schedule("CrossEntropy schedule", self.schedule)

    __repr__ = brief

    def kernel(self, labels):
        return "cross_entropy_labels" if labels else "cross_entropy"

    def output_weight(self, n_outputs):
        return 1.0

    def numbers(self, n_outputs, training):
        if not training or self.label_smoothing == 0:
            return ()
        s = self.label_smoothing
        if self.smoothing == "uniform":
            return s, s / n_outputs
        return s + s / (n_outputs - 1), s / (n_outputs - 1)  # a schedule multiplies both by one factor


@dataclass(frozen=True)
class BinaryCrossEntropy(Loss):
    """Sigmoid cross-entropy, the mean over outputs of -t log p - (1 - t) log(1 - p), p = sigmoid(z).

    Parameters
    ----------
    label_smoothing : float in [0, 1), default 0
        Training is on targets (1 - s) t + s / 2, as in Keras; `evaluate` and validation are not.
    schedule : Schedule, optional
        Multiplies s step by step.
    """

    name: ClassVar[str] = "binary_cross_entropy"
    link: ClassVar[str] = "sigmoid"

    label_smoothing: float = 0.0
    schedule: Schedule | None = field(default=None, kw_only=True)

    def __post_init__(self):
        check_number("label_smoothing", self.label_smoothing, "[0, 1)")
        as_schedule("BinaryCrossEntropy schedule", self.schedule)

    __repr__ = brief

    def numbers(self, n_outputs, training):
        return (self.label_smoothing,) if training and self.label_smoothing else ()


@dataclass(frozen=True)
class SquaredError(Loss):
    """Squared error, the mean over outputs of (z - t)^2."""

    name: ClassVar[str] = "squared_error"
    link: ClassVar[str] = "identity"


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """Absolute error, the mean over outputs of |z - t|: its minimum is the median.

    The slope at 0 is 0.
    """

    name: ClassVar[str] = "absolute_error"
    link: ClassVar[str] = "identity"


@dataclass(frozen=True)
class Huber(Loss):
    """Huber's loss, the mean over outputs of d^2 / 2 up to |d| = delta, delta (|d| - delta / 2) beyond, d = z - t.

    Parameters
    ----------
    delta : float > 0, default 1
        In units of y: beyond it an error counts as an outlier.

    References
    ----------
    Huber, "Robust estimation of a location parameter", 1964.
    """

    name: ClassVar[str] = "huber"
    link: ClassVar[str] = "identity"

    delta: float = 1.0

    def __post_init__(self):
        check_number("Huber delta", self.delta, "(0, inf)")

    def numbers(self, n_outputs, training):
        return (self.delta,)


@dataclass(frozen=True)
class Quantile(Loss):
    """Pinball loss, the mean over outputs of max(q d, (q - 1) d), d = t - z: output k is the quantile of q = levels[k].

    y has one column, and the network as many outputs as there are levels. Quantiles that are fitted so may cross.

    Parameters
    ----------
    levels : float in (0, 1), or sequence of such, default (0.5,)
        Kept as a tuple.

    References
    ----------
    Koenker and Bassett, "Regression quantiles", 1978.
    """

    name: ClassVar[str] = "quantile"
    link: ClassVar[str] = "identity"

    levels: Any = (0.5,)

    def __post_init__(self):
        levels = (self.levels,) if isinstance(self.levels, Real) else tuple(self.levels)
        levels = tuple(check_number(f"Quantile levels[{k}]", level, "(0, 1)") for k, level in enumerate(levels))
        if not levels:
            raise ValueError("Quantile levels must have at least one level, such as (0.1, 0.5, 0.9)")
        object.__setattr__(self, "levels", levels)

    def columns(self, n_outputs, given):
        return 1

    def numbers(self, n_outputs, training):
        if n_outputs != len(self.levels):
            raise ValueError(
                f"{self!r} needs {len(self.levels)} output(s), one for each level; the network has {n_outputs}"
            )
        return self.levels


@dataclass(frozen=True)
class Poisson(Loss):
    """Half the Poisson deviance, the mean over outputs of exp(z) - t + t (log(t) - z), for counts and rates t >= 0.

    The outputs z are logarithms of means; `predict` gives exp(z).

    References
    ----------
    McCullagh and Nelder, "Generalized linear models", 2nd edition, 1989, chapter 6.
    """

    name: ClassVar[str] = "poisson"
    link: ClassVar[str] = "exp"


_LOSSES = {
    loss.name: loss
    for loss in (CrossEntropy, BinaryCrossEntropy, SquaredError, AbsoluteError, Huber, Quantile, Poisson)
}


def as_loss(loss):
    """Return `loss` itself, or the loss of that name.

    Raises
    ------
    ValueError
        For an unknown name, with the nearest one.
    """
    return loss if isinstance(loss, Loss) else _LOSSES[check_name("loss", loss, _LOSSES)]()


def remaining_activation(loss, activation):
    """Return what is left of the last layer's activation once the loss has taken its link.

    Softmax under a cross-entropy and sigmoid under a binary one are computed by the loss; every other
    activation there is a mistake. Under a loss without a link all are real layers.
    """
    if activation == loss.link:
        return "identity"
    if activation != "identity" and loss.link != "identity":
        use = "'identity'" if loss.link == "exp" else f"{loss.link!r} or 'identity'"
        raise ValueError(
            f"activation {activation!r} on the last layer does not fit {loss.name}, which takes raw outputs:"
            f" use {use} there"
        )
    return activation
