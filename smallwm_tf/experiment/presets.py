"""Presets: small Python files whose `get_config()` returns differences from the defaults.

No TensorFlow is imported and nothing is written, not even byte code.
"""

import difflib
import traceback
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_collections

from smallwm_tf.experiment.config import ConfigError, build_config
from smallwm_tf.experiment.messages import flag, one_line, show
from smallwm_tf.experiment.switches import SWITCHES

DEFAULT_PRESET = "atari100k"
"""The paper's experiment with 4 frames: exactly the defaults."""

_PACKAGE = Path(__file__).resolve().parents[1]
# An installed package holds them itself (setup.py); in a checkout they lie beside it.
_INSTALLED = _PACKAGE / "configs"
_PRESETS = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parent / "configs"
_MOST_BYTES = 1_000_000


def load_preset(name_or_path: str) -> tuple[str, ml_collections.ConfigDict]:
    """Builds the configuration of a preset, types checked, ranges not yet (see `validate`).

    Args:
        name_or_path: A bare name ("smoke") is one of the presets that come with the project,
            whatever the working directory holds. A path ("configs/mine.py") is looked up from the
            working directory; "configs/smoke.py" means the project's where there is none. Switches
            may follow ("smoke+st_lstm+masked"), see `switches`.

    Returns:
        The preset's name (the file's name without ".py", and its switches) and the configuration.

    Raises:
        ConfigError: No such file, the file cannot be run, or it sets something impossible.
    """
    base, switches = split_switches(name_or_path)
    path = _find(base)
    differences = _run(path, base)
    try:
        config = build_config(differences)
    except ConfigError as error:
        remedy = f"{error.remedy} (in {show(base)})"
        raise ConfigError(error.key, error.value, remedy) from error
    for switch in switches:
        if switch not in SWITCHES:
            near = difflib.get_close_matches(switch[:200], SWITCHES, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}? " if near else ""
            remedy = f"no switch {show(switch)}; {hint}switches: {', '.join(SWITCHES)}"
            raise ConfigError("config", name_or_path, remedy)
        config.update_from_flattened_dict(SWITCHES[switch])
    return "+".join([path.stem, *switches]), config


def split_switches(name_or_path: str) -> tuple[str, list[str]]:
    """What comes before the switches, and these."""
    folder, slash, name = name_or_path.rpartition("/")
    base, *switches = name.split("+")
    return f"{folder}{slash}{base}", switches


def preset_names() -> list[str]:
    """Names of the presets that come with the project."""
    return sorted(path.stem for path in _PRESETS.glob("*.py"))


def _find(name_or_path: str) -> Path:
    is_path = "/" in name_or_path or name_or_path.endswith(".py")
    given = Path(name_or_path)
    paths = [given] if is_path else [_PRESETS / f"{name_or_path}.py"]
    if given.parent == Path("configs"):
        paths.append(_PRESETS / given.name)
    for path in paths:
        try:
            if name_or_path and path.is_file():
                return path
            if is_path and path.is_dir():
                raise ConfigError("config", name_or_path, "is a directory, not a Python file")
        except (OSError, ValueError):  # a name that is too long, or holds a null character
            break
    names = preset_names()
    near = difflib.get_close_matches(Path(name_or_path[:200]).stem, names, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}? " if near else ""
    mine = f"configs/{name_or_path}.py"
    if not is_path and len(mine) < 200 and "\0" not in mine and Path(mine).is_file():
        hint = f"your own is {flag('config', mine)}; "
    raise ConfigError("config", name_or_path, f"no such file; {hint}presets: {', '.join(names)}")


def _run(path: Path, given: str) -> Mapping[str, Any]:
    """Runs the file and returns what its `get_config()` returned."""
    if path.stat().st_size > _MOST_BYTES:
        raise ConfigError("config", given, f"is larger than {_MOST_BYTES} bytes: not a preset")
    namespace: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(path.read_bytes(), str(path), "exec"), namespace)
            if not callable(namespace.get("get_config")):
                raise ConfigError("config", given, "must define get_config()")
            differences = namespace["get_config"]()
    except ConfigError:
        raise
    except (Exception, SystemExit) as error:
        where = _line_of(error, str(path))
        raise ConfigError("config", given, f"failed{where}: {one_line(error)}") from error
    if isinstance(differences, ml_collections.ConfigDict):
        differences = differences.to_dict()
    if not isinstance(differences, Mapping):
        kind = type(differences).__name__
        remedy = f"get_config() must return a dict or a ConfigDict, not {kind}"
        raise ConfigError("config", given, remedy)
    return differences


def _line_of(error: BaseException, path: str) -> str:
    """ " in line 3", if the error arose in the preset's own text."""
    if isinstance(error, SyntaxError) and error.lineno:
        return f" in line {error.lineno}"
    frames = traceback.walk_tb(error.__traceback__)
    lines = [line for frame, line in frames if frame.f_code.co_filename == path]
    return f" in line {lines[-1]}" if lines else ""
