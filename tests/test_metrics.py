"""Metrics against scikit-learn's and by hand, and by name in fit, evaluate, callbacks and checkpoints."""

import numpy as np
import pytest

import fastreg as fr
from fastreg import metrics

RNG = np.random.default_rng(0)
N = 400
CODES, BITS = RNG.integers(0, 4, N), RNG.integers(0, 2, N)
MULTI = RNG.dirichlet(np.ones(4), N)
SURE = np.round(RNG.uniform(size=N), 2)  # with ties, zeros and ones
TABLE, TABLE_BITS = RNG.uniform(size=(N, 3)), RNG.integers(0, 2, (N, 3))
X = RNG.normal(size=(90, 5))
Y = np.argmax(X[:, :3], axis=1)


@pytest.fixture(scope="module")
def oracle():
    return pytest.importorskip("sklearn.metrics")


# ---- against scikit-learn


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_log_loss_is_that_of_scikit_learn(oracle, dtype):
    for y, p in ((CODES, MULTI), (BITS, SURE)):
        p = p.astype(dtype)
        assert metrics.log_loss(y, p) == pytest.approx(oracle.log_loss(y, p), rel=1e-5 if dtype == "float32" else 1e-12)
    by_column = [oracle.log_loss(TABLE_BITS[:, k], TABLE[:, k]) for k in range(3)]
    assert metrics.log_loss(TABLE_BITS, TABLE) == pytest.approx(np.mean(by_column), rel=1e-12)


def test_auc_is_that_of_scikit_learn(oracle):
    assert metrics.auc(BITS, SURE) == pytest.approx(oracle.roc_auc_score(BITS, SURE), rel=1e-12)
    several = oracle.roc_auc_score(CODES, MULTI, multi_class="ovr")
    assert metrics.auc(CODES, MULTI) == pytest.approx(several, rel=1e-12)
    assert metrics.auc(TABLE_BITS, TABLE) == pytest.approx(oracle.roc_auc_score(TABLE_BITS, TABLE), rel=1e-12)


def test_brier_is_that_of_scikit_learn(oracle):
    assert metrics.brier(BITS, SURE) == pytest.approx(oracle.brier_score_loss(BITS, SURE), rel=1e-12)
    onehot = np.eye(4)[CODES]
    assert metrics.brier(CODES, MULTI) == pytest.approx(((onehot - MULTI) ** 2).sum() / N, rel=1e-12)
    assert metrics.brier(CODES, MULTI) == pytest.approx(oracle.brier_score_loss(CODES, MULTI), rel=1e-12)
    assert metrics.brier(BITS, np.stack([1 - SURE, SURE], axis=1)) == metrics.brier(BITS, SURE)
    by_column = [oracle.brier_score_loss(TABLE_BITS[:, k], TABLE[:, k]) for k in range(3)]
    assert metrics.brier(TABLE_BITS, TABLE) == pytest.approx(np.mean(by_column), rel=1e-12)


def test_regression_metrics_are_those_of_scikit_learn(oracle):
    y, z = RNG.normal(size=(N, 3)), RNG.normal(size=(N, 3))
    assert metrics.r2(y, z) == pytest.approx(oracle.r2_score(y, z), rel=1e-12)
    assert metrics.mae(y, z) == pytest.approx(oracle.mean_absolute_error(y, z), rel=1e-12)
    levels = (0.1, 0.5, 0.9)
    by_level = [oracle.mean_pinball_loss(y[:, k], z[:, k], alpha=q) for k, q in enumerate(levels)]
    assert metrics.pinball(y, z, levels) == pytest.approx(np.mean(by_level), rel=1e-12)


# ---- by hand


def test_auc_counts_pairs():
    p, y = np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])
    assert metrics.auc(y, p) == (1 + 1 + 0.5 + 1) / 4
    assert metrics.auc(1 - y, p) == 1 - (1 + 1 + 0.5 + 1) / 4
    assert np.isnan(metrics.auc(np.ones(4, int), p))
    three = np.array([[0.7, 0.2, 0.1], [0.2, 0.7, 0.1]])
    assert metrics.auc(np.array([0, 1]), three) == 1  # the class without rows is left out


def test_calibration_error_of_six_rows():
    p = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6], [1, 0]])
    y = np.array([0, 0, 1, 1, 0, 0])
    wanted = (3 * abs(2 / 3 - 0.9) + 2 * abs(1 / 2 - 0.6) + 0) / 6
    assert metrics.ece(y, p) == pytest.approx(wanted, rel=1e-12)
    assert metrics.ece(y, p[:, 1]) == pytest.approx(wanted, rel=1e-12)
    assert metrics.ece(np.stack([y, y], axis=1), p[:, [1, 1]]) == pytest.approx(wanted, rel=1e-12)


