"""The file format `.frg`: a header that a person can read, arrays, and a checksum over all of it.

    bytes            content
    0 .. 7           89 46 52 47 0D 0A 1A 0A: no text, "FRG", and line ends that a text transfer changes
    8 .. 11          version of the format, unsigned, little-endian: 1
    12 .. 15         H, length of the header in bytes, unsigned, little-endian: at most 2^20
    16 .. 15 + H     header: one JSON object in UTF-8
    16 + H ..        the arrays, one after the other without gaps, rows first, numbers little-endian
    last 32          SHA-256 of all bytes before

a) The header's "tensors" lists name, dtype and shape of each array in their order. There are no offsets, so no file can
   let arrays overlap or leave bytes out; the sizes must add up to the file's.
b) "kind" says what the file is for, "fastreg" which version wrote it; both stay in every version of the format. The
   other keys belong to the kind, and whoever reads it checks them (`fastreg.strict.check`).
c) Nothing in a file is a path, the name of something to import, code, or compressed.
d) Before arrays are allocated, sizes are compared with the file's, and the checksum with its bytes, one MiB at a time:
   refusing a file takes a few MiB, whatever it says and however large it is.
"""

import errno
import json
import os
import struct
from contextlib import contextmanager, suppress
from hashlib import sha256
from math import prod

import numpy as np

from fastreg import strict
from fastreg.atomic import as_path, check_regular, replacing
from fastreg.errors import ModelFileError
from fastreg.version import __version__

MAGIC = b"\x89FRG\r\n\x1a\n"
VERSION = 1
PREFIX = struct.Struct("<8sII")  # magic, version, length of the header
HEADER_LIMIT = 1 << 20
CHECKSUM = 32  # bytes
READERS = {"model": "fastreg.load", "checkpoint": "fastreg.resume"}
DTYPES = {name: np.dtype(name).newbyteorder("<") for name in ("float32", "float64", "int32", "int64", "uint64")}

_CHUNK = 1 << 20
_TENSORS = [{"name": strict.name, "dtype": strict.one_of(*DTYPES), "shape": [strict.natural]}]
_OWN = {"kind": strict.name, "fastreg": strict.name, "tensors": _TENSORS}
_FORMATS = {
    b"PK\x03\x04": "a zip archive (NumPy .npz, PyTorch, Keras)",
    b"\x93NUMPY": "a NumPy .npy file",
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip file",
    b"\x89FRG": "a fastreg file whose line ends were changed, as by a transfer in text mode",
    **{bytes([0x80, protocol]): "a Python pickle, which is never opened" for protocol in range(2, 6)},
}


def write(path, kind, header, tensors, check=lambda: None):
    """Replace the file at `path` atomically.

    An array that another thread changes meanwhile makes no damaged file: the checksum is of the bytes that are written.

    Parameters
    ----------
    path : str or path-like
    kind : {"model", "checkpoint"}
    header : dict
        What JSON can hold. Its keys must not be "kind", "fastreg" or "tensors".
    tensors : dict of names to arrays of any shape
        float32, float64, int32, int64 or uint64.
    check : callable, optional
        Called before the file is replaced; it is not if that raises.

    Raises
    ------
    ValueError
        For a header of more than 1 MiB or what it cannot hold, such as NaN. Nothing is written then.
    OSError
        From the file system. It says whether the previous file was kept.
    """
    text, arrays = prepared(kind, header, tensors)
    digest = sha256()
    with replacing(path) as file:
        for part in (PREFIX.pack(MAGIC, VERSION, len(text)), text, *map(_bytes_of, arrays)):
            for start in range(0, len(part), _CHUNK):
                chunk = bytes(part[start : start + _CHUNK])
                digest.update(chunk)
                file.write(chunk)
        file.write(digest.digest())
        check()


def prepared(kind, header, tensors):
    """Return the text of the header and the arrays as `write` writes them, or raise its ValueError."""
    arrays = {name: _plain(array) for name, array in tensors.items()}
    entries = [{"name": name, "dtype": a.dtype.name, "shape": list(a.shape)} for name, a in arrays.items()]
    text = json_bytes({"kind": kind, "fastreg": __version__, **header, "tensors": entries})
    _split(strict.parse(text))
    return text, arrays.values()


