"""What MLPClassifier and MLPRegressor share: parameters and their checks, fit, predictions, pickles."""

from numbers import Integral, Real
from threading import Lock
from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, Options, StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastreg.csr import CSR
from fastreg.data import is_finite
from fastreg.errors import ModelStateError
from fastreg.estimators.exchange import from_sklearn, to_sklearn
from fastreg.estimators.lbfgs import Objective, fit_lbfgs
from fastreg.estimators.net import Net, draw, net_of
from fastreg.estimators.regularizers import check_rows, check_solver
from fastreg.estimators.stochastic import SOLVERS, begin_records, fit_stochastic

_FORMAT = 1  # of the parameters in pickles: the order and the alignment of fastreg.layout
_KEPT_APART = ("_network", "_lock")  # of the attributes, what no pickle holds
_POSITIVE = Interval(Real, 0, None, closed="neither")
_NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
_COUNT = Interval(Integral, 1, None, closed="left")
SHARE = Interval(Real, 0, 1, closed="left")


def _has_partial_fit(estimator):
    if getattr(estimator, "class_weight", None) == "balanced":
        raise AttributeError("class_weight='balanced' needs all rows at once: for partial_fit give a dict of weights.")
    if estimator.solver in SOLVERS:
        return True
    solver = estimator.solver
    raise AttributeError(f"partial_fit is only available for stochastic optimizers. {solver} is not stochastic.")


