"""Figures of merit, by name or as functions. Row weights do not count.

accuracy, r2, mae and pinball are of what `predict` says; log_loss, auc, brier and ece of probabilities: (n, classes),
or those of a 1 in sigmoid outputs, (n,) or (n, outputs). y_true are codes 0..C-1, (n,), or zeros and ones, (n,
outputs). Other codes, and shapes that do not belong together, are a ValueError.
"""

import numpy as np

from fastreg.calibration import as_columns, as_judged, calibration, is_multiclass
from fastreg.checks import check_name
from fastreg.data import as_numbers

GREATER_IS_BETTER = {
    "accuracy": True,
    "log_loss": False,
    "auc": True,
    "brier": False,
    "ece": False,
    "r2": True,
    "mae": False,
    "pinball": False,
}


_FIGURES = GREATER_IS_BETTER | {"loss": False, "objective": False, "penalty": False}


def greater_is_better(column):
    """Whether more is better of a column of the `History`, such as "val_auc"; None where nobody knows."""
    for figure, greater in _FIGURES.items():
        if column == figure or column.endswith("_" + figure):
            return greater
    return None


# ---- of predictions


def accuracy(y_true, prediction):
    """Return the share of right codes; of several outputs, the share of rows in which all are right."""
    y_true, prediction = _alike(np.asarray(y_true), np.asarray(prediction))
    right = y_true == prediction
    return float(right.all(axis=1).mean() if right.ndim == 2 else right.mean())


def r2(y_true, prediction):
    """Return the coefficient of determination, averaged over outputs; 0 for a constant y that is missed."""
    y_true, prediction = _as_numbers(y_true, prediction)
    with np.errstate(over="ignore"):  # of a training that diverges
        residual = ((y_true - prediction) ** 2).sum(axis=0)
    total = ((y_true - y_true.mean(axis=0)) ** 2).sum(axis=0)
    constant = total == 0
    scores = 1 - residual / np.where(constant, 1, total)
    return float(np.where(constant, residual == 0, scores).mean())


def mae(y_true, prediction):
    """Return the mean absolute error over rows and outputs."""
    y_true, prediction = _as_numbers(y_true, prediction)
    return float(abs(y_true - prediction).mean())


def pinball(y_true, prediction, levels=(0.5,)):
    """Return the mean over rows and outputs of max(q d, (q - 1) d), d = y_true - prediction, q the output's level."""
    y_true, prediction = _as_numbers(y_true, prediction)
    missing, levels = y_true - prediction, np.asarray(levels, np.float64)
    return float(np.maximum(levels * missing, (levels - 1) * missing).mean())


def _as_numbers(y_true, prediction):
    return _alike(np.float64(as_numbers("y_true", y_true)), np.float64(as_numbers("prediction", prediction)))


def _alike(y_true, prediction):
    """Return both if they are of one shape: what NumPy makes of others is no figure of merit."""
    if y_true.shape != prediction.shape:
        raise ValueError(f"y_true has shape {y_true.shape}, prediction {prediction.shape}: they must have the same one")
    return y_true, prediction


# ---- of probabilities


def log_loss(y_true, probabilities):
    """Return the mean negative logarithm of the probability of what is true.

    Probabilities are clipped to [eps, 1 - eps], eps that of their dtype. Of several sigmoid outputs, the mean over all.
    """
    y_true, probabilities = as_judged(y_true, probabilities)
    eps = np.finfo(probabilities.dtype).eps
    of_truth = _probability_of_truth(y_true, np.float64(probabilities))
    return float(-np.log(np.clip(of_truth, eps, 1 - eps)).mean())


def brier(y_true, probabilities):
    """Return the mean squared error of probabilities, summed over three classes or more.

    Of two classes it is that of class 1, half of the sum: what one sigmoid output has, and scikit-learn's
    `brier_score_loss`. Of several sigmoid outputs it is the mean over them.

    References
    ----------
    Brier, "Verification of forecasts expressed in terms of probability", 1950.
    """
    y_true, probabilities = as_judged(y_true, probabilities)
    probabilities = np.float64(probabilities)
    if is_multiclass(y_true, probabilities):
        if probabilities.shape[1] == 2:
            return brier(y_true, probabilities[:, 1])
        onehot = y_true[:, None] == np.arange(probabilities.shape[1])
        return float(((probabilities - onehot) ** 2).sum(axis=1).mean())
    return float(((probabilities - y_true) ** 2).mean())


