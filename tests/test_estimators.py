"""MLPClassifier and MLPRegressor against scikit-learn's own, and where they are meant to differ.

The whole product of settings is `make sklearn-oracle`; here a sample in which every two settings meet. Defects of the
original are tested under the number that they have in scikit-learn's list of issues, where they have one.
"""

import _thread
import ast
import copy
import gc
import inspect
import os
import pickle
import re
import subprocess
import sys
import threading
import time
import warnings
import weakref
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr
from fastreg.errors import ModelStateError

sklearn = pytest.importorskip("sklearn", reason="the estimators are those of the extra fastreg[sklearn]")
scipy_sparse = pytest.importorskip("scipy.sparse")

from sklearn import neural_network as original  # noqa: E402
from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning, NotFittedError  # noqa: E402

from fastreg.estimators.regularizers import NEUTRAL  # noqa: E402

VERSION = tuple(int(part) for part in sklearn.__version__.split(".")[:2])
CURRENT = VERSION >= (1, 9)  # of which the estimators are the twins
PAIRS = {"classifier": "MLPClassifier", "regressor": "MLPRegressor"}
OWN = {"n_threads": None, "dtype": None} | NEUTRAL

both = pytest.mark.parametrize("kind", PAIRS)
of_version_1_9 = pytest.mark.skipif(not CURRENT, reason="the twin of scikit-learn 1.9, an older one is installed")
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def pair(kind, **parameters):
    """Both estimators with the same parameters."""
    return [getattr(home, PAIRS[kind])(**parameters) for home in (fr, original)]


def own(kind, **parameters):
    return getattr(fr, PAIRS[kind])(**parameters)


def data(kind, rows=120, seed=0):
    rng = np.random.RandomState(seed)
    X = rng.normal(size=(rows, 6))
    signal = X @ rng.normal(size=(6, 3))
    return X, signal.argmax(axis=1) if kind == "classifier" else signal[:, 0]


def assert_twins(mine, theirs, rtol=1e-9):
    """The same curve and the same weights."""
    np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=rtol)
    assert_same_weights(mine, theirs, rtol)
    for name in ("n_iter_", "t_", "best_loss_", "best_validation_score_", "_no_improvement_count"):
        value, expected = getattr(mine, name), getattr(theirs, name)
        assert value == (expected if expected is None else pytest.approx(expected, rel=rtol)), name


