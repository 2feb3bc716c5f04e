"""What JSON files must hold, said as nested checks, and one line for the first field that differs.

fields(seed=whole(0, 9), names=each(text()), best=optional(number()))
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from smallwm_tf.experiment.messages import show

#: Says what is wrong with a value, given the name of its field; None if nothing is.
Check = Callable[[Any, str], str | None]
_MOST = 2**53  # counters beyond it are no counters
_LONGEST = 200  # characters


def whole(least: int = 0, most: int = _MOST) -> Check:
    """A whole number within bounds; true and false are none."""
    bounds = f"from {least} to {most}" if most < _MOST else f"of at least {least}"

    def check(value: Any, field: str) -> str | None:
        fits = type(value) is int and least <= value <= most
        return None if fits else _must(field, value, f"a whole number {bounds}")

    return check


def number(least: float = -math.inf) -> Check:
    """A finite number."""
    bound = f" of at least {least:g}" if math.isfinite(least) else ""

    def check(value: Any, field: str) -> str | None:
        fits = type(value) in (int, float) and least <= value and abs(value) <= 1e300
        return None if fits else _must(field, value, f"a finite number{bound}")

    return check


def text(longest: int = _LONGEST) -> Check:
    """A short text that a terminal can show; it may be empty."""

    def check(value: Any, field: str) -> str | None:
        fits = isinstance(value, str) and value.isprintable() and len(value) <= longest
        return None if fits else _must(field, value, f"printable text of at most {longest} letters")

    return check


def truth() -> Check:
    """True or false."""
    return lambda value, field: (
        None if isinstance(value, bool) else _must(field, value, "true or false")
    )


def optional(wanted: Check) -> Check:
    """As `wanted`, or null."""
    return lambda value, field: None if value is None else wanted(value, field)


def any_of(*wanted: Check) -> Check:
    """What one of them takes; the first one's words, if none does."""

    def check(value: Any, field: str) -> str | None:
        problems = [each(value, field) for each in wanted]
        return problems[0] if all(problems) else None

    return check


def each(wanted: Check, least: int = 0) -> Check:
    """A list of at least `least` of them."""

    def check(value: Any, field: str) -> str | None:
        if not isinstance(value, list) or len(value) < least:
            return _must(field, value, f"a list of at least {least}")
        found = (wanted(entry, f"{field}[{place}]") for place, entry in enumerate(value))
        return next(filter(None, found), None)

    return check


def named(wanted: Check) -> Check:
    """An object whose values are such, whatever their names."""

    def check(value: Any, field: str) -> str | None:
        if not isinstance(value, Mapping):
            return _must(field, value, "an object")
        found = (wanted(entry, _inside(field, name)) for name, entry in value.items())
        return next(filter(None, found), None)

    return check


def anything(value: Any, field: str) -> str | None:
    """No check: somebody else looks at it."""
    return None


def fields(may_lack: Mapping[str, Check] | None = None, **wanted: Check) -> Check:
    """An object with these fields, those that it may lack, and whatever else it has."""

    def check(value: Any, field: str) -> str | None:
        if not isinstance(value, Mapping):
            return _must(field, value, "an object")
        for name, inner in {**wanted, **(may_lack or {})}.items():
            if name in value:
                if problem := inner(value[name], _inside(field, name)):
                    return problem
            elif name in wanted:
                return f"{_inside(field, name)} is missing"
        return None

    return check


def _inside(field: str, name: object) -> str:
    shown = name if isinstance(name, str) and name.isidentifier() and name.isascii() else show(name)
    return f"{field}.{shown}"[-100:].lstrip(".")


def _must(field: str, value: Any, what: str) -> str:
    return f"{field or 'its content'}={show(value)} must be {what}"
