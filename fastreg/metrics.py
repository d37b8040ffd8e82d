"""Figures of merit of what `predict` says, by name or as a user's function. Row weights do not count."""

import numpy as np

from fastreg.checks import check_name

GREATER_IS_BETTER = {"accuracy": True, "r2": True, "mae": False}


def accuracy(y_true, prediction):
    """Return the share of right codes; of several outputs, the share of rows in which all are right."""
    right = y_true == prediction
    return float(right.all(axis=1).mean() if right.ndim == 2 else right.mean())


def r2(y_true, prediction):
    """Return the coefficient of determination, averaged over outputs; 0 for a constant y that is missed."""
    y_true, prediction = np.float64(y_true), np.float64(prediction)
    with np.errstate(over="ignore"):  # of a training that diverges
        residual = ((y_true - prediction) ** 2).sum(axis=0)
    total = ((y_true - y_true.mean(axis=0)) ** 2).sum(axis=0)
    constant = total == 0
    scores = 1 - residual / np.where(constant, 1, total)
    return float(np.where(constant, residual == 0, scores).mean())


def mae(y_true, prediction):
    """Return the mean absolute error over rows and outputs."""
    return float(abs(np.float64(y_true) - prediction).mean())


_CLASSIFICATION = {"accuracy": accuracy}
_REGRESSION = {"r2": r2, "mae": mae}
_TAKEN = ("loss", "penalty", "objective", "learning_rate", "seconds")


def as_metrics(metrics, loss):
    """Return the metrics as a dict of names to functions.

    Parameters
    ----------
    metrics : sequence of {"accuracy", "r2", "mae"} or callables `f(y_true, prediction) -> float`
        A callable is recorded under its `__name__`.
    loss : Loss
        Classification losses have "accuracy", the others "r2" and "mae".

    Raises
    ------
    ValueError
        For an unknown name (with the nearest one), one that does not fit the loss, or a name used twice.
    """
    if isinstance(metrics, str) or not np.iterable(metrics):
        raise ValueError(f"metrics must be a sequence such as ('accuracy',), got {metrics!r}")
    chosen = {}
    for metric in metrics:
        name, function = _named(metric, loss)
        if name in chosen or name in _TAKEN:
            raise ValueError(f"metrics: the name {name!r} is taken; give the function another __name__")
        chosen[name] = function
    return chosen


def is_own(function):
    """Whether a metric is one of those that have names here."""
    return function in (*_CLASSIFICATION.values(), *_REGRESSION.values())


def _named(metric, loss):
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    name = check_name("metric", metric, tuple(GREATER_IS_BETTER))
    known = _REGRESSION if loss.link == "identity" else _CLASSIFICATION
    if name not in known:
        raise ValueError(f"metrics: {name!r} does not fit loss {loss.name!r}; choose from {', '.join(known)}")
    return name, known[name]