def assert_same_weights(mine, theirs, rtol=1e-9):
    for a, b in zip(mine.coefs_ + mine.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        assert np.abs(a - b).max() <= rtol * np.abs(b).max()
        assert a.dtype == b.dtype


# ---- the numbers


oracle = pytest.importorskip("sklearn_oracle", reason="tools/ is not beside the tests")
AVAILABLE = [c for c in oracle.every_combination() if CURRENT or (c[2] != "poisson" and not c[4])]


@pytest.mark.parametrize("combination", oracle.some_combinations(AVAILABLE), ids=lambda c: "-".join(map(str, c)))
def test_numbers_are_scikit_learns(combination):
    curve, weights = oracle.deviation(combination)
    limit = 1e-6 if combination[0] == "lbfgs" else oracle.LIMIT  # its line search amplifies roundings
    assert max(curve, weights) <= limit


def test_the_sample_has_every_pair_of_settings():
    chosen = oracle.some_combinations(oracle.every_combination())
    for i, j in ((0, 1), (0, 2), (2, 3), (3, 4), (4, 5)):
        want = {(c[i], c[j]) for c in oracle.every_combination()}
        assert {(c[i], c[j]) for c in chosen} == want


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@both
def test_partial_fit_after_fit_and_warm_starts(kind, solver):
    """Every call draws from the seed anew, a warm start has a new optimizer, partial_fit goes on with the last one."""
    X, y = data(kind)
    twins = pair(kind, solver=solver, max_iter=4, random_state=3, warm_start=True, batch_size=50)
    for estimator in twins:
        estimator.fit(X, y)
        estimator.fit(X, y)
        estimator.partial_fit(X[:70], np.resize(y, 70))
        estimator.set_params(learning_rate_init=0.01)
        estimator.fit(X, y)
        estimator.partial_fit(X, y)
    assert_twins(*twins)
    assert len(twins[0].loss_curve_) == 4 + 4 + 1 + 4 + 1


def test_partial_fit_with_classes_of_later_calls():
    twins = pair("classifier", random_state=0)
    for estimator in twins:
        estimator.partial_fit([[1.0], [2.0], [3.0]], ["a", "b", "c"], classes=["a", "b", "c", "d"])
        estimator.partial_fit([[4.0]], ["d"])
    assert_twins(*twins)
    np.testing.assert_allclose(twins[0].predict_proba([[4.0]]), twins[1].predict_proba([[4.0]]), rtol=1e-9)


@both
def test_random_states_are_used_up_alike(kind):
    """One RandomState through two fits with a split, and what it draws next."""
    X, y = data(kind)
    states = [np.random.RandomState(5) for _ in range(2)]
    for state, estimator in zip(states, pair(kind, max_iter=3, early_stopping=True), strict=True):
        estimator.set_params(random_state=state).fit(X, y)
        estimator.fit(X, y)
    assert states[0].randint(10**9) == states[1].randint(10**9)


@both
def test_global_random_state_is_used_by_default(kind):
    X, y = data(kind)
    twins = pair(kind, max_iter=2)
    for estimator in twins:
        np.random.seed(11)
        estimator.fit(X, y)
    assert_twins(*twins)


@pytest.mark.parametrize("settings", [{"shuffle": False, "batch_size": 32}, {"batch_size": 1}, {"momentum": 1.0}])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@both
def test_batches(kind, solver, settings):
    X, y = data(kind, rows=70)
    twins = [e.fit(X, y) for e in pair(kind, solver=solver, max_iter=5, random_state=0, **settings)]
    assert_twins(*twins)


@both
def test_float32_is_kept_and_close(kind):
    X, y = data(kind)
    mine, theirs = (e.fit(X.astype(np.float32), y) for e in pair(kind, max_iter=10, random_state=0))
    assert_same_weights(mine, theirs, 1e-4)
    assert mine.predict(X.astype(np.float32)).dtype == theirs.predict(X.astype(np.float32)).dtype


@of_version_1_9
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_loss_is_clipped_as_the_originals(dtype):
    """Data far from 0: probabilities of exactly 0 and 1, and a loss curve that agrees."""
    X, y = data("classifier")
    for labels in (y, y > 0):
        settings = {"max_iter": 3, "random_state": 0, "activation": "identity", "learning_rate_init": 1e-6}
        mine, theirs = (e.fit((X * 1e3).astype(dtype), labels) for e in pair("classifier", **settings))
        np.testing.assert_allclose(mine.loss_curve_, theirs.loss_curve_, rtol=1e-5 if dtype == "float32" else 1e-9)
        assert mine.loss_curve_[0] < 40


@pytest.mark.parametrize("given", ["float16", "float32", "float64", "int64", ">f8", "object"])
@both
def test_predictions_are_of_the_originals_dtype(kind, given):
    """A network of float32 computes in float64 what is no float32."""
    X, y = data(kind)
    mine, theirs = (e.fit(X.astype(np.float32), y) for e in pair(kind, max_iter=5, random_state=0))
    mine.coefs_, mine.intercepts_ = theirs.coefs_, theirs.intercepts_
    for name in ("predict", "predict_proba") if kind == "classifier" else ("predict",):
        a, b = (getattr(e, name)((X * 9).astype(given)) for e in (mine, theirs))
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=1e-4 if given in ("float16", "float32") else 1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("task", ["binary", "multiclass", "multilabel", "one class", "regression", "two outputs"])
def test_validation_scores_are_those_of_scikit_learns_metrics(task, weighted):
    """Computed here, without the metrics' checks of their input."""
    if weighted and VERSION < (1, 7):
        pytest.skip("scikit-learn's own have no sample_weight before 1.7")
    kind = "regressor" if task in ("regression", "two outputs") else "classifier"
    X, y = data(kind)
    y = {
        "binary": y > 0, "multiclass": y, "multilabel": np.stack([y > 0, y > 1], axis=1).astype(int),
        "one class": y * 0, "regression": y, "two outputs": np.stack([y, 0.5 * X[:, 0] - y], axis=1),
    }[task]  # fmt: skip
    weights = [np.linspace(0, 1, 120)] if weighted else []
    settings = {"early_stopping": True, "max_iter": 20, "random_state": 0, "validation_fraction": 0.3}
    mine, theirs = (e.fit(X, y, *weights) for e in pair(kind, **settings))
    np.testing.assert_allclose(mine.validation_scores_, theirs.validation_scores_, rtol=1e-9)
    assert type(mine.validation_scores_[0]) is float


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True, "tol": 0}])
@pytest.mark.parametrize("solver", ["sgd", "adam"])
@both
def test_trainings_that_diverge_count_as_the_originals_do(kind, solver, settings):
    """NaN losses and scores neither improve nor fail to, in records and patience."""
    X, y = data(kind)
    rate = {"learning_rate_init": 1e200, "activation": "identity"}
    records = []
    for net in pair(kind, solver=solver, max_iter=9, n_iter_no_change=2, random_state=0, **rate, **settings):
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)
            try:
                net.fit(X, y)
                outcome = "fitted"
            except ValueError as error:
                outcome = str(error)
        records.append((outcome, net.n_iter_, net._no_improvement_count, len(net.loss_curve_)))
        assert net.best_loss_ is None or not np.isnan(net.best_loss_)
    if not settings:  # the original's best weights of early stopping are those before they ran away, or none
        assert records[0] == records[1]


