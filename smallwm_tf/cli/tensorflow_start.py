"""Keeps TensorFlow's start-up notices off the terminal of a command."""

from __future__ import annotations

import contextlib
import gc
import os
import re
import sys
import tempfile
from collections.abc import Iterator

from smallwm_tf.cli.errors import refuse
from smallwm_tf.cli.threads import limit_threads
from smallwm_tf.experiment.messages import one_line

# TensorFlow 2.21 prints its own before logging is set up, whatever TF_CPP_MIN_LOG_LEVEL says.
_NOTICE = re.compile(
    rb"I0000 |WARNING: All log messages before absl::InitializeLog\(\)|.*failed call to cuInit: "
    rb"INTERNAL: CUDA error: Failed call to cuInit: UNKNOWN ERROR \(303\)|"
    rb"Matplotlib created a temporary cache directory|"  # where there is no home directory
    rb"Cannot decode configuration file"  # is an error, too
)


@contextlib.contextmanager
def without_start_up_notices() -> Iterator[None]:
    """Drops TensorFlow's informational lines while the block runs; everything else is printed.

    For commands only, around `import tensorflow` and the first look at the devices, which reports
    that there is no CUDA driver. The lines come from C++ and go straight to file descriptor 2, so
    for that time the whole process writes its errors to a temporary file.
    """
    try:
        sys.stderr.flush()
        held_back, terminal = tempfile.TemporaryFile(), os.dup(2)  # noqa: SIM115
    except (AttributeError, OSError, ValueError):  # stderr is closed or no temporary directory
        yield
        return
    with held_back:
        os.dup2(held_back.fileno(), 2)
        try:
            yield
        finally:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
            os.dup2(terminal, 2)
            os.close(terminal)
            held_back.seek(0)
            kept = [line for line in held_back if not _NOTICE.match(line)]
            with contextlib.suppress(OSError):
                os.write(2, b"".join(kept))


def load_matplotlib() -> str:
    """Imports Matplotlib with its own defaults, whatever a `matplotlibrc` says; for commands only.

    At the start, so that what it cannot read ends no run when the first figure is drawn.

    Returns:
      Why it cannot be loaded, and the remedy; empty if it is.
    """
    try:
        with without_start_up_notices():
            import matplotlib

            matplotlib.rcdefaults()
    except Exception as error:
        return (
            f"Matplotlib cannot be loaded ({one_line(error)}); mend or remove the file "
            "matplotlibrc in this folder or in ~/.config/matplotlib"
        )
    return ""


def load_tensorflow() -> None:
    """Imports TensorFlow and looks for devices, which is when it talks; for commands only.

    GPUs are not taken whole: their memory grows as it is needed, so that others find room.
    """
    limit_threads()
    if problem := load_matplotlib():
        refuse(problem, "smallwm_tf")
    with without_start_up_notices(), _kept_for_good():
        import tensorflow as tf
        import tf_agents.environments  # noqa: F401  Keras and TensorFlow Probability come with it

        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)


@contextlib.contextmanager
def _kept_for_good() -> Iterator[None]:
    """What the block imports is no garbage: nobody looks for any in it, then or later.

    Looking through the libraries again and again takes a sixteenth of their imports and, while
    functions are traced, a tenth of a short run.
    """
    if "tensorflow" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.collect()
        gc.freeze()
    finally:
        gc.enable()
