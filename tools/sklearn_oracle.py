"""Do fastreg's estimators follow scikit-learn's, number for number? All combinations, or a sample with all pairs.

    python tools/sklearn_oracle.py             every combination: minutes
    python tools/sklearn_oracle.py --pairs     a sample in which every two settings meet
    python tools/sklearn_oracle.py --rows 400  larger tables

Each combination is fitted by both for 20 epochs from one `random_state` in float64. The table gives the largest
relative difference of `loss_curve_` (and `validation_scores_`), the largest max|Δ| / max|value| of an array of coefs_
or intercepts_, and where they were. The solver "lbfgs" runs 20 iterations; its line search may end a step earlier or
later by a rounding, so it is listed apart. Exit status 1 where a deviation of the others exceeds 1e-9.
"""

import argparse
import sys
import warnings
from itertools import combinations, product

import numpy as np
from scipy import sparse
from sklearn import neural_network
from sklearn.exceptions import ConvergenceWarning

import fastreg

LIMIT = 1e-9
EPOCHS = 20
MOMENTA = {
    "no momentum": {"momentum": 0.0},
    "momentum": {"momentum": 0.9, "nesterovs_momentum": False},
    "Nesterov": {"momentum": 0.9},
}
SCHEDULES = {
    "constant": {"learning_rate_init": 0.01},
    "invscaling": {"learning_rate": "invscaling", "learning_rate_init": 0.02},
    "adaptive": {"learning_rate": "adaptive", "learning_rate_init": 0.02, "tol": 0.05, "n_iter_no_change": 2},
}
SOLVERS = {
    f"sgd, {schedule}, {momentum}": {"solver": "sgd", **SCHEDULES[schedule], **MOMENTA[momentum]}
    for schedule, momentum in product(SCHEDULES, MOMENTA)
} | {"adam": {"solver": "adam", "learning_rate_init": 0.01}}
FACTORS = {
    "solver": (*SOLVERS, "lbfgs"),
    "activation": ("identity", "logistic", "tanh", "relu"),
    "task": ("binary", "multiclass", "multilabel", "regression", "multi-output regression", "poisson"),
    "X": ("dense", "csr", "csc"),
    "sample_weight": (False, True),
    "early_stopping": (False, True),
}
CONTAINERS = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}


def every_combination():
    """All combinations as tuples; lbfgs knows no early stopping."""
    return [c for c in product(*FACTORS.values()) if not (c[0] == "lbfgs" and c[-1])]


def some_combinations(candidates):
    """A sample of the candidates, chosen greedily, in which every pair of two factors' settings occurs."""
    pairs = {c: set(combinations(enumerate(c), 2)) for c in candidates}
    missing, chosen = set().union(*pairs.values()), []
    while missing:
        best = max(candidates, key=lambda c: len(pairs[c] & missing))
        chosen.append(best)
        missing -= pairs[best]
    return chosen


def table(task, rows):
    """X (rows, 12), a third of it zeros, and a y that it tells something about."""
    rng = np.random.RandomState(0)
    X = rng.normal(size=(rows, 12)) * (rng.uniform(size=(rows, 12)) > 1 / 3)
    signal = X @ rng.normal(size=(12, 3)) + 0.3 * rng.normal(size=(rows, 3))
    y = {
        "binary": (signal[:, 0] > 0).astype(int) * 7,
        "multiclass": signal.argmax(axis=1) * 3,
        "multilabel": (signal > 0).astype(int),
        "regression": signal[:, 0],
        "multi-output regression": signal,
        "poisson": rng.poisson(np.exp(signal[:, 0] / 4)),
    }[task]
    return X, y, rng.uniform(size=rows) * (rng.uniform(size=rows) > 0.1)


def parameters(solver, activation, task, early_stopping):
    """The settings of both estimators."""
    settings = {"hidden_layer_sizes": (16, 8), "activation": activation, "max_iter": EPOCHS, "random_state": 1}
    settings |= {"batch_size": 32, "alpha": 0.01, "early_stopping": early_stopping, "validation_fraction": 0.2}
    settings |= SOLVERS.get(solver, {"solver": "lbfgs"})
    if task == "poisson":
        settings["loss"] = "poisson"
        settings["learning_rate_init"] = settings.get("learning_rate_init", 0.01) / 10
    return settings


def fitted(home, combination, rows):
    """The estimator of `home`, a module with both classes, fitted to the combination."""
    solver, activation, task, container, weighted, early_stopping = combination
    X, y, weights = table(task, rows)
    kind = "MLPClassifier" if task in ("binary", "multiclass", "multilabel") else "MLPRegressor"
    estimator = getattr(home, kind)(**parameters(solver, activation, task, early_stopping))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return estimator.fit(CONTAINERS[container](X), y, *([weights] if weighted else []))  # none before 1.7


def deviation(combination, rows=150):
    """The largest relative differences of curves and of parameters between the two fits."""
    mine, theirs = (fitted(home, combination, rows) for home in (fastreg, neural_network))
    arrays = zip(mine.coefs_ + mine.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True)
    weights = max(np.abs(a - b).max() / np.abs(b).max() for a, b in arrays)
    if combination[0] == "lbfgs":
        return abs(mine.loss_ - theirs.loss_) / theirs.loss_, weights
    if mine.n_iter_ != theirs.n_iter_ or mine._no_improvement_count != theirs._no_improvement_count:
        return np.inf, np.inf
    curve = relative(mine.loss_curve_, theirs.loss_curve_)
    if mine.early_stopping:  # of scores, R2 may be near 0
        curve = max(curve, relative(mine.validation_scores_, theirs.validation_scores_, least=1e-3))
    return curve, weights


def relative(values, expected, least=0.0):
    values, expected = np.array(values), np.array(expected)
    return (np.abs(values - expected) / np.maximum(np.abs(expected), least)).max()


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", action="store_true", help="a sample in which every two settings meet")
    parser.add_argument("--rows", type=int, default=150, help="of each table (default 150)")
    options = parser.parse_args(argv)
    chosen = every_combination()
    chosen = some_combinations(chosen) if options.pairs else chosen
    found = {combination: deviation(combination, options.rows) for combination in chosen}
    print(f"{'solver':32} {'fits':>5}  {'loss curve':>10}  {'weights':>10}  where the larger one is")
    for solver in FACTORS["solver"]:
        mine = {c: d for c, d in found.items() if c[0] == solver}
        curve, weights = (max(d[i] for d in mine.values()) for i in (0, 1))
        worst = max(mine, key=lambda c: max(mine[c]))
        print(f"{solver:32} {len(mine):5}  {curve:10.1e}  {weights:10.1e}  {described(worst)}")
    stochastic = {c: d for c, d in found.items() if c[0] != "lbfgs"}
    worst = max(stochastic, key=lambda c: max(stochastic[c]))
    print(
        f"{len(found)} combinations, {EPOCHS} epochs each; without lbfgs {len(stochastic)}, the worst deviation"
        f" {max(stochastic[worst]):.1e}: {worst[0]}, {described(worst)}"
    )
    return int(max(stochastic[worst]) > LIMIT)


def described(combination):
    _, activation, task, container, weighted, early_stopping = combination
    extras = [name for name, on in (("sample_weight", weighted), ("early_stopping", early_stopping)) if on]
    return ", ".join([activation, task, container, *extras])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