@both
def test_lbfgs_ends_where_the_original_does(kind):
    X, y = data(kind)
    for settings in ({"max_fun": 4}, {"max_iter": 4}, {"tol": 0.5}):
        mine, theirs = (e.fit(X, y) for e in pair(kind, solver="lbfgs", random_state=0, **settings))
        assert mine.n_iter_ == theirs.n_iter_
        assert_same_weights(mine, theirs, 1e-6)
    single = own(kind, max_iter=2, warm_start=True, random_state=0).fit(X.astype(np.float32), y)
    assert single.set_params(solver="lbfgs").fit(X.astype(np.float32), y).coefs_[0].dtype == np.float64
    assert np.isfinite(single.set_params(solver="adam").partial_fit(X, y).loss_)


@both
def test_changes_between_two_calls(kind):
    X, y = data(kind)
    twins = pair(kind, max_iter=3, random_state=0)
    for estimator in twins:
        estimator.fit(X, y).set_params(activation="tanh", alpha=0.1)
    np.testing.assert_allclose(*(e.predict(X) for e in twins), rtol=1e-7)
    for estimator in twins:
        estimator.partial_fit(X, y)
        with pytest.raises(ValueError, match="X has 5 features, but MLP.* is expecting 6 features as input"):
            estimator.partial_fit(X[:, :5], y)
    assert_twins(*twins)


@pytest.mark.parametrize("home", [fr, original])
def test_refusals_have_the_originals_words(home):
    X, y = data("classifier")
    net = home.MLPClassifier(max_iter=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        net.fit(X, y % 2)
    net = home.MLPClassifier(max_iter=2).fit(X, y)
    with pytest.raises(ValueError, match="`y` has classes not in `self.classes_`"):
        net.partial_fit(X, y + 1)
    if home is fr or VERSION >= (1, 7):  # before, it was train_test_split's word
        with pytest.raises(ValueError, match="The validation set is too small"):
            home.MLPClassifier(early_stopping=True, validation_fraction=0.004).fit(X, y)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        home.MLPClassifier().partial_fit(X, y)


@both
def test_float32_with_sample_weights(kind):
    if VERSION < (1, 7):
        pytest.skip("scikit-learn's own have no sample_weight before 1.7")
    X, y = data(kind)
    weights = np.linspace(0, 2, 120)
    mine, theirs = (e.fit(X.astype(np.float32), y, weights) for e in pair(kind, max_iter=10, random_state=0))
    assert_same_weights(mine, theirs, 1e-4)


@both
def test_predictions_are_the_originals(kind):
    X, y = data(kind)
    for settings in ({}, {"solver": "lbfgs", "max_iter": 5}, {"activation": "logistic"}):
        mine, theirs = (e.fit(X, y) for e in pair(kind, random_state=0, **{"max_iter": 5} | settings))
        methods = ("predict", "predict_proba", "predict_log_proba") if kind == "classifier" else ("predict",)
        for name in methods:
            np.testing.assert_allclose(getattr(mine, name)(X), getattr(theirs, name)(X), rtol=1e-7)
        assert mine.score(X, y) == pytest.approx(theirs.score(X, y), rel=1e-9)


@pytest.mark.parametrize("y", [["b", "a"] * 20, [1.0, 3.0] * 20, [True, False] * 20, [[1, 0], [1, 1]] * 20, [5] * 40])
def test_classes_of_any_type(y):
    X = np.random.RandomState(0).normal(size=(40, 3))
    mine, theirs = (e.fit(X, y) for e in pair("classifier", max_iter=5, random_state=0))
    assert mine.classes_.dtype == theirs.classes_.dtype
    for name in ("predict", "predict_proba"):
        a, b = getattr(mine, name)(X), getattr(theirs, name)(X)
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a.shape, b.shape)
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(X))


@both
def test_the_number_of_threads_changes_no_bit(kind):
    X, y = data(kind, rows=2000)
    fits = [getattr(fr, PAIRS[kind])(max_iter=3, random_state=0, n_threads=n).fit(X, y) for n in (1, 2, None)]
    assert len({b"".join(c.tobytes() for c in fit.coefs_ + fit.intercepts_) for fit in fits}) == 1


# ---- the interface


