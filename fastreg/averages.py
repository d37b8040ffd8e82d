"""Averages of the weights over the steps of a training, which the network has in the place of the last ones."""

from dataclasses import dataclass

from fastreg.checks import check_number


@dataclass(frozen=True)
class EMA:
    """Exponential moving average: after the t-th update, average <- d average + (1 - d) weights.

    d = min(decay, (t - 1) / (t + 9)), so that the first updates, far from where the training goes, are soon forgotten.
    (Polyak and Juditsky, 1992; the warm start is that of TensorFlow's ExponentialMovingAverage.)

    Training goes on with the weights themselves. Everybody else gets the averages: validation, metrics, callbacks,
    `EarlyStopping`, and the network when a fit ends. The next `fit` with an equal optimizer goes on from the weights,
    unless a callback had the best averages restored: then from those. So parameters that are assigned between two such
    fits change the averages alone; fit with another optimizer, or `reset`, to start from them.

    Parameters
    ----------
    decay : float in [0, 1), default 0.999

    Examples
    --------
    >>> net.fit(X, y, optimizer=Adam(1e-3, average=EMA(0.999)))
    """

    decay: float = 0.999

    def __post_init__(self):
        object.__setattr__(self, "decay", check_number("EMA decay", self.decay, "[0, 1)"))


def as_average(average):
    """Return `average`, None for none."""
    if average is None or isinstance(average, EMA):
        return average
    raise ValueError(f"average must be such as EMA(0.999), or None, got {average!r}")
