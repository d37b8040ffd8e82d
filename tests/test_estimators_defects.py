"""Where fastreg's estimators are meant to differ from scikit-learn's: defects of the original.

A test bears the number of the issue, or of the pull request, in scikit-learn's list where one is known. What changes no
number of a healthy run is mended; what does is kept, and shown here to be the same.
"""

import _thread
import threading
import time

import numpy as np
import pytest

import fastreg as fr
from fastreg.errors import ModelStateError

sklearn = pytest.importorskip("sklearn", reason="the estimators are those of the extra fastreg[sklearn]")

from sklearn import neural_network as original  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
PAIRS = {"classifier": "MLPClassifier", "regressor": "MLPRegressor"}
both = pytest.mark.parametrize("kind", PAIRS)
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def own(kind, **parameters):
    """fastreg's estimator."""
    return getattr(fr, PAIRS[kind])(**parameters)


def pair(kind, **parameters):
    """Both estimators with the same parameters."""
    return [getattr(home, PAIRS[kind])(**parameters) for home in (fr, original)]


def data(kind, rows=120, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(rows, 6))
    signal = X @ rng.normal(size=(6, 3))
    return X, signal.argmax(axis=1) if kind == "classifier" else signal[:, 0]


def interrupted(net, X, y, epochs):
    """Fit, with Ctrl-C once so many epochs are recorded."""

    def interrupt_soon():
        deadline = time.monotonic() + 20
        while len(getattr(net, "loss_curve_", ())) < epochs and time.monotonic() < deadline:
            time.sleep(0.001)
        _thread.interrupt_main()

    watcher = threading.Thread(target=interrupt_soon)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    watcher.join()
    return net


@pytest.mark.parametrize("early_stopping", [True, False])
@both
def test_issue_7596_ctrl_c_ends_the_caller_too(kind, early_stopping):
    """The original warns and returns as if it had been trained. Here the best weights are kept, and it is raised."""
    X, y = data(kind)
    endless = {"max_iter": 10**6, "tol": 0, "n_iter_no_change": 10**9, "random_state": 0}
    net = interrupted(own(kind, early_stopping=early_stopping, **endless), X, y, epochs=40)
    assert net.n_iter_ >= 40
    assert np.isfinite(net.predict(X).astype(float)).all()
    if early_stopping:
        n_scored = len(net.validation_scores_)  # Ctrl-C may come before the last one is put down
        for max_iter in (n_scored, n_scored + 1):
            shorter = own(kind, early_stopping=True, **endless | {"max_iter": max_iter}).fit(X, y)
            if shorter.best_validation_score_ == net.best_validation_score_:
                break
        assert shorter.best_validation_score_ == net.best_validation_score_
        np.testing.assert_array_equal(net.coefs_[0], shorter.coefs_[0])
    net.set_params(max_iter=2).fit(X, y)
    assert net.n_iter_ == 2


def test_issue_7596_ctrl_c_ends_a_grid_search():
    X, y = data("classifier")
    endless = fr.MLPClassifier(max_iter=10**6, tol=0, n_iter_no_change=10**9)
    search = GridSearchCV(endless, {"alpha": [0.1, 0.2, 0.3]}, cv=2)
    threading.Timer(0.5, _thread.interrupt_main).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, y)
    assert time.monotonic() - began < 10
    assert not hasattr(search, "cv_results_")


