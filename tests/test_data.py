"""What comes through the door: good forms give the same bits; bad ones a clear error, and nothing changes."""

import hashlib
import re

import numpy as np
import pytest

import fastreg as fr

RNG = np.random.default_rng(0)
X = RNG.integers(-8, 9, size=(60, 5)) / 4.0  # exact in float16 and up
Y = RNG.integers(0, 3, 60)
SOFT = np.eye(3)[Y] * 0.75 + 0.25 / 3


@pytest.fixture(params=["reference", "compiled"])
def engine(request):
    return request.param


def network(loss="cross_entropy", units=3, dtype="float32", engine="reference"):
    layers = [fr.Dense(4, "relu"), fr.Dropout(0.5), fr.Dense(units)]
    return fr.Network(layers, loss=loss, dtype=dtype, seed=0, engine=engine)


def digest(net):
    """Everything that training changes."""
    state, model = net._state, net._model
    arrays = [model.weights, state.buffers, state.scalars]
    numbers = state.epoch, state.step, state.optimizer, model.flat, net.seed
    return [hashlib.sha256(array.tobytes()).hexdigest() for array in arrays], numbers


def changed(array, place, value):
    array = np.array(array, dtype=np.result_type(array, type(value)))
    array[place] = value
    return array


# ---- what is accepted: the same bits as a plain array


def read_only(X):
    X = X.copy()
    X.flags.writeable = False
    return X


def unaligned(X):
    buffer = bytearray(X.nbytes + 1)
    array = np.frombuffer(buffer, X.dtype, offset=1, count=X.size).reshape(X.shape)
    array[...] = X
    return array


def memmap(X, tmp_path):
    np.save(tmp_path / "X.npy", X)
    return np.load(tmp_path / "X.npy", mmap_mode="r")


FORMS = {
    "float16": lambda X: X.astype("f2"),
    "float32": lambda X: X.astype("f4"),
    "float64": lambda X: X.astype("f8"),
    "long double": lambda X: X.astype(np.longdouble),
    "big-endian": lambda X: X.astype(">f8"),
    "Fortran order": np.asfortranarray,
    "every second column": lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    "negative strides": lambda X: X[::-1, ::-1].copy()[::-1, ::-1],
    "read-only": read_only,
    "read-only float32": lambda X: read_only(X.astype("f4")),
    "unaligned": unaligned,
    "unaligned float32": lambda X: unaligned(X.astype("f4")),
    "lists": lambda X: X.tolist(),
    "tuples of rows": lambda X: tuple(X),
    "objects": lambda X: X.astype(object),
    "masked without a mask": np.ma.masked_array,
    "matrix": lambda X: X.view(np.matrix),
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_form_of_X_gives_the_same_bits(engine, form, dtype):
    plain, other = network(dtype=dtype, engine=engine), network(dtype=dtype, engine=engine)
    plain.fit(X.astype(dtype), Y, epochs=2)
    other.fit(form(X), Y, epochs=2)
    assert digest(other) == digest(plain)
    assert np.array_equal(other.forward(form(X)), plain.forward(X))


def test_memmaps(engine, tmp_path):
    plain, other = network(engine=engine), network(engine=engine)
    plain.fit(X, Y, epochs=2)
    other.fit(memmap(X.astype("f4"), tmp_path), Y, epochs=2)
    assert digest(other) == digest(plain)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    plain, other = network(), network()
    plain.fit(X, Y, epochs=2)
    frame = pandas.DataFrame(X, columns=list("abcde"))
    frame["a"] = frame["a"].astype("float32")
    frame["b"] = frame["b"].astype("Float64")
    other.fit(frame, pandas.Series(Y, dtype="Int64"), epochs=2)
    assert digest(other) == digest(plain)
    assert np.array_equal(other.predict(frame), plain.predict(X))


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "i2", "u4", "i8", "u8", ">i4"])
def test_integers_and_bools(engine, dtype):
    whole = (X > 0).astype(dtype)
    plain, other = network(engine=engine), network(engine=engine)
    plain.fit(whole.astype("f4"), Y, epochs=2)
    other.fit(whole, Y, epochs=2)
    assert digest(other) == digest(plain)


