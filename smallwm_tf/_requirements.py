"""What smallwm_tf needs installed: one table for setup.py and for the check at import.

setup.py reads this file by path, so it imports nothing of the package and nothing outside the
standard library. The check looks at package metadata only and never loads TensorFlow.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import operator
import pathlib
import platform
import re
import shlex
import sys

# (requirement, module that it provides). One Keras per process: TF-Agents 0.19 speaks Keras 2.
_EVERY_PYTHON = (
    ("absl-py>=2.0", "absl"),
    ("ale-py>=0.11,<0.13", "ale_py"),
    ("av>=14", "av"),  # its wheels bring an encoder for H.264
    ("gymnasium>=1.1,<1.4", "gymnasium"),
    ("matplotlib>=3.8", "matplotlib"),
    ("ml-collections>=1.0", "ml_collections"),
    ("numpy>=1.26,<2.4", "numpy"),  # 2.4 breaks TF-Agents' categorical projection network
    ("opencv-python-headless>=4.10", "cv2"),
    ("pillow>=10.1", "PIL"),
    ("tensorboard>=2.21,<2.22", "tensorboard"),
    ("tensorflow>=2.21,<2.22", "tensorflow"),
    ("tf-keras>=2.21,<2.22", "tf_keras"),
    ("tqdm>=4.60", "tqdm"),
    # What TF-Agents needs at run time; named because Python 3.12 installs it without dependencies.
    ("gym==0.23.0", "gym"),
    ("gin-config>=0.5", "gin"),
    ("cloudpickle>=1.3", "cloudpickle"),
)
_TF_AGENTS = ("tf-agents==0.19.0", "tf_agents")
_PYTHON_3_11 = (("tensorflow-probability==0.23.0", "tensorflow_probability"), _TF_AGENTS)
# From Python 3.12 on TF-Agents' pins (pygame, typing-extensions, TFP 0.23) do not resolve; it is
# installed by a second step, without its dependencies.
_PYTHON_3_12 = (
    ("tensorflow-probability==0.25.0", "tensorflow_probability"),
    ("setuptools>=70", "setuptools"),  # provides distutils, which TF-Agents and TFP import
)


class RequirementsError(ImportError):
    """A package is missing, has the wrong version, or TensorFlow was loaded too early."""


def install_requires() -> list[str]:
    """Returns the requirement strings of setup.py, with environment markers."""
    return (
        [requirement for requirement, _ in _EVERY_PYTHON]
        + [f'{requirement}; python_version < "3.12"' for requirement, _ in _PYTHON_3_11]
        + [f'{requirement}; python_version >= "3.12"' for requirement, _ in _PYTHON_3_12]
    )


def check() -> None:
    """Checks the installed packages and that Keras 2 can still be chosen.

    Raises:
      RequirementsError: one line that names what is wrong and the command that mends it.
    """
    if problem := problem_of_system():
        raise RequirementsError(problem)
    steps = [("", _EVERY_PYTHON + _PYTHON_3_11)]
    if sys.version_info >= (3, 12):
        steps = [("", _EVERY_PYTHON + _PYTHON_3_12), (" --no-deps", (_TF_AGENTS,))]
    pip = f"{shlex.quote(sys.executable or 'python')} -m pip install"
    problems, commands = [], []
    for option, needed in steps:
        found = {requirement: _problem(requirement, module) for requirement, module in needed}
        missing = [requirement for requirement, problem in found.items() if problem]
        problems += filter(None, found.values())
        if missing:
            commands.append(f"{pip}{option} {shlex.join(missing)}")
    if problems:
        raise RequirementsError(f"{', '.join(problems)}. Mend it with: {' && '.join(commands)}")
    _check_keras_generation()


def problem_of_system() -> str:
    """Why this system, or how Python was started, will not do, and what does; empty if it does."""
    if sys.flags.optimize > 1:
        return (
            "Python runs without docstrings (-OO, or PYTHONOPTIMIZE=2), and TensorFlow Probability "
            "cannot be loaded without them. Mend it with: unset PYTHONOPTIMIZE, or no -OO"
        )
    if is_importable("fcntl"):
        return ""
    return (
        f"{platform.system() or 'this system'} has no file locks as Linux and macOS have them. "
        "Windows runs it in WSL, its own Linux. Mend it with: wsl --install, and then the commands "
        "of the README in that Linux"
    )


def is_importable(module: str) -> bool:
    """Whether a module is installed; loads at most the packages around it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def started_as_command() -> str | None:
    """The module's name if this import happens because of `python -m smallwm_tf.<command>`.

    While Python looks for the module of `-m`, and only then, `sys.argv[0]` is "-m". The script
    `smallwm_tf` counts as `python -m smallwm_tf`.
    """
    words = sys.orig_argv[1:]
    if pathlib.PurePath((sys.argv or [""])[0]).stem == "smallwm_tf":
        words = ["smallwm_tf", *sys.argv[1:]]
    elif sys.argv[:1] != ["-m"]:
        return None
    names = [part.removeprefix("-m") for part in words]
    for name, following in zip(names, [*names[1:], ""], strict=True):
        if name == "smallwm_tf":  # followed by the command
            return f"smallwm_tf.{following}"
        if name.startswith("smallwm_tf."):
            return name
    return None


def _check_keras_generation() -> None:
    # TensorFlow fixes the Keras behind tf.keras when it loads and puts it on its own search path.
    path = getattr(sys.modules.get("tensorflow"), "__path__", ())
    if path and not any("tf_keras" in pathlib.PurePath(part).parts for part in path):
        raise RequirementsError(
            "TensorFlow was imported before smallwm_tf and has loaded Keras 3, but TF-Agents needs "
            "Keras 2. Restart Python and import smallwm_tf first, or set it for every program: "
            "export TF_USE_LEGACY_KERAS=1"
        )


def _problem(requirement: str, module: str) -> str | None:
    """Says what is wrong with one requirement, or None."""
    name, bounds = re.fullmatch(r"([\w-]+)(.*)", requirement).groups()
    if not is_importable(module):
        return f"{name} is missing"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None  # another distribution provides the module, e.g. opencv-python
    if _satisfies(version, bounds):
        return None
    return f"{name} {version} is installed but {bounds} is needed"


def _satisfies(version: str, bounds: str) -> bool:
    compare = {"==": operator.eq, ">=": operator.ge, "<": operator.lt}
    return all(
        compare[sign](_release(version), _release(bound))
        for sign, bound in re.findall(r"(==|>=|<)([\d.]+)", bounds)
    )


def _release(version: str) -> tuple[int, ...]:
    """The numbers of a version without trailing zeros: "2.21.0rc1" -> (2, 21)."""
    numbers = re.match(r"\d+(\.\d+)*", version).group()
    return tuple(int(part) for part in re.sub(r"(\.0+)+$", "", numbers).split("."))
