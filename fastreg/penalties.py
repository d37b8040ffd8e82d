"""Penalties on parameters: what is added to the data loss, and how it pulls weights to zero.

Where a new penalty goes: one frozen dataclass here whose `terms` names kernels; a formula that no kernel
has yet is one more kernel, and its twin in `fastreg.reference`. CONTRIBUTING.md lists the files.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import numpy as np

from fastreg import reference
from fastreg.checks import brief, check_name, check_number
from fastreg.schedules import Schedule, as_schedule


class Term(NamedTuple):
    """One formula of a penalty, as the plan sees it."""

    kernel: str
    """Computes strength * value, and adds its gradient where asked."""
    strength: float
    gradient: bool
    """Whether the optimizer sees the gradient; without it the penalty acts through `prox` alone."""
    prox: str | None
    """The kernel that acts on the weights after the optimizer's move."""
    floor: bool = False
    """Whether the strength bounds Adam's denominator from below, as the proximal step of a norm with a kink needs."""
    schedule: Schedule | None = None
    """Multiplies the strength step by step."""


class Penalty:
    """What every penalty can do. The protocol is `terms`; the rest follows from it.

    Value, gradient and proximal step of a weight 0 must be 0: a penalty also runs over the zeros that fill the gaps
    between parameters.
    """

    def terms(self):
        """Return the penalty as a tuple of `Term`."""
        raise NotImplementedError(f"{type(self).__name__}.terms() must return a tuple of Term")

    def decays(self):
        """Return the `WeightDecay` that are part of it: none in most penalties."""
        return ()

    def value(self, w):
        """Return the penalty of `w` (any shape) as a float."""
        w = _floats(w)
        return reduce(add, (_kernel(term.kernel)(w, term.strength) for term in self.terms()), 0.0)

    def gradient(self, w):
        """Return what the penalty adds to the gradient at `w`: an array of its shape."""
        w = _floats(w)
        gradient = np.zeros_like(w)
        for term in self.terms():
            if term.gradient:
                _kernel(term.kernel)(w, term.strength, gradient)
        return gradient

    def prox(self, w, step):
        """Return `w` after the proximal steps of size `step` (a float, or an array like `w`)."""
        w = _floats(w).copy()
        for term in self.terms():
            if term.prox:
                _kernel(term.prox)(w, step, term.strength)
        return w

    def __add__(self, other):
        return _sum((self, other)) if isinstance(other, Penalty) else NotImplemented


@dataclass(frozen=True)
class L1(Penalty):
    """Lasso penalty, strength * sum|w|.

    Parameters
    ----------
    strength : float >= 0
    method : {"proximal", "subgradient", "clip"}, default "proximal"
        "proximal": after the optimizer's move, w <- sign(w) max(|w| - step * strength, 0), with the step
        size of that coordinate: exact zeros. "subgradient": strength * sign(w) joins the gradient, as in
        textbooks; weights hover around zero. "clip": the same, then |w| < step * strength becomes 0.
    schedule : Schedule, optional
        Multiplies the strength step by step in training; values and objectives elsewhere are of the whole strength.
    """

    strength: float
    method: str = "proximal"
    schedule: Schedule | None = field(default=None, kw_only=True)

    def __post_init__(self):
        object.__setattr__(self, "strength", check_number("L1 strength", self.strength, "[0, inf)"))
        check_name("L1 method", self.method, _L1_PROX)
        as_schedule("L1 schedule", self.schedule)

    __repr__ = brief

    def terms(self):
        proximal, prox = self.method == "proximal", _L1_PROX[self.method]
        return (Term("l1", self.strength, not proximal, prox, floor=proximal, schedule=self.schedule),)


_L1_PROX = {"proximal": "soft_threshold", "subgradient": None, "clip": "hard_threshold"}


@dataclass(frozen=True)
class L2(Penalty):
    """Ridge penalty, strength * sum w^2; its gradient is 2 * strength * w.

    Parameters
    ----------
    strength : float >= 0
    schedule : Schedule, optional
        As for `L1`.
    """

    strength: float
    schedule: Schedule | None = field(default=None, kw_only=True)

    def __post_init__(self):
        object.__setattr__(self, "strength", check_number("L2 strength", self.strength, "[0, inf)"))
        as_schedule("L2 schedule", self.schedule)

    __repr__ = brief

    def terms(self):
        return (Term("l2", self.strength, True, None, schedule=self.schedule),)


