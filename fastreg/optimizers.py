"""Optimizers: frozen settings. The update itself is a kernel; its state lives in the run."""

from dataclasses import KW_ONLY, dataclass
from typing import ClassVar

from fastreg.averages import EMA, as_average
from fastreg.checks import brief, check_number
from fastreg.schedules import Schedule, as_schedule


class Optimizer:
    """What all optimizers have in common."""

    schedule: Schedule | None
    clip_norm: float | None
    clip_value: float | None
    average: EMA | None

    @property
    def states(self):
        """How many arrays of state the update has, each as large as the parameters."""
        raise NotImplementedError(f"{type(self).__name__}.states must be a number")

    @property
    def buffers(self):
        """How many arrays as large as the parameters go with them: the optimizer's `states`, and the averages."""
        return self.states + (self.average is not None)

    def _check(self, **intervals):
        """Settle numbers in their intervals, and what all optimizers have."""
        for name, interval in intervals.items():
            object.__setattr__(self, name, check_number(name, getattr(self, name), interval))
        as_schedule("schedule", self.schedule)
        as_average(self.average)
        for name in ("clip_norm", "clip_value"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, check_number(name, getattr(self, name), "(0, inf)"))
        if self.clip_norm is not None and self.clip_value is not None:
            raise ValueError(f"clip_norm={self.clip_norm} and clip_value={self.clip_value}: choose one of them")

    __repr__ = brief


@dataclass(frozen=True, repr=False)
class SGD(Optimizer):
    """Stochastic gradient descent, with momentum or Nesterov's momentum where asked for.

    With velocity u and gradient g: u <- momentum u - learning_rate g; then the weights move by u, or by
    momentum u - learning_rate g (Nesterov). (Sutskever et al., 2013.)

    Parameters
    ----------
    learning_rate : float >= 0, default 0.01
    momentum : float in [0, 1), default 0
    nesterov : bool, default False; needs a momentum above 0
    schedule : Schedule, optional
        Multiplies the learning rate step by step through each `fit`, such as `Cosine()`.
    clip_norm : float > 0, optional
        A gradient of all parameters together whose Euclidean norm is larger is multiplied by clip_norm / norm (Pascanu,
        Mikolov and Bengio, 2013). The gradients of penalties count; a proximal L1 acts after the move.
    clip_value : float > 0, optional
        Each element of the gradient is clipped to -clip_value .. clip_value. One of the two at most.
    average : EMA, optional
        Averages the weights; the network has the averages.
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False
    _: KW_ONLY
    schedule: Schedule | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    average: EMA | None = None

    kernel: ClassVar[str] = "sgd"

    def __post_init__(self):
        self._check(learning_rate="[0, inf)", momentum="[0, 1)")
        if not isinstance(self.nesterov, bool):
            raise ValueError(f"nesterov must be True or False, got {self.nesterov!r}")
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov=True needs a momentum above 0, such as momentum=0.9")

    @property
    def states(self):
        return int(self.momentum > 0)

    def settings(self):
        """Return what the kernel takes besides the learning rate."""
        return {"momentum": self.momentum, "nesterov": self.nesterov}


@dataclass(frozen=True, repr=False)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2015): steps scaled by running moments of the gradient, bias-corrected.

    `epsilon` is added outside the bias correction: step = learning_rate m̂ / (sqrt(v̂) + epsilon), as PyTorch does.
    With `epsilon_hat` it is the paper's second formula, that of scikit-learn and Keras:
    step = learning_rate sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon).

    Parameters
    ----------
    learning_rate : float >= 0, default 0.001
    beta1, beta2 : float in [0, 1), default 0.9 and 0.999: decay rates of the two moments
    epsilon : float > 0, default 1e-8
    epsilon_hat : bool, default False
    schedule, clip_norm, clip_value, average : optional
        As for `SGD`.
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    _: KW_ONLY
    epsilon_hat: bool = False
    schedule: Schedule | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    average: EMA | None = None

    kernel: ClassVar[str] = "adam"

    def __post_init__(self):
        self._check(learning_rate="[0, inf)", beta1="[0, 1)", beta2="[0, 1)", epsilon="(0, inf)")
        if not isinstance(self.epsilon_hat, bool):
            raise ValueError(f"epsilon_hat must be True or False, got {self.epsilon_hat!r}")

    @property
    def states(self):
        return 2

    def settings(self):
        """Return what the kernel takes besides the learning rate."""
        names = ("beta1", "beta2", "epsilon", "epsilon_hat")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, repr=False)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2019).

    After Adam's move, weights shrink by learning_rate * weight_decay times their old value. Biases do not.

    Parameters
    ----------
    learning_rate, beta1, beta2, epsilon, epsilon_hat, schedule, clip_norm, clip_value, average : as for `Adam`
    weight_decay : float >= 0, default 0.01
    """

    weight_decay: float = 0.01

    def __post_init__(self):
        super().__post_init__()
        self._check(weight_decay="[0, inf)")
