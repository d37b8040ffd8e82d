"""Parameters in the format of safetensors, which other libraries read and write: 8 bytes, a JSON header, numbers.

    bytes       content
    0 .. 7      H, length of the header in bytes, unsigned, little-endian
    8 .. 7 + H  {"__metadata__": {text: text}, name: {"dtype": "F32", "shape": [...], "data_offsets": [from, to]}, ...}
    8 + H ..    the arrays, rows first, little-endian; offsets count from here

There is no checksum in it, and no network around the numbers: for networks that go on to be fastreg's, use `save`.
Documented at https://github.com/huggingface/safetensors.
"""

import os
from math import prod

import numpy as np

from fastreg import strict
from fastreg.atomic import replacing
from fastreg.container import HEADER_LIMIT, check_shape, json_bytes, opened, read_array, refusing
from fastreg.data import is_finite
from fastreg.files import checked_model
from fastreg.layers import some_width
from fastreg.version import __version__

LENGTH = 8  # bytes before the header
DTYPES = {"F16": "<f2", "BF16": "<u2", "F32": "<f4", "F64": "<f8"}
_NAMES = {"float32": "F32", "float64": "F64"}
_ENTRY = {"dtype": strict.one_of(*DTYPES), "shape": [strict.natural], "data_offsets": [strict.natural]}


def save_safetensors(model, path):
    """Write the parameters of a network, by name, as other libraries read them.

    Parameters
    ----------
    model : Network
        Built: its `parameters` are written, weights of shape (inputs, units), which is the transpose of what PyTorch's
        `Linear` holds.
    path : str or path-like
        A previous file is replaced in one step.

    Raises
    ------
    NotBuiltError
        If the network has no parameters yet.
    RuntimeError
        If another thread trains the network; the previous file is kept.
    OSError
        From the file system, with errno and path, and whether the previous file was kept.

    See Also
    --------
    load_safetensors, save
    """
    unchanged = checked_model(model)._watch()
    parameters = dict(model.parameters)
    header: dict[str, dict] = {"__metadata__": {"fastreg": __version__}}
    start = 0
    for name, array in parameters.items():
        stop = start + array.nbytes
        header[name] = {"dtype": _NAMES[array.dtype.name], "shape": list(array.shape), "data_offsets": [start, stop]}
        start = stop
    text = json_bytes(header)
    text += b" " * (-len(text) % 8)  # so that the numbers are aligned
    with replacing(path) as file:
        file.write(len(text).to_bytes(LENGTH, "little") + text)
        for array in parameters.values():
            file.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
        unchanged()


def load_safetensors(model, path):
    """Give a network the parameters in a safetensors file.

    Parameters
    ----------
    model : Network
        If it was not built yet, it is built for as many inputs as its first weight in the file has rows.
    path : str or path-like
        With exactly the names and shapes of `model.parameters`. F16, BF16, F32 and F64 become the network's dtype.

    Returns
    -------
    Network
        The same. As after an assignment to `parameters`, its optimizer keeps its memory.

    Raises
    ------
    ModelFileError
        If the file is not in the format, or holds other names or shapes, NaN or infinity; the network stays as it was.
    OSError
        From the file system, with errno and path.
    """
    model = checked_model(model)
    with refusing(path):
        arrays = _read(path)
        layout = _layout(model, arrays)
        values = {field.name: _values(field, arrays, model._spec.dtype) for field in layout.fields}
    model.build(layout.fields[0].shape[0])
    for name, array in values.items():
        model.parameters[name] = array
    return model


def _layout(model, arrays):
    """Return the layout of the parameters that the network has, or will have once it is built for these arrays."""
    spec = model._spec
    layout = spec.body(some_width(spec.layers)).layout if model._model is None else model._model.plan.layout
    if arrays.keys() != set(layout.names):
        name = min(arrays.keys() ^ set(layout.names))
        where = "in the file, but not in the network" if name in arrays else "in the network, but not in the file"
        raise ValueError(f"{strict.shown(name)} is {where}, whose parameters are {', '.join(layout.names)}")
    if model._model is None:
        shape = arrays[layout.names[0]].shape
        layout = spec.body(shape[0] if shape and shape[0] else 1).layout
    return layout


def _values(field, arrays, dtype):
    """Return the values of one parameter, checked and converted."""
    array = arrays.pop(field.name)
    if array.shape != field.shape:
        raise ValueError(f"{strict.shown(field.name)} has shape {array.shape}, the network needs {field.shape}")
    with np.errstate(over="ignore"):  # found, and said, below
        values = array.astype(dtype, copy=False)
    if not is_finite(values):
        raise ValueError(f"{strict.shown(field.name)} contains NaN or infinity in {dtype}")
    return values


def _read(path):
    """Return the arrays of a safetensors file by name."""
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        header_size = int.from_bytes(file.read(LENGTH), "little")
        if not 0 < header_size <= min(HEADER_LIMIT, size - LENGTH):
            raise ValueError(
                f"no safetensors file, or cut off: of its {size:,} bytes {header_size:,} are the header,"
                f" as the first 8 say (allowed are {HEADER_LIMIT:,})"
            )
        header = strict.check(strict.parse(file.read(header_size)), dict)
        entries = _entries(header, size - LENGTH - header_size)
        return {name: _read_array(file, entry) for name, entry in entries.items()}


def _entries(header, n_bytes):
    """Return the entries of the arrays in the order of their bytes, which must follow each other and be all."""
    for key, value in strict.check(header.pop("__metadata__", {}), dict, "header.__metadata__").items():
        strict.check(value, str, f"header.__metadata__[{strict.shown(key)}]")
    for name, entry in header.items():
        where = f"header[{strict.shown(name)}]"
        strict.name(name, where)
        strict.check(entry, _ENTRY, where)
        check_shape(entry["shape"], f"{where}.shape")
    ordered = dict(sorted(header.items(), key=lambda item: item[1]["data_offsets"]))
    place = 0
    for name, entry in ordered.items():
        stop = place + prod(entry["shape"]) * np.dtype(DTYPES[entry["dtype"]]).itemsize
        if entry["data_offsets"] != [place, stop]:
            raise ValueError(
                f"header[{strict.shown(name)}].data_offsets is {entry['data_offsets']}, its place is [{place}, {stop}]"
            )
        place = stop
    if place != n_bytes:
        raise ValueError(f"the header accounts for {place:,} bytes of numbers, the file has {n_bytes:,}")
    return ordered


def _read_array(file, entry):
    array = read_array(file, DTYPES[entry["dtype"]], entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array
