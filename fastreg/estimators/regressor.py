"""MLPRegressor."""

from typing import ClassVar

import numpy as np
from scipy import sparse
from sklearn import neural_network
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import InvalidParameterError, StrOptions

from fastreg.data import check_finite
from fastreg.estimators.mlp import BaseMLP, partial_fit_of_stochastic_solvers


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multilayer perceptron for regression, a drop-in for `sklearn.neural_network.MLPRegressor`.

    It has that class's parameters, attributes and methods, draws the same random numbers, and follows its loss
    curve to rounding. The parameters from `n_threads` on are new, and change no number by default.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error, or half the Poisson deviance of rates exp(output), for y >= 0. The first positional
        parameter, as in scikit-learn since 1.7: write `MLPRegressor(hidden_layer_sizes=(50,))`.
    hidden_layer_sizes : int or array-like of int, default=(100,)
        Units of the hidden layers.
    activation : {"identity", "logistic", "tanh", "relu"}, default="relu"
        Of the hidden layers.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        "sgd" and "adam" train in batches, "lbfgs" (SciPy's L-BFGS-B) on the whole table, which suits small ones.
    alpha : float, default=0.0001
        Strength of the L2 penalty 0.5 alpha sum(coefs ** 2), which is divided by the batch's number of rows or by their
        sum of weights, as in scikit-learn: larger batches are penalized less.
    batch_size : int or "auto", default="auto"
        Rows of a batch; "auto" is min(200, n_samples).
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Of "sgd": constant; divided by (t_ + 1) ** power_t after each epoch; or divided by 5 where training would stop.
    learning_rate_init : float, default=0.001
        The first learning rate of "sgd", and that of "adam".
    power_t : float, default=0.5
        Exponent of "invscaling".
    max_iter : int, default=200
        How many epochs at most; of "lbfgs" iterations.
    shuffle : bool, default=True
        Whether each epoch has an order of rows of its own.
    random_state : int, RandomState instance or None, default=None
        Draws the initial weights, the validation set and the orders of rows: the numbers that scikit-learn draws.
    tol : float, default=1e-4
        By how much the loss or score of an epoch must improve on the best one; of "lbfgs" the gradient's limit.
    verbose : bool, default=False
        Whether each epoch is printed.
    warm_start : bool, default=False
        Whether `fit` goes on from the weights of the fit before. Its validation set is drawn anew, as in scikit-learn:
        rows that the fit before has trained on are among it.
    momentum : float, default=0.9
        Of "sgd".
    nesterovs_momentum : bool, default=True
        Whether the momentum of "sgd" is Nesterov's.
    early_stopping : bool, default=False
        Whether some rows are held out, and training stops when the R2 there no longer improves; the best weights are
        kept.
    validation_fraction : float, default=0.1
        The share of the rows that early stopping holds out.
    beta_1 : float, default=0.9
        Decay of the mean of gradients of "adam".
    beta_2 : float, default=0.999
        Decay of the mean of their squares.
    epsilon : float, default=1e-8
        What "adam" adds to the root of that mean.
    n_iter_no_change : int or inf, default=10
        After more epochs than these without improvement training stops.
    max_fun : int, default=15000
        How often "lbfgs" may compute the loss.
    n_threads : int, default=None
        How many threads may compute; None takes as many as pay. The numbers do not depend on it. These are no BLAS
        threads: threadpoolctl does not know them.
    dtype : {"float32", "float64"}, default=None
        What X is converted to. None keeps float32 and makes float64 of everything else, as scikit-learn does. A fit
        that begins anew looks at it, and predictions do.
    dropout : float, default=0.0
        The share of the hidden units, in [0, 1), that each step leaves out; the others are scaled up (Srivastava et
        al., 2014). Of "sgd" and "adam". It changes neither initial weights nor validation set.
    input_dropout : float, default=0.0
        The same of the inputs, which must be dense then.
    clip_norm : float, default=None
        A gradient of all parameters together, that of the penalty included, whose norm is larger is scaled down to it
        (Pascanu, Mikolov and Bengio, 2013). Of "sgd" and "adam".
    penalty_scale : {"sklearn", "mean"}, default="sklearn"
        What 0.5 alpha sum(coefs ** 2) is divided by. "sklearn": by the rows of a batch, so that it depends on
        `batch_size`. "mean": by all rows that are trained on, as in one batch of them. With weights, by their sum.

    Attributes
    ----------
    coefs_, intercepts_ : lists of ndarray
        Views of one buffer, in which a training that goes on writes. Numbers written into them, and arrays put in their
        place, count from the next call on.
    n_iter_, n_layers_, n_outputs_, out_activation_, loss_, t_, n_features_in_, feature_names_in_
        As in scikit-learn.
    loss_curve_, best_loss_, validation_scores_, best_validation_score_
        Of the solvers "sgd" and "adam".
    """

    _original: ClassVar[type] = neural_network.MLPRegressor
    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({"squared_error", "poisson"})],
    }

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        dtype=None,
        dropout=0.0,
        input_dropout=0.0,
        clip_norm=None,
        penalty_scale="sklearn",
    ):
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            n_threads=n_threads,
            dtype=dtype,
            dropout=dropout,
            input_dropout=input_dropout,
            clip_norm=clip_norm,
            penalty_scale=penalty_scale,
        )
        self.loss = loss

    @partial_fit_of_stochastic_solvers
    def partial_fit(self, X, y, sample_weight=None):
        """Train one more epoch on the given data; the solvers "sgd" and "adam" have it.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), default=None

        Returns
        -------
        self : object
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Return the predicted values, (n_samples,) or (n_samples, n_outputs), of the rows of X."""
        return self._predictions(self._outputs(X))

    def _predictions(self, outputs):
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _score(self, net, X, y, sample_weight):
        """Return the R2 of early stopping, NaN for predictions that are not finite."""
        predictions = net.activate(net.raw_outputs(X, self.n_threads))
        if not np.isfinite(predictions).all():
            return np.nan
        weight = 1.0 if sample_weight is None else sample_weight[:, None]
        with np.errstate(over="ignore"):  # of a training that diverges
            residual = (weight * (y - predictions) ** 2).sum(axis=0)
        total = (weight * (y - np.average(y, axis=0, weights=sample_weight)) ** 2).sum(axis=0)
        if not (residual.all() and total.all()):
            return r2_score(y, predictions, sample_weight=sample_weight)
        return float(np.average(1 - residual / total))

    def _choose_out_activation(self):
        return "exp" if self.loss == "poisson" else "identity"

    def _validate_input(self, X, y, incremental, reset):
        X, y = self._validate(X, y, reset, y_numeric=True)
        if sparse.issparse(y) or y.dtype.kind not in "biuf":
            raise ValueError(f"y must be an array of numbers, got {type(y).__name__} of dtype {y.dtype}")
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"loss='poisson' needs y >= 0, got {y.min()}")
        with np.errstate(over="ignore"):  # what overflows is found, and said
            check_finite("y", y.astype(X.dtype), y)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        return X, y

    def _validate_params(self):
        try:
            super()._validate_params()
        except InvalidParameterError as error:
            if isinstance(self.loss, str):
                raise
            hint = f"`loss` comes first: write MLPRegressor(hidden_layer_sizes={self.loss!r})"
            raise InvalidParameterError(f"{error} {hint}") from None
