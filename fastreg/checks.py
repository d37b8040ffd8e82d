"""How a setting says that it is wrong: what it was called, what is allowed, what was given. And how settings show."""

import difflib
from dataclasses import fields
from math import nan
from numbers import Real


def check_number(name, value, interval):
    """Return `value` as a float if it is a number in `interval`, such as "[0, 1)" or "(0, inf)".

    Raises
    ------
    ValueError
        For anything else: other types (bool included), NaN, or a number outside.
    """
    low, high = map(float, interval[1:-1].split(","))
    number = float(value) if not isinstance(value, bool) and isinstance(value, Real) else nan
    above = number >= low if interval[0] == "[" else number > low
    below = number <= high if interval[-1] == "]" else number < high
    if above and below:
        return number
    allowed = {"[0, inf)": "a finite number >= 0", "(0, inf)": "a finite number > 0"}
    raise ValueError(f"{name} must be {allowed.get(interval, f'a number in {interval}')}, got {value!r}")


def check_name(what, name, names):
    """Return `name` if it is one of `names`; otherwise a ValueError suggests the nearest one."""
    if isinstance(name, str) and name in names:
        return name
    near = difflib.get_close_matches(name.lower(), names, n=1) if isinstance(name, str) else []
    hint = f"did you mean {near[0]!r}?" if near else "choose from " + ", ".join(map(repr, names))
    raise ValueError(f"unknown {what} {name!r}; {hint}")


def brief(settings):
    """Return the `__repr__` of a dataclass without the keywords that are None: most settings are never set."""
    named = sorted(fields(settings), key=lambda field: bool(field.kw_only))
    pairs = [(field.name, getattr(settings, field.name)) for field in named if field.repr]
    keywords = {field.name for field in named if field.kw_only}
    shown = [f"{name}={value!r}" for name, value in pairs if value is not None or name not in keywords]
    return f"{type(settings).__name__}({', '.join(shown)})"