@of_version_1_9
@both
def test_signatures_are_those_of_1_9(kind):
    mine, theirs = (inspect.signature(type(e).__init__).parameters for e in pair(kind))
    assert [p for name, p in mine.items() if name not in OWN] == list(theirs.values())
    own_ones = [p for name, p in mine.items() if name in OWN]
    assert list(mine.values()) == list(theirs.values()) + own_ones
    assert kind == "regressor" or len(own_ones) == len(OWN)
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY and p.default == OWN[p.name] for p in own_ones)
    for method in ("fit", "partial_fit", "predict", "score", "get_params", "set_params"):
        a, b = (inspect.signature(getattr(e, method)) for e in pair(kind))
        assert a == b


@both
def test_every_parameter_is_described(kind):
    """One by one: that is where scikit-learn's HTML finds what it shows."""
    document = inspect.getdoc(type(own(kind)))
    parameters = document[document.index("Parameters\n") : document.index("Attributes\n")]
    described = re.findall(r"^(\w+) : .*default=(.*)$", parameters, re.MULTILINE)
    defaults = own(kind).get_params()
    assert {name for name, _ in described} == set(defaults)
    assert {name: ast.literal_eval(value) for name, value in described} == defaults


def test_attributes_are_set_one_by_one():
    class Doubling(fr.MLPClassifier):
        alpha = property(lambda self: self._half * 2, lambda self, value: setattr(self, "_half", value / 2))

    assert Doubling(alpha=0.5).alpha == 0.5
    assert fr.MLPClassifier().loss == original.MLPClassifier().loss


@of_version_1_9
@both
def test_tags_and_metadata_requests_are_the_originals(kind):
    mine, theirs = pair(kind)
    assert mine.__sklearn_tags__() == theirs.__sklearn_tags__()
    assert repr(mine.get_metadata_routing()) == repr(theirs.get_metadata_routing())


@of_version_1_9
@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "lbfgs"}])
@both
def test_fitted_attributes_are_the_originals(kind, settings):
    pd = pytest.importorskip("pandas")
    X, y = data(kind)
    frame = pd.DataFrame(X, columns=list("abcdef"))
    mine, theirs = (e.fit(frame, y) for e in pair(kind, max_iter=3, random_state=0, **settings))

    def public(estimator):
        return {name for name in vars(estimator) if name.endswith("_") and not name.startswith("_")}

    assert public(mine) == public(theirs)
    for name in ("n_iter_", "n_layers_", "n_outputs_", "out_activation_", "t_", "n_features_in_"):
        assert getattr(mine, name) == getattr(theirs, name)
        assert type(getattr(mine, name)) is type(getattr(theirs, name)), name
    assert mine.feature_names_in_.tolist() == theirs.feature_names_in_.tolist()
    for name in {"loss_", "best_loss_", "best_validation_score_"} & public(mine):
        assert isinstance(getattr(mine, name), type(getattr(theirs, name))), name


@pytest.mark.parametrize("settings", [{}, {"early_stopping": True}, {"solver": "sgd", "learning_rate": "adaptive"}])
@both
def test_what_is_printed_and_warned(kind, settings, capsys):
    X, y = data(kind)
    said = []
    shared = {"max_iter": 40, "random_state": 0, "n_iter_no_change": 1, "tol": 0.1, **settings}
    for estimator in pair(kind, verbose=True, **shared):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            estimator.fit(X, y)
        said.append((capsys.readouterr().out, [(w.category, str(w.message)) for w in caught]))
    assert said[0] == said[1]
    assert said[0][0].startswith("Iteration 1, loss = ")
    assert said[0][0].endswith("Stopping.\n")
    getattr(fr, PAIRS[kind])(**shared).fit(X, y)
    assert capsys.readouterr().out == ""


