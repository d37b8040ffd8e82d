"""Presets: what they learn, that every part can be replaced, and how tables, images and y are encoded."""

import pickle

import numpy as np
import pytest

import fastreg as fr
from fastreg import presets
from fastreg.preprocessing import Classes, Pixels, Scaled, Table

QUICK = {"epochs": 8, "layers": (fr.Dense(32, "relu"),), "seed": 0}


def a_table(n=600):
    """Rows whose class depends on a number that is spread over many powers of ten, and on a text."""
    rng = np.random.default_rng(0)
    size, color = 10 ** rng.uniform(-3, 3, n), rng.choice(["red", "green", "blue"], n)
    y = np.where((size > 1) ^ (color == "red"), "yes", "no")
    X = np.empty((n, 3), dtype=object)
    X[:, 0], X[:, 1], X[:, 2] = size, rng.standard_normal(n), color
    return X, y


# ---- presets


def test_classes_of_numbers_and_texts_are_learned():
    X, y = a_table()
    model = presets.tabular_classifier(**QUICK | {"epochs": 40})
    history = model.fit(X[:500], y[:500])
    p = model.predict_proba(X[500:])
    assert p.shape == (100, 2)
    assert list(model.targets.values) == ["no", "yes"]
    assert (model.predict(X[500:]) == y[500:]).mean() > 0.85
    figures = model.evaluate(X[500:], y[500:], metrics=("accuracy",))
    true_class = p[np.arange(100), (y[500:] == "yes").astype(int)]
    assert figures["loss"] == pytest.approx(-np.log(true_class).mean(), rel=1e-5)
    assert figures["accuracy"] == (model.predict(X[500:]) == y[500:]).mean()
    assert len(history["val_loss"]) == 40


def test_numbers_come_back_in_their_units():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3))
    y = 1e4 + 500 * np.sin(2 * X[:, 0]) * X[:, 1]
    model = presets.tabular_regressor(**QUICK | {"epochs": 60})
    model.fit(X[:400], y[:400])
    predicted = model.predict(X[400:])
    np.testing.assert_allclose(model.network.predict(model.inputs.transform(X[400:])), predicted, rtol=1e-6)
    figures = model.evaluate(X[400:], y[400:], metrics=("r2", "mae"))
    assert figures["r2"] > 0.8
    assert figures["mae"] == pytest.approx(np.abs(predicted - y[400:]).mean(), rel=1e-4)


def test_several_numbers_each_have_their_scale():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((300, 2))
    y = X @ [[1.0, 100.0], [2.0, -100.0]] + [5.0, 1e3]
    model = presets.tabular_regressor(**QUICK | {"epochs": 60})
    model.fit(X, y)
    assert model.predict(X).shape == (300, 2)
    assert model.evaluate(X, y, metrics=("r2",))["r2"] > 0.95


def test_quantiles_have_an_output_each():
    rng = np.random.default_rng(0)
    X = rng.uniform(-1, 1, (2000, 1))
    y = 100 + 10 * rng.standard_normal(2000)
    model = presets.tabular_regressor(**QUICK | {"loss": fr.Quantile((0.1, 0.9)), "epochs": 20})
    model.fit(X, y)
    low, high = model.predict(X).T
    assert 0.05 < (y < low).mean() < 0.15
    assert 0.05 < (y > high).mean() < 0.15


def test_fit_starts_over_with_the_same_bits():
    X, y = a_table()
    model, other = presets.tabular_classifier(**QUICK), presets.tabular_classifier(**QUICK)
    model.fit(X, y)
    first = model.predict_proba(X)
    model.fit(X, y, n_threads=1)
    other.fit(X, y)
    assert np.array_equal(model.predict_proba(X), first)
    assert np.array_equal(other.predict_proba(X), first)


def test_a_fit_that_fails_changes_nothing():
    X, y = a_table()
    model = presets.tabular_classifier(**QUICK)
    model.fit(X, y)
    first = model.predict_proba(X)
    X_bad = X.copy()
    X_bad[100, 0] = np.inf
    with pytest.raises(ValueError, match="infinity"):
        model.fit(X_bad, y)
    assert np.array_equal(model.predict_proba(X), first)