def test_calibrated_probabilities_have_a_small_error_and_shifted_ones_what_they_are_shifted_by():
    rng = np.random.default_rng(1)
    p = rng.uniform(0.5, 0.85, 200_000)
    y = (rng.uniform(size=len(p)) < p).astype(int)
    assert metrics.ece(y, p) < 0.01
    assert metrics.ece(y, p + 0.1) == pytest.approx(0.1, abs=0.01)
    with pytest.raises(ValueError, match="n_bins must be an int >= 1, got 0"):
        metrics.ece(y, p, n_bins=0)


def test_nan_gives_nan():
    p = MULTI.copy()
    p[3] = np.nan
    assert all(np.isnan(f(CODES, p)) for f in (metrics.log_loss, metrics.auc, metrics.brier, metrics.ece))


# ---- what they take


PREDICTIONS = (metrics.accuracy, metrics.r2, metrics.mae, metrics.pinball)
PROBABILITIES = (metrics.log_loss, metrics.auc, metrics.brier, metrics.ece)
of_predictions = pytest.mark.parametrize("metric", PREDICTIONS)
of_probabilities = pytest.mark.parametrize("metric", PROBABILITIES)


@of_probabilities
def test_lists_and_codes_of_any_type_of_number_are_the_same(metric):
    wanted = metric(CODES, MULTI)
    for y in (CODES.tolist(), CODES.astype(np.float32), CODES.astype(np.uint8), CODES.astype(object)):
        assert metric(y, MULTI.tolist()) == wanted
    assert metric(BITS.astype(bool), SURE.tolist()) == metric(BITS.astype(float), SURE) == metric(BITS, SURE)
    assert metric(BITS, SURE.round().astype(int)) == metric(BITS, SURE.round())


@of_predictions
def test_lists_are_arrays(metric):
    assert metric(BITS.tolist(), CODES.tolist()) == metric(BITS, CODES)
    assert metrics.accuracy(["a", "b", "b"], ["a", "b", "c"]) == 2 / 3


@of_predictions
@pytest.mark.parametrize("shape", [(N, 1), (N - 1,), (1,), ()])
def test_predictions_of_another_shape_are_refused(metric, shape):
    with pytest.raises(ValueError, match=r"y_true has shape \(400,\), prediction .*: they must have the same one"):
        metric(BITS, np.zeros(shape))


@of_probabilities
@pytest.mark.parametrize(
    ("y", "p", "message"),
    [
        (CODES + 1, MULTI, r"y_true\[\d+\]=4 is none of the codes 0\.\.3"),
        (CODES - 1, MULTI, r"y_true\[\d+\]=-1 is none of the codes 0\.\.3"),
        (CODES + 0.5, MULTI, r"y_true\[0\]=\d.5 is none of the codes 0\.\.3"),
        (np.where(BITS, 1.0, np.nan), SURE, r"y_true\[\d+\]=nan is none of the codes 0\.\.1"),
        (2 * BITS, SURE, r"y_true\[\d+\]=2 is none of the codes 0\.\.1"),
        (2 * TABLE_BITS, TABLE, r"y_true\[\d+, \d\]=2 is none of the codes 0\.\.1"),
        (CODES.astype(str), MULTI, "y_true has dtype <U.*, not numbers"),
        (CODES.astype(str).astype(object), MULTI, "could not convert '.' .* of y_true to a number"),
        (CODES[1:], MULTI, r"y_true has shape \(399,\), probabilities \(400, 4\)"),
        (BITS[1:], SURE, r"y_true has shape \(399,\), probabilities \(400,\)"),
        (BITS[:, None], SURE, r"y_true has shape \(400, 1\), probabilities \(400,\)"),
        (TABLE_BITS[:, :2], TABLE, r"y_true has shape \(400, 2\), probabilities \(400, 3\)"),
    ],
)
def test_codes_that_are_none_of_the_probabilities_are_refused(metric, y, p, message):
    with pytest.raises(ValueError, match=message):
        metric(y, p)