class BaseMLP(BaseEstimator):
    """scikit-learn's `BaseMultilayerPerceptron`, computed by fastreg's engine."""

    _parameter_constraints: ClassVar[dict] = {
        "hidden_layer_sizes": ["array-like", _COUNT],
        "activation": [StrOptions({"identity", "logistic", "tanh", "relu"})],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
        "alpha": [_NOT_NEGATIVE],
        "batch_size": [StrOptions({"auto"}), _COUNT],
        "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
        "learning_rate_init": [_POSITIVE],
        "power_t": [_NOT_NEGATIVE],
        "max_iter": [_COUNT],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [_NOT_NEGATIVE],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [_POSITIVE],
        "n_iter_no_change": [_COUNT, Options(Real, {np.inf})],
        "max_fun": [_COUNT],
        "n_threads": [None, _COUNT],
        "dtype": [None, StrOptions({"float32", "float64"}), Options(type, {np.float32, np.float64})],
        "dropout": [SHARE],
        "input_dropout": [SHARE],
        "clip_norm": [None, _POSITIVE],
        "penalty_scale": [StrOptions({"sklearn", "mean"})],
    }  # fmt: skip

    def __init__(
        self,
        *,
        hidden_layer_sizes,
        activation,
        solver,
        alpha,
        batch_size,
        learning_rate,
        learning_rate_init,
        power_t,
        max_iter,
        shuffle,
        random_state,
        tol,
        verbose,
        warm_start,
        momentum,
        nesterovs_momentum,
        early_stopping,
        validation_fraction,
        beta_1,
        beta_2,
        epsilon,
        n_iter_no_change,
        max_fun,
        n_threads,
        dtype,
        dropout,
        input_dropout,
        clip_norm,
        penalty_scale,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.n_threads = n_threads
        self.dtype = dtype
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.clip_norm = clip_norm
        self.penalty_scale = penalty_scale

    # ---- training

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None):
        """Fit the model to data matrix X and target(s) y.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, a multilabel indicator, or real numbers.
        sample_weight : array-like of shape (n_samples,), default=None
            Not negative, not all zero.

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, incremental=False)

    def _fit(self, X, y, sample_weight, incremental):
        lock = self.__dict__.setdefault("_lock", Lock())
        if not lock.acquire(blocking=False):
            raise RuntimeError("fit is already running on this object in another thread")
        try:
            return self._fit_alone(X, y, sample_weight, incremental)
        finally:
            lock.release()

    def _fit_alone(self, X, y, sample_weight, incremental):
        hidden = self._hidden_units()
        check_solver(self)
        first = not hasattr(self, "coefs_") or (not self.warm_start and not incremental)
        X, y = self._validate_input(X, y, incremental, reset=first)
        check_rows(self, X)
        weights = None if sample_weight is None else _as_weights(sample_weight, X)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        of_training = self._training_weights(y, weights)
        if not first:
            self._check_layers(len(hidden), y.shape[1])
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if first:
            self._initialize((X.shape[1], *hidden, y.shape[1]), X.dtype)
        net = self._net(float64=self.solver == "lbfgs").writable()
        self._adopt(net)
        X = _as_rows(X, net.dtype)
        weights, of_training = (_narrowed(w, net.dtype) for w in (weights, of_training))
        if self.solver == "lbfgs":
            fit_lbfgs(self, net, X, y, of_training)
        else:
            fit_stochastic(self, net, X, y, weights, of_training, incremental)
        if not is_finite(net.buffer):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be"
                " preprocessed."
            )
        return self

    def _training_weights(self, y, weights):
        """Return what training multiplies each row's loss by, y being (rows, outputs); None where nothing."""
        return weights

    def _hidden_units(self):
        sizes = self.hidden_layer_sizes
        sizes = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
        for number, size in enumerate(sizes):
            if isinstance(size, bool) or not isinstance(size, Integral):
                raise ValueError(f"hidden_layer_sizes[{number}] must be an int >= 1, got {size!r}")
        if any(int(size) <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return sizes

    def _check_layers(self, n_hidden, n_outputs):
        """Demand what a training that goes on cannot change."""
        if n_hidden + 2 != self.n_layers_:
            raise ValueError(
                f"hidden_layer_sizes has {n_hidden} layers, the fitted network {self.n_layers_ - 2}: fit anew, with"
                " warm_start=False"
            )
        if n_outputs != self.n_outputs_:
            raise ValueError(f"y has {n_outputs} outputs, the fitted network {self.n_outputs_}: fit anew")

    def _initialize(self, units, dtype):
        """Draw the initial weights, and begin all records."""
        self.n_iter_ = self.t_ = 0
        self.__dict__.pop("_split_seed", None)
        self.n_layers_ = len(units)
        self.out_activation_ = self._choose_out_activation()
        net = Net(units, self.activation, self.out_activation_, dtype)
        draw(net, self._random_state, dtype)
        self._adopt(net)
        if self.solver in SOLVERS:
            self.best_loss_ = self.validation_scores_ = self.best_validation_score_ = None
            begin_records(self, anew=True)

    def _adopt(self, net):
        self._network, self.coefs_, self.intercepts_ = net, list(net.coefs), list(net.intercepts)

    def _net(self, float64=False):
        """Return the network of `coefs_` and `intercepts_`: what was assigned there is checked and copied in."""
        net = vars(self).get("_network")
        if net is None or not net.holds(self.coefs_, self.intercepts_):
            net = net_of(self.coefs_, self.intercepts_, self.n_features_in_, self.activation, self.out_activation_)
            self._adopt(net)
        elif (net.activation, net.out_activation) != (self.activation, self.out_activation_):
            net = Net(net.units, self.activation, self.out_activation_, net.dtype, net.buffer)
            self._adopt(net)
        net.check_finite()
        return net.copied(dtype=np.dtype("float64")) if float64 and net.dtype != np.float64 else net

    @property
    def _dtypes(self):
        """What X is converted to: scikit-learn keeps float32, and makes float64 of everything else."""
        return (np.float64, np.float32) if self.dtype is None else np.dtype(self.dtype)

    def _validate(self, X, y, reset, **settings):
        for name, values in (("X", X), ("y", y)):
            _refuse_masked(name, values)
        with np.errstate(over="ignore"):  # what overflows is found, and said
            return validate_data(
                self, X, y, accept_sparse=["csr", "csc"], multi_output=True, dtype=self._dtypes, reset=reset, **settings
            )

    def _loss_grad_lbfgs(self, packed_coef_inter, X, y, sample_weight, *scratch):
        """Return loss and gradient at packed parameters; scikit-learn's scratch arrays are not needed."""
        net = self._net()
        objective = Objective(self, net, _as_rows(X, net.dtype), net.targets(y), sample_weight)
        return objective(packed_coef_inter)

    # ---- predictions

    def _outputs(self, X):
        """Return what the output units say of X, (n_samples, n_outputs)."""
        check_is_fitted(self, "coefs_")
        _refuse_masked("X", X)
        X = validate_data(self, X, accept_sparse=["csr", "csc"], reset=False)
        net = self._net(float64=self.dtype is None and np.result_type(X.dtype, np.float32) != np.float32)
        outputs = _finite(net.raw_outputs(_as_rows(X, net.dtype), self.n_threads))
        return _finite(net.activate(outputs))  # which has an exp where rates are predicted

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = not self.input_dropout
        return tags

    # ---- to scikit-learn's own estimator and back

    @classmethod
    def from_sklearn(cls, estimator):
        """Return the twin of scikit-learn's estimator of the same name: fitted as it is, and training on as it would.

        Raises
        ------
        ValueError
            For an estimator of another kind.
        """
        return from_sklearn(cls, estimator)

    def to_sklearn(self):
        """Return scikit-learn's estimator with these parameters, fitted as this one is; it shares no memory with it."""
        return to_sklearn(self)

    # ---- pickles and copies: the buffer once, the lists of its views never

    def __getstate__(self):
        state = dict(super().__getstate__())
        net = state.get("_network")
        if net is not None and net.holds(self.coefs_, self.intercepts_):
            del state["coefs_"], state["intercepts_"]
            state["_parameters"] = _FORMAT, net.units, net.activation, net.out_activation, net.dtype, net.buffer
        return {name: value for name, value in state.items() if name not in _KEPT_APART}

    def __setstate__(self, state):
        state = dict(state)
        parameters = state.pop("_parameters", None)
        super().__setstate__(state)
        if parameters is not None:
            version, *parameters = parameters
            if version != _FORMAT:
                raise ModelStateError(f"pickled by another fastreg: format {version}, this one reads {_FORMAT}")
            self._adopt(Net(*parameters))


def partial_fit_of_stochastic_solvers(method):
    """Make `partial_fit` of a method that only the solvers "sgd" and "adam" have."""
    return available_if(_has_partial_fit)(_fit_context(prefer_skip_nested_validation=True)(method))


def _finite(outputs):
    """Demand finite outputs."""
    if not is_finite(outputs):
        row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
        raise ValueError(f"the outputs of row {row} of X are not finite: look for NaN there, and scale X")
    return outputs


def _as_weights(sample_weight, X):
    """Return the row weights: finite, none negative, not all zero."""
    _refuse_masked("sample_weight", sample_weight)
    weights = _check_sample_weight(sample_weight, X)
    if (weights < 0).any():
        row = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight[{row}]={weights[row]}; weights must be >= 0")
    if not weights.any():
        raise ValueError("Sample weights must contain at least one non-zero number.")
    return weights


def _narrowed(weights, dtype):
    """Return the row weights in the dtype of training, where none may overflow, nor all vanish; None for None."""
    if weights is None:
        return None
    with np.errstate(over="ignore", under="ignore"):
        weights = weights.astype(dtype, copy=False)
    if not weights.any() or not is_finite(weights):
        raise ValueError(f"sample_weight is all 0, or infinite, as {dtype}: scale it")
    return weights


def _as_rows(X, dtype):
    """Return X as the engine takes it."""
    if not sparse.issparse(X):
        with np.errstate(over="ignore"):  # seen in what comes out
            return np.ascontiguousarray(X, dtype=dtype)
    X = X.tocsr()
    if not X.has_canonical_format:
        X = X.copy()
        X.sum_duplicates()  # and sorts
    return CSR(
        np.ascontiguousarray(X.data, dtype=dtype),
        np.ascontiguousarray(X.indices, dtype=np.int32),
        np.ascontiguousarray(X.indptr, dtype=np.int64),
        X.shape[1],
    )


def _refuse_masked(name, values):
    """NumPy's masked arrays would lose their masks on the way."""
    if isinstance(values, np.ma.MaskedArray) and np.ma.is_masked(values):
        place = ", ".join(str(int(i)) for i in np.argwhere(np.ma.getmaskarray(values))[0])
        count = int(np.ma.count_masked(values))
        raise ValueError(f"{name} has {count} masked entries, the first at [{place}]: fill or drop them first")
