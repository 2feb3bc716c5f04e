"""How much memory a piece of work takes at its most, of Python's and NumPy's."""

import contextlib
import tracemalloc

_OWN = 2**21  # modules that are loaded late, settings, error messages


@contextlib.contextmanager
def at_most_twice(announced: int):
    """Fails if more than twice as many bytes as announced are taken inside, beside a little."""
    tracemalloc.start()
    try:
        yield
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak <= 2 * announced + _OWN, f"{peak} bytes, {announced} were announced"
