"""scikit-learn: one call of `MLPClassifier.fit`. It has less to do: there is neither dropout nor L1.

Its L2 is alpha / 2 / n times the sum of squares, with the n rows of the batch. Two classes share one logistic
output. The outputs are the labels that it sees, so where there are fewer rows than classes it gets a row for each,
and as many fewer epochs: the same number of updates.
"""

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from workloads import L2_STRENGTH, LEARNING_RATE, MOMENTUM, make_parameters

warnings.filterwarnings("ignore", category=ConvergenceWarning)  # it is to stop after so many epochs


def trainer(workload, X, y, *, shuffle=True, threads=1):
    classes, epochs = workload.sizes[-1], workload.epochs
    if len(X) < classes:
        X, y, epochs = np.resize(X, (classes, X.shape[1])), np.arange(classes), epochs // classes
    model = MLPClassifier(
        workload.sizes[1:-1],
        solver="sgd",
        alpha=2 * L2_STRENGTH * workload.batch,
        learning_rate_init=LEARNING_RATE,
        momentum=MOMENTUM,
        max_iter=1,
        shuffle=shuffle,
        random_state=0,
        tol=0.0,
        n_iter_no_change=np.inf,
        warm_start=True,
    )
    first = np.unique(y, return_index=True)[1]
    model.fit(X[first], y[first])  # makes what `fit` then goes on from
    model.set_params(max_iter=epochs, batch_size=workload.batch)
    weights, biases = workload.split(make_parameters(workload))
    model.coefs_ = [weight[:, : own.shape[1]].copy() for weight, own in zip(weights, model.coefs_)]
    model.intercepts_ = [bias[: len(own)].copy() for bias, own in zip(biases, model.intercepts_)]
    return (
        lambda: model.fit(X, y),
        lambda: np.concatenate([part.ravel() for part in model.coefs_ + model.intercepts_]),
    )