LABELS = {
    "int8": lambda y: y.astype("i1"),
    "uint64": lambda y: y.astype("u8"),
    "big-endian": lambda y: y.astype(">i8"),
    "integral floats": lambda y: y.astype("f8"),
    "list": lambda y: y.tolist(),
    "objects": lambda y: y.astype(object),
    "strided": lambda y: np.repeat(y, 3)[::3],
    "read-only": read_only,
}


@pytest.mark.parametrize("form", LABELS.values(), ids=LABELS)
def test_every_form_of_labels_gives_the_same_bits(engine, form):
    plain, other = network(engine=engine), network(engine=engine)
    plain.fit(X, Y, epochs=2)
    other.fit(X, form(Y), epochs=2)
    assert digest(other) == digest(plain)


def test_bool_labels(engine):
    plain, other = (network("binary_cross_entropy", 1, engine=engine) for _ in range(2))
    plain.fit(X, (Y > 0).astype("f4"), epochs=2)
    other.fit(X, Y > 0, epochs=2)
    assert digest(other) == digest(plain)


def test_probabilities_may_be_rounded(engine):
    network(engine=engine).fit(X, SOFT.astype("f2"), epochs=1)


def test_subnormal_numbers_are_numbers(engine):
    network(dtype="float64", engine=engine).fit(X * 1e-310, Y, epochs=1)


def test_large_numbers_whose_sum_overflows_are_numbers(engine):
    net = network("squared_error", 1, engine=engine).build(5)
    assert net.forward(np.full((1, 5), 3e38, np.float32)).shape == (1, 1)


def test_one_row_and_one_column(engine):
    net = network(engine=engine)
    net.fit([[1.0]], [2], epochs=3)
    assert net.predict([[1.0]]).shape == (1,)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_passed_is_not_modified(engine, dtype):
    rows, y, soft = X.astype(dtype), Y.copy(), SOFT.astype(dtype)
    weights = np.ones(60, dtype)
    arrays = [rows, y, soft, weights]
    before = [array.tobytes() for array in arrays]
    net = network(dtype=dtype, engine=engine)
    validation = {"a": (rows, y), "b": (rows, soft)}
    net.fit(rows, soft, epochs=2, sample_weight=weights, validation=validation, metrics=["accuracy"])
    net.fit(rows, y, epochs=2, sample_weight=weights)
    net.predict(rows), net.predict_proba(rows), net.evaluate(rows, y, sample_weight=weights)
    assert [array.tobytes() for array in arrays] == before


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("form", [np.array, read_only])
def test_fitting_data_are_not_copied(dtype, form):
    seen = []
    rows, targets = form(X.astype(dtype)), form(X[:, :1].astype(dtype))
    network("squared_error", 1, dtype).fit(rows, targets, epochs=1, callbacks=[lambda run: seen.append(run.data)])
    assert seen[0].X is rows
    assert np.shares_memory(seen[0].targets, targets)


# ---- what is refused


def sparse():
    return pytest.importorskip("scipy.sparse").csr_matrix(X)


def frame_with_dates():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": X[:, 0], "when": pandas.date_range("2020-01-01", periods=60)})


def frame_with_categories():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"a": X[:, 0], "kind": pandas.Categorical(Y)})


def frame_with_missing():
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({name: pandas.array([1, None] * 30, dtype="Int64") for name in "abcde"})