@pytest.mark.parametrize("weights", [[-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
@both
def test_issue_15531_sample_weights_are_checked(kind, weights):
    X, y = data(kind)
    message = {-1.0: r"sample_weight\[0\]=-1.0; weights must be >= 0", 0.0: "Sample weights must contain"}
    sample_weight = np.resize(weights, len(y))
    with pytest.raises(ValueError, match=message.get(weights[0], "sample_weight contains")):
        own(kind).fit(X, y, sample_weight)


def test_masked_entries_are_refused():
    """The original trains on the numbers below the mask."""
    X, y = data("regressor")
    masked = np.ma.masked_array(X, mask=False)
    masked[2, 3] = masked[5, 1] = np.ma.masked
    with pytest.raises(ValueError, match=r"X has 2 masked entries, the first at \[2, 3\]"):
        fr.MLPRegressor().fit(masked, y)
    with pytest.raises(ValueError, match=r"y has 1 masked entries, the first at \[7\]"):
        fr.MLPRegressor().fit(X, np.ma.masked_equal(y, y[7]))
    with pytest.raises(ValueError, match="sample_weight has 120 masked"):
        fr.MLPRegressor().fit(X, y, np.ma.masked_array(np.ones(120), mask=True))
    net = fr.MLPRegressor(max_iter=1).fit(np.ma.masked_array(X, mask=False), y)  # nothing is masked there
    with pytest.raises(ValueError, match="X has 2 masked entries"):
        net.predict(masked)


def test_issue_13164_multiclass_is_split_as_the_original_splits_it():
    """Not stratified: another split would be other numbers, so it is left to a parameter of its own."""
    X, y = data("classifier")
    twins = [e.fit(X, y) for e in pair("classifier", early_stopping=True, max_iter=5, random_state=0)]
    assert twins[0].validation_scores_ == twins[1].validation_scores_


def test_issues_6780_and_10477_alpha_means_what_it_means_there():
    """Its strength depends on the batch size. It is kept: the numbers are those of the original."""
    X, y = data("regressor")
    norms = []
    for batch_size in (10, 120):
        mine, theirs = (e.fit(X, y) for e in pair("regressor", alpha=8.0, batch_size=batch_size, random_state=0))
        np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-9)
        np.testing.assert_allclose(mine.coefs_[0], theirs.coefs_[0], atol=1e-9)
        norms.append(np.linalg.norm(mine.coefs_[0]))
    assert norms[0] < 0.9 * norms[1]


def test_a_warm_start_with_early_stopping_keeps_the_best_weights():
    """In the original the best weights of the fit before are the live ones, so a worse second fit overwrites them."""
    X, y = data("regressor")
    settings = {"early_stopping": True, "warm_start": True, "random_state": 0, "max_iter": 300, "tol": 0}
    mine, theirs = (e.fit(X, y) for e in pair("regressor", **settings))
    best = [coef.copy() for coef in mine.coefs_]
    for net in (mine, theirs):
        net.set_params(learning_rate_init=0.3, max_iter=5).fit(X, y)
    assert mine.best_validation_score_ == pytest.approx(theirs.best_validation_score_, rel=1e-9)
    assert max(mine.validation_scores_[-5:]) < mine.best_validation_score_  # nothing better was found
    assert all((a == b).all() for a, b in zip(mine.coefs_, best, strict=True))
    assert (theirs.coefs_[0] != best[0]).any()


@pytest.mark.parametrize("kind", PAIRS)
def test_lbfgs_has_no_partial_fit(kind):
    """The original's regressor claims to have one."""
    net = own(kind, solver="lbfgs")
    assert not hasattr(net, "partial_fit")
    with pytest.raises(AttributeError, match="has no attribute 'partial_fit'"):
        net.partial_fit  # noqa: B018


def test_issue_30712_the_first_positional_parameter_of_the_regressor_is_loss():
    X, y = data("regressor")
    with pytest.raises(
        ValueError, match=r"'loss' parameter of MLPRegressor.*write MLPRegressor\(hidden_layer_sizes=\(50"
    ):
        fr.MLPRegressor((50,)).fit(X, y)
    with pytest.raises(ValueError, match="'loss' parameter of MLPRegressor") as refused:
        fr.MLPRegressor("absolute").fit(X, y)
    assert "hidden_layer_sizes" not in str(refused.value)


@both
def test_a_warm_start_draws_its_validation_set_as_the_original_does(kind):
    """Anew, so rows that were trained on are scored: another set would be other numbers, so it is kept."""
    X, y = data(kind)
    drawn = []

    def remembering(estimator):
        class Remembering(type(estimator)):
            def _score(self, *arguments, **weights):
                rows = next(a for a in arguments if isinstance(a, np.ndarray) and a.ndim == 2 and a.shape[1] == 6)
                drawn.append({row.tobytes() for row in rows})
                return super()._score(*arguments, **weights)

        return Remembering(**estimator.get_params())

    twins = pair(kind, early_stopping=True, warm_start=True, max_iter=1, random_state=np.random.RandomState(0))
    of_each = []
    for estimator in map(remembering, twins):
        estimator.set_params(random_state=np.random.RandomState(0))
        for _ in range(2):
            estimator.fit(X, y)
        of_each.append((drawn[:], estimator.validation_scores_))
        drawn.clear()
    (mine, scores), (theirs, expected) = of_each
    assert mine == theirs
    assert mine[0] != mine[1]
    np.testing.assert_allclose(scores, expected, rtol=1e-9)


@both
def test_issue_25693_early_stopping_may_end_and_begin_between_two_fits(kind):
    """The original fails on the records that the other kind of training has not kept."""
    X, y = data(kind)
    net = own(kind, early_stopping=True, max_iter=3, random_state=0).fit(X, y)
    net.set_params(early_stopping=False).partial_fit(X, y)
    assert len(net.loss_curve_) == 4
    assert net.best_loss_ == net.loss_curve_[-1]
    net.set_params(early_stopping=True, warm_start=True).fit(X, y)
    assert len(net.loss_curve_) == 7
    assert len(net.validation_scores_) == 6
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        net.partial_fit(X, y)
    net = own(kind, warm_start=True, max_iter=3, random_state=0).fit(X, y)
    net.set_params(early_stopping=True).fit(X, y)
    assert (len(net.loss_curve_), len(net.validation_scores_)) == (6, 3)
    net = own(kind, solver="lbfgs", warm_start=True, max_iter=3, random_state=0).fit(X, y)
    net.set_params(solver="adam").fit(X, y)
    assert len(net.loss_curve_) == 3


def test_issue_33760_early_stopping_with_labels_that_are_text():
    X, y = data("classifier")
    names = np.array(["a", "b", "c"])[y]
    nets = [fr.MLPClassifier(early_stopping=True, max_iter=5, random_state=0).fit(X, labels) for labels in (y, names)]
    assert nets[0].validation_scores_ == nets[1].validation_scores_
    assert set(nets[1].predict(X)) <= {"a", "b", "c"}


@pytest.mark.parametrize("early_stopping", [True, False])
def test_issues_17925_and_29504_a_training_that_diverges_says_so(early_stopping):
    X, y = data("regressor")
    net = fr.MLPRegressor(
        solver="sgd", learning_rate_init=1e3, activation="identity", max_iter=50, early_stopping=early_stopping,
        warm_start=True, random_state=0,
    )  # fmt: skip
    if early_stopping:  # the weights before the numbers grew are the best
        net.fit(X, y)
        assert np.isfinite(net.predict(X)).all()
        return
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        net.fit(X, y)
    with pytest.raises(ModelStateError, match=r"fit anew, with warm_start=False"):
        net.fit(X, y)
    net.set_params(warm_start=False, learning_rate_init=1e-3).fit(X, y)
    assert np.isfinite(net.predict(X)).all()


def test_a_training_that_goes_on_demands_the_same_layers():
    X, y = data("regressor")
    net = fr.MLPRegressor(max_iter=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="hidden_layer_sizes has 2 layers, the fitted network 1: fit anew"):
        net.set_params(hidden_layer_sizes=(5, 5)).fit(X, y)
    net.set_params(hidden_layer_sizes=(100,))
    with pytest.raises(ValueError, match="y has 2 outputs, the fitted network 1: fit anew"):
        net.fit(X, np.stack([y, y], axis=1))
    assert net.n_outputs_ == 1
    assert len(net.fit(X, y).loss_curve_) == 4


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.array(["1.5", "2.5"] * 60), "y must be an array of numbers, got ndarray of dtype <U3"),
        (np.array([1e39, 0.0] * 60), r"y\[0\]=1e\+39 exceeds float32"),
    ],
)
def test_what_is_no_target_of_regression(y, message):
    X, _ = data("regressor")
    with pytest.raises(ValueError, match=message):
        fr.MLPRegressor().fit(X.astype(np.float32), y)


