"""Network without training: what it is made of, what it says, what it refuses, what copies of it do."""

import copy
import gc
import pickle
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import fastreg as fr


@pytest.fixture(params=["reference", "compiled"])
def engine(request):
    return request.param


@pytest.fixture
def table():
    """60 rows of 5 columns, labels of 3 classes."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 5))
    return X, np.argmax(X[:, :3], axis=1)


def classifier(engine, **settings):
    layers = [fr.Dropout(0.1), fr.Dense(8, "relu", weight_penalty=fr.L2(1e-3)), fr.Dropout(0.3), fr.Dense(3)]
    return fr.Network(layers, loss="cross_entropy", **{"dtype": "float64", "seed": 0, "engine": engine} | settings)


def small(engine, loss, units=1, activation="identity", seed=0):
    return fr.Network([fr.Dense(units, activation)], loss=loss, dtype="float64", seed=seed, engine=engine)


# ---- what it is made of


def test_parameters_have_names_shapes_and_dtype(engine):
    net = classifier(engine, dtype="float32").build(5)
    assert {name: value.shape for name, value in net.parameters.items()} == {
        "0.weight": (5, 8),
        "1.weight": (8, 3),
        "0.bias": (8,),
        "1.bias": (3,),
    }
    assert {value.dtype for value in net.parameters.values()} == {np.dtype("float32")}


def test_parameters_are_views_and_settable(engine, table):
    net = small(engine, "squared_error").build(5)
    weight = net.parameters["0.weight"]
    net.parameters["0.weight"] = [[1.0], [2], [3], [4], [5]]
    net.parameters["0.bias"][0] = 7
    assert weight.tolist() == [[1], [2], [3], [4], [5]]
    np.testing.assert_allclose(net.predict(table[0]), table[0] @ [1, 2, 3, 4, 5] + 7, rtol=1e-14)


@pytest.mark.parametrize(
    ("values", "message"),
    [(np.zeros((5, 2)), r"'0.weight'.*\(5, 1\).*\(5, 2\)"), (np.full((5, 1), np.nan), "'0.weight'.*NaN")],
)
def test_wrong_parameters_are_refused(engine, values, message):
    net = small(engine, "squared_error").build(5)
    before = net.parameters["0.weight"].copy()
    with pytest.raises(ValueError, match=message):
        net.parameters["0.weight"] = values
    assert np.array_equal(net.parameters["0.weight"], before)


def test_seed_decides_the_initial_weights(engine):
    def weights(seed):
        return classifier(engine, seed=seed).build(5).parameters["0.weight"]

    assert np.array_equal(weights(3), weights(3))
    assert not np.array_equal(weights(3), weights(4))
    assert not np.array_equal(weights(None), weights(None))
    assert np.isfinite(weights(2**64 - 1)).all()


def test_engines_draw_the_same_weights():
    a, b = (classifier(engine).build(5).parameters for engine in ("reference", "compiled"))
    assert all(np.array_equal(a[name], b[name]) for name in a)


def test_building_again_changes_nothing_and_another_width_is_an_error(engine):
    net = classifier(engine).build(5)
    net.parameters["1.bias"] = [1, 2, 3]
    assert net.build(5).parameters["1.bias"].tolist() == [1, 2, 3]
    with pytest.raises(ValueError, match=r"n_inputs=6.*5"):
        net.build(6)
    with pytest.raises(ValueError, match=r"n_inputs must be an int >= 1, got 0"):
        classifier(engine).build(0)


def test_reset_starts_over(engine, table):
    net = classifier(engine)
    net.fit(*table, epochs=3)
    view, first = net.parameters["0.weight"], net.parameters["0.weight"].copy()
    net.reset().fit(*table, epochs=3)
    assert np.array_equal(first, net.parameters["0.weight"])
    assert view is net.parameters["0.weight"]
    net.reset(seed=9).fit(*table, epochs=3)
    assert not np.array_equal(first, view)
    assert net.seed == 9


def test_reset_before_building(engine):
    assert np.array_equal(
        classifier(engine).reset(5).build(5).parameters["0.weight"],
        classifier(engine, seed=5).build(5).parameters["0.weight"],
    )


def test_summary_shows_every_parameter_with_its_penalty(engine):
    net = classifier(engine, penalties={"*.bias": fr.L1(0.25)}).build(5)
    lines = net.summary().splitlines()
    assert [line for line in lines if "0.weight" in line and "(5, 8)" in line and "L2(" in line]
    assert [line for line in lines if "1.bias" in line and "(3,)" in line and "L1(strength=0.25" in line]
    assert [line for line in lines if line.startswith("Dropout(rate=0.3)")]
    assert "75 parameters, float64, 5 inputs" in lines[-1]


def test_repr_tells_what_it_is():
    assert repr(small("reference", "squared_error", seed=7)).endswith("loss='squared_error', dtype='float64', seed=7)")


# ---- what it refuses


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "cross_entorpy"}, "unknown loss 'cross_entorpy'; did you mean 'cross_entropy'"),
        ({"dtype": "float16"}, "dtype must be 'float32' or 'float64', got 'float16'"),
        ({"engine": "compild"}, "unknown engine 'compild'; did you mean 'compiled'"),
        ({"seed": -1}, r"seed must be None or an int in \[0, 2\*\*64\), got -1"),
        ({"seed": 2**64}, "seed must be"),
        ({"seed": 1.5}, "seed must be.*got 1.5"),
        ({"seed": True}, "seed must be.*got True"),
        ({"layers": fr.Dense(3)}, "layers must be a sequence"),
        ({"layers": []}, "at least one Dense"),
        ({"layers": [fr.Dense(3), "relu"]}, r"layers\[1\] is 'relu'"),
        ({"layers": [fr.Dense(3, "relu")]}, "'relu' on the last layer"),
        ({"penalties": {"7.weight": fr.L2(1)}}, "'7.weight' matches no parameter"),
        ({"penalties": [fr.L2(1)]}, "penalties must be a dict"),
    ],
)
def test_bad_description(settings, message):
    good = {"layers": [fr.Dense(3)], "loss": "cross_entropy", "engine": "reference"}
    with pytest.raises(ValueError, match=message):
        fr.Network(**good | settings)


@pytest.mark.parametrize(
    "ask",
    [
        lambda net, X, y: net.predict(X),
        lambda net, X, y: net.predict_proba(X),
        lambda net, X, y: net.forward(X),
        lambda net, X, y: net.evaluate(X, y),
        lambda net, X, y: net.parameters,
        lambda net, X, y: net.summary(),
    ],
)
def test_before_it_is_built(engine, table, ask):
    with pytest.raises(fr.NotBuiltError, match=r"call fit\(X, y\) or build\(n_inputs\) first"):
        ask(classifier(engine), *table)


def test_wrong_width(engine, table):
    net = classifier(engine).build(5)
    for ask in (net.predict, net.predict_proba, net.forward):
        with pytest.raises(ValueError, match=r"^X has 4 features, but Network is expecting 5 features as input$"):
            ask(table[0][:, :4])


def test_probabilities_of_a_regression(engine, table):
    with pytest.raises(ValueError, match=r"predict_proba is for classification; .*'squared_error'"):
        small(engine, "squared_error").build(5).predict_proba(table[0])


# ---- what it says


def test_forward_is_the_formula(engine, table):
    X, _ = table
    net = classifier(engine).build(5)
    p = net.parameters
    hidden = np.maximum(X @ p["0.weight"] + p["0.bias"], 0)
    np.testing.assert_allclose(net.forward(X), hidden @ p["1.weight"] + p["1.bias"], rtol=1e-12, atol=1e-14)


def test_forward_makes_a_new_array_each_time(engine, table):
    net = classifier(engine).build(5)
    first = net.forward(table[0])
    kept = first.copy()
    net.forward(-table[0])
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("activation", ["identity", "softmax"])
def test_classes(engine, table, activation):
    X, y = table
    net = small(engine, "cross_entropy", 3, activation)
    net.fit(X, y, epochs=30, batch_size=10, optimizer=fr.Adam(0.05))
    p, codes = net.predict_proba(X), net.predict(X)
    assert p.shape == (60, 3)
    np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)
    z = net.forward(X)
    np.testing.assert_allclose(p, np.exp(z) / np.exp(z).sum(axis=1, keepdims=True), rtol=1e-12)
    assert codes.dtype == np.int64
    assert np.array_equal(codes, p.argmax(axis=1))
    assert np.mean(codes == y) > 0.9


@pytest.mark.parametrize("activation", ["identity", "sigmoid"])
@pytest.mark.parametrize(
    ("shape", "labels_shape", "proba_shape"),
    [((60,), (60,), (60, 2)), ((60, 1), (60, 1), (60, 1)), ((60, 3), (60, 3), (60, 3))],
)
def test_binary_and_multilabel(engine, table, activation, shape, labels_shape, proba_shape):
    X, _ = table
    y = (X[:, :3] > 0).astype(int)[:, : shape[-1] if len(shape) == 2 else 1].reshape(shape)
    net = small(engine, "binary_cross_entropy", proba_shape[1] if len(shape) == 2 else 1, activation)
    net.fit(X, y, epochs=50, batch_size=10, optimizer=fr.Adam(0.05))
    p, codes = net.predict_proba(X), net.predict(X)
    assert (p.shape, codes.shape, codes.dtype) == (proba_shape, labels_shape, np.int64)
    of_one = p[:, 1] if len(shape) == 1 else p
    assert np.array_equal(codes, of_one > 0.5)
    assert np.mean(codes == y) > 0.9
    if len(shape) == 1:
        np.testing.assert_allclose(p.sum(axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("shape", [(60,), (60, 1), (60, 2)])
def test_regression_has_the_shape_of_y(engine, table, shape):
    X, _ = table
    y = X[:, :2][:, : shape[-1] if len(shape) == 2 else 1].reshape(shape)
    net = small(engine, "squared_error", shape[1] if len(shape) == 2 else 1)
    net.fit(X, y, epochs=200, batch_size=10, optimizer=fr.SGD(0.1))
    assert net.predict(X).shape == shape
    assert net.predict(X).dtype == np.float64
    np.testing.assert_allclose(net.predict(X), y, atol=0.01)
    assert net.forward(X).shape == (60, net.forward(X).shape[1])


def test_evaluate_is_the_formula_with_all_units_on(engine, table):
    X, y = table
    net = classifier(engine).build(5)
    z = net.forward(X)
    loss = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(60), y])
    penalty = 1e-3 * np.sum(net.parameters["0.weight"] ** 2)
    figures = net.evaluate(X, y, metrics=["accuracy"])
    assert list(figures) == ["loss", "penalty", "objective", "accuracy"]
    np.testing.assert_allclose(list(figures.values())[:3], [loss, penalty, loss + penalty], rtol=1e-12)
    assert figures["accuracy"] == np.mean(net.predict(X) == y)


def test_evaluate_takes_soft_targets_and_labels(engine, table):
    X, y = table
    net = classifier(engine).build(5)
    assert net.evaluate(X, np.eye(3)[y])["loss"] == pytest.approx(net.evaluate(X, y)["loss"], rel=1e-13)


def test_evaluate_weights_are_repetitions(engine, table):
    X, y = table
    net, times = classifier(engine).build(5), np.arange(60) % 3
    weighted = net.evaluate(X, y, sample_weight=times)["loss"]
    repeated = net.evaluate(np.repeat(X, times, axis=0), np.repeat(y, times))["loss"]
    assert weighted == pytest.approx(repeated, rel=1e-13)


def test_metrics_of_each_kind_of_target(engine, table):
    X, y = table
    net = small(engine, "squared_error").build(5)
    target = X[:, 0] + 2
    figures = net.evaluate(X, target, metrics=("r2", "mae", largest_error))
    error = target - net.predict(X)
    assert figures["mae"] == pytest.approx(np.mean(abs(error)))
    assert figures["r2"] == pytest.approx(1 - np.sum(error**2) / np.sum((target - target.mean()) ** 2))
    assert figures["largest_error"] == np.max(abs(error))
    assert small(engine, "squared_error").build(5).evaluate(X, np.ones(60), metrics=["r2"])["r2"] == 0

    labels = (X[:, :2] > 0).astype(int)
    multilabel = small(engine, "binary_cross_entropy", 2).build(5)
    share = np.mean((multilabel.predict(X) == labels).all(axis=1))
    assert multilabel.evaluate(X, labels, metrics=["accuracy"])["accuracy"] == share
    soft = classifier(engine).build(5).evaluate(X, 0.9 * np.eye(3)[y] + 0.1 / 3, metrics=["accuracy"])
    assert soft["accuracy"] == classifier(engine).build(5).evaluate(X, y, metrics=["accuracy"])["accuracy"]


def largest_error(y_true, prediction):
    return np.max(abs(y_true - prediction))


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["acuracy"], "unknown metric 'acuracy'; did you mean 'accuracy'"),
        (["r2"], "'r2' does not fit loss 'cross_entropy'; choose from accuracy"),
        ("accuracy", "metrics must be a sequence"),
        (["accuracy", "accuracy"], "'accuracy' is taken"),
    ],
)
def test_bad_metrics(engine, table, metrics, message):
    with pytest.raises(ValueError, match=message):
        classifier(engine).build(5).evaluate(*table, metrics=metrics)


def test_concurrent_predictions_agree_with_one(engine, table):
    X, _ = table
    net = classifier(engine).build(5)
    expected = net.forward(X)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: net.forward(X), range(200)))
    assert all(np.array_equal(result, expected) for result in results)


# ---- copies


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
def test_a_copy_goes_on_like_the_original_and_apart_from_it(engine, table, duplicate):
    net = classifier(engine)
    net.fit(*table, epochs=3, batch_size=7, optimizer=fr.Adam(0.01))
    twin = duplicate(net)
    before = net.forward(table[0])
    assert np.array_equal(twin.forward(table[0]), before)
    history = twin.fit(*table, epochs=3, batch_size=7, optimizer=fr.Adam(0.01))
    assert np.array_equal(net.forward(table[0]), before)
    assert net.fit(*table, epochs=3, batch_size=7, optimizer=fr.Adam(0.01))["loss"] == history["loss"]
    assert all(np.array_equal(twin.parameters[name], net.parameters[name]) for name in net.parameters)


def test_an_unbuilt_network_pickles(engine):
    net = pickle.loads(pickle.dumps(classifier(engine)))
    with pytest.raises(fr.NotBuiltError):
        net.summary()
    assert np.array_equal(net.build(5).parameters["0.weight"], classifier(engine).build(5).parameters["0.weight"])


def test_memory_is_freed_at_once(engine, table):
    """Not when Python next looks for cycles: a search over large networks would fill the machine first."""
    net = classifier(engine)
    net.fit(*table, epochs=2, validation=table)
    net.predict_proba(table[0])
    model = weakref.ref(net._model)
    gc.disable()
    try:
        del net
        assert model() is None
    finally:
        gc.enable()


def test_a_copy_keeps_the_form_of_predictions(engine, table):
    X, y = table
    net = small(engine, "binary_cross_entropy")
    net.fit(X, (y > 0).reshape(-1, 1), epochs=1)
    assert copy.deepcopy(net).predict(X).shape == (60, 1)
