"""fastreg's estimators in scikit-learn's company: pipelines, searches, ensembles, several processes, a real Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr

sklearn = pytest.importorskip("sklearn", reason="the estimators are those of the extra fastreg[sklearn]")

from sklearn import config_context  # noqa: E402
from sklearn import neural_network as original  # noqa: E402
from sklearn.calibration import CalibratedClassifierCV  # noqa: E402
from sklearn.ensemble import StackingClassifier, StackingRegressor  # noqa: E402
from sklearn.inspection import permutation_importance  # noqa: E402
from sklearn.linear_model import LogisticRegression, Ridge  # noqa: E402
from sklearn.model_selection import GridSearchCV, cross_validate  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

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


SETTINGS = {"hidden_layer_sizes": (8,), "max_iter": 60, "random_state": 0}


@both
def test_grid_search_over_a_pipeline(kind):
    """The same scores and the same best parameters as with the original, in two processes."""
    X, y = data(kind)
    found = []
    for net in pair(kind, **SETTINGS):
        pipeline = make_pipeline(StandardScaler(), net)
        search = GridSearchCV(pipeline, {f"{PAIRS[kind].lower()}__alpha": [1e-4, 1.0, 100.0]}, n_jobs=2, cv=2)
        found.append(search.fit(X, y))
    mine, theirs = found
    np.testing.assert_allclose(mine.cv_results_["mean_test_score"], theirs.cv_results_["mean_test_score"], rtol=1e-7)
    assert mine.best_params_ == theirs.best_params_
    assert mine.best_estimator_[-1].n_features_in_ == 6


@both
def test_cross_validation_returns_estimators_that_train_on(kind):
    X, y = data(kind)
    found = [cross_validate(e, X, y, n_jobs=2, cv=3, return_estimator=True) for e in pair(kind, **SETTINGS)]
    np.testing.assert_allclose(found[0]["test_score"], found[1]["test_score"], rtol=1e-7)
    for mine, theirs in zip(*(f["estimator"] for f in found), strict=True):
        assert np.may_share_memory(mine.coefs_[0], mine._network.buffer)
        mine.partial_fit(X, y)
        theirs.partial_fit(X, y)
        np.testing.assert_allclose(mine.coefs_[0], theirs.coefs_[0], atol=1e-9)


@pytest.mark.skipif(VERSION < (1, 7), reason="scikit-learn's own have no sample_weight before 1.7")
@both
def test_calibration_and_stacking(kind):
    X, y = data(kind)
    found = []
    for net in pair(kind, **SETTINGS):
        if kind == "classifier":
            calibrated = CalibratedClassifierCV(net, cv=2, n_jobs=2).fit(X, y, sample_weight=np.linspace(1, 2, 120))
            stacked = StackingClassifier([("net", net)], LogisticRegression(), cv=2, n_jobs=2).fit(X, y)
            found.append((calibrated.predict_proba(X), stacked.predict_proba(X)))
        else:
            found.append((StackingRegressor([("net", net)], Ridge(), cv=2, n_jobs=2).fit(X, y).predict(X),))
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-4)  # both have solvers of their own with a tolerance


@both
def test_permutation_importance_in_two_processes(kind):
    X, y = data(kind)
    importances = [
        permutation_importance(e.fit(X, y), X, y, n_repeats=2, n_jobs=2, random_state=0).importances
        for e in pair(kind, **SETTINGS)
    ]
    assert importances[0].shape == (6, 2)
    np.testing.assert_allclose(importances[0], importances[1], atol=1e-7)


def fit_and_predict(net, X, y):
    """In another process: whether what joblib handed over is a read-only map, the fit, and the predictions of both."""
    mapped = not X.flags.writeable and not net.coefs_[0].flags.writeable
    before = net.predict(X)
    return mapped, before, net.partial_fit(X, y).predict(X)


@both
def test_tables_and_weights_that_joblib_maps(kind):
    """Beyond `max_nbytes` workers see one read-only map of X, y and the weights."""
    joblib = pytest.importorskip("joblib")
    X, y = data(kind)
    net = own(kind, max_iter=3, random_state=0).fit(X, y)
    results = joblib.Parallel(n_jobs=2, max_nbytes=100)(joblib.delayed(fit_and_predict)(net, X, y) for _ in range(2))
    expected = net.predict(X), net.partial_fit(X, y).predict(X)
    for mapped, *predictions in results:
        assert mapped
        for a, b in zip(predictions, expected, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.skipif(VERSION < (1, 7), reason="scikit-learn's own have no sample_weight before 1.7")
@both
def test_sample_weights_are_routed_through_a_pipeline(kind):
    X, y = data(kind)
    weights = np.random.RandomState(1).uniform(size=120)
    scores = []
    with config_context(enable_metadata_routing=True):
        for net in pair(kind, **SETTINGS):
            net.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
            pipeline = make_pipeline(StandardScaler().set_fit_request(sample_weight=False), net)
            scores.append(cross_validate(pipeline, X, y, params={"sample_weight": weights}, n_jobs=2)["test_score"])
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-7)


SEARCH = """
import sys, warnings
import numpy as np
from sklearn.model_selection import GridSearchCV
import fastreg

warnings.simplefilter("ignore")
rng = np.random.RandomState(0)
X = rng.normal(size=(2000, 20))
net = fastreg.MLPClassifier(max_iter=10**6, tol=0, n_iter_no_change=10**9)
search = GridSearchCV(net, {"alpha": [0.1, 0.2, 0.3, 0.4]}, cv=2, n_jobs=int(sys.argv[1]), verbose=2)
print("begins", flush=True)
try:
    search.fit(X, X[:, 0] > 0)
except KeyboardInterrupt:
    print("interrupted", hasattr(search, "cv_results_"), flush=True)
    raise
"""


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a group of processes")
@pytest.mark.parametrize("n_jobs", [1, 2])
def test_issue_7596_a_terminals_ctrl_c_ends_a_grid_search_and_its_processes(n_jobs):
    """SIGINT to the whole group, as a terminal sends it. The original's candidates go on one after the other."""
    home = str(Path(fr.__file__).parent.parent)
    command = [sys.executable, "-c", SEARCH, str(n_jobs)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": home}, start_new_session=True, **pipes) as process:
        try:
            assert process.stdout.readline() == "begins\n"
            time.sleep(4)  # until the processes of n_jobs=2 are well into their first candidates
            began = time.monotonic()
            os.killpg(process.pid, signal.SIGINT)
            said = process.communicate(timeout=60)[0]
            seconds = time.monotonic() - began
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert "interrupted False" in said, said[-2000:]
    assert process.returncode in (1, -signal.SIGINT, 128 + signal.SIGINT)
    assert seconds < 30
