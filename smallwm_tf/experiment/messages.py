"""Parts of messages that stay on one short line, whatever they are about; standard library only."""

import difflib
import shlex
from collections.abc import Iterable


def show(value: object) -> str:
    """A value on one line of at most 80 ASCII characters; a longer one loses its middle."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**40:
        return "(an integer of more than 40 digits)"
    if isinstance(value, tuple | list) and len(value) > 24:
        return f"(a sequence of {len(value)} values)"
    try:
        text = ascii(value) if isinstance(value, str) else " ".join(ascii(value).split())
    except Exception:  # a preset may hold objects whose repr fails
        text = f"({type(value).__name__})"
    return text if len(text) <= 80 else f"{text[:38]}...{text[-39:]}"


def one_line(error: BaseException, most: int = 200) -> str:
    """Kind and text of an error on one line of at most `most` characters."""
    return printable(" ".join(f"{type(error).__name__}: {error}".split()))[:most]


def flag(name: str, value: object) -> str:
    """A flag as it is typed into a shell: names of files may hold spaces."""
    return f"--{name}={shlex.quote(str(value))}"


def printable(text: str) -> str:
    """A text in which all that would steer a terminal, but ends of lines, is shown as `\\x1b`."""
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


def duration(seconds: float) -> str:
    """ "42 seconds", "12 minutes", "3.4 hours"."""
    if seconds < 90:
        return "1 second" if round(seconds) == 1 else f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"


def nearest_names(name: str, known_names: Iterable[str]) -> list[str]:
    """Names like `name` as a whole, then names whose part after the last dot is like its own."""
    name, known_names = name[:80].lower(), list(known_names)
    near = difflib.get_close_matches(name, known_names, n=3, cutoff=0.75)
    section, _, last = name.rpartition(".")
    last_parts = {known.rpartition(".")[2] for known in known_names}
    for close in difflib.get_close_matches(last, last_parts, n=1, cutoff=0.75):
        near += [known for known in known_names if known.rpartition(".")[2] == close]
    near.sort(key=lambda known: not (section and known.startswith(f"{section}.")))
    return list(dict.fromkeys(near))[:6]
