"""Losses: what is minimized, which activation is fused with it, and which kernel computes both."""

from dataclasses import dataclass
from typing import ClassVar

from fastreg.checks import check_name, check_number


class Loss:
    """What a loss tells the plan. Its formula is the kernel.

    A new loss is a frozen dataclass below with some of these, and its line in `_LOSSES`.
    """

    name: ClassVar[str]
    link: ClassVar[str]
    """The activation that turns raw outputs into predictions; the kernel contains it."""

    def kernel(self, labels):
        """Return the kernel's name for integer labels (True) or a float matrix of targets (False)."""
        if labels:
            raise ValueError(f"{self.name} takes a float matrix of targets, not integer labels")
        return self.name

    def output_weight(self, n_outputs):
        """Return the weight of one output in the loss of a row: here the mean over outputs."""
        return 1.0 / n_outputs

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

    References
    ----------
    Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016, section 7.
    """

    name: ClassVar[str] = "cross_entropy"
    link: ClassVar[str] = "softmax"

    label_smoothing: float = 0.0
    smoothing: str = "uniform"

    def __post_init__(self):
        check_number("label_smoothing", self.label_smoothing, "[0, 1)")
        check_name("smoothing", self.smoothing, ("uniform", "others"))

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
    """

    name: ClassVar[str] = "binary_cross_entropy"
    link: ClassVar[str] = "sigmoid"

    label_smoothing: float = 0.0

    def __post_init__(self):
        check_number("label_smoothing", self.label_smoothing, "[0, 1)")

    def numbers(self, n_outputs, training):
        return (self.label_smoothing,) if training and self.label_smoothing else ()


@dataclass(frozen=True)
class SquaredError(Loss):
    """Squared error, the mean over outputs of (z - t)^2."""

    name: ClassVar[str] = "squared_error"
    link: ClassVar[str] = "identity"


_LOSSES = {loss.name: loss for loss in (CrossEntropy, BinaryCrossEntropy, SquaredError)}


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
        raise ValueError(
            f"activation {activation!r} on the last layer does not fit {loss.name}, which takes raw outputs:"
            f" use {loss.link!r} or 'identity' there"
        )
    return activation
