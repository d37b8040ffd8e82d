"""Layers, penalties, losses, optimizers and the like as values of JSON, and back.

A dataclass becomes {"kind": its name, field: value, ...}, a tuple a list, an array {"kind": "array", "tensor": its name
in the file}. The kinds are all dataclasses of the modules in `HOMES`: a new one there needs nothing here. Reading looks
names up in that table, and nowhere else, and builds each value by its own constructor, which checks it.
"""

from dataclasses import fields, is_dataclass

import numpy as np

from fastreg import augment, averages, callbacks, layers, losses, optimizers, penalties, schedules
from fastreg.strict import shown

HOMES = (layers, losses, optimizers, penalties, schedules, averages, callbacks, augment)
KINDS = {
    kind.__name__: kind
    for home in HOMES
    for kind in vars(home).values()
    if isinstance(kind, type) and is_dataclass(kind) and kind.__module__ == home.__name__
}


def encode(value, tensors, where):
    """Return `value` as JSON can hold it.

    Parameters
    ----------
    value : None, bool, int, float, str, array, tuple of these, or dataclass of `KINDS` with such fields
    tensors : dict
        Arrays are added to it, as "array.0", "array.1", ...
    where : str
        What messages call the value.

    Raises
    ------
    ValueError
        For anything else, such as a function.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [encode(item, tensors, f"{where}[{number}]") for number, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        name = f"array.{sum(name.startswith('array.') for name in tensors)}"
        tensors[name] = value
        return {"kind": "array", "tensor": name}
    if KINDS.get(type(value).__name__) is not type(value):
        raise ValueError(
            f"{where} is {value!r}, which cannot be saved: a file holds numbers, texts, arrays,"
            " and the layers, penalties, losses and optimizers of fastreg, but no functions and no classes"
        )
    saved = {"kind": type(value).__name__}
    for field in _settable(type(value)):
        saved[field] = encode(getattr(value, field), tensors, f"{where}.{field}")
    return saved


def decode(value, tensors, where, home=None):
    """Return what `encode` was given.

    Parameters
    ----------
    value : what JSON holds
    tensors : dict
        The arrays that the value names are taken out of it.
    where : str
        What messages call the value.
    home : module, optional
        The value must be a dataclass from there.

    Raises
    ------
    ValueError
        For anything that `encode` does not return, with its place.
    """
    if home is not None and _home(value) != home.__name__:
        raise ValueError(f"{where} must be one of {_names(home)}, got {shown(value)}")
    if isinstance(value, list):
        return tuple(decode(item, tensors, f"{where}[{number}]") for number, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    settings = {key: decode(item, tensors, f"{where}.{key}") for key, item in value.items() if key != "kind"}
    kind = value.get("kind")
    if kind == "array":
        return _array(settings, tensors, where)
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"{where}.kind is {shown(kind)}, which this version does not know")
    unknown = sorted(settings.keys() - _settable(KINDS[kind]))
    if unknown:
        raise ValueError(f"{where}: {kind} has no {shown(unknown[0])} in this version")
    try:
        made = KINDS[kind](**settings)
    except (TypeError, ValueError) as error:  # TypeError: a field is missing
        raise ValueError(f"{where}: {error}") from error
    for field, given in settings.items():
        if not _same(getattr(made, field), given):
            raise ValueError(f"{where}.{field} is {shown(given)}, which {kind} takes as {getattr(made, field)!r}")
    return made


def _same(made, given):
    """Whether a constructor took a setting as it was given: what it makes something else of, `encode` never says."""
    if isinstance(made, np.ndarray):
        return isinstance(given, np.ndarray) and made.dtype == given.dtype
    return made == given


def _settable(kind):
    return [field.name for field in fields(kind) if field.init]


def _home(value):
    kind = value.get("kind") if isinstance(value, dict) else None
    return KINDS[kind].__module__ if isinstance(kind, str) and kind in KINDS else None


def _names(home):
    return ", ".join(name for name, kind in KINDS.items() if kind.__module__ == home.__name__)


def _array(settings, tensors, where):
    name = settings.get("tensor")
    if len(settings) != 1 or not isinstance(name, str) or name not in tensors:
        raise ValueError(f"{where} names no tensor of the file: {shown(settings)}")
    return tensors.pop(name)
