"""Schedules: by what a learning rate, a strength or a rate is multiplied as training goes on.

A schedule is a function of progress: 0 at the first step of a `fit`, s / steps behind s of them, so the last one is a
little below 1. "After 10 of 50 epochs" is 0.2. The engine gets the products as numbers, a row for each step.

Where a new schedule goes: one frozen dataclass here with a `factor`. What it computes with must give the same bits on
every machine, as `+ - * /`, `sqrt` and the kernels do and NumPy's own `cos`, `exp` and `power` do not.
"""

from dataclasses import dataclass, field
from math import factorial, pi
from numbers import Integral

import numpy as np

from fastreg import kernels
from fastreg.checks import check_number


class Schedule:
    """What every schedule can do."""

    def factor(self, progress):
        """Return the factor at each `progress`, a float64 array of numbers in [0, 1].

        Factors are finite and >= 0; those of noise and of label smoothing at most 1, since what is multiplied by them
        are rates below 1.
        """
        raise NotImplementedError(f"{type(self).__name__}.factor(progress) must return an array like progress")


def as_schedule(name, schedule):
    """Return `schedule`, None for none; anything else is a ValueError that starts with `name`."""
    if schedule is None or isinstance(schedule, Schedule):
        return schedule
    raise ValueError(f"{name} must be a schedule such as Cosine(), or None, got {schedule!r}")


def factors(schedule, progress, most=np.inf):
    """Return the factors at each progress, 1 for no schedule.

    Raises
    ------
    ValueError
        For a schedule whose factors are not finite numbers from 0 to `most`, one for each.
    """
    if schedule is None:
        return np.ones(len(progress))
    found = np.array(schedule.factor(progress.copy()), np.float64)  # whatever a user's own does with them
    if found.shape != progress.shape or not (np.isfinite(found) & (found >= 0) & (found <= most)).all():
        limits = ">= 0" if most == np.inf else f"in [0, {most}], for a rate"
        raise ValueError(f"{schedule!r}.factor must return {len(progress)} finite numbers {limits}, got {found!r}")
    return found


@dataclass(frozen=True)
class Constant(Schedule):
    """Always 1."""

    def factor(self, progress):
        return np.ones_like(progress)


@dataclass(frozen=True)
class LinearDecay(Schedule):
    """A straight line from 1 to `final`: 1 - (1 - final) progress.

    As behind the warm-up of Devlin et al., "BERT: pre-training of deep bidirectional transformers", 2019.

    Parameters
    ----------
    final : float in [0, 1], default 0
    """

    final: float = 0.0

    def __post_init__(self):
        _check(self, final="[0, 1]")

    def factor(self, progress):
        return 1 - (1 - self.final) * progress


@dataclass(frozen=True)
class StepDecay(Schedule):
    """A staircase: drop^floor(progress / every).

    Parameters
    ----------
    drop : float in (0, 1], default 0.1
    every : float in (0, 1], default 1/3: the share of the training between two drops
    """

    drop: float = 0.1
    every: float = 1 / 3

    def __post_init__(self):
        _check(self, drop="(0, 1]", every="(0, 1]")

    def factor(self, progress):
        stairs = np.floor(progress / self.every + 1e-9)  # what should be whole may be a little less
        heights = np.cumprod([1.0, *[self.drop] * int(stairs.max(initial=0))])
        return heights[stairs.astype(np.int64)]


@dataclass(frozen=True)
class Exponential(Schedule):
    """final^progress: the same ratio from each step to the next.

    Parameters
    ----------
    final : float in (0, 1], default 0.01: the factor at the end
    """

    final: float = 0.01

    def __post_init__(self):
        _check(self, final="(0, 1]")

    def factor(self, progress):
        return _exp(_log(np.full(1, self.final)) * progress)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """(1 + c progress)^-power, with the c that ends at `final`. Robbins and Monro, 1951, for powers in (1/2, 1].

    Parameters
    ----------
    power : float in (0, 1], default 0.5
    final : float in (0, 1], default 0.1: the factor at the end
    """

    power: float = 0.5
    final: float = 0.1

    def __post_init__(self):
        _check(self, power="(0, 1]", final="(0, 1]")

    def factor(self, progress):
        c = _exp(_log(np.full(1, self.final)) / -self.power) - 1
        return _exp(-self.power * _log(1 + c * progress))


@dataclass(frozen=True)
class Cosine(Schedule):
    """From 1 to `final` along half a cosine: final + (1 - final) (1 + cos(pi progress)) / 2.

    Loshchilov and Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017, without restarts.

    Parameters
    ----------
    final : float in [0, 1], default 0
    """

    final: float = 0.0

    def __post_init__(self):
        _check(self, final="[0, 1]")

    def factor(self, progress):
        return _fall(progress, 1.0, self.final)