# ---- by name


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_a_binary_problem_has_one_brier_score_whatever_the_loss(engine, oracle):
    bits = (Y > 0).astype(int)
    for loss, units in (("binary_cross_entropy", 1), ("cross_entropy", 2)):
        net = fr.Network([fr.Dense(units)], loss=loss, seed=0, engine=engine)
        net.fit(X, bits, epochs=2)
        wanted = oracle.brier_score_loss(bits, net.predict_proba(X)[:, 1])
        assert net.evaluate(X, bits, metrics=["brier"])["brier"] == pytest.approx(wanted, rel=1e-6)
        assert metrics.brier(bits, net.predict_proba(X)) == pytest.approx(wanted, rel=1e-6)


CASES = {
    "cross_entropy": ("cross_entropy", 3, Y),
    "two classes": ("binary_cross_entropy", 1, (Y > 0).astype(int)),
    "labels": ("binary_cross_entropy", 2, (X[:, :2] > 0).astype(int)),
}


@pytest.mark.parametrize("engine", ["compiled", "reference"])
@pytest.mark.parametrize("case", CASES)
def test_names_are_the_functions_of_probabilities(case, engine):
    loss, units, y = CASES[case]
    net = fr.Network([fr.Dense(units)], loss=loss, seed=0, engine=engine)
    names = ["log_loss", "accuracy", "auc", "brier", "ece"]
    history = net.fit(X, y, epochs=2, validation=(X, y), metrics=names)
    figures = net.evaluate(X, y, metrics=names)
    p = net.predict_proba(X)
    p = p[:, 1] if case == "two classes" else p
    for name in names:
        function = getattr(metrics, name)
        wanted = function(y, net.predict(X) if name == "accuracy" else p)
        assert figures[name] == pytest.approx(wanted, rel=1e-6)
        assert history[f"val_{name}"][-1] == figures[name]
        assert net.evaluate(X, y, metrics=[function])[name] == figures[name]
    assert figures["log_loss"] == pytest.approx(figures["loss"], rel=1e-5)


def test_pinball_knows_the_levels_of_its_loss():
    net = fr.Network([fr.Dense(3)], loss=fr.Quantile((0.1, 0.5, 0.9)), seed=0).build(5)
    figures = net.evaluate(X, X[:, 0], metrics=["pinball", "mae"])
    assert figures["pinball"] == pytest.approx(figures["loss"], rel=1e-5)


@pytest.mark.parametrize("monitor", ["val_auc", "val_log_loss", "val_brier", "val_ece", "auc"])
def test_early_stopping_knows_which_way_is_better(monitor):
    net = fr.Network([fr.Dense(3)], loss="cross_entropy", seed=0)
    names = ["auc", "log_loss", "brier", "ece"]
    history = net.fit(
        X, Y, epochs=30, optimizer=fr.Adam(0.05), validation=(X[::-1], Y), metrics=names,
        callbacks=[fr.EarlyStopping(monitor, patience=30)],
    )  # fmt: skip
    best = np.argmax if monitor.endswith("auc") else np.argmin
    assert history.kept_epoch == best(history[monitor])


@pytest.mark.parametrize(
    ("loss", "metric", "message"),
    [
        (
            "cross_entropy",
            "r2",
            "'r2' does not fit loss 'cross_entropy'; choose from accuracy, log_loss, auc, brier, ece",
        ),
        ("squared_error", "auc", "'auc' does not fit loss 'squared_error'; choose from r2, mae"),
        ("squared_error", "pinball", "'pinball' does not fit loss 'squared_error'"),
        ("poisson", metrics.brier, "'brier' does not fit loss 'poisson'"),
        ("quantile", "pinbal", "unknown metric 'pinbal'; did you mean 'pinball'"),
    ],
)
def test_a_metric_that_does_not_fit_is_refused(loss, metric, message):
    net = fr.Network([fr.Dense(2 if loss == "cross_entropy" else 1)], loss=loss)
    with pytest.raises(ValueError, match=message):
        net.fit(X, Y, metrics=[metric])


def test_named_metrics_come_back_from_a_checkpoint(tmp_path):
    path = tmp_path / "run.frg"
    nets = [fr.Network([fr.Dense(3)], loss="cross_entropy", seed=0) for _ in range(2)]
    settings = {"metrics": ["auc", metrics.ece], "batch_size": 30}
    whole = nets[0].fit(X, Y, epochs=4, **settings)
    stop = [fr.Checkpoint(path), lambda run: run.cancel() if run.epoch == 1 else None]
    nets[1].fit(X, Y, epochs=4, callbacks=stop, **settings)
    _, history = fr.resume(path, X, Y, callbacks=[stop[1]])
    assert history["auc"] == whole["auc"]
    assert history["ece"] == whole["ece"]