def auc(y_true, probabilities):
    """Return the area under the ROC curve: how often a positive row has the higher probability, ties counting half.

    Of several classes each against the rest, and of several sigmoid outputs each, unweighted mean; those that have no
    positive or no negative row are left out. NaN where none is left.

    References
    ----------
    Hand and Till, "A simple generalisation of the area under the ROC curve", 2001; Mann and Whitney, 1947.
    """
    y_true, probabilities = as_judged(y_true, probabilities)
    if is_multiclass(y_true, probabilities):
        y_true = y_true[:, None] == np.arange(probabilities.shape[1])
    columns = zip(as_columns(y_true).T == 1, as_columns(probabilities).T, strict=True)
    areas = [_area(positive, score) for positive, score in columns if positive.any() and not positive.all()]
    return float(np.mean(areas)) if areas else float("nan")


def ece(y_true, probabilities, n_bins=15):
    """Return the expected calibration error: |accuracy - confidence| over bins of equal width, weighted by their rows.

    Confidence is the probability of the code that is predicted. Of several sigmoid outputs, the mean over them.

    References
    ----------
    Guo et al., "On calibration of modern neural networks", 2017.
    """
    return float(np.mean([bins.error for bins in calibration(y_true, probabilities, n_bins)]))


def _probability_of_truth(y_true, probabilities):
    if is_multiclass(y_true, probabilities):
        return np.take_along_axis(probabilities, y_true[:, None], axis=1)[:, 0]
    return np.where(y_true == 1, probabilities, 1 - probabilities)


def _area(positive, score):
    """Return the share of pairs of a positive and a negative row that the score orders rightly, by ranks."""
    values, group, counts = np.unique(score, return_inverse=True, return_counts=True)
    if np.isnan(values).any():
        return float("nan")
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal scores share the mean of their ranks
    n_positive = int(positive.sum())
    above = ranks[group][positive].sum() - n_positive * (n_positive + 1) / 2
    return above / (n_positive * (len(score) - n_positive))


# ---- by name


_OF_PROBABILITIES = {"log_loss": log_loss, "auc": auc, "brier": brier, "ece": ece}
_CLASSIFICATION = {"accuracy": accuracy} | _OF_PROBABILITIES
_REGRESSION = {"r2": r2, "mae": mae}
_QUANTILES = _REGRESSION | {"pinball": pinball}
_TAKEN = ("loss", "penalty", "objective", "learning_rate", "seconds")


def as_metrics(metrics, loss):
    """Return the metrics as a dict of names to functions.

    Parameters
    ----------
    metrics : sequence of names, or callables `f(y_true, prediction) -> float`
        Names are the keys of `GREATER_IS_BETTER`. A callable is recorded under its `__name__`; one of this module is
        what its name is.
    loss : Loss
        Classification losses have "accuracy", "log_loss", "auc", "brier" and "ece", the others "r2" and "mae", and
        `Quantile` has "pinball" besides.

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
    return function in (*_CLASSIFICATION.values(), *_QUANTILES.values())


def measure(metrics, loss, y_true, prediction, probabilities):
    """Return the value of each metric, given as a dict of names to functions.

    `probabilities` is a function without arguments, called if a metric is of them.
    """
    of_probabilities = [metric for metric in metrics.values() if metric in _OF_PROBABILITIES.values()]
    known = probabilities() if of_probabilities else None

    def value(metric):
        if metric in of_probabilities:
            return metric(y_true, known)
        return pinball(y_true, prediction, loss.levels) if metric is pinball else metric(y_true, prediction)

    return {name: float(value(metric)) for name, metric in metrics.items()}


def _named(metric, loss):
    if is_own(metric):
        metric = metric.__name__
    if callable(metric):
        return getattr(metric, "__name__", type(metric).__name__), metric
    name = check_name("metric", metric, tuple(GREATER_IS_BETTER))
    known = _known(loss)
    if name not in known:
        raise ValueError(f"metrics: {name!r} does not fit loss {loss.name!r}; choose from {', '.join(known)}")
    return name, known[name]


def _known(loss):
    if loss.link in ("softmax", "sigmoid"):
        return _CLASSIFICATION
    return _QUANTILES if hasattr(loss, "levels") else _REGRESSION
