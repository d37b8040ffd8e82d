"""What y means to each loss: from what the user passes to what the kernels take, and back to predictions."""

import numpy as np

from fastreg import kernels

_TOLERANCE = 1e-3  # of a row of probabilities from 1, so that float16 and printed ones pass


def as_targets(name, y, loss, n_outputs, dtype):
    """Return y as the targets of `loss`: int32 labels (n,), or a matrix (n, n_outputs) or (n, 1) of `dtype`.

    Parameters
    ----------
    name : str
        What messages call y.
    y : ndarray of numbers, 1-D or 2-D
    loss : Loss
    n_outputs : int
    dtype : dtype

    Raises
    ------
    ValueError
        For labels outside 0..n_outputs-1, rows that are no probabilities, or another number of columns.
    """
    if loss.link == "softmax" and y.ndim == 1:
        return _as_labels(name, y, n_outputs)
    columns = loss.columns(n_outputs, given=1 if y.ndim == 1 else y.shape[1])
    _check_columns(name, y, columns, n_outputs, loss)
    with np.errstate(over="ignore"):  # what overflows is found, and said, by the caller
        matrix = np.require(y.reshape(len(y), columns), dtype, ["C", "A"])
    if loss.link != "identity":
        _check_range(name, y, matrix, loss)
    if loss.link == "softmax":
        _check_sums(name, matrix)
    return matrix


def predictions(outputs, loss, flat):
    """Return what `predict` says of raw outputs: codes (int64), 0/1 per output, means, or the outputs themselves."""
    if loss.link == "softmax":
        return outputs.argmax(axis=1)
    if loss.link == "exp":
        outputs = linked(outputs, loss)
    answers = (outputs > 0).astype(np.int64) if loss.link == "sigmoid" else outputs
    return _flattened(answers, flat)


def probabilities(outputs, loss, flat):
    """Return the probabilities of all classes, (n, classes), or of a 1 in sigmoid outputs, (n,) or (n, outputs)."""
    return _flattened(linked(outputs, loss), flat)


def linked(outputs, loss):
    """Return raw outputs behind the link of the loss."""
    result = np.empty_like(outputs)
    getattr(kernels, loss.link)(result, outputs)
    return result


def truths(targets, loss, flat):
    """Return targets in the form of `predictions`: soft ones become the nearest code."""
    if targets.ndim == 1:
        return targets.astype(np.int64)
    if loss.link == "softmax":
        return targets.argmax(axis=1)
    return _flattened((targets > 0.5).astype(np.int64) if loss.link == "sigmoid" else targets, flat)


def _flattened(columns, flat):
    """Return a single column as it was given, flat or not."""
    return columns[:, 0] if flat and columns.shape[1] == 1 else columns


def _as_labels(name, y, n_classes):
    with np.errstate(invalid="ignore"):  # NaN is no label, and is said below
        labels = y.astype(np.int64) if y.dtype.kind == "f" else y
    if y.dtype.kind == "f" and (labels != y).any():
        row = int(np.argmax(labels != y))
        if np.isnan(y[row]):
            raise ValueError(f"Input {name} contains NaN (first at row {row})")
        raise ValueError(
            f"Unknown label type: continuous; {name}[{row}]={y[row]} is no integer label 0..{n_classes - 1}."
            " For regression use loss='squared_error'"
        )
    if labels.size and (labels.min() < 0 or labels.max() >= n_classes):
        row = int(np.argmax((labels < 0) | (labels >= n_classes)))
        raise ValueError(
            f"{name}[{row}]={y[row]} is out of range: the network has {n_classes} outputs,"
            f" so labels are the integers 0..{n_classes - 1}"
        )
    return np.ascontiguousarray(labels, dtype=np.int32)


def _check_columns(name, y, columns, n_outputs, loss):
    given = 1 if y.ndim == 1 else y.shape[1]
    if given != columns:
        one_column = y.ndim == 2 and given == 1 and loss.link == "softmax"
        hint = f"; labels are 1-D: {name}.ravel()" if one_column else ""
        why = (
            f"the network has {n_outputs} output(s)"
            if columns == n_outputs
            else f"{loss.name} takes {columns} column(s)"
        )
        raise ValueError(f"{name} has shape {y.shape}, but {why}: expected shape ({len(y)}, {columns}){hint}")


def _check_range(name, y, matrix, loss):
    counts = loss.link == "exp"
    bad = matrix < 0 if counts else (matrix < 0) | (matrix > 1)  # NaN is the caller's
    if bad.any():
        place = np.unravel_index(np.argmax(bad), bad.shape)[: y.ndim]
        index = ", ".join(map(str, place))
        interval = "[0, inf)" if counts else "[0, 1]"
        raise ValueError(f"{name}[{index}]={y[place]} is outside {interval}, where {loss.name} has its targets")


def _check_sums(name, matrix):
    sums = matrix.sum(axis=1)
    bad = abs(sums - 1) > _TOLERANCE  # NaN is the caller's
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"row {row} of {name} sums to {sums[row]:.6g}; rows of probabilities must sum to 1")