def test_every_part_can_be_replaced():
    X, y = a_table()
    stop = fr.EarlyStopping("loss", patience=2)
    parts = {
        "layers": (fr.Dense(7, "tanh"),),
        "optimizer": fr.SGD(0.1),
        "callbacks": (stop,),
        "epochs": 3,
        "batch_size": 50,
        "inputs": Table(bins=4),
        "metrics": ("accuracy",),
        "validation_fraction": 0,
        "dtype": "float64",
        "engine": "reference",
        "seed": 5,
    }
    model = presets.tabular_classifier(**parts)
    history = model.fit(X, y)
    assert {name: getattr(model.recipe, name) for name in parts} == parts
    assert model.network.parameters["0.weight"].shape == (1 + 4 + 1 + 4 + 3, 7)
    assert model.network.parameters["output.weight"].dtype == np.float64
    assert len(history["accuracy"]) == 3
    assert "val_loss" not in history


def test_classes_of_one_row_never_validate_alone():
    X, y = a_table(200)
    y = y.astype(object)
    y[::20] = [f"rare {number}" for number in range(10)]
    model = presets.tabular_classifier(**QUICK | {"validation_fraction": 0.5})
    model.fit(X, y)
    assert len(model.targets.values) == 12


def test_lists_are_tables_too():
    X, y = a_table()
    rows = X.tolist()
    model, other = presets.tabular_classifier(**QUICK), presets.tabular_classifier(**QUICK)
    model.fit(rows, list(y), sample_weight=[1.0] * 600)
    other.fit(X, y)
    np.testing.assert_allclose(model.predict_proba(rows[:5]), other.predict_proba(X[:5]), rtol=1e-4)


def test_inputs_can_be_what_scikit_learn_has_or_nothing():
    StandardScaler = pytest.importorskip("sklearn.preprocessing").StandardScaler
    X, y = a_table()
    X = X[:, :2].astype(float)
    for inputs in (StandardScaler(), None):
        model = presets.tabular_classifier(**QUICK, inputs=inputs)
        model.fit(X, y)
        assert model.network.parameters["0.weight"].shape[0] == 2


def test_own_validation_data_leave_all_rows_to_training():
    X, y = a_table()
    model = presets.tabular_classifier(**QUICK)
    history = model.fit(X[:500], y[:500], validation=(X[500:], y[500:]))
    best = min(history["val_loss"])
    assert model.evaluate(X[500:], y[500:])["loss"] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize(("wrong", "message"), [
    ({"optimiser": 1}, "did you mean 'optimizer'"),
    ({"loss": "binary_cross_entropy"}, "two classes are cross_entropy's"),
    ({"validation_fraction": 1}, "validation_fraction"),
    ({"layers": (3,)}, "layers"),
    ({"layers": fr.Dense(3)}, "layers must be a sequence"),
])  # fmt: skip
def test_wrong_parts_are_refused_when_they_are_given(wrong, message):
    with pytest.raises(ValueError, match=message):
        presets.tabular_classifier(**wrong)


def test_before_fit_there_is_no_network():
    model = presets.tabular_classifier()
    assert model.network is None
    with pytest.raises(fr.NotBuiltError, match="call fit"):
        model.predict(np.zeros((1, 1)))


@pytest.mark.parametrize(("rows", "targets", "weights"), [(60, 59, None), (59, 60, None), (60, 60, 59), (60, 60, 61)])
@pytest.mark.parametrize("as_given", [np.asarray, np.ndarray.tolist])
@pytest.mark.parametrize("preset", [presets.tabular_classifier, presets.tabular_regressor])
def test_different_numbers_of_rows_are_refused(preset, as_given, rows, targets, weights):
    X, y = np.zeros((rows, 2)), np.arange(targets) % 2
    weight = weights and as_given(np.ones(weights))
    with pytest.raises(ValueError, match=f"inconsistent numbers of samples: X has {rows} .* has {weights or targets} "):
        preset(**QUICK).fit(as_given(X), as_given(y), sample_weight=weight)


@pytest.mark.parametrize(("X", "y", "message"), [
    (np.zeros((0, 2)), [], "0 sample"),
    ([], [], "0 sample"),
    (np.zeros((3, 2)), ["a", "b", "c"], "leave none to validate"),
    (np.zeros((9, 2)), ["a"] * 9, "at least two classes, got .*'a'.* alone$"),
    (np.zeros((9, 2)), [0.0] * 8 + [np.nan], "y contains nan .*row 8"),
    (np.zeros((9, 2)), ["a"] * 8 + [None], "y contains None .*row 8"),
    (np.zeros((9, 2)), ["a"] * 7 + [1, None], "y contains None .*row 8"),
    (np.zeros((9, 2)), np.array(["a"] * 8 + [1], dtype=object), "cannot be sorted"),
    (np.zeros((9, 2)), np.zeros((1, 9)), "inconsistent numbers of samples"),
    (np.zeros((9, 2)), np.zeros((9, 1)), "y must be 1-D"),
    (np.zeros((9, 2)), None, "y must have rows"),
    (None, [1, 2], "X must have rows"),
])  # fmt: skip
def test_rows_that_no_classifier_can_learn_are_refused(X, y, message):
    with pytest.raises(ValueError, match=message):
        presets.tabular_classifier(**QUICK).fit(X, y)


