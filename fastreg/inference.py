"""What a network says of a table, and how good that is: nothing changes, and but for samples there is no noise."""

import numpy as np

from fastreg.metrics import measure
from fastreg.targets import predictions, probabilities, truths
from fastreg.threads import threads_for

_STEPS = 1 << 63


class Inference:
    """Runs a network forward. Several threads may do so at once.

    Parameters
    ----------
    make_engine : callable
        `make_engine(labels)` returns an engine for targets that are labels (True) or a matrix (False).
    loss : Loss
    n_outputs : int
    dtype : dtype
    """

    def __init__(self, make_engine, loss, n_outputs, dtype):
        self._make_engine, self._loss, self._n_outputs, self._dtype = make_engine, loss, n_outputs, dtype
        self._engines = {}

    def outputs(self, X, n_threads=None, **key):
        """Return the raw outputs, (rows, n_outputs), of a checked X; given a key, seed and step, with noise."""
        out = np.empty((len(X), self._n_outputs), self._dtype)
        self._engine(False).forward(out, X, threads=threads_for(n_threads) if len(X) > 1 else 1, **key)
        return out

    def sampled(self, X, link, seed, samples):
        """Return mean and standard deviation, (rows, n_outputs) each, of what `link` makes of outputs with noise.

        Sample s has the random numbers of step 2^63 + s, which no training comes to.
        """
        mean, squares = np.zeros((2, len(X), self._n_outputs))
        for sample in range(samples):
            out = self.outputs(X, seed=seed, step=_STEPS + sample)
            link(out, out)
            change = out - mean
            mean += change / (sample + 1)  # Welford, 1962
            squares += change * (out - mean)
        return mean.astype(self._dtype), np.sqrt(squares / samples).astype(self._dtype)

    def loss(self, data, n_threads=None):
        """Return the mean data loss of a `Dataset`."""
        threads = threads_for(n_threads)
        total, mass = self._engine(data.labels).evaluate(data.X, data.targets, data.weights, threads=threads)
        return total / mass

    def penalty(self):
        """Return the penalty of the present weights."""
        return self._engine(False).penalty()

    def metrics(self, data, metrics, n_threads=None):
        """Return the metrics, given as a dict of names to functions, of a `Dataset`."""
        if not metrics:
            return {}
        loss, outputs = self._loss, self.outputs(data.X, n_threads)
        return measure(
            metrics, loss, truths(data.targets, loss, data.flat), predictions(outputs, loss, data.flat),
            lambda: probabilities(outputs, loss, data.flat),
        )  # fmt: skip

    def _engine(self, labels):
        engine = self._engines.get(labels)
        if engine is None:
            engine = self._engines[labels] = self._make_engine(labels)
        return engine
