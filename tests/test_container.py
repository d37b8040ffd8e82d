"""The container: what goes in comes out, bit for bit; anything else is refused, and said."""

import errno
import json
import os
import tracemalloc
from hashlib import sha256

import numpy as np
import pytest

from fastreg import container
from fastreg.errors import ModelFileError
from fastreg.version import __version__

HEADER = {"a": [1, 2.5, None, "é"], "b": {"c": True}}
ARRAYS = {
    "w": np.array([[0.1, -0.0, np.nan], [1e-310, np.inf, 5.0]]),
    "f": np.arange(5, dtype=np.float32) / 3,
    "i": np.array([-(2**63), 2**63 - 1]),
    "u": np.array([[[2**64 - 1]]], np.uint64),
    "empty": np.zeros((0, 4), np.int32),
    "one": np.array(3.0),
}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.frg"


@pytest.fixture
def good(path):
    """The bytes of a whole file."""
    container.write(path, "model", HEADER, ARRAYS)
    return path.read_bytes()


def file_of(header, data=b"", version=1, magic=container.MAGIC):
    """The bytes of a file with this header (a text, or what JSON makes of a value) and the right checksum."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = container.PREFIX.pack(magic, version, len(text)) + text + data
    return content + sha256(content).digest()


def message(path, data, kind=None):
    path.write_bytes(data)
    with pytest.raises(ModelFileError) as caught:
        container.read(path, kind)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()
    return str(caught.value)[len(str(path)) + 2 :]


def test_what_goes_in_comes_out(path, good):
    header, arrays = container.read(path, "model")
    assert header == {"kind": "model", "fastreg": __version__, **HEADER}
    assert list(arrays) == list(ARRAYS)
    for name, array in arrays.items():
        assert (array.dtype, array.shape, array.tobytes()) == (
            ARRAYS[name].dtype, ARRAYS[name].shape, ARRAYS[name].tobytes()
        )  # fmt: skip
        assert array.flags.writeable
        assert array.flags.c_contiguous


def test_the_bytes_are_those_of_the_description(good):
    header_size = int.from_bytes(good[12:16], "little")
    header = json.loads(good[16 : 16 + header_size])
    assert good[:12] == bytes.fromhex("89 46 52 47 0d 0a 1a 0a 01 00 00 00")
    assert header["tensors"][0] == {"name": "w", "dtype": "float64", "shape": [2, 3]}
    assert good[16 + header_size : -32] == b"".join(array.tobytes() for array in ARRAYS.values())
    assert good[-32:] == sha256(good[:-32]).digest()


@pytest.mark.parametrize(
    "change", [lambda a: a.astype(">f8"), np.asfortranarray, lambda a: a[::-1, ::-1].copy()[::-1, ::-1]]
)
def test_byte_order_and_strides_do_not_matter(path, change):
    w = np.arange(6.0).reshape(2, 3)
    container.write(path, "model", {}, {"w": change(w)})
    np.testing.assert_array_equal(container.read(path)[1]["w"], w)


@pytest.mark.parametrize(
    ("header", "tensors"),
    [
        ({"a": float("nan")}, {}),
        ({"a": "\ud800"}, {}),
        ({"a": "x" * (1 << 20)}, {}),
        ({"a": [0] * (1 << 17)}, {}),
        ({}, {"": np.zeros(1)}),
        ({}, {"a\nb": np.zeros(1)}),
        ({}, {"a": np.zeros(1, bool)}),
        ({}, {"a": np.array(["text"])}),
        ({}, {"a": np.array([None])}),
    ],
)
def test_what_no_file_can_hold_is_refused_before_anything_is_written(path, good, header, tensors):
    with pytest.raises(ValueError):
        container.write(path, "model", header, tensors)
    assert path.read_bytes() == good


def test_every_truncation_is_refused(path, good):
    for size in range(len(good)):
        said = message(path, good[:size])
        assert size == 0 or "ends after" in said


def test_every_flipped_bit_is_refused(path, good):
    for bit in range(0, 8 * len(good), 3):
        data = bytearray(good)
        data[bit // 8] ^= 1 << bit % 8
        said = message(path, data)
        if bit >= 8 * 16:
            assert "checksum mismatch" in said or "its header promises" in said or "its header accounts for" in said


def test_the_messages_say_what_is_wrong(path, good):
    size = len(good)
    assert message(path, good[:-1]) == (
        f"ends after {size - 1:,} bytes, its header promises {size:,} (truncated, or still being written)"
    )
    assert message(path, good + b"x") == f"has {size + 1:,} bytes, its header accounts for {size:,}"
    assert message(path, good[:-40] + b"x" + good[-39:]).startswith("checksum mismatch (stored ")
    assert message(path, good[:7]) == "ends after 7 bytes: truncated, or still being written"
    assert "format 4; this is fastreg" in message(path, file_of({"fastreg": "3.1"}, version=4))
    assert message(path, file_of({"fastreg": "3.1"}, version=4)).startswith("written by fastreg 3.1 in format 4")
    assert "Upgrade" in message(path, file_of(b"what comes then", version=2))
    assert "big-endian" in message(path, file_of({}, version=1 << 24))
    assert "format 0" in message(path, file_of({}, version=0))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "it is empty"),
        (b"\x80\x05\x95\x00", "starts with 80 05 95 00, which looks like a Python pickle, which is never opened"),
        (b"PK\x03\x04" + bytes(20), "a zip archive"),
        (b"\x93NUMPY\x01\x00", "a NumPy .npy file"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"\x1f\x8b\x08", "a gzip file"),
        (b"\x89FRG\n\x1a\n\x01\0\0\0", "line ends were changed"),
        (b"\x40\0\0\0\0\0\0\0" + b'{"__metadata__":', "safetensors"),
        (b"weights: 1 2 3\n", "looks like a text"),
        (bytes(100), "starts with 00 00 00 00 00 00 00 00"),
    ],
)
def test_other_files_are_named(path, data, words):
    said = message(path, data)
    assert said.startswith("not a fastreg file: ")
    assert words in said


def test_another_kind_is_refused_with_what_reads_it(path, good):
    assert message(path, good, "checkpoint") == "a model, not a checkpoint: read it with fastreg.load"


def entry(**changes):
    return {"name": "w", "dtype": "float32", "shape": [2]} | changes


BASE = {"kind": "model", "fastreg": "1.0"}
FORGED = {  # headers with the right checksum, followed by 8 bytes of data
    "no object": ([], "header must be an object, got []"),
    "no kind": ({"fastreg": "1", "tensors": []}, "header.kind must be a text, got None"),
    "no tensors": (BASE, "header.tensors must be a list, got None"),
    "negative": (
        BASE | {"tensors": [entry(shape=[-2])]},
        "header.tensors[0].shape[0] must be an integer in [0, 2**62)",
    ),
    "bool": (BASE | {"tensors": [entry(shape=[2, True])]}, "header.tensors[0].shape[1] must be an integer, got True"),
    "float": (BASE | {"tensors": [entry(shape=[2.0])]}, "header.tensors[0].shape[0] must be an integer, got 2.0"),
    "2^63": (BASE | {"tensors": [entry(shape=[2**63])]}, "got 9223372036854775808"),
    "2^61": (BASE | {"tensors": [entry(shape=[2**61])]}, "header.tensors[0].shape is too large"),
    "product": (BASE | {"tensors": [entry(shape=[2**32, 2**32])]}, "header.tensors[0].shape is too large"),
    "empty but huge": (BASE | {"tensors": [entry(shape=[0, 2**32, 2**32])]}, "header.tensors[0].shape is too large"),
    "33 dimensions": (BASE | {"tensors": [entry(shape=[1] * 33)]}, "header.tensors[0].shape is too large"),
    "gigabytes": (BASE | {"tensors": [entry(shape=[10**9])]}, "its header promises 4,000,000,"),
    "hole": (BASE | {"tensors": [entry(shape=[1])]}, "its header accounts for"),
    "missing": (BASE | {"tensors": []}, "its header accounts for"),
    "twice": (
        BASE | {"tensors": [entry(shape=[1]), entry(shape=[1])]},
        "header.tensors[1].name is 'w' for the second time",
    ),
    "offset": (
        BASE | {"tensors": [entry(offset=0)]},
        "header.tensors[0] has 'offset', which this version does not know",
    ),
    "dtype": (BASE | {"tensors": [entry(dtype="object")]}, "header.tensors[0].dtype must be one of float32, "),
    "name": (BASE | {"tensors": [entry(name="\ud800")]}, "surrogates not allowed"),
    "null": (BASE | {"tensors": [None]}, "header.tensors[0] must be an object, got None"),
    "duplicate": (b'{"kind": "model", "kind": "checkpoint"}', "key 'kind' stands there twice"),
    "NaN": (b'{"kind": NaN}', "NaN is no number of JSON"),
    "1e999": (b'{"kind": 1e999}', "number out of range"),
    "depth": (b"[" * 200_000, "nested deeper than 32 levels"),
    "no JSON": (b"\0", "Expecting value"),
    "no Unicode": (b'"\xff"', "can't decode"),
}


@pytest.mark.parametrize("case", FORGED)
def test_forged_headers_are_refused_with_place_and_value(path, case):
    header, words = FORGED[case]
    assert words in message(path, file_of(header, bytes(8)))


def test_sound_ones_made_by_hand_are_read(path):
    path.write_bytes(file_of(BASE | {"tensors": [entry()]}, np.array([1, 2], "<f4").tobytes()))
    np.testing.assert_array_equal(container.read(path)[1]["w"], [1, 2])


@pytest.mark.parametrize("length", [0, (1 << 20) + 1, 1 << 31, (1 << 32) - 1])
def test_a_header_of_impossible_length_is_refused(path, length):
    data = container.PREFIX.pack(container.MAGIC, 1, length) + bytes(2 << 20)
    assert f"header length at byte 12 is {length:,}" in message(path, data)


def test_refusing_a_large_file_takes_little_memory(path):
    header = json.dumps(BASE | {"tensors": [entry(shape=[1 << 24])]}).encode()
    content = container.PREFIX.pack(container.MAGIC, 1, len(header)) + header + bytes(1 << 26)
    path.write_bytes(content + bytes(32))
    del content
    tracemalloc.start()
    try:
        with pytest.raises(ModelFileError, match="checksum"):
            container.read(path)
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_reading_takes_the_memory_of_the_arrays(path):
    container.write(path, "model", {}, {"w": np.ones(1 << 22)})
    tracemalloc.start()
    try:
        _, arrays = container.read(path)
        assert tracemalloc.get_traced_memory()[1] < arrays["w"].nbytes + (4 << 20)
    finally:
        tracemalloc.stop()


@pytest.mark.skipif(os.name != "posix", reason="pipes and devices of POSIX")
def test_a_path_that_names_no_file_is_no_matter_of_its_content(path):
    for bad in (5, None, "", "a\0b"):
        with pytest.raises(ValueError, match="path must be the name of a file") as caught:
            container.read(bad)
        assert type(caught.value) is ValueError


def test_version_0_is_not_taken_for_a_newer_one(path, good):
    path.write_bytes(good[:8] + bytes(4) + good[12:])
    with pytest.raises(ModelFileError, match="in format 0, which there never was: damaged"):
        container.read(path)


class Changing:
    """A hash whose `update` changes an array after it was looked at."""

    def __init__(self, digest, array):
        self.digest, self.array = digest.digest, array
        self.hash = digest

    def update(self, data):
        self.hash.update(data)
        self.array += 1


def test_an_array_that_changes_meanwhile_makes_no_damaged_file(path, monkeypatch):
    array = np.zeros(3 << 18)
    monkeypatch.setattr(container, "sha256", lambda data=b"": Changing(sha256(data), array))
    container.write(path, "model", {}, {"x": array})
    monkeypatch.undo()
    assert 0 < container.read(path)[1]["x"].sum() < array.sum()


def test_what_is_said_before_the_replacement_keeps_the_file(path):
    container.write(path, "model", {}, {})
    before = path.read_bytes()

    def refuse():
        raise RuntimeError

    with pytest.raises(RuntimeError):
        container.write(path, "model", {"a": 1}, {}, check=refuse)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_what_the_file_system_refuses_is_an_oserror_with_the_path(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    cases = {tmp_path: errno.EISDIR, tmp_path / "loop": errno.ELOOP, tmp_path / "pipe": errno.EINVAL}
    for path, number in (cases | {"/dev/zero": errno.EINVAL, tmp_path / "none": errno.ENOENT}).items():
        with pytest.raises(OSError) as caught:
            container.read(path)
        assert caught.value.errno == number
        assert caught.value.filename == str(path)