@pytest.mark.parametrize(("y", "message"), [
    ([0.0] * 8 + [np.nan], "y contains NaN .*row 8; 1 in all"),
    (["a"] * 9, "y has dtype"),
    (np.zeros((1, 9)), "inconsistent numbers of samples"),
    (np.zeros((9, 1, 1)), "1-D or 2-D"),
])  # fmt: skip
def test_rows_that_no_regressor_can_learn_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        presets.tabular_regressor(**QUICK).fit(np.zeros((9, 2)), y)


def test_one_row_leaves_none_to_validate():
    with pytest.raises(ValueError, match="leave none to validate"):
        presets.tabular_regressor(**QUICK).fit([[1.0]], [2.0])


def test_classes_have_weights_by_their_own_names():
    X, y = a_table()
    shares = []
    for weight in (None, {"yes": 20}, {"no": 20.0}):
        model = presets.tabular_classifier(**QUICK)
        model.fit(X, y, class_weight=weight)
        shares.append((model.predict(X) == "yes").mean())
    assert shares[2] < shares[0] < shares[1]


def test_balanced_classes_weigh_as_much_as_a_dict_says():
    y = np.repeat([-3, 7], [80, 20])
    X = np.random.default_rng(0).standard_normal((100, 2)) + y[:, None]
    proba = []
    for weight in ("balanced", {-3: 100 / 160, np.int64(7): 100 / 40}):
        model = presets.tabular_classifier(**QUICK)
        model.fit(X, y, validation=(X, y), class_weight=weight)
        proba.append(model.predict_proba(X))
    assert np.array_equal(*proba)


@pytest.mark.parametrize(("preset", "weight", "message"), [
    (presets.tabular_classifier, {"perhaps": 1}, "'perhaps', which is no class"),
    (presets.tabular_classifier, {"yes": -1}, "class_weight\\['yes'\\]"),
    (presets.tabular_classifier, "even", "class_weight"),
    (presets.tabular_regressor, "balanced", "class_weight is for classes"),
])  # fmt: skip
def test_wrong_class_weights_are_refused(preset, weight, message):
    X, y = a_table(60)
    y = y if preset is presets.tabular_classifier else np.arange(60.0)
    with pytest.raises(ValueError, match=message):
        preset(**QUICK).fit(X, y, class_weight=weight)


NOISY = QUICK | {"layers": (fr.Dense(16, "relu"), fr.Dropout(0.3))}


def test_classes_are_predicted_by_samples_too():
    X, y = a_table()
    model = presets.tabular_classifier(**NOISY)
    model.fit(X, y)
    labels, std = model.predict(X, samples=5, return_std=True)
    p, p_std = model.predict_proba(X, samples=5, return_std=True)
    assert np.array_equal(labels, model.targets.values[p.argmax(axis=1)])
    assert np.array_equal(labels, model.predict(X, samples=5))
    assert np.array_equal(std, np.take_along_axis(p_std, p.argmax(axis=1)[:, None], axis=1)[:, 0])
    with pytest.raises(ValueError, match="needs samples"):
        model.predict(X, return_std=True)


def test_deviations_of_numbers_are_in_their_units():
    X = np.random.default_rng(0).standard_normal((200, 3))
    small, large = presets.tabular_regressor(**NOISY), presets.tabular_regressor(**NOISY)
    small.fit(X, X[:, 0])
    large.fit(X, 1e3 * X[:, 0] + 5)
    std, large_std = (model.predict(X, samples=5, return_std=True)[1] for model in (small, large))
    assert (std > 0).all()
    np.testing.assert_allclose(large_std, 1e3 * std, rtol=0.02, atol=1)


def test_a_class_that_only_validates_is_refused():
    X, y = a_table()
    with pytest.raises(ValueError, match="'perhaps'"):
        presets.tabular_classifier(**QUICK).fit(X, y, validation=(X[:1], np.array(["perhaps"])))