def read(path, kind=None):
    """Return the header, a dict without "tensors", and the arrays, a dict by name.

    Parameters
    ----------
    path : str or path-like
    kind : {"model", "checkpoint"}, optional
        What the file must be.

    Raises
    ------
    ModelFileError
        For any bytes that are no such file.
    OSError
        From the file system, with errno and path; also for folders, pipes and devices.
    """
    with refusing(path), opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        header_size = _check_prefix(file.read(PREFIX.size), size, file)
        header = file.read(header_size)
        _check_sum(file, size, header)
        header, entries = _split(_parsed(header))
        if kind not in (None, header["kind"]):
            raise ValueError(f"a {header['kind']}, not a {kind}{_advice(header['kind'])}")
        if _promised(header_size, entries) != size:
            raise ValueError(_wrong_size(size, _promised(header_size, entries)))
        file.seek(PREFIX.size + header_size)
        return header, {e["name"]: read_array(file, DTYPES[e["dtype"]], e["shape"]) for e in entries}


@contextmanager
def refusing(path):
    """Turn what is wrong with the content of the file at `path` into a `ModelFileError` that names the file."""
    path = as_path(path)
    try:
        yield
    except ModelFileError:
        raise
    except ValueError as error:
        text = str(error) if len(str(error)) <= 500 else f"{str(error)[:500]}..."  # it may quote what was made up
        raise ModelFileError(f"{path}: {text}") from error
    except OverflowError as error:
        raise ModelFileError(f"{path}: a size in it is too large: {error}") from error


def json_bytes(header):
    """Return a header as the file holds it.

    Raises
    ------
    ValueError
        If it has more than 1 MiB, or holds what JSON does not, such as NaN.
    """
    data = json.dumps(header, ensure_ascii=False, allow_nan=False).encode("utf-8")
    if len(data) > HEADER_LIMIT:
        raise ValueError(f"the description has {len(data):,} bytes, a header at most {HEADER_LIMIT:,}")
    return data


@contextmanager
def opened(path):
    """Give the regular file at `path`, opened without waiting for the writer of a pipe."""
    path = as_path(path)
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    try:
        with open(os.open(path, flags), "rb") as file:
            check_regular(os.fstat(file.fileno()).st_mode, path)
            yield file
    except OSError as error:
        raise OSError(error.errno or errno.EIO, error.strerror, path) from error


def _check_prefix(prefix, size, file):
    """Return the length of the header."""
    if not MAGIC.startswith(prefix[: len(MAGIC)]) or not prefix:
        raise ValueError(f"not a fastreg file: {_first_bytes(prefix)}")
    if len(prefix) < PREFIX.size:
        raise ValueError(f"ends after {size} bytes: truncated, or still being written")
    _, version, header_size = PREFIX.unpack(prefix)
    if version != VERSION:
        raise ValueError(_other_version(version, file.read(min(header_size, HEADER_LIMIT))))
    if not 0 < header_size <= HEADER_LIMIT:
        raise ValueError(f"header length at byte 12 is {header_size:,}, allowed are 1 to {HEADER_LIMIT:,}: damaged")
    if PREFIX.size + header_size + CHECKSUM > size:
        promised = PREFIX.size + header_size + CHECKSUM
        raise ValueError(f"ends after {size:,} bytes, its header alone needs {promised:,} (truncated, or damaged)")
    return header_size


def _first_bytes(prefix):
    """Say what a file that is not ours begins with, and what that looks like."""
    if not prefix:
        return "it is empty"
    start = f"it starts with {prefix[:8].hex(' ')}"
    for signature, what in _FORMATS.items():
        if prefix.startswith(signature):
            return f"{start}, which looks like {what}"
    if prefix[8:10] == b'{"':
        return f"{start}, which looks like a safetensors file: see fastreg.load_safetensors"
    text = all(32 <= byte < 127 or byte in b"\t\n\r" for byte in prefix)
    return f"{start}, which looks like a text" if text else start


