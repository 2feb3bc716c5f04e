"""What the libraries read from variables and files of the user: decided here, once, for all.

`smallwm_tf/__init__.py` calls `pin` before TensorFlow, Keras or Matplotlib load. Standard library
only.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import warnings

_KERAS_HOME = pathlib.Path(__file__).resolve().parent / "data" / "keras"

# Name -> value, or None for "not set", and what decides instead of the user's value.
_PINNED: dict[str, tuple[str | None, str]] = {
    "TF_USE_LEGACY_KERAS": ("1", "TF-Agents needs Keras 2"),
    # Its keras.json in place of ~/.keras/keras.json, which Keras would also write.
    "KERAS_HOME": (str(_KERAS_HOME), "data types and formats are this package's"),
    "KERAS_BACKEND": ("tensorflow", "Keras runs on TensorFlow"),
    # Set, every random operation without a seed of its own fails.
    "TF_DETERMINISTIC_OPS": (None, "--deterministic decides"),
    "TF_CUDNN_DETERMINISTIC": (None, "--deterministic decides"),
    "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": (None, "protobuf takes what is installed"),
}
_PINNED_FOR_COMMANDS: dict[str, tuple[str | None, str]] = {
    "MPLBACKEND": ("Agg", "figures are files"),  # notebooks leave theirs to what `!` starts
    "MATPLOTLIBRC": (None, "figures have Matplotlib's own style"),
}
_DEFAULTS = {
    # 3: TensorFlow logs optimisations that it did not find as errors; real ones are raised anyway.
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "PYGAME_HIDE_SUPPORT_PROMPT": "1",
}
_LEFT = (  # the user's; they change speed, memory and rounding
    "CUDA_VISIBLE_DEVICES", "TF_FORCE_GPU_ALLOW_GROWTH", "TF_ENABLE_ONEDNN_OPTS", "TF_XLA_FLAGS",
    "XLA_FLAGS", "NVIDIA_TF32_OVERRIDE", "OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)  # fmt: skip

_replaced: dict[str, str] = {}


def pin(for_command: bool = False) -> None:
    """Sets and removes variables; for a command also those of which a notebook needs its own."""
    for name, (value, reason) in (_PINNED | (_PINNED_FOR_COMMANDS if for_command else {})).items():
        former = os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
        if former not in (None, value):
            _replaced[name] = f"{name}={former} is not used: {reason}"
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    if for_command and any(action == "error" for action, *_ in warnings.filters):
        warnings.simplefilter("default")
        _replaced["warnings"] = "warnings stay warnings, no errors: TensorFlow Probability warns"
    with contextlib.suppress(ImportError):
        from gym_notices import notices

        notices.notices.pop("0.23.0", None)  # TF-Agents imports the old gym, which prints a notice


def problem_of_keras(keras: object) -> str:
    """Why a Keras that somebody loaded before cannot be used; empty if it can."""
    backend = getattr(keras, "backend", None)  # None while it is being loaded
    if backend is None:
        return ""
    found = (backend.floatx(), backend.image_data_format())
    if found == ("float32", "channels_last"):
        return ""
    return (
        f"Keras was loaded before smallwm_tf and computes with {found[0]} and {found[1]}, but "
        "float32 and channels_last are needed. Restart Python and import smallwm_tf first"
    )


def remarks() -> list[str]:
    """One line for every variable or file of the user that is not used, or that has an effect."""
    lines = list(_replaced.values())
    lines += [f"{name}={os.environ[name]} is set" for name in _LEFT if os.environ.get(name)]
    with contextlib.suppress(OSError, RuntimeError):
        file = pathlib.Path("~/.keras/keras.json").expanduser()
        if file.exists():
            lines.append(f"{file} is not read")
    return lines
