"""The four kinds of outputs that scikit-learn's MLPs have, each with its loss, by the name in `out_activation_`.

Where targets are smoothed, probabilities are not clipped in the loss: no target is 0 or 1 then.
"""

from dataclasses import dataclass, replace
from typing import ClassVar

from fastreg.losses import Loss


@dataclass(frozen=True)
class Output(Loss):
    """A loss with scikit-learn's scales, for the plan."""

    labels: ClassVar[bool] = False
    """Whether its targets are integer labels."""
    weight: ClassVar[float] = 1.0

    label_smoothing: float = 0.0

    def output_weight(self, n_outputs):
        return self.weight

    def smoothed(self, label_smoothing):
        """Return the loss of targets smoothed so."""
        return replace(self, label_smoothing=label_smoothing) if label_smoothing else self

    def reported(self, n_outputs):
        """Return what the sum over outputs is multiplied by in `loss_`, but not in the gradient."""
        return 1.0


@dataclass(frozen=True)
class Softmax(Output):
    """Of more than two classes."""

    name: ClassVar[str] = "log_loss_labels"
    link: ClassVar[str] = "softmax"
    labels: ClassVar[bool] = True

    def kernel(self, labels):
        return "cross_entropy_labels" if self.label_smoothing else self.name

    def numbers(self, n_outputs, training):
        s = self.label_smoothing
        return (s, s / n_outputs) if s else ()


@dataclass(frozen=True)
class Logistic(Output):
    """Of two classes, or of several labels: one sigmoid each."""

    name: ClassVar[str] = "binary_log_loss"
    link: ClassVar[str] = "sigmoid"

    def kernel(self, labels):
        return "binary_cross_entropy" if self.label_smoothing else self.name

    def numbers(self, n_outputs, training):
        return (self.label_smoothing,) if self.label_smoothing else ()


@dataclass(frozen=True)
class Identity(Output):
    """Half the squared error: the mean over outputs is reported, the gradient is that of the sum."""

    name: ClassVar[str] = "squared_error"
    link: ClassVar[str] = "identity"
    weight: ClassVar[float] = 0.5

    def reported(self, n_outputs):
        return 1.0 / n_outputs


@dataclass(frozen=True)
class Exp(Output):
    """Half the Poisson deviance of rates."""

    name: ClassVar[str] = "poisson"
    link: ClassVar[str] = "exp"


OUTPUTS = {"softmax": Softmax(), "logistic": Logistic(), "identity": Identity(), "exp": Exp()}