def _other_version(version, header):
    if int.from_bytes(version.to_bytes(4, "little"), "big") == VERSION:
        return "its numbers are in big-endian byte order, which fastreg never writes"
    if version < 1:
        return f"in format {version}, which there never was: damaged"
    writer = ""
    with suppress(ValueError):
        wrote = strict.check(strict.parse(header), dict).get("fastreg")
        writer = f"written by fastreg {strict.check(wrote, strict.name)} "
    return (
        f"{writer}in format {version}; this is fastreg {__version__}, which reads format {VERSION}."
        " Upgrade fastreg (if the file is not that new, it is damaged)"
    )


def _check_sum(file, size, header):
    """Compare the bytes of the file, which was read up to the end of its header, with its checksum."""
    digest = sha256(PREFIX.pack(MAGIC, VERSION, len(header)) + header)
    left = size - file.tell() - CHECKSUM
    while left > 0:
        chunk = file.read(min(left, _CHUNK))
        if not chunk:
            raise ValueError("became shorter while it was read")
        digest.update(chunk)
        left -= len(chunk)
    stored, computed = file.read(CHECKSUM), digest.digest()
    if stored != computed:
        sums = f"stored {stored.hex()[:8]}..., computed {computed.hex()[:8]}..."
        raise ValueError(_cut_off(header, size) or f"checksum mismatch ({sums}): the file is damaged")


def _cut_off(header, size):
    """Return what is wrong with the size of a file, or None if its header is broken too, or agrees with the size."""
    with suppress(ValueError):
        promised = _promised(len(header), _split(_parsed(header))[1])
        return _wrong_size(size, promised) if promised != size else None
    return None


def _parsed(header):
    try:
        return strict.parse(header)
    except ValueError as error:
        raise ValueError(f"header: {error}") from error


def _split(header):
    """Return the checked header without its "tensors", and these."""
    if type(header) is not dict:
        raise ValueError(f"header must be an object, got {strict.shown(header)}")
    strict.check({key: header.get(key) for key in _OWN}, _OWN)
    entries, seen = header["tensors"], set()
    for number, entry in enumerate(entries):
        if entry["name"] in seen:
            raise ValueError(f"header.tensors[{number}].name is {strict.shown(entry['name'])} for the second time")
        seen.add(entry["name"])
        check_shape(entry["shape"], f"header.tensors[{number}].shape")
    return {key: value for key, value in header.items() if key != "tensors"}, entries


def check_shape(shape, where):
    """Demand that there can be an array of such shape, a list of integers >= 0."""
    if prod(max(n, 1) for n in shape) >= 1 << 59 or len(shape) > 32:
        raise ValueError(f"{where} is too large: {strict.shown(shape)}")


def _promised(header_size, entries):
    """Return the size of the file that has such a header."""
    return PREFIX.size + header_size + sum(map(_n_bytes, entries)) + CHECKSUM


def _n_bytes(entry):
    return prod(entry["shape"]) * DTYPES[entry["dtype"]].itemsize


def _wrong_size(size, promised):
    if size < promised:
        return f"ends after {size:,} bytes, its header promises {promised:,} (truncated, or still being written)"
    return f"has {size:,} bytes, its header accounts for {promised:,}"


def _advice(kind):
    return f": read it with {READERS[kind]}" if kind in READERS else ""


def read_array(file, dtype, shape):
    """Return the array of little-endian `dtype` at the present place of a binary file, in this machine's byte order.

    Raises
    ------
    ValueError
        If the file ends before it does.
    """
    array = np.empty(shape, dtype)
    if file.readinto(_bytes_of(array)) != array.nbytes:
        raise ValueError("became shorter while it was read")
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _plain(array):
    """Return an array as the file holds it: rows first, little-endian."""
    array = np.asarray(array)
    if array.dtype.name not in DTYPES:
        raise ValueError(f"a file holds {', '.join(DTYPES)}, got an array of {array.dtype}")
    return np.asarray(array, DTYPES[array.dtype.name], order="C")


def _bytes_of(array):
    return array.reshape(-1).view(np.uint8).data