@dataclass(frozen=True)
class FlatCosine(Schedule):
    """1 for the first part, then half a cosine to 0: what RealMLP calls flat_cos (Holzmüller et al., 2024).

    Parameters
    ----------
    flat : float in [0, 1), default 0.5: the share of the training before the fall
    """

    flat: float = 0.5

    def __post_init__(self):
        _check(self, flat="[0, 1)")

    def factor(self, progress):
        return _fall(np.clip((progress - self.flat) / (1 - self.flat), 0, 1), 1.0, 0.0)


@dataclass(frozen=True)
class CosLog(Schedule):
    """Waves from 0 to 1 and back that get longer: (1 - cos(2 pi log2(1 + (2^cycles - 1) progress))) / 2.

    With 4 cycles RealMLP's coslog4 (Holzmüller et al., "Better by default", 2024).

    Parameters
    ----------
    cycles : int in 1..16, default 4
    """

    cycles: int = 4

    def __post_init__(self):
        if not _is_integer(self.cycles) or not 1 <= self.cycles <= 16:
            raise ValueError(f"cycles must be an integer in 1..16, got {self.cycles!r}")
        object.__setattr__(self, "cycles", int(self.cycles))

    def factor(self, progress):
        waves = _log(1 + (2.0**self.cycles - 1) * progress) / _LOG_2
        return 0.5 - 0.5 * _cosine(waves)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up along half a cosine, then down along another; the rate itself is that of the peak.

    Smith and Topin, "Super-convergence", 2018, with the defaults of PyTorch's OneCycleLR.

    Parameters
    ----------
    rise : float in (0, 1), default 0.3: the share of the training before the peak
    start : float in [0, 1], default 0.04
    final : float in [0, 1], default 4e-6
    """

    rise: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def __post_init__(self):
        _check(self, rise="(0, 1)", start="[0, 1]", final="[0, 1]")

    def factor(self, progress):
        up = _fall(np.clip(progress / self.rise, 0, 1), self.start, 1.0)
        down = _fall(np.clip((progress - self.rise) / (1 - self.rise), 0, 1), 1.0, self.final)
        return np.where(progress < self.rise, up, down)


@dataclass(frozen=True)
class Warmup(Schedule):
    """A straight rise from `start`, and then another schedule in what is left of the training.

    Goyal et al., "Accurate, large minibatch SGD", 2017.

    Parameters
    ----------
    share : float in (0, 1), default 0.05: the share of the training that the rise takes
    then : Schedule, default Constant()
        Its progress is 0 where the rise ends, and its factor there is where the rise ends.
    start : float in [0, 1], default 0

    Examples
    --------
    >>> AdamW(1e-3, schedule=Warmup(0.1, then=Cosine()))
    """

    share: float = 0.05
    then: Schedule = field(default_factory=Constant)
    start: float = 0.0

    def __post_init__(self):
        _check(self, share="(0, 1)", start="[0, 1]")
        if not isinstance(self.then, Schedule):
            raise ValueError(f"then must be a schedule such as Cosine(), got {self.then!r}")

    def factor(self, progress):
        risen = np.minimum(progress / self.share, 1.0)
        after = factors(self.then, np.maximum((progress - self.share) / (1 - self.share), 0.0))
        return (self.start + (1 - self.start) * risen) * after


def _is_integer(value):
    return isinstance(value, Integral) and not isinstance(value, bool)


def _check(schedule, **intervals):
    for name, interval in intervals.items():
        object.__setattr__(schedule, name, check_number(name, getattr(schedule, name), interval))


# ---- functions with the same bits everywhere


def _fall(progress, high, low):
    """Half a cosine from `high` to `low`."""
    return low + (high - low) * (0.5 + 0.5 * _cosine(0.5 * progress))


def _cosine(turns):
    """Return cos(2 pi turns): reduced to an eighth of a turn, then by Taylor's series, which ends below 1e-17."""
    quarter = np.abs(turns - np.rint(turns))  # in [0, 1/2]
    sign = np.where(quarter > 0.25, -1.0, 1.0)
    quarter = np.where(quarter > 0.25, 0.5 - quarter, quarter)
    near_0 = quarter <= 0.125
    x = 2 * pi * np.where(near_0, quarter, 0.25 - quarter)
    return sign * np.where(near_0, _series(x * x, 0), x * _series(x * x, 1))


def _series(square, first):
    """sum over k of (-square)^k / (2 k + first)!: cos(x) for first 0, sin(x) / x for 1."""
    total = np.zeros_like(square)
    for k in reversed(range(9)):
        total = total * square + (-1) ** k / factorial(2 * k + first)
    return total


def _exp(x):
    return _computed(kernels.exp, x)


def _log(x):
    return _computed(kernels.log, x)


def _computed(kernel, x):
    out = np.empty_like(x)
    kernel(out, x)
    return out


_LOG_2 = _log(np.full(1, 2.0))
