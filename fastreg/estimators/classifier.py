"""MLPClassifier."""

from typing import ClassVar

import numpy as np
from sklearn import neural_network
from sklearn.base import ClassifierMixin
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call, type_of_target, unique_labels

from fastreg.estimators.class_weights import label_factors, row_factors
from fastreg.estimators.mlp import SHARE, BaseMLP, partial_fit_of_stochastic_solvers


class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multilayer perceptron for classification, a drop-in for `sklearn.neural_network.MLPClassifier`.

    It has that class's parameters, attributes and methods, draws the same random numbers, and follows its loss
    curve to rounding. The parameters from `n_threads` on are new, and change no number by default.

    Parameters
    ----------
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
        rows that the fit before has trained on are among it, but for `validation_split="stratified"`.
    momentum : float, default=0.9
        Of "sgd".
    nesterovs_momentum : bool, default=True
        Whether the momentum of "sgd" is Nesterov's.
    early_stopping : bool, default=False
        Whether some rows are held out, and training stops when the accuracy there no longer improves; the best weights
        are kept. Two classes are held out in their proportions, more are not, as in scikit-learn: see
        `validation_split`. Sample weights count there, class weights do not.
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
    label_smoothing : float, default=0.0
        A share s in [0, 1) of each target is spread over the C classes: 1 - s + s / C for the row's own, s / C for all
        others, with two classes and for each label C = 2 (Szegedy et al., 2016). In training's loss alone.
    class_weight : dict, list of dicts or "balanced", default=None
        Multiplies the sample weights of training, by class; classes that a dict lacks have weight 1. "balanced" gives
        all classes the same sum, n_samples / (n_classes * np.bincount(y)) where rows have no weights; it needs all
        rows, so there is no `partial_fit` then. Several labels take a list with a dict for each, or "balanced", and
        their weights are multiplied.
    clip_norm : float, default=None
        A gradient of all parameters together, that of the penalty included, whose norm is larger is scaled down to it
        (Pascanu, Mikolov and Bengio, 2013). Of "sgd" and "adam".
    penalty_scale : {"sklearn", "mean"}, default="sklearn"
        What 0.5 alpha sum(coefs ** 2) is divided by. "sklearn": by the rows of a batch, so that it depends on
        `batch_size`. "mean": by all rows that are trained on, as in one batch of them. With weights, by their sum.
    validation_split : {"sklearn", "stratified"}, default="sklearn"
        "stratified" holds out more than two classes in their proportions too, and the same rows in each warm start.

    Attributes
    ----------
    coefs_, intercepts_ : lists of ndarray
        Views of one buffer, in which a training that goes on writes. Numbers written into them, and arrays put in their
        place, count from the next call on.
    classes_, n_iter_, n_layers_, n_outputs_, out_activation_, loss_, t_, n_features_in_, feature_names_in_
        As in scikit-learn.
    loss_curve_, best_loss_, validation_scores_, best_validation_score_
        Of the solvers "sgd" and "adam".
    """

    _original: ClassVar[type] = neural_network.MLPClassifier
    loss: ClassVar[str] = "log_loss"
    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "label_smoothing": [SHARE],
        "class_weight": [None, dict, list, StrOptions({"balanced"})],
        "validation_split": [StrOptions({"sklearn", "stratified"})],
    }

    def __init__(
        self,
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
        label_smoothing=0.0,
        class_weight=None,
        clip_norm=None,
        penalty_scale="sklearn",
        validation_split="sklearn",
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
        self.label_smoothing = label_smoothing
        self.class_weight = class_weight
        self.validation_split = validation_split

    @partial_fit_of_stochastic_solvers
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train one more epoch on the given data; the solvers "sgd" and "adam" have it.

        Parameters
        ----------
        X : array-like or sparse matrix of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), default=None
        classes : array of shape (n_classes,), default=None
            All classes of all calls; needed in the first one.

        Returns
        -------
        self : object
        """
        if _check_partial_fit_first_call(self, classes):
            self._label_binarizer = LabelBinarizer()
            self._label_binarizer.fit(y if type_of_target(y).startswith("multilabel") else classes)
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Return the predicted classes, (n_samples,), or the labels, (n_samples, n_classes), of the rows of X."""
        return self._predictions(self._outputs(X))

    def predict_proba(self, X):
        """Return the probabilities (n_samples, n_classes) of the classes for the rows of X, in the order of `classes_`.

        For a multilabel y each column is independent of the others.
        """
        outputs = self._outputs(X)
        return np.concatenate([1 - outputs, outputs], axis=1) if self.n_outputs_ == 1 else outputs

    def predict_log_proba(self, X):
        """Return the logarithms of `predict_proba`."""
        probabilities = self.predict_proba(X)
        return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags

    def _predictions(self, outputs):
        return self._label_binarizer.inverse_transform(outputs.ravel() if self.n_outputs_ == 1 else outputs)

    def _score(self, net, X, y, sample_weight):
        """Return the accuracy of early stopping, for y as `_validate_input` returns it."""
        outputs = net.activate(net.raw_outputs(X, self.n_threads))
        hits = (self._decisions(outputs) == self._decisions(y)).all(axis=1)
        return float(np.average(hits, weights=sample_weight))

    def _decisions(self, outputs):
        """Return the column of each row's class, or of each column whether it applies: what predictions differ in."""
        if self.out_activation_ == "softmax":
            return outputs.argmax(axis=1)[:, None]
        return outputs > 0.5 if len(self.classes_) > 1 else np.zeros(outputs.shape, bool)

    def _training_weights(self, y, weights):
        if self.class_weight is None:
            return weights
        factors = self._class_factors(y, weights)
        weights = factors if weights is None else factors * weights
        if not weights.any():
            raise ValueError(f"class_weight={self.class_weight!r} leaves no row a weight above 0")
        return weights

    def _class_factors(self, y, weights):
        if self._label_binarizer.y_type_.startswith("multilabel"):
            return label_factors(self.class_weight, y, weights)
        codes = y.argmax(axis=1) if y.shape[1] > 1 else y[:, 0].astype(np.int64)
        return row_factors(self.class_weight, self.classes_, codes, weights)

    def _choose_out_activation(self):
        return "softmax" if self._label_binarizer.y_type_ == "multiclass" else "logistic"

    def _validate_input(self, X, y, incremental, reset):
        X, y = self._validate(X, y, reset)
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if not hasattr(self, "classes_") or (not self.warm_start and not incremental):
            self._label_binarizer = LabelBinarizer().fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            self._check_classes(unique_labels(y))
        return X, self._columns(y)

    def _columns(self, y):
        """Return whether each output's class or label applies to each row."""
        if self._label_binarizer.y_type_ != "multiclass":
            return self._label_binarizer.transform(y).astype(bool)
        return np.searchsorted(self.classes_, y)[:, None] == np.arange(len(self.classes_))  # in a tenth of the time

    def _check_classes(self, classes):
        """Demand the classes of the fit before."""
        if self.warm_start:
            if set(classes) != set(self.classes_):
                raise ValueError(
                    "warm_start can only be used where `y` has the same classes as in the previous call to fit."
                    f" Previously got {self.classes_}, `y` has {classes}"
                )
        elif len(np.setdiff1d(classes, self.classes_, assume_unique=True)):
            raise ValueError(
                f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. 'y' has {classes}."
            )
