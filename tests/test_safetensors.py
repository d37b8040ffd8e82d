"""Parameters in the format of safetensors: what its own library writes and reads, and strictly."""

import errno
import json
import os
import random

import numpy as np
import pytest

import fastreg as fr
import fuzz_files
from fastreg.safetensors import DTYPES

X = np.random.default_rng(3).normal(size=(20, 5))


def network(dtype="float32", **settings):
    layers = [fr.Dense(4, "relu"), fr.Dropout(0.2), fr.Dense(3, name="énc")]
    return fr.Network(layers, loss="squared_error", dtype=dtype, **({"seed": 3} | settings))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.safetensors"


def same_bits(one, other):
    return all(one.parameters[name].tobytes() == view.tobytes() for name, view in other.parameters.items())


def write(path, header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)


def entries(net, dtype="F32"):
    """The header and the numbers of a file that `net` can load, made by hand."""
    header, data = {}, b""
    for name, array in net.parameters.items():
        numbers = array.astype(DTYPES[dtype]).tobytes()
        header[name] = {
            "dtype": dtype,
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(numbers)],
        }
        data += numbers
    return header, data


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("built", [False, True])
def test_parameters_come_back(path, dtype, built):
    net, twin = network(dtype).build(5), network(dtype, seed=4)
    fr.save_safetensors(net, path)
    assert fr.load_safetensors(twin.build(5) if built else twin, path) is twin
    assert same_bits(twin, net)
    np.testing.assert_array_equal(twin.predict(X), net.predict(X))


def test_the_library_reads_and_writes_the_same(path):
    numpy = pytest.importorskip("safetensors.numpy")
    net = network().build(5)
    fr.save_safetensors(net, path)
    loaded = numpy.load_file(path)
    assert loaded.keys() == net.parameters.keys()
    assert all(array.tobytes() == net.parameters[name].tobytes() for name, array in loaded.items())
    numpy.save_file(loaded, path, metadata={"a": "b"})
    assert same_bits(fr.load_safetensors(network(seed=4), path), net)


def test_the_bytes_are_those_of_the_description(path):
    net = network().build(5)
    fr.save_safetensors(net, path)
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    assert size % 8 == 0
    assert header.pop("__metadata__") == {"fastreg": fr.__version__}
    assert (header, data[8 + size :]) == entries(net)


@pytest.mark.parametrize("dtype", ["F16", "F32", "F64"])
def test_other_dtypes_become_the_networks(path, dtype):
    net = network("float64").build(5)
    write(path, *entries(net, dtype))
    twin = fr.load_safetensors(network(), path)
    for name, array in net.parameters.items():
        np.testing.assert_array_equal(twin.parameters[name], array.astype(DTYPES[dtype]).astype(np.float32))


def test_bfloat16(path):
    net = network().build(5)
    header, _ = entries(net, "BF16")
    halves = [array.view(np.uint32) >> 16 for array in net.parameters.values()]
    write(path, header, b"".join(array.astype("<u2").tobytes() for array in halves))
    fr.load_safetensors(net, path)
    for array, half in zip(net.parameters.values(), halves, strict=True):
        np.testing.assert_array_equal(array.view(np.uint32), half << 16)


def test_the_order_in_the_header_does_not_matter(path):
    net = network().build(5)
    header, data = entries(net)
    write(path, dict(reversed(header.items())), data)
    assert same_bits(fr.load_safetensors(network(), path), net)


