"""Class weights: what multiplies the weight of a row because of its class, or of each of its labels."""

import numpy as np
from sklearn.utils.class_weight import compute_class_weight


def row_factors(class_weight, classes, codes, sample_weight):
    """Return what multiplies the weight of each row, (n,) float64.

    Parameters
    ----------
    class_weight : dict or "balanced"
        Classes that a dict lacks have weight 1. "balanced" gives all classes the same sum of weights.
    classes : ndarray
    codes : ndarray of int (n,)
        The places of the rows' classes.
    sample_weight : ndarray (n,) or None
        Counts for "balanced": a row of weight 2 is two rows.

    References
    ----------
    King and Zeng, "Logistic regression in rare events data", 2001.
    """
    if isinstance(class_weight, str):
        return _balanced(np.bincount(codes, sample_weight, len(classes)))[codes]
    factors = compute_class_weight(class_weight, classes=classes, y=classes[codes])
    if not ((factors >= 0) & (factors < np.inf)).all():
        raise ValueError(f"class_weight must have finite weights >= 0, got {class_weight!r}")
    return factors[codes]


def label_factors(class_weight, labels, sample_weight):
    """Return the same for several labels, (n, n_labels) booleans, of a dict for each or "balanced": the products."""
    n_labels = labels.shape[1]
    each = [class_weight] * n_labels if isinstance(class_weight, str) else class_weight
    if not isinstance(each, list) or len(each) != n_labels:
        raise ValueError(f"class_weight must be 'balanced', or a list of {n_labels} dicts, one for each label")
    columns = zip(each, labels.T.astype(np.int64), strict=True)
    return np.prod([row_factors(weights, np.arange(2), codes, sample_weight) for weights, codes in columns], axis=0)


def _balanced(sums):
    present = sums > 0
    return np.divide(sums.sum(), present.sum() * sums, out=np.zeros(len(sums)), where=present)