BAD_X = {
    "0 rows": (X[:0], "Found array X with 0 sample(s) (shape=(0, 5)) while a minimum of 1 is required."),
    "0 columns": (X[:, :0], "0 feature(s) (shape=(60, 0)) while a minimum of 1 is required."),
    "1-D": (X[0], "Expected 2D array, got 1D array instead: X has shape (5,). Use X.reshape(-1, 1)"),
    "3-D": (X[:, :, None], "Expected 2D array, got 3D array instead: X has shape (60, 5, 1)"),
    "number": (3.0, "Expected 2D array, got 0D array instead: X"),
    "None": (None, "X must be an array of numbers, got None"),
    "NaN": (changed(X, (3, 2), np.nan), "Input X contains NaN (first at row 3, column 2; 1 in all)"),
    "two NaN": (changed(X, ([3, 9], [2, 0]), np.nan), "(first at row 3, column 2; 2 in all)"),
    "infinity": (
        changed(X, (3, 2), np.inf),
        "Input X contains infinity (first at row 3, column 2; 1 in all)",
    ),
    "minus infinity": (changed(X, (59, 4), -np.inf), "Input X contains infinity (first at row 59, column 4"),
    "float16 NaN": (
        changed(X, (3, 2), np.nan).astype("f2"),
        "Input X contains NaN (first at row 3, column 2",
    ),
    "both infinities": (
        changed(changed(X, (1, 1), np.inf), (2, 2), -np.inf),
        "infinity (first at row 1, column 1",
    ),
    "beyond float32": (
        changed(X, (3, 2), 1e39),
        "X[3, 2]=1e+39 exceeds float32; use dtype='float64' or scale X",
    ),
    "complex": (X + 1j, "Complex data not supported: X has dtype complex128"),
    "complex object": (
        [
            [1.0],
            [
                2 + 1j,
            ],
        ],
        "Complex data not supported: X",
    ),
    "texts": (X.astype(str), "X has dtype <U32, not numbers; convert it explicitly"),
    "bytes": (X.astype("S"), "X has dtype |S32, not numbers"),
    "dates": (X.astype("M8[s]"), "X has dtype datetime64[s], not numbers"),
    "text among objects": (
        changed(X.astype(object), (0, 1), "a"),
        "could not convert 'a' (row 0, column 1) of X",
    ),
    "number as text": (
        changed(X.astype(object), (4, 0), "1.5"),
        "could not convert '1.5' (row 4, column 0) of X",
    ),
    "None among objects": (
        changed(X.astype(object), (2, 0), None),
        "could not convert None (row 2, column 0)",
    ),
    "ragged": ([[1.0, 2.0], [3.0]], "rows of X differ in length (row 1 has 1, expected 2)"),
    "masked": (np.ma.masked_less(X, -1.9), "X has "),
    "sparse": (sparse, "X is a sparse matrix; pass X.toarray()"),
    "dates in a frame": (frame_with_dates, "X: column 'when' has dtype datetime64"),
    "categories in a frame": (frame_with_categories, "X: column 'kind' has dtype category"),
    "missing in a frame": (frame_with_missing, "row 1, column 0"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_X.values(), ids=BAD_X)
def test_bad_X(bad, message):
    bad = bad() if callable(bad) else bad
    fresh = network()
    with pytest.raises(ValueError, match=re.escape(message)):
        fresh.fit(bad, Y)
    assert fresh._model is None
    net = network()
    net.fit(X, Y, epochs=1)
    before = digest(net)
    places = {"X": {"X": bad, "y": Y}, "validation[0]": {"X": X, "y": Y, "validation": (bad, Y)}}
    for name, arguments in places.items():
        with pytest.raises(ValueError, match=re.escape(message.replace("X", name))):
            net.fit(**arguments)
    for ask in (net.predict, net.predict_proba, net.forward, lambda X: net.evaluate(X, Y)):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask(bad)
    assert digest(net) == before


def test_masked_entries_are_counted():
    masked = np.ma.masked_array(X, mask=np.zeros_like(X))
    masked[3, 2] = masked[4, 4] = np.ma.masked
    with pytest.raises(ValueError, match="X has 2 masked entries; fill them first"):
        network().fit(masked, Y)


@pytest.mark.parametrize("place", [(0, 0), (70_000, 0), (199_999, 0)])
def test_a_nan_is_found_wherever_it_is(place):
    with pytest.raises(ValueError, match=f"first at row {place[0]}, column 0; 1 in all"):
        network().fit(changed(np.zeros((200_000, 1), np.float32), place, np.float32("nan")), np.zeros(200_000, int))


BAD_LABELS = {
    "None": (None, "requires y to be passed, but the target y is None"),
    "3-D": (np.zeros((60, 3, 1)), "y must be 1-D or 2-D, got 3-D: shape (60, 3, 1)"),
    "a number": (3, "y must be 1-D or 2-D, got 0-D"),
    "too few": (Y[:59], "inconsistent numbers of samples: X has 60 (shape (60, 5)), y has 59 (shape (59,))"),
    "too large": (
        changed(Y, 7, 3),
        "y[7]=3 is out of range: the network has 3 outputs, so labels are the integers 0..2",
    ),
    "negative": (changed(Y, 7, -1), "y[7]=-1 is out of range"),
    "huge": (changed(Y, 7, 2**40), f"y[7]={2**40} is out of range"),
    "huge unsigned": (changed(Y.astype("u8"), 7, np.uint64(2**64 - 1)), f"y[7]={2**64 - 1} is out of range"),
    "fractions": (changed(Y, 7, 0.5), "Unknown label type: continuous; y[7]=0.5"),
    "NaN": (changed(Y, 7, np.nan), "Input y contains NaN (first at row 7)"),
    "infinity": (changed(Y, 7, np.inf), "y[7]=inf"),
    "texts": (np.array(["a", "b", "c"])[Y], "y has dtype <U1, not numbers"),
    "texts and numbers": (changed(Y.astype(object), 2, "a"), "could not convert 'a' (row 2) of y"),
    "one column": (
        Y[:, None],
        "y has shape (60, 1), but the network has 3 output(s): expected shape (60, 3); labels are 1-D",
    ),
    "two columns": (
        SOFT[:, :2],
        "y has shape (60, 2), but the network has 3 output(s): expected shape (60, 3)",
    ),
    "sums": (changed(SOFT, 4, 0.5), "row 4 of y sums to 1.5; rows of probabilities must sum to 1"),
    "not in [0, 1]": (changed(changed(SOFT, (4, 0), -0.5), (4, 1), 1.5), "is outside [0, 1]"),
    "NaN in a matrix": (changed(SOFT, (4, 1), np.nan), "Input y contains NaN (first at row 4, column 1"),
    "complex": (Y * 1j, "Complex data not supported: y has dtype complex128"),
}
BAD_BINARY = {
    "labels beyond 1": (Y, "is outside [0, 1], where binary_cross_entropy has its targets"),
    "NaN": (changed(Y > 0, 7, np.nan), "Input y contains NaN (first at row 7"),
    "two columns": (
        SOFT[:, :2],
        "y has shape (60, 2), but the network has 1 output(s): expected shape (60, 1)",
    ),
}
BAD_NUMBERS = {
    "two columns": (X[:, :2], "y has shape (60, 2), but the network has 1 output(s): expected shape (60, 1)"),
    "NaN": (changed(X[:, 0], 7, np.nan), "Input y contains NaN (first at row 7"),
    "infinity": (changed(X[:, :1], (7, 0), -np.inf), "Input y contains infinity (first at row 7, column 0"),
    "beyond float32": (
        changed(X[:, 0], 7, -1e300),
        "y[7]=-1e+300 exceeds float32; use dtype='float64' or scale y",
    ),
}
BAD_Y = [
    pytest.param(loss, units, bad, message, id=f"{loss}: {name}")
    for loss, units, cases in (
        ("cross_entropy", 3, BAD_LABELS),
        ("binary_cross_entropy", 1, BAD_BINARY),
        ("squared_error", 1, BAD_NUMBERS),
    )
    for name, (bad, message) in cases.items()
]


@pytest.mark.parametrize(("loss", "units", "bad", "message"), BAD_Y)
def test_bad_y(loss, units, bad, message):
    good = Y if loss == "cross_entropy" else (Y > 0).astype(float)
    fresh = network(loss, units)
    with pytest.raises(ValueError, match=re.escape(message)):
        fresh.fit(X, bad)
    assert fresh._model is None
    net = network(loss, units)
    net.fit(X, good, epochs=1)
    before = digest(net)
    with pytest.raises(ValueError, match=re.escape(message)):
        net.evaluate(X, bad)
    with pytest.raises(ValueError, match=re.escape(message)):
        net.partial_fit(X, bad)
    of_validation = message.replace("X has", "validation[0] has").replace(" y", " validation[1]")
    of_validation = re.sub(r"^y\b", "validation[1]", of_validation)
    with pytest.raises(ValueError, match=re.escape(of_validation)):
        net.fit(X, good, validation=(X, bad))
    assert digest(net) == before


def test_one_column_for_several_outputs():
    with pytest.raises(ValueError, match=re.escape("y has shape (60,), but the network has 2 output(s)")):
        network("squared_error", 2).fit(X, X[:, 0])


BAD_WEIGHTS = {
    "negative": (changed(np.ones(60), 0, -1.0), "sample_weight[0]=-1.0; weights must be >= 0"),
    "NaN": (changed(np.ones(60), 5, np.nan), "Input sample_weight contains NaN (first at row 5"),
    "infinite": (changed(np.ones(60), 5, np.inf), "Input sample_weight contains infinity (first at row 5"),
    "all zero": (
        np.zeros(60),
        "Sample weights must contain at least one non-zero number; sample_weight is all zero",
    ),
    "zero in float32": (np.full(60, 1e-60), "Sample weights must contain at least one non-zero number"),
    "too few": (np.ones(59), "X has 60 (shape (60, 5)), sample_weight has 59 (shape (59,))"),
    "2-D": (np.ones((60, 1)), "sample_weight must be 1-D, got shape (60, 1)"),
    "texts": (["a"] * 60, "sample_weight has dtype <U1, not numbers"),
    "None inside": ([None] * 60, "could not convert None (row 0) of sample_weight"),
}


@pytest.mark.parametrize(("bad", "message"), BAD_WEIGHTS.values(), ids=BAD_WEIGHTS)
def test_bad_weights(bad, message):
    net = network()
    net.fit(X, Y, epochs=1)
    before = digest(net)
    for ask in (net.fit, net.partial_fit, net.evaluate):
        with pytest.raises(ValueError, match=re.escape(message)):
            ask(X, Y, sample_weight=bad)
    assert digest(net) == before


BAD_VALIDATION = {
    "a table alone": (
        X,
        "validation must be a pair (X_val, y_val) or a dict of named pairs, got ndarray of length 60",
    ),
    "a fraction": (0.1, "validation must be a pair (X_val, y_val) or a dict of named pairs, got 0.1"),
    "three": (
        (X, Y, Y),
        "validation must be a pair (X_val, y_val) or a dict of named pairs, got tuple of length 3",
    ),
    "named": ({"test": (X,)}, "validation['test'] must be a pair"),
    "width": ((X[:, :4], Y), "validation[0] has 4 features, but Network is expecting 5 features as input"),
    "rows": (
        {"t": (X, Y[1:])},
        "validation['t'][0] has 60 (shape (60, 5)), validation['t'][1] has 59 (shape (59,))",
    ),
    "label": ((X, Y + 1), "validation[1]["),
}


@pytest.mark.parametrize(("bad", "message"), BAD_VALIDATION.values(), ids=BAD_VALIDATION)
def test_bad_validation(bad, message):
    net = network()
    net.fit(X, Y, epochs=1)
    before = digest(net)
    with pytest.raises(ValueError, match=re.escape(message)):
        net.fit(X, Y, validation=bad)
    assert digest(net) == before


def test_another_width_than_before():
    net = network()
    net.fit(X, Y, epochs=1)
    with pytest.raises(ValueError, match="X has 4 features, but Network is expecting 5 features as input"):
        net.fit(X[:, :4], Y)
