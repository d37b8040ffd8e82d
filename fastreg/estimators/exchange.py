"""To scikit-learn's own estimators and back: parameters, weights, records, and the state of the optimizer."""

import copy
import inspect

import numpy as np
from sklearn.neural_network._stochastic_optimizers import AdamOptimizer, SGDOptimizer

from fastreg.estimators.net import Net, net_of
from fastreg.estimators.regularizers import NEUTRAL
from fastreg.estimators.stochastic import Optimizer

_OF_ONE_SIDE = {
    *("_network", "_lock", "_optimizer", "coefs_", "intercepts_", "loss"),
    *("_split_seed", "_best_coefs", "_best_intercepts", "_coef_indptr", "_intercept_indptr", "_sklearn_version"),
}


def from_sklearn(cls, estimator):
    """Return a `cls` that is fitted, and trains on, as scikit-learn's `estimator`."""
    theirs = cls._original
    if not isinstance(estimator, theirs):
        raise ValueError(f"estimator must be a {theirs.__module__}.{theirs.__name__}, got {type(estimator).__name__}")
    mine = cls(**copy.deepcopy(estimator.get_params(deep=False)))
    _copy_records(estimator, mine)
    if not hasattr(estimator, "coefs_"):
        return mine
    coefs, intercepts = estimator.coefs_, estimator.intercepts_
    net = net_of(coefs, intercepts, coefs[0].shape[0], estimator.activation, estimator.out_activation_)
    mine._adopt(net)
    optimizer = getattr(estimator, "_optimizer", None)
    if optimizer is not None:
        mine._optimizer = _optimizer_from(optimizer, net)
    return mine


def to_sklearn(estimator):
    """Return scikit-learn's estimator, fitted as this one is."""
    kind = estimator._original
    known = inspect.signature(kind.__init__).parameters
    parameters = copy.deepcopy(estimator.get_params(deep=False))
    if parameters.get("loss", "squared_error") != "squared_error" and "loss" not in known:
        raise ValueError(f"loss={parameters['loss']!r} needs scikit-learn 1.7 or newer")
    _check_neutral(parameters, kind)
    theirs = kind(**{name: value for name, value in parameters.items() if name in known})
    _copy_records(estimator, theirs)
    if not hasattr(estimator, "coefs_"):
        return theirs
    net = estimator._net()
    theirs.coefs_, theirs.intercepts_ = ([a.copy() for a in arrays] for arrays in (net.coefs, net.intercepts))
    theirs._best_coefs, theirs._best_intercepts = ([a.copy() for a in arrays] for arrays in (net.coefs, net.intercepts))
    if hasattr(estimator, "_optimizer"):
        theirs._optimizer = _optimizer_for(estimator._optimizer, net, theirs.coefs_ + theirs.intercepts_)
    return theirs


def _check_neutral(parameters, kind):
    """Demand that nothing is lost which the training would go on with."""
    for name, neutral in NEUTRAL.items():
        value = parameters.get(name, neutral)
        if value != neutral:
            raise ValueError(
                f"scikit-learn's {kind.__name__} has no {name}={value!r}: set_params({name}={neutral!r}) first,"
                " and its training goes on without"
            )


def _copy_records(source, target):
    """Copy what both sides keep alike."""
    parameters = source.get_params()
    for name, value in vars(source).items():
        if name not in _OF_ONE_SIDE and name not in parameters:
            setattr(target, name, copy.deepcopy(value))


def _optimizer_from(optimizer, net: Net):
    """Return the `Optimizer` that goes on as scikit-learn's."""
    rate = float(optimizer.learning_rate_init)
    if isinstance(optimizer, AdamOptimizer):
        numbers = {"beta1": optimizer.beta_1, "beta2": optimizer.beta_2, "epsilon": optimizer.epsilon}
        mine = Optimizer("adam", {**numbers, "epsilon_hat": True}, rate, learning_rate=rate)
        updates, states = optimizer.t, [optimizer.ms, optimizer.vs]
    else:
        numbers = {"momentum": float(optimizer.momentum), "nesterov": bool(optimizer.nesterov)}
        mine = Optimizer("sgd", numbers, rate, optimizer.lr_schedule, optimizer.power_t, float(optimizer.learning_rate))
        updates, states = 0, [optimizer.velocities]
    state = mine.state_for(net.plan(mine))
    state.scalars[0] = updates
    for buffer, arrays in zip(state.buffers, states, strict=True):
        coefs, intercepts = net.views(buffer)
        for view, values in zip((*coefs, *intercepts), arrays, strict=True):
            view[...] = values
    return mine


def _optimizer_for(optimizer, net: Net, params):
    """Return scikit-learn's optimizer that goes on as this `Optimizer`."""
    numbers, rate = optimizer.numbers, optimizer.learning_rate_init
    state = optimizer.state_for(net.plan(optimizer))
    arrays = [[np.array(view) for part in net.views(buffer) for view in part] for buffer in state.buffers]
    if optimizer.kernel == "adam":
        theirs = AdamOptimizer(params, rate, numbers["beta1"], numbers["beta2"], numbers["epsilon"])
        theirs.t, (theirs.ms, theirs.vs) = int(state.scalars[0]), arrays
    else:
        settings = optimizer.schedule, numbers["momentum"], numbers["nesterov"], optimizer.power_t
        theirs = SGDOptimizer(params, rate, *settings)
        theirs.learning_rate, (theirs.velocities,) = optimizer.learning_rate, arrays
    return theirs