def test_the_convergence_warning_is_the_originals():
    X, y = data("classifier")
    for settings in ({"max_iter": 2}, {"max_iter": 2, "solver": "lbfgs"}, {"max_iter": 1, "batch_size": 999}):
        said = []
        for estimator in pair("classifier", random_state=0, **settings):
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                estimator.fit(X, y)
            said.append([(w.category, str(w.message)) for w in caught])
        assert said[0] == said[1]
        assert said[0][-1][0] is ConvergenceWarning


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_layer_sizes": (10, 0)}, r"hidden_layer_sizes must be > 0, got \[10, 0\]."),
        ({"hidden_layer_sizes": (10, 8.5)}, r"hidden_layer_sizes\[1\] must be an int >= 1, got 8.5"),
        ({"hidden_layer_sizes": "64"}, "hidden_layer_sizes"),
        ({"alpha": -1.0}, "The 'alpha' parameter of MLPClassifier must be"),
        ({"activation": "reul"}, "The 'activation' parameter"),
        ({"n_threads": 0}, "The 'n_threads' parameter"),
        ({"dtype": "float16"}, "The 'dtype' parameter"),
        ({"batch_size": 0}, "The 'batch_size' parameter"),
        ({"random_state": -1}, "The 'random_state' parameter"),
    ],
)
def test_bad_settings_are_refused_by_name(settings, message):
    X, y = data("classifier")
    with pytest.raises(ValueError, match=message):
        fr.MLPClassifier(**settings).fit(X, y)


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="the system does not say how much memory there is")
def test_a_network_larger_than_the_machine_is_refused_before_memory_is_taken():
    X, y = data("regressor")
    with pytest.raises(MemoryError, match=r"hidden_layer_sizes: 8000000000001 weights need 59604.6 GiB"):
        fr.MLPRegressor(hidden_layer_sizes=(10**12,)).fit(X, y)


@both
def test_predict_before_fit(kind):
    with pytest.raises(NotFittedError):
        own(kind).predict([[1.0]])
    refused = own(kind)
    with pytest.raises(ValueError, match=r"sample_weight.shape == \(3,\)"):
        refused.fit([[1.0], [2.0]], [0.0, 1.0], sample_weight=[1.0, 1.0, 1.0])
    with pytest.raises(NotFittedError):
        refused.predict([[1.0]])


@both
def test_one_object_fits_other_targets_anew(kind):
    X, y = data(kind)
    twins = pair(kind, max_iter=3, random_state=0)
    for other in (y, y > 0, np.stack([y > 0, y < 1], axis=1), y):
        for estimator in twins:
            estimator.fit(X, other.astype(int))
        assert_twins(*twins)
        np.testing.assert_array_equal(*(e.fit(X, other.astype(int)).predict(X).shape for e in twins))


def test_a_value_beyond_float32_is_refused():
    with pytest.raises(ValueError, match="infinity or a value too large for dtype\\('float32'\\)"):
        fr.MLPRegressor(dtype="float32").fit([[1e39], [1.0]], [0.0, 1.0])


@both
def test_dtype_decides_for_any_input(kind):
    X, y = data(kind)
    for dtype in ("float32", "float64"):
        for given in ("float32", "float64", "int64"):
            fit = getattr(fr, PAIRS[kind])(max_iter=2, dtype=dtype if given == "int64" else getattr(np, dtype)).fit(
                X.astype(given), y
            )
            assert {a.dtype for a in fit.coefs_ + fit.intercepts_} == {np.dtype(dtype)}
            if kind == "regressor":
                assert fit.predict(X.astype(given)).dtype == dtype


# ---- sparse tables


def sparse_table(rows=120, columns=40, seed=0):
    X = scipy_sparse.random(rows, columns, density=0.1, format="csr", random_state=seed)
    return X, np.asarray(X.sum(axis=1)).ravel()


@pytest.mark.parametrize("index", [np.int32, np.int64])
@pytest.mark.parametrize("how", ["csr", "csc", "csr_array", "unsorted", "duplicates", "float32"])
def test_sparse_tables_train_to_the_bits_of_dense_ones(how, index):
    X, y = sparse_table()
    dense = X.toarray()
    if how == "unsorted":
        X.indices, X.data = X.indices[::-1].copy(), X.data[::-1].copy()
        X.indptr = (X.nnz - X.indptr[::-1]).copy()
        X, dense = scipy_sparse.csr_matrix((X.data, X.indices, X.indptr), X.shape), dense[::-1]
        assert not X.has_sorted_indices
    elif how == "duplicates":
        halves = np.repeat(X.data / 2, 2)
        X = scipy_sparse.csr_matrix((halves, np.repeat(X.indices, 2), 2 * X.indptr), X.shape)
    elif how == "float32":
        X, dense = X.astype(np.float32), dense.astype(np.float32)
    else:
        X = {"csr": X, "csc": X.tocsc(), "csr_array": scipy_sparse.csr_array(X)}[how]
    X.indices, X.indptr = X.indices.astype(index), X.indptr.astype(index)
    before = X.data.copy(), X.indices.copy(), X.indptr.copy()
    settings = {"max_iter": 5, "random_state": 0, "early_stopping": True}
    mine, theirs = (fr.MLPRegressor(**settings).fit(table, y) for table in (X, dense))
    np.testing.assert_array_equal(mine.coefs_[0], theirs.coefs_[0])
    np.testing.assert_array_equal(mine.predict(X), theirs.predict(dense))
    assert all((a == b).all() for a, b in zip(before, (X.data, X.indices, X.indptr), strict=True))