def changed(**changes):
    """Return a change of the header, {name: {key: value}}; None takes away."""

    def change(header):
        for name, values in changes.items():
            name = name.replace("_", ".")
            if values is None:
                del header[name]
            else:
                header[name] = header.get(name, {}) | values

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(**{"0_weight": {"data_offsets": [4, 84]}}), "data_offsets is [4, 84], its place is [0, 80]"),
        (changed(**{"0_bias": {"data_offsets": [0, 16]}}), "data_offsets is [0, 80], its place is [16, 96]"),
        (changed(**{"0_bias": {"data_offsets": [128, True]}}), "data_offsets[1] must be an integer, got True"),
        (changed(**{"0_bias": {"data_offsets": [-1, 15]}}), "data_offsets[0] must be an integer in"),
        (changed(**{"0_bias": {"data_offsets": [128]}}), "data_offsets is [128]"),
        (changed(**{"0_weight": {"shape": [5, 5]}}), "its place is [0, 100]"),
        (changed(**{"0_weight": {"shape": [4, 5]}}), "'0.weight' has shape (4, 5), the network needs (4, 4)"),
        (changed(**{"0_weight": {"shape": [2**32, 2**32]}}), "shape is too large"),
        (changed(**{"0_weight": {"shape": [5.0, 4]}}), "shape[0] must be an integer, got 5.0"),
        (changed(**{"0_weight": {"dtype": "I32"}}), "dtype must be one of F16, BF16, F32, F64, got 'I32'"),
        (changed(**{"0_weight": {"stride": 1}}), "has 'stride', which this version does not know"),
        (changed(énc_bias=None), "the header accounts for 144 bytes of numbers, the file has 156"),
        (changed(more={"dtype": "F32", "shape": [0], "data_offsets": [156, 156]}), "'more' is in the file, but not in"),
        (lambda h: h.update(__metadata__=[]), "header.__metadata__ must be an"),
        (lambda h: h.update(__metadata__={"a": 1}), "header.__metadata__['a'] must be a text, got 1"),
        (lambda h: h.update({"0.bias": None}), "header['0.bias'] must be an object, got None"),
    ],
)
def test_forged_headers_are_refused(path, change, message):
    net = network().build(5)
    header, data = entries(net)
    change(header)
    write(path, header, data)
    with pytest.raises(fr.ModelFileError) as caught:
        fr.load_safetensors(network(), path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("header", "length", "message"),
    [
        (b"", None, "no safetensors file, or cut off"),
        (b"{}", 2**63, "no safetensors file, or cut off"),
        (b"{}", 100, "no safetensors file, or cut off"),
        (b"[]", None, "header must be an object, got []"),
        (b'{"a": 1, "a": 1}', None, "'a' stands there twice"),
        (b'{"a": NaN}', None, "NaN is no number"),
        (b"[" * 1000, None, "nested deeper"),
        (b"{}", None, "'0.bias' is in the network, but not in the file"),
    ],
)
def test_other_bytes_are_refused(path, header, length, message):
    write(path, header, length=length)
    with pytest.raises(fr.ModelFileError, match=r"safetensors: ") as caught:
        fr.load_safetensors(network(), path)
    assert message in str(caught.value)


def test_every_truncation_is_refused_and_changes_nothing(path):
    fr.save_safetensors(network().build(5), path)
    data, twin = path.read_bytes(), network(seed=4).build(5)
    before = twin._model.weights.copy()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        with pytest.raises(fr.ModelFileError):
            fr.load_safetensors(twin, path)
    np.testing.assert_array_equal(twin._model.weights, before)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e39])
def test_numbers_that_are_not_finite_in_the_dtype_are_refused_and_change_nothing(path, value):
    net = network("float64").build(5)
    net.parameters["énc.bias"] = [0, 1, 2]
    net.parameters["énc.bias"][1] = value
    fr.save_safetensors(net, path)
    twin = network()
    with pytest.raises(fr.ModelFileError, match="'énc.bias' contains NaN or infinity in float32"):
        fr.load_safetensors(twin, path)
    with pytest.raises(fr.NotBuiltError):
        twin.summary()


def test_wrong_arguments(path):
    with pytest.raises(ValueError, match="model must be a Network"):
        fr.load_safetensors(path, network())
    with pytest.raises(fr.NotBuiltError):
        fr.save_safetensors(network(), path)
    assert not path.exists()
    with pytest.raises(OSError) as caught:
        fr.load_safetensors(network(), path)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, os.fspath(path))


def test_damaged_files_are_refused_or_loaded(path):
    """Without a checksum a flipped bit of a number passes; nothing else may happen."""
    net = network().build(5)
    fr.save_safetensors(net, path)
    data, refused = path.read_bytes(), 0
    for number in range(2000):
        rng = random.Random(number)
        path.write_bytes(rng.choice(fuzz_files.DAMAGES)(rng, data))
        try:
            fr.load_safetensors(net, path)
        except fr.ModelFileError:
            refused += 1
        assert np.isfinite(net._model.weights).all()
    assert 1000 < refused < 2000
