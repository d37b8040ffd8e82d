"""Class weights: what multiplies the weight of a row because of its class."""

from collections.abc import Mapping

import numpy as np

from fastreg.checks import check_name, check_number


def check_class_weight(class_weight):
    """Return `class_weight` if it is None, "balanced" or a dict of codes to weights.

    Raises
    ------
    ValueError
        For anything else; says the code.
    """
    if class_weight is None:
        return None
    if not isinstance(class_weight, Mapping):
        return check_name("class_weight", class_weight, ("balanced",))
    for code, weight in class_weight.items():
        if isinstance(code, bool) or not isinstance(code, int | np.integer):
            raise ValueError(f"class_weight must have codes of classes as keys, such as {{0: 1, 1: 5}}, got {code!r}")
        check_number(f"class_weight[{code}]", weight, "[0, inf)")
    return class_weight


def row_factors(class_weight, targets, loss, n_outputs):
    """Return what multiplies the weight of each row, (n,) float64; None for a `class_weight` of None.

    Parameters
    ----------
    class_weight : None, "balanced" or dict of codes to weights
        Classes that a dict lacks have weight 1. "balanced" gives all classes of y the same sum:
        n / (number of classes in y * rows of the class).
    targets : int32 labels (n,), or matrix of one column of zeros and ones
    loss : Loss
    n_outputs : int

    Raises
    ------
    ValueError
        For targets that are no classes, or a code that is none of the network's.

    References
    ----------
    King and Zeng, "Logistic regression in rare events data", 2001.
    """
    if class_weight is None:
        return None
    codes, n_classes = (targets, n_outputs) if targets.ndim == 1 else (_bits(targets, loss), 2)
    if isinstance(class_weight, str):
        counts = np.bincount(codes)
        return len(codes) / (np.count_nonzero(counts) * counts[codes])
    factors = np.ones(n_classes)
    for code, weight in class_weight.items():
        if not 0 <= code < n_classes:
            raise ValueError(f"class_weight has a weight for class {code}, but classes are 0..{n_classes - 1}")
        factors[code] = weight
    return factors[codes]


def _bits(targets, loss):
    if loss.link == "sigmoid" and targets.shape[1] == 1 and np.isin(targets, (0, 1)).all():
        return targets[:, 0].astype(np.int32)
    raise ValueError("class_weight needs y to be codes of classes: 1-D, not soft, and not of several outputs")