def test_sparse_tables_that_point_outside_are_refused():
    X, y = sparse_table()
    X.indices[5] = 99
    with pytest.raises(ValueError, match=r"99|column|index"):
        fr.MLPRegressor().fit(X, y)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the process's peak memory as Linux says it")
def test_memory_grows_with_the_non_zeros():
    """A table of 4,000 x 50,000 with 20 numbers a row: 1.6 GB dense, 80 MB a batch; here 1 MB."""
    script = """
import resource, warnings
import numpy as np, fastreg
from scipy import sparse
warnings.simplefilter("ignore")
rng = np.random.RandomState(0)
rows = np.repeat(np.arange(4000), 20)
X = sparse.csr_matrix((rng.normal(size=80000), (rows, rng.randint(0, 50000, 80000))), (4000, 50000))
y = rng.randint(0, 3, 4000)
fastreg.MLPClassifier((2,), max_iter=1).fit(X[:100], y[:100])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
net = fastreg.MLPClassifier((2,), max_iter=2).fit(X, y)
net.predict(X)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = run_python("-c", script)
    assert int(result.stdout) < 20_000, result.stdout + result.stderr  # KiB


# ---- weights that users see and change


def fitted(kind="classifier", **settings):
    X, y = data(kind)
    return getattr(fr, PAIRS[kind])(**{"max_iter": 3, "random_state": 0} | settings).fit(X, y)


def test_weights_are_views_of_one_buffer():
    net = fitted(early_stopping=True)
    bases = {id(array.base if array.base is not None else array) for array in net.coefs_ + net.intercepts_}
    root = net.coefs_[0]
    while root.base is not None and isinstance(root.base, np.ndarray):
        root = root.base
    assert all(np.may_share_memory(root, array) for array in net.coefs_ + net.intercepts_)
    assert len(bases) == 1


@pytest.mark.parametrize("how", ["in place", "entry", "list", "other shapes"])
def test_assigned_weights_count_from_the_next_call(how):
    X, _ = data("classifier")
    mine = fitted()
    theirs = original.MLPClassifier(max_iter=3, random_state=0).fit(*data("classifier"))
    rng = np.random.RandomState(1)
    units = (6, 9, 3) if how == "other shapes" else (6, 100, 3)
    coefs = [rng.normal(size=shape) for shape in pairwise(units)]
    intercepts = [rng.normal(size=n) for n in units[1:]]
    if how == "in place":
        for array, values in zip(mine.coefs_ + mine.intercepts_, coefs + intercepts, strict=True):
            array[...] = values
    elif how == "entry":
        for i in range(2):
            mine.coefs_[i], mine.intercepts_[i] = coefs[i].tolist(), intercepts[i]
    else:
        mine.coefs_, mine.intercepts_ = coefs, intercepts
    theirs.coefs_, theirs.intercepts_ = coefs, intercepts
    np.testing.assert_allclose(mine.predict_proba(X), theirs.predict_proba(X), rtol=1e-12)
    assert np.may_share_memory(mine.coefs_[0], mine._network.buffer)
    assert mine.coefs_[0] is not coefs[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda net: net.coefs_.__setitem__(0, np.ones((3, 8))),
            r"coefs_\[0\] has shape \(3, 8\), expected \(6, units",
        ),
        (lambda net: net.coefs_.__setitem__(1, np.ones((3, 8))), r"coefs_\[1\] has shape \(3, 8\), expected \(100, un"),
        (lambda net: net.intercepts_.__setitem__(1, np.ones(4)), r"intercepts_\[1\] has shape \(4,\), expected \(3,\)"),
        (lambda net: net.coefs_.pop(), r"coefs_ has 1 arrays and intercepts_ 2"),
        (lambda net: net.coefs_[1].__setitem__((slice(40), 0), np.nan), r"coefs_\[1\] has 40 value\(s\)"),
        (lambda net: net.intercepts_.__setitem__(0, np.full(100, np.inf)), r"intercepts_\[0\] has 100 value"),
        (lambda net: net.intercepts_.__setitem__(0, ["a"] * 100), r"intercepts_\[0\] must hold real numbers"),
    ],
)
def test_weights_that_make_no_network_are_refused(change, message):
    X, y = data("classifier")
    for use in (lambda net: net.predict(X), lambda net: net.partial_fit(X, y)):
        net = fitted()
        change(net)
        with pytest.raises(ModelStateError, match=message):
            use(net)


# ---- copies, pickles, files


@both
def test_pickles_hold_each_weight_once_and_train_on(kind):
    X, y = data(kind)
    net = fitted(kind, hidden_layer_sizes=(300,), solver="sgd")
    text = pickle.dumps(net)
    n_weights = sum(a.nbytes for a in net.coefs_ + net.intercepts_)
    assert len(text) < 2 * n_weights + 20_000  # the weights, and the velocity that partial_fit goes on with
    for other in (pickle.loads(text), copy.deepcopy(net)):
        np.testing.assert_array_equal(other.predict(X), net.predict(X))
        assert np.may_share_memory(other.coefs_[0], other._network.buffer)
        other.partial_fit(X, y)
        twin = pickle.loads(text).partial_fit(X, y)
        np.testing.assert_array_equal(other.coefs_[0], twin.coefs_[0])
        assert (other.coefs_[0] != net.coefs_[0]).any()


def test_a_pickle_of_lbfgs_is_as_large_as_the_weights():
    net = fitted(hidden_layer_sizes=(300,), solver="lbfgs")
    assert len(pickle.dumps(net)) < sum(a.nbytes for a in net.coefs_ + net.intercepts_) + 10_000


def test_memory_maps_are_read_in_place_and_copied_when_trained(tmp_path):
    joblib = pytest.importorskip("joblib")
    X, y = data("classifier")
    net = fitted(hidden_layer_sizes=(300,))
    joblib.dump(net, tmp_path / "net.joblib")
    before = (tmp_path / "net.joblib").read_bytes()
    mapped = joblib.load(tmp_path / "net.joblib", mmap_mode="r")
    assert not mapped.coefs_[0].flags.writeable
    np.testing.assert_array_equal(mapped.predict_proba(X), net.predict_proba(X))
    assert not mapped.coefs_[0].flags.writeable
    mapped.partial_fit(X, y)
    assert mapped.coefs_[0].flags.writeable
    assert (tmp_path / "net.joblib").read_bytes() == before


@both
def test_memory_is_freed_at_once(kind):
    """Not when Python next looks for cycles: refitting a large network would fill the machine first."""
    X, y = data(kind)
    net = fitted(kind)
    net.predict(X)
    networks = [weakref.ref(net._network)]
    gc.disable()
    try:
        networks.append(weakref.ref(net.fit(X, y)._network))
        assert networks[0]() is None
        net.predict(X)
        del net
        assert networks[1]() is None
    finally:
        gc.enable()


def test_an_unfitted_pickle_and_a_clone():
    assert pickle.loads(pickle.dumps(fr.MLPClassifier(alpha=0.5))).alpha == 0.5
    net = clone(fitted(alpha=0.5))
    assert net.alpha == 0.5
    assert not hasattr(net, "coefs_")


def test_pickles_of_another_format_are_refused():
    state = fitted().__getstate__()
    version, units, *others, buffer = state["_parameters"]
    for changed in ((version + 1, units, *others, buffer), (version, units, *others, buffer[:-8])):
        with pytest.raises(ModelStateError, match=r"pickled by another fastreg|are not those of units \(6, 100, 3\)"):
            fr.MLPClassifier.__new__(fr.MLPClassifier).__setstate__(state | {"_parameters": changed})


# ---- to scikit-learn and back


@pytest.mark.parametrize(
    "settings",
    [
        {"solver": "adam"},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"solver": "sgd", "nesterovs_momentum": False, "learning_rate": "adaptive"},
        {"solver": "sgd", "momentum": 0.0},
        {"solver": "lbfgs", "warm_start": True},
        {"solver": "adam", "activation": "tanh", "warm_start": True},
    ],
)
@both
def test_to_scikit_learn_and_back(kind, settings):
    """Four ways to the same weights: here, there, and half of the training on each side."""
    X, y = data(kind)
    mine, theirs = (e.fit(X, y) for e in pair(kind, max_iter=5, random_state=0, hidden_layer_sizes=(9, 4), **settings))
    came, went = type(mine).from_sklearn(theirs), mine.to_sklearn()
    assert type(went) is type(theirs)
    tolerance = 1e-5 if settings["solver"] == "lbfgs" else 1e-9
    four = mine, theirs, came, went
    for other in four:
        np.testing.assert_allclose(other.predict(X), theirs.predict(X), rtol=tolerance)
    for other in four:
        train_on = other.fit if other.warm_start else other.partial_fit
        train_on(X, y)
    for other in (mine, came, went):
        assert_same_weights(other, theirs, tolerance)
        np.testing.assert_allclose(other.loss_, theirs.loss_, rtol=tolerance)
        assert other.n_iter_ == theirs.n_iter_
    assert set(vars(went)) == set(vars(theirs))
    assert not np.may_share_memory(went.coefs_[0], mine.coefs_[0])
    assert not np.may_share_memory(came.coefs_[0], theirs.coefs_[0])


def test_multilabel_and_unfitted_go_to_scikit_learn():
    X, y = data("classifier")
    labels = np.stack([y > 0, y > 1], axis=1).astype(int)
    net = fr.MLPClassifier(max_iter=3, dtype="float32").fit(X.astype(np.float32), labels)
    there = net.to_sklearn()
    np.testing.assert_array_equal(net.predict(X.astype(np.float32)), there.predict(X.astype(np.float32)))
    assert there.coefs_[0].dtype == np.float32
    assert fr.MLPClassifier(alpha=0.3).to_sklearn().alpha == 0.3
    assert fr.MLPClassifier.from_sklearn(original.MLPClassifier(alpha=0.3)).alpha == 0.3


def test_subclasses_random_states_and_requests_go_along():
    class Other(fr.MLPClassifier):
        pass

    X, y = data("classifier")
    state = np.random.RandomState(3)
    for estimator in (Other(max_iter=2, random_state=state), Other(max_iter=2, random_state=state).fit(X, y)):
        with sklearn.config_context(enable_metadata_routing=True):
            estimator.set_score_request(sample_weight=True)
        there = estimator.to_sklearn()
        assert type(there) is original.MLPClassifier
        back = Other.from_sklearn(there)
        assert type(back) is Other
        assert vars(back).keys() | {"_lock"} == vars(estimator).keys() | {"_lock"}
        assert repr(back.get_metadata_routing()) == repr(estimator.get_metadata_routing())
        assert len({id(e.random_state) for e in (estimator, there, back)}) == 3


def test_another_kind_of_estimator_is_refused():
    with pytest.raises(ValueError, match="must be a sklearn.*MLPClassifier, got MLPRegressor"):
        fr.MLPClassifier.from_sklearn(original.MLPRegressor())


# ---- several threads


def test_concurrent_fits_of_one_object_are_refused_and_predictions_are_not():
    X, y = data("classifier", rows=4000)
    net = fr.MLPClassifier(max_iter=10**6, tol=0, n_iter_no_change=10**9)
    caught = []

    def interrupt_soon():
        deadline = time.monotonic() + 20
        while len(getattr(net, "loss_curve_", ())) < 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        try:
            net.fit(X, y)
        except RuntimeError as error:
            caught.append(str(error))
        _thread.interrupt_main()

    watcher = threading.Thread(target=interrupt_soon)
    watcher.start()
    with pytest.raises(KeyboardInterrupt):
        net.fit(X, y)
    watcher.join()
    assert "already running" in caught[0]


# ---- what comes with scikit-learn


def run_python(*arguments, **variables):
    home = str(Path(fr.__file__).parent.parent)
    tools = str(Path(oracle.__file__).parent)
    env = os.environ | {"PYTHONPATH": os.pathsep.join([home, tools]), **variables}
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=env, cwd=tools, capture_output=True, text=True, timeout=600, check=False)


@of_version_1_9
def test_the_originals_own_suite_passes_unchanged():
    suite = "sklearn.neural_network.tests.test_mlp"
    options = ["-c", os.devnull, "-p", "no:cacheprovider", "-p", "drop_in"]
    result = run_python("-m", "pytest", *options, "--pyargs", suite)
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr
    assert "MLPClassifier and MLPRegressor: fastreg.estimators.classifier" in result.stdout  # exchanged, that is
    assert "= 59 passed" in result.stdout


def test_checks_of_estimators():
    result = run_python("sklearn_checks.py", "--default", SCIPY_ARRAY_API="1")
    assert result.returncode == 0, result.stdout[-3000:] + result.stderr[-3000:]
    if CURRENT:  # all that scikit-learn has for such estimators, and the four more
        assert "MLPClassifier(): 72 checks, {'passed': 71, 'not applicable': 1}" in result.stdout
        assert "MLPRegressor(): 64 checks, {'passed': 64}" in result.stdout


def test_everything_else_can_be_imported_without_scikit_learn():
    assert {"MLPClassifier", "MLPRegressor"} <= set(dir(fr))
    script = "import sys; sys.modules['sklearn'] = None; from fastreg import *; print(Network)"
    result = run_python("-W", "error", "-c", script)
    assert "Network" in result.stdout, result.stderr


def test_without_scikit_learn_the_message_is_the_line_that_installs_it(tmp_path):
    (tmp_path / "sklearn.py").write_text("raise ModuleNotFoundError(name='sklearn')\n")
    script = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import fastreg; fastreg.MLPClassifier"
    result = run_python("-c", script)
    assert (
        "ImportError: MLPClassifier and MLPRegressor need scikit-learn: pip install 'fastreg[sklearn]'" in result.stderr
    )
