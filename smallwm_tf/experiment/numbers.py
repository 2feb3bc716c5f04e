"""Numbers for people: as many digits as mean something, nouns in the plural."""

import math

_MOST_DECIMALS = 6


def decimals(standard_error: float | None) -> int | None:
    """Digits behind the point that a standard error gives a meaning to.

    Two digits of the error itself if these are at most 35, else one: 0.0625 gives 0.06, 0.21 stays
    0.21 (the rule of the Particle Data Group). Digits before the point are never cut.

    Returns:
        None for an error that is not known, 0 or not finite.
    """
    if standard_error is None or not math.isfinite(standard_error) or standard_error <= 0.0:
        return None
    exponent = math.floor(math.log10(standard_error))
    leading = standard_error / 10.0**exponent  # 1 to 10
    digits = (1 if leading < 3.545 else 0) - exponent
    return min(max(digits, 0), _MOST_DECIMALS)


def rounded(value: float, standard_error: float | None = None) -> str:
    """A number with the digits that its standard error deserves, else those that its size does."""
    if not math.isfinite(value):
        return "–"
    digits = decimals(standard_error)
    if digits is None:
        digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    text = f"{value:,.{digits}f}"
    return text.lstrip("-") if not text.strip("-0.") else text


def published(value: float) -> str:
    """A figure of the paper's Table 4: its one decimal, or none from 100 on."""
    return f"{value:,.{0 if abs(value) >= 100 else 1}f}"


def with_error(value: float, standard_error: float | None) -> str:
    """ "0.94 ± 0.06": a number and its standard error, which is left out where it is unknown or 0.

    Whoever prints it says that it is a standard error.
    """
    if decimals(standard_error) is None:
        return rounded(value)
    return f"{rounded(value, standard_error)} ± {rounded(standard_error, standard_error)}"


def percent(share: float | None, digits: int = 0) -> str:
    """ "41 %", or "–" where nothing was there to count."""
    if share is None or not math.isfinite(share):
        return "–"
    return f"{100.0 * share:.{digits}f} %"


def short(value: float) -> str:
    """A measurement in four digits and never with an exponent: "15,372", "0.1235", "1,989"."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    digits = 0 if size >= 1000 else 3 - math.floor(math.log10(size)) if size > 0 else 0
    text = f"{value:,.{min(digits, _MOST_DECIMALS)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def counted(count: int, noun: str) -> str:
    """ "1 core", "12,800 steps": a count and its noun, given in the singular."""
    plural = f"{noun[:-1]}ies" if noun.endswith("y") and noun[-2] not in "aeiou" else f"{noun}s"
    return f"1 {noun}" if count == 1 else f"{count:,} {plural}"