@dataclass(frozen=True)
class WeightDecay(Penalty):
    """Decoupled weight decay: besides the optimizer's move, w <- w - learning_rate * strength * w.

    It is part of no loss and of no gradient, so that Adam does not divide it by the gradients' size; its value is 0.
    Under plain `SGD` it does what `L2(strength / 2)` does. (Loshchilov and Hutter, 2019.)

    Parameters
    ----------
    strength : float >= 0
    scaled_by_lr : bool, default True
        Whether the learning rate, schedule included, multiplies the strength; otherwise w <- w - strength * w.
    schedule : Schedule, optional
        As for `L1`.

    Raises
    ------
    ValueError
        From `fit`, for a parameter that has two decays, as with `AdamW`, whose `weight_decay` acts on all weights.
    """

    strength: float
    scaled_by_lr: bool = True
    schedule: Schedule | None = field(default=None, kw_only=True)

    def __post_init__(self):
        object.__setattr__(self, "strength", check_number("WeightDecay strength", self.strength, "[0, inf)"))
        if not isinstance(self.scaled_by_lr, bool):
            raise ValueError(f"scaled_by_lr must be True or False, got {self.scaled_by_lr!r}")
        as_schedule("WeightDecay schedule", self.schedule)

    __repr__ = brief

    def terms(self):
        return ()

    def decays(self):
        return (self,)


def ElasticNet(l1, l2):
    """Return `L1(l1) + L2(l2)`."""
    return L1(l1) + L2(l2)


@dataclass(frozen=True)
class Sum(Penalty):
    """Several penalties on the same weights. Made by `+`, which merges equal kinds."""

    parts: tuple

    def __post_init__(self):
        if not isinstance(self.parts, tuple) or not all(isinstance(part, Penalty) for part in self.parts):
            raise ValueError(f"parts must be a tuple of penalties, got {self.parts!r}")

    def terms(self):
        return tuple(term for part in self.parts for term in part.terms())

    def decays(self):
        return tuple(decay for part in self.parts for decay in part.decays())

    def __repr__(self):
        return " + ".join(map(repr, self.parts))


def _sum(penalties):
    """Flatten sums and add the strengths of equal kinds: L1(a) + L2(b) + L1(c) is L1(a + c) + L2(b)."""
    parts: dict[Any, Any] = {}  # by kind: the penalty without its strength
    for penalty in penalties:
        for part in penalty.parts if isinstance(penalty, Sum) else (penalty,):
            if not hasattr(part, "strength"):  # nothing to add up
                parts[part] = part
                continue
            kind = replace(part, strength=0.0)
            strength = part.strength + (parts[kind].strength if kind in parts else 0.0)
            parts[kind] = replace(part, strength=strength)
    return next(iter(parts.values())) if len(parts) == 1 else Sum(tuple(parts.values()))


def as_penalty(name, penalty):
    """Return `penalty`, or None for None and 0; anything else is a ValueError that starts with `name`."""
    if penalty is None or isinstance(penalty, Penalty):
        return penalty
    if not isinstance(penalty, bool) and np.isscalar(penalty) and penalty == 0:
        return None
    raise ValueError(f"{name} must be a penalty such as L2(1e-4), or 0 or None for none, got {penalty!r}")


def match_penalties(own, patterns):
    """Return the penalty of each parameter: the layer's own, or that of the last pattern that matches.

    Parameters
    ----------
    own : dict of parameter names to penalties (None: no penalty)
    patterns : dict of name patterns, such as "*.bias", to penalties, or None

    Raises
    ------
    ValueError
        For a pattern that matches no name.
    """
    if patterns is not None and not isinstance(patterns, Mapping):
        raise ValueError(f"penalties must be a dict such as {{'*.weight': L2(1e-4)}}, got {patterns!r}")
    chosen = dict(own)
    for pattern, penalty in (patterns or {}).items():
        names = [name for name in own if fnmatchcase(name, str(pattern))]
        if not names:
            raise ValueError(f"penalties: {pattern!r} matches no parameter; there are {', '.join(own)}")
        chosen.update(dict.fromkeys(names, as_penalty(f"penalties[{pattern!r}]", penalty)))
    return chosen


def _kernel(name):
    return getattr(reference, name)


def _floats(w):
    w = np.asarray(w)
    return np.ascontiguousarray(w, dtype=w.dtype if w.dtype in (np.float32, np.float64) else np.float64)
