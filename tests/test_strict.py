"""Strict JSON: what Python's parser lets through is refused, by name and place, before memory is spent on it."""

import json
import tracemalloc
from contextlib import suppress

import pytest

from fastreg import strict


@pytest.mark.parametrize(
    "value",
    [
        {},
        [],
        0,
        -1,
        2**64 - 1,
        0.1,
        -0.0,
        1e-320,
        True,
        None,
        "",
        'a "quoted\\" text',
        "[[[",
        "é\U0001f600",
        {"a": [{"b": 1}]},
    ],
)
def test_json_comes_back(value):
    for ensure_ascii in (True, False):
        assert repr(strict.parse(json.dumps(value, ensure_ascii=ensure_ascii).encode())) == repr(value)


REFUSED = {
    b'{"a": 1, "a": 1}': "'a' stands there twice",
    b'{"x": {"b": 1, "c": 2, "b": 3}}': "'b' stands there twice",
    b"[NaN]": "NaN is no number",
    b"[Infinity]": "Infinity is no number",
    b"[-Infinity]": "-Infinity is no number",
    b"[1e999]": "number out of range or too long: '1e999'",
    b"[-1e999]": "'-1e999'",
    b"0." + b"1" * 5000: "number out of range or too long",
    b"1" * 21: "integer of 21 digits",
    b"1" * 5000: "integer of 5000 digits",
    b'["\\ud800"]': "surrogates not allowed",
    b'["\\udc00\\ud800"]': "surrogates not allowed",
    b'["\xed\xa0\x80"]': "can't decode",
    b'["\xff"]': "can't decode",
    b"": "Expecting value",
    b"{": "Expecting property name",
    b'{"a": 1,}': "",
    b'{"a": 1} x': "Extra data",
    b"\xef\xbb\xbf{}": "BOM",
    b'["\n"]': "Invalid control character",
    b"[" * 33 + b"]" * 33: "nested deeper than 32 levels",
    b'{"a":' * 33 + b"1" + b"}" * 33: "nested deeper than 32 levels",
    b"[" * 200_000: "nested deeper",
    b"[]" * 200_000: "more than 131072 values",
    b"[" + b"0," * 131_072 + b"0]": "more than 131072 values",
    b'"' + b"\\" * 99_999: "Unterminated string",
    b'"' + b'\\"' * 500_000: "Unterminated string",  # minutes, if each quote began a search for the end
    b'[0, "' + b"[" * 20: "Unterminated string",
}


@pytest.mark.parametrize("data", REFUSED, ids=lambda data: repr(data[:20]))
def test_what_is_not_strict_is_refused(data):
    with pytest.raises(ValueError) as caught:
        strict.parse(data)
    assert REFUSED[data] in str(caught.value)
    assert len(str(caught.value)) < 400


def test_thirty_two_levels_and_brackets_in_texts_are_fine():
    assert strict.parse(b"[" * 32 + b"]" * 32)
    assert strict.parse(json.dumps(["[" * 100, '\\"' + "{" * 100]).encode()) == ["[" * 100, '\\"' + "{" * 100]


MEBIBYTE = 1 << 20


@pytest.mark.parametrize(
    "item",
    [b"[]", b"{}", b'{"a":0}', b'{"":{}}', b"0.5", b"12345678", b'"ab"', b'"\\u00e9\\ud83d\\ude00"', b"[[[[[0.5]]]]]"],
)
def test_memory_stays_below_16_megabytes(item):
    data = b"[" + b",".join([item] * (MEBIBYTE // (len(item) + 1) - 1)) + b"]"
    tracemalloc.start()
    try:
        with suppress(ValueError):  # too many values, or not
            strict.parse(data)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEBIBYTE
    finally:
        tracemalloc.stop()


SCHEMA = {
    "n": strict.natural,
    "who": strict.name,
    "kind": strict.one_of("a", "b"),
    "list": [{"x": (None, float)}],
    "any": object,
}
GOOD = {"n": 3, "who": "é", "kind": "b", "list": [{"x": None}, {"x": 0.5}], "any": [1]}


def test_a_schema_returns_what_fits_it():
    assert strict.check(GOOD, SCHEMA) is GOOD


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n": True}, "header.n must be an integer, got True"),
        ({"n": 1.0}, "header.n must be an integer, got 1.0"),
        ({"n": -1}, "header.n must be an integer in [0, 2**62), got -1"),
        ({"n": 2**63}, "header.n must be an integer in [0, 2**62)"),
        ({"n": "1"}, "header.n must be an integer, got '1'"),
        ({"who": ""}, "header.who must be a name"),
        ({"who": "a\n"}, "header.who must be a name"),
        ({"who": "a" * 257}, "header.who must be a name"),
        ({"who": "\ud800"}, "header.who must be a name of 1 to 256 printable characters, got '\\ud800'"),
        ({"who": None}, "header.who must be a text, got None"),
        ({"kind": "c"}, "header.kind must be one of a, b, got 'c'"),
        ({"kind": 1}, "header.kind must be a text"),
        ({"list": {}}, "header.list must be a list, got {}"),
        ({"list": [{"x": 1}]}, "header.list[0].x must be a number with a point, got 1"),
        ({"list": [{"x": 0.5}, {}]}, "header.list[1] has no 'x'"),
        ({"list": [[]]}, "header.list[0] must be an object, got []"),
        ({"more": 1}, "header has 'more', which this version does not know"),
    ],
)
def test_a_schema_says_what_does_not_fit_and_where(change, message):
    with pytest.raises(ValueError) as caught:
        strict.check(GOOD | change, SCHEMA)
    assert message in str(caught.value)
    assert str(caught.value).isprintable()
