"""How much probabilities mean what they say: confidence against accuracy, in bins."""

import numpy as np

from fastreg.data import as_count, as_numbers


class Bins:
    """What the predictions of one output are worth, by confidence, in bins of equal width.

    Attributes
    ----------
    edges : ndarray (n_bins + 1,)
    counts : ndarray (n_bins,)
        Rows of each bin, which reaches from behind its lower edge to its upper one.
    accuracy, confidence : ndarray (n_bins,)
        Means over the rows of each bin; NaN where it is empty.
    error : float
        The expected calibration error.
    """

    def __init__(self, confidence, right, n_bins):
        self.edges = np.linspace(0, 1, n_bins + 1)
        with np.errstate(invalid="ignore"):  # NaN, which makes the error NaN; empty bins
            bins = np.clip(np.ceil(confidence * n_bins).astype(np.int64) - 1, 0, n_bins - 1)
            self.counts = np.bincount(bins, minlength=n_bins)
            sums = (np.bincount(bins, values, minlength=n_bins) for values in (right, confidence))
            self.accuracy, self.confidence = (total / self.counts for total in sums)
        gaps = np.where(self.counts, abs(self.accuracy - self.confidence), 0)
        self.error = float((gaps * self.counts).sum() / len(confidence))


def calibration(y_true, probabilities, n_bins=15):
    """Return the `Bins` of each sigmoid output; of several classes, those of the predicted one, in a list of one."""
    as_count("n_bins", n_bins)
    y_true, probabilities = as_judged(y_true, probabilities)
    probabilities = np.float64(probabilities)
    if is_multiclass(y_true, probabilities):
        return [Bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == y_true, n_bins)]
    columns = zip(as_columns(y_true).T, as_columns(probabilities).T, strict=True)
    return [Bins(np.maximum(p, 1 - p), (p > 0.5) == y, n_bins) for y, p in columns]


def as_judged(y_true, probabilities):
    """Return what is true as int64 codes, (n,), or zeros and ones, and its probabilities as an array of floats.

    Raises
    ------
    ValueError
        For what are no numbers, shapes that do not belong together, and codes without a column of probabilities.
    """
    y_true, probabilities = as_numbers("y_true", y_true), as_numbers("probabilities", probabilities)
    several = is_multiclass(y_true, probabilities)
    if y_true.ndim not in (1, 2) or y_true.shape != (probabilities.shape[:1] if several else probabilities.shape):
        raise ValueError(
            f"y_true has shape {y_true.shape}, probabilities {probabilities.shape}: codes (n,) have (n, classes),"
            " zeros and ones as many as there are of them"
        )
    codes = np.arange(probabilities.shape[1] if several else 2)
    known = np.isin(y_true, codes)
    if not known.all():
        place = np.unravel_index(np.argmin(known), known.shape)
        index = ", ".join(map(str, place))
        raise ValueError(
            f"y_true[{index}]={y_true[place]} is none of the codes 0..{len(codes) - 1} of these probabilities"
        )
    floats = probabilities.dtype.kind == "f"
    return y_true.astype(np.int64), probabilities if floats else np.float64(probabilities)


def is_multiclass(y_true, probabilities):
    """Whether a row has one code of several classes, and not a 0 or 1 for each output."""
    return probabilities.ndim == 2 and y_true.ndim == 1


def as_columns(values):
    """Return (n,) or (n, outputs) as (n, outputs)."""
    return values.reshape(len(values), -1)