def test_sparse_targets_of_regression_are_refused():
    sparse = pytest.importorskip("scipy.sparse")
    X, y = data("regressor")
    with pytest.raises(ValueError, match="y must be an array of numbers, got csr_"):
        fr.MLPRegressor().fit(X, sparse.csr_matrix(np.stack([y, y], axis=1)))


def test_negative_counts_are_refused():
    """The original trains on, and its loss is NaN."""
    X, y = data("regressor")
    with pytest.raises(ValueError, match="loss='poisson' needs y >= 0, got -"):
        fr.MLPRegressor(loss="poisson").fit(X, y)


@both
def test_weights_that_vanish_where_they_are_used(kind):
    X, y = data(kind)
    with pytest.raises(ValueError, match="sample_weight is all 0, or infinite, as float32"):
        own(kind).fit(X.astype(np.float32), y, np.full(120, 1e-300))
    weights = np.zeros(120)
    weights[-1] = 1
    with pytest.raises(ValueError, match="all 12 rows of the validation set have sample weight 0"):
        own(kind, early_stopping=True, random_state=0).fit(X, y, weights)


@both
def test_a_batch_without_weight_changes_nothing_but_the_moments(kind):
    """The original divides by its sum of weights, 0."""
    X, y = data(kind)
    weights = np.repeat([1.0, 0.0], 60)
    settings = {"solver": "sgd", "momentum": 0.0, "shuffle": False, "batch_size": 60, "max_iter": 5, "random_state": 0}
    mine = own(kind, **settings).fit(X, y, weights)
    half = own(kind, **settings).fit(X[:60], y[:60])
    for a, b in zip(mine.coefs_, half.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


def test_ctrl_c_in_lbfgs_keeps_the_least_loss():
    """The original's solver leaves the weights of the last trial of its line search."""
    X, y = data("regressor", rows=50_000)  # seconds of training
    net = fr.MLPRegressor(solver="lbfgs", max_iter=10**6, max_fun=10**9, tol=0, random_state=0)
    threading.Timer(0.5, _thread.interrupt_main).start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    assert net.n_iter_ > 0
    mean_squares = ((net.predict(X) - y) ** 2).mean() / 2
    penalty = 0.5 * net.alpha * sum((coef**2).sum() for coef in net.coefs_) / len(X)
    assert net.loss_ == pytest.approx(mean_squares + penalty, rel=1e-9)


def test_outputs_that_are_not_finite_are_no_prediction():
    X, y = data("classifier")
    net = fr.MLPClassifier(activation="identity", max_iter=3).fit(X, y)
    X[3, 0] = 1e308
    net.coefs_[0][...] *= 1e10
    with pytest.raises(ValueError, match="outputs of row 3 of X are not finite"):
        net.predict(X)
    X, y = data("regressor")
    rates = fr.MLPRegressor(loss="poisson", max_iter=20, random_state=0).fit(X, np.exp(y / 4))
    with pytest.raises(ValueError, match=r"outputs of row \d+ of X are not finite"):
        rates.predict(X * 1e6)