def test_pickles_hold_all_of_it_and_files_say_why_they_do_not(tmp_path):
    X, y = a_table()
    model = presets.tabular_classifier(**QUICK)
    model.fit(X, y)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.predict_proba(X), model.predict_proba(X))
    with pytest.raises(ValueError, match="preset"):
        fr.save(model, tmp_path / "model.frg")
    fr.save(model.network, tmp_path / "network.frg")


def test_small_images_are_learned():
    X, y = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    images = X.reshape(-1, 8, 8)
    model = presets.image_classifier((8, 8), seed=0, epochs=25)
    model.fit(images[:1200], y[:1200])
    assert model.evaluate(images[1200:], y[1200:], metrics=("accuracy",))["accuracy"] > 0.93
    assert np.array_equal(model.predict(X[1200:]), model.predict(images[1200:]))


def test_images_say_their_shape_to_what_augments_them():
    rng = np.random.default_rng(0)
    images, y = rng.random((60, 8, 6)), np.arange(60) % 2
    augment = (fr.RandomFlip(), fr.RandomShift(shape=(6, 8)), fr.Mixup())
    proba = []
    for shape, X in ((None, images), ((8, 6), images), ((8, 6), images.reshape(60, 48))):
        model = presets.image_classifier(shape, seed=0, epochs=2, augment=augment)
        model.fit(X, y)
        assert model.recipe.augmentations(model.inputs.shape) == (fr.RandomFlip(shape=(8, 6)), *augment[1:])
        proba.append(model.predict_proba(images))
    assert np.array_equal(proba[0], proba[1])
    assert np.array_equal(proba[0], proba[2])


@pytest.mark.parametrize("shape", [None, (8, 6, 3)])
def test_images_of_another_shape_are_refused(shape):
    X, y = np.random.default_rng(0).random((60, 8, 6, 3)), np.arange(60) % 2
    model = presets.image_classifier(shape, epochs=1, seed=0)
    model.fit(X, y)
    assert np.array_equal(model.predict(X), model.predict(X.reshape(60, -1)))
    for wrong in (np.moveaxis(X, 3, 1), np.moveaxis(X, 1, 2), X[:, :4], X.reshape(60, -1)[:, :9], X.reshape(60, 8, 18)):
        with pytest.raises(ValueError, match="expected .*8, 6, 3"):
            model.predict(wrong)
    with pytest.raises(ValueError, match="images"):
        model.predict(X[..., None])
    with pytest.raises(ValueError, match="channels"):
        presets.image_classifier(shape).fit(np.moveaxis(X, 3, 1), y)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5])
def test_rows_that_validate_are_spread_over_y(share):
    rng = np.random.default_rng(0)
    for y in (rng.choice(["a", "b", "c"], 1000, p=[0.7, 0.25, 0.05]), rng.exponential(size=1000)):
        rows = presets._spread_rows(y, share, seed=0)
        assert len(rows) == len(set(rows)) == 1000 * share
        ranks = np.argsort(np.argsort(y, kind="stable"))[rows] if y.dtype.kind == "f" else None
        if ranks is None:
            for value in "abc":
                assert abs((y[rows] == value).sum() - share * (y == value).sum()) <= 2
        else:
            assert abs(ranks.mean() / 999 - 0.5) < 0.02


# ---- encodings


def test_numbers_are_scaled_clipped_and_binned_as_the_formulas_say():
    X = np.arange(5.0).repeat(100)[:, None]
    encoded = Table(bins=8).fit(X).transform(np.array([[2.0], [4.0], [-1.0], [2.5]]))
    z = (np.array([2.0, 4.0, -1.0, 2.5]) - 2) / 2  # quartiles 1 and 3
    np.testing.assert_allclose(encoded[:, 0], z / np.sqrt(1 + (z / 3) ** 2), rtol=1e-6)
    bins = [[1, 1, 0, 0], [1, 1, 1, 1], [0, 0, 0, 0], [1, 1, 0.5, 0]]
    np.testing.assert_array_equal(encoded[:, 1:], bins)
    assert encoded.dtype == np.float32


def test_a_value_that_most_rows_share_leaves_bins_to_the_others():
    x = np.concatenate([np.zeros(9000), np.arange(1.0, 1001.0)])
    (column,) = Table(bins=20).fit(x[:, None]).columns
    assert len(column.edges) > 15
    assert (np.diff(column.edges) > 0).all()
    assert column.scale == 500  # both quartiles are 0


