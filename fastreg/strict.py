"""JSON from strangers: parsed strictly, then checked against a schema.

Python's parser takes duplicate keys, NaN, 1e999 and texts that are no Unicode, and nests until it breaks. `parse` takes
none of them, and its memory is bounded by what it counts before it parses. Both raise ValueErrors that say where.
"""

import json
import re
from math import isfinite

MAX_DEPTH = 32
MAX_VALUES = 1 << 17
_TOKEN = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[][{},:]', re.DOTALL)  # possessive: one pass, nothing remembered
_LEVEL = {b"[": 1, b"{": 1, b"]": -1, b"}": -1}
_NO_NAME = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def parse(data):
    """Return the value of a JSON text in UTF-8, whose objects become dicts.

    Parameters
    ----------
    data : bytes

    Raises
    ------
    ValueError
        For what is no JSON, and for duplicate keys, NaN and infinity, numbers beyond float64 or of more than 20 digits,
        lone surrogates, more than `MAX_DEPTH` levels and more than `MAX_VALUES` values.
    """
    _check_structure(data)
    value = json.loads(
        data.decode("utf-8"),
        object_pairs_hook=_object,
        parse_int=_integer,
        parse_float=_float,
        parse_constant=_constant,
    )
    if b"\\u" in data:  # only an escape brings in a surrogate
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    return value


def check(value, schema, where="header"):
    """Return `value` if it is what `schema` says.

    A schema is a type (bool is no int), `object` for anything, None for null, {key: schema} for exactly these keys,
    [schema] for a list, (schema, schema, ...) for alternatives, or a function `f(value, where)` that raises.

    Raises
    ------
    ValueError
        With the place, such as "header.tensors[2].shape", and the value.
    """
    if isinstance(schema, dict):
        _check_keys(value, schema, where)
        for key, inner in schema.items():
            check(value[key], inner, f"{where}.{key}")
    elif isinstance(schema, list):
        for number, item in enumerate(_typed(value, list, where)):
            check(item, schema[0], f"{where}[{number}]")
    elif isinstance(schema, tuple):
        _check_alternatives(value, schema, where)
    elif schema is None:
        _typed(value, type(None), where)
    elif isinstance(schema, type):
        _typed(value, schema, where)
    else:
        schema(value, where)
    return value


def natural(value, where):
    """A schema: an integer in [0, 2^62)."""
    if not 0 <= _typed(value, int, where) < 1 << 62:
        raise ValueError(f"{where} must be an integer in [0, 2**62), got {value}")


def name(value, where):
    """A schema: a text of 1 to 256 characters, none of them a control character or a lone surrogate."""
    if not 0 < len(_typed(value, str, where)) <= 256 or _NO_NAME.search(value):
        raise ValueError(f"{where} must be a name of 1 to 256 printable characters, got {shown(value)}")


def one_of(*choices):
    """Return the schema of these texts."""

    def chosen(value, where):
        if _typed(value, str, where) not in choices:
            raise ValueError(f"{where} must be one of {', '.join(choices)}, got {shown(value)}")

    return chosen


def shown(value):
    """Return a value as a message shows it: in one line, and short."""
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


_JSON_NAMES = {dict: "an object", list: "a list", str: "a text", int: "an integer", float: "a number with a point"}
_JSON_NAMES |= {bool: "true or false", type(None): "null"}


def _typed(value, kind, where):
    if kind is not object and type(value) is not kind:
        raise ValueError(f"{where} must be {_JSON_NAMES[kind]}, got {shown(value)}")
    return value


def _check_keys(value, schema, where):
    _typed(value, dict, where)
    for key in schema:
        if key not in value:
            raise ValueError(f"{where} has no {key!r}")
    for key in value:
        if key not in schema:
            raise ValueError(f"{where} has {shown(key)}, which this version does not know")


def _check_alternatives(value, schemas, where):
    for schema in schemas[:-1]:
        try:
            check(value, schema, where)
        except ValueError:
            continue
        return
    check(value, schemas[-1], where)


def _check_structure(data):
    """Count values and levels of a JSON text before anything is made of it."""
    depth = values = 0
    for token in _TOKEN.finditer(data):
        depth += _LEVEL.get(token[0], 0)
        values += token[0] in (b",", b":", b"[", b"{")
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        if values > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values")


def _object(pairs):
    value = {}
    for key, item in pairs:
        if key in value:
            raise ValueError(f"key {shown(key)} stands there twice")
        value[key] = item
    return value


def _integer(text):
    if len(text) > 20:  # 2**64 has as many
        raise ValueError(f"integer of {len(text)} digits: {shown(text)}")
    return int(text)


def _float(text):
    if len(text) > 40 or not isfinite(float(text)):
        raise ValueError(f"number out of range or too long: {shown(text)}")
    return float(text)


def _constant(text):
    raise ValueError(f"{text} is no number of JSON")
