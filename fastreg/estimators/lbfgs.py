"""The solver "lbfgs": SciPy's L-BFGS-B on loss and gradient of the whole table, which the engine computes."""

import numpy as np
import scipy
import scipy.optimize
from sklearn.utils.optimize import _check_optimize_result

from fastreg._core.engine import Engine
from fastreg.estimators.regularizers import Regularizers
from fastreg.threads import threads_for

_IPRINT = tuple(map(int, scipy.__version__.split(".")[:2])) < (1, 15)  # SciPy's solver printed until then


class Objective:
    """Loss and gradient at packed parameters: all weights, then all biases, one after the other in float64.

    Parameters
    ----------
    estimator : estimator whose parameters count
    net : Net
        Its parameters are those of the last call.
    X, targets, weights : arrays as the engine takes them
    """

    def __init__(self, estimator, net, X, targets, weights):
        self._net, self._data, self._threads = net, (X, targets, weights), threads_for(estimator.n_threads)
        mass = X.shape[0] if weights is None else float(weights.sum(dtype=np.float64))
        regularizers = Regularizers.of(estimator, 0.5 * estimator.alpha / mass)
        self._engine = Engine(net.plan(None, regularizers), net.buffer)
        self._gradient = np.zeros_like(net.buffer)
        self._gradients = net.views(self._gradient)
        self.least, self._best = np.inf, None

    def __call__(self, packed):
        self.unpack(packed)
        loss = self._engine.gradient(self._gradient, *self._data, threads=self._threads)
        loss = loss * self._net.loss.reported(self._net.n_outputs) + self._engine.penalty(self._gradient)
        if loss < self.least:
            self.least, self._best = loss, packed.copy()
        return loss, pack(*self._gradients)

    def restore(self):
        """Go back to the parameters of the least loss."""
        if self._best is not None:
            self.unpack(self._best)

    def unpack(self, packed):
        start = 0
        for view in (*self._net.coefs, *self._net.intercepts):
            view[...] = packed[start : start + view.size].reshape(view.shape)
            start += view.size


def pack(coefs, intercepts):
    """Return all numbers in one new float64 array."""
    return np.concatenate([array.ravel() for array in (*coefs, *intercepts)], dtype=np.float64)


def fit_lbfgs(estimator, net, X, y, sample_weight):
    """Minimize from the net's parameters on; record what scikit-learn records."""
    objective = Objective(estimator, net, X, net.targets(y), sample_weight)
    printing = {"iprint": 1 if estimator.verbose else -1} if _IPRINT else {}
    options = {"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol, **printing}

    def count(_):
        estimator.n_iter_ += 1

    estimator.n_iter_ = 0
    try:
        result = scipy.optimize.minimize(
            objective, pack(net.coefs, net.intercepts), method="L-BFGS-B", jac=True, callback=count, options=options
        )
    except KeyboardInterrupt:
        objective.restore()
        estimator.loss_ = np.float64(objective.least)
        raise
    estimator.n_iter_ = _check_optimize_result("lbfgs", result, estimator.max_iter)
    estimator.loss_ = np.float64(result.fun)
    objective.unpack(result.x)