def test_constant_binary_and_blank_columns():
    X = np.array([[5.0, 0.0, np.nan, 1.0], [5.0, 1.0, np.nan, np.nan], [5.0, 1.0, np.nan, 3.0]])
    encoded = Table().fit(X).transform(X)
    assert np.isfinite(encoded).all()
    assert encoded.shape == (3, 1 + 1 + 2 + 2)
    np.testing.assert_array_equal(encoded[:, [3, 5]], [[1, 0], [1, 1], [1, 0]])


def test_texts_and_objects_become_one_column_for_each_value():
    X = np.array([["b", 1], ["a", 2], [None, 3]], dtype=object)
    fitted = Table(bins=0).fit(X)
    np.testing.assert_array_equal(fitted.transform(X)[:, :3], [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    unseen = np.array([["c", 2], ["a", 2], ["a", 2]], dtype=object)
    np.testing.assert_array_equal(fitted.transform(unseen)[0], [0, 0, 0, 0])


def test_data_frames_have_categories_and_blanks():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"t": pd.Categorical(["b", "a", None]), "n": pd.array([1, None, 3], dtype="Int64")})
    encoded = Table().fit(frame).transform(frame)
    np.testing.assert_array_equal(encoded[:, :3], [[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    np.testing.assert_array_equal(encoded[:, 4], [0, 1, 0])
    y = ["yes", "no", "yes"] * 20
    model = presets.tabular_classifier(**QUICK)
    model.fit(pd.concat([frame] * 20, ignore_index=True), y)
    np.testing.assert_array_equal(model.predict(frame), y[:3])


@pytest.mark.parametrize(("names", "message"), [
    (["b", "a"], "in that order: .*'a', 'b'"),
    (["a", "c"], "unseen at fit: .*'c'.*, now missing: .*'b'"),
    (["a"], "now missing: .*'b'"),
    (["a", "b", "c"], "unseen at fit: .*'c'"),
    (["a", "a"], "missing"),
])  # fmt: skip
def test_columns_of_other_names_are_refused(names, message):
    pd = pytest.importorskip("pandas")
    table = np.arange(120.0).reshape(60, 2)
    model = presets.tabular_classifier(**QUICK)
    model.fit(pd.DataFrame(table, columns=["a", "b"]), np.arange(60) % 2)
    assert model.inputs.names == ("a", "b")
    model.predict(table)  # an array has no names
    with pytest.raises(ValueError, match=message):
        model.predict(pd.DataFrame(np.zeros((3, len(names))), columns=names))


def test_columns_of_one_name_are_refused():
    pd = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match="several columns of the same name"):
        Table().fit(pd.DataFrame(np.zeros((3, 2)), columns=["a", "a"]))


def test_wide_tables_share_their_bins():
    X = np.random.default_rng(0).standard_normal((100, 1024))
    assert Table().fit(X).transform(X).shape == (100, 1024 * (1 + 4))
    assert Table().fit(X[:, :1]).transform(X[:, :1]).shape == (100, 1 + 5)  # half the root of 100 rows


@pytest.mark.parametrize(("X", "message"), [
    (np.zeros(3), "table of rows and columns"),
    (np.zeros((3, 5)), "X has 5 columns, but the preset was fitted to 2"),
    ([[1.0, np.inf]], "column 1 of X contains infinity"),
    ([["a", 2.0]], "column 0 of X held numbers"),
])  # fmt: skip
def test_what_cannot_be_encoded_is_refused(X, message):
    fitted = Table().fit(np.arange(10.0).reshape(5, 2))
    with pytest.raises(ValueError, match=message):
        fitted.transform(np.array(X, dtype=object) if isinstance(X, list) else X)


def test_pixels_are_flattened_and_divided():
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    fitted = Pixels().fit(images)
    np.testing.assert_allclose(fitted.transform(images), images.reshape(2, 12) / 23, rtol=1e-6)
    np.testing.assert_array_equal(Pixels().fit(images * 0).transform(images * 0), 0)


def test_classes_and_scales_go_there_and_back():
    y = np.array([3, -1, 3, 7])
    classes = Classes.fit(y)
    np.testing.assert_array_equal(classes.encode(y), [1, 0, 1, 2])
    np.testing.assert_array_equal(classes.decode(classes.encode(y)), y)
    scaled = Scaled.fit(y)
    assert scaled.encode(y).mean() == pytest.approx(0, abs=1e-12)
    assert scaled.encode(y).std() == pytest.approx(1)
    np.testing.assert_allclose(scaled.decode(scaled.encode(y)), y)
    assert Scaled.fit(np.ones(3)).scale == 1
