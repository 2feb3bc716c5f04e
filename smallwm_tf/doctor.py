"""Says whether everything runs here, and what mends it: ``python -m smallwm_tf.doctor``.

Loads nothing of the package that a wrong installation could break; every check stands alone.
"""

import contextlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from smallwm_tf import _requirements
from smallwm_tf.experiment.messages import one_line

OK, NOTE, WRONG = "ok", "note", "wrong"
_LEAST_MEMORY = 3e9  # bytes that the smallest real run takes
_LEAST_DISK = 1e9  # bytes of a short run
_SLOW = 100.0  # GFLOP/s; two cores of today's laptops have more
_MOST_MEMORY = 4.5e9  # bytes of the paper's run


class Finding(NamedTuple):
    """One line of the report."""

    state: str  # OK, NOTE or WRONG
    topic: str
    text: str
    remedy: str = ""  # a command or what to do


def examine(game: str, folder: Path) -> Iterator[Finding]:
    """Looks at one thing after the other.

    Args:
      game: whose emulator and ROM to try.
      folder: where runs are to be written.
    """
    checks: tuple[tuple[str, Callable[[], Iterator[Finding]]], ...] = (
        ("python", _examine_python),
        ("packages", _examine_packages),
        ("extras", _examine_extras),
        ("tensorflow", _examine_tensorflow),
        ("memory", _examine_memory),
        ("game", lambda: _examine_game(game)),
        ("disk", lambda: _examine_folder(folder)),
    )
    for topic, check in checks:
        try:
            yield from check()
        except Exception as error:  # one broken part must not hide the others
            remedy = "install again: pip install -e . --force-reinstall"
            yield Finding(WRONG, topic, one_line(error, 300), remedy)


def _examine_python() -> Iterator[Finding]:
    text = f"Python {platform.python_version()}, {platform.platform(terse=True)}"
    if sys.version_info >= (3, 14):
        yield Finding(NOTE, "python", f"{text}; tried are 3.11 to 3.13")
    else:
        yield Finding(OK, "python", text)


def _examine_packages() -> Iterator[Finding]:
    names = ["smallwm_tf"]
    for requirement in _requirements.install_requires():
        names.append(re.match(r"[\w-]+", requirement).group())
    versions = []
    for name in dict.fromkeys([*names, "tf-agents"]):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    try:
        _requirements.check()
        yield Finding(OK, "packages", ", ".join(versions))
    except _requirements.RequirementsError as error:
        problem, _, remedy = str(error).partition("Mend it with: ")
        yield Finding(WRONG, "packages", problem.strip(), remedy)


def _examine_extras() -> Iterator[Finding]:
    for module, command in (("flask", "play"), ("ray", "sweep")):
        if not _requirements.is_importable(module):
            yield Finding(
                NOTE,
                "extras",
                f"{module} is missing; only smallwm_tf.{command} needs it",
                f"pip install -e '.[{command}]'",
            )


def _examine_tensorflow() -> Iterator[Finding]:
    from smallwm_tf.cli.tensorflow_start import without_start_up_notices

    with without_start_up_notices():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    if tf.keras.Model.__module__.startswith("tf_keras"):
        version = importlib.metadata.version("tf-keras")
        yield Finding(OK, "keras", f"tf.keras is Keras 2 (tf-keras {version})")
    else:
        yield Finding(
            WRONG,
            "keras",
            "tf.keras is Keras 3, but TF-Agents needs Keras 2",
            "export TF_USE_LEGACY_KERAS=1",
        )
    if gpus:
        yield Finding(OK, "devices", f"{len(gpus)} GPU(s)")
    else:
        yield Finding(OK, "devices", "no GPU that TensorFlow can use; everything runs on the CPU")
    from smallwm_tf.models.execution import resolve_precision
    from smallwm_tf.training.estimate import measure_gemm

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    single, half = measure_gemm("float32"), measure_gemm("bfloat16")
    text = f"{cores} core(s), {single:.0f} GFLOP/s in float32, {half:.0f} in bfloat16"
    if single < _SLOW:
        yield Finding(NOTE, "speed", f"{text}; other programs at work? runs will take long")
    else:
        yield Finding(OK, "speed", text)
    precision = resolve_precision("auto")
    yield Finding(OK, "precision", f"runs compute in {precision} unless told otherwise")


def _examine_memory() -> Iterator[Finding]:
    pages = {name: os.sysconf(name) for name in ("SC_PHYS_PAGES", "SC_AVPHYS_PAGES")}
    size = os.sysconf("SC_PAGE_SIZE")
    total = pages["SC_PHYS_PAGES"] * size
    free = _available_memory() or pages["SC_AVPHYS_PAGES"] * size
    text = f"{free / 1e9:.1f} GB free of {total / 1e9:.1f} GB"
    if free < _LEAST_MEMORY:
        yield Finding(
            WRONG, "memory", f"{text}; training needs {_LEAST_MEMORY / 1e9:.0f} GB or more",
            "close other programs",
        )  # fmt: skip
    elif free < _MOST_MEMORY:
        yield Finding(NOTE, "memory", f"{text}; the preset atari100k wants 4.5 GB, quick less")
    else:
        yield Finding(OK, "memory", text)


def _available_memory() -> float | None:
    """What the kernel could hand out, caches included; Linux only."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found.group(1)) * 1024.0
    return None


def _examine_game(name: str) -> Iterator[Finding]:
    from smallwm_tf.games.catalogue import UnknownGameError, resolve_game
    from smallwm_tf.games.game_batch import GameBatch

    try:
        game = resolve_game(name)
        games = GameBatch(game, 1, 1, seed=0)
        frames = games.reset()
        games.step([0])
        games.close()
    except UnknownGameError as error:
        problem, _, remedy = str(error).partition("; ")
        yield Finding(WRONG, "game", problem, remedy.removeprefix("run: "))
        return
    kind = "ROM and emulator work" if game.is_atari else "works"
    yield Finding(OK, "game", f"{game.name}: {kind}, frames {list(frames.shape[1:])}")


def _examine_folder(folder: Path) -> Iterator[Finding]:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        yield Finding(
            WRONG,
            "disk",
            f"{folder}: cannot be written ({error.strerror})",
            "name another place with --run_dir",
        )
        return
    free = shutil.disk_usage(existing).free
    text = f"{folder}: can be written, {free / 1e9:.0f} GB free"
    if free < _LEAST_DISK:
        yield Finding(WRONG, "disk", text, "make room, or name another place with --run_dir")
    else:
        yield Finding(OK, "disk", text)


def main() -> None:
    """Reads the command line, examines, prints; exit code 1 if something is wrong."""
    from smallwm_tf.cli.flags import CommandParser

    parser = CommandParser(
        "doctor",
        "Says whether everything runs here: packages, Keras generation, devices, memory, emulator "
        "and ROM, write access. Whatever is wrong comes with the command that mends it.",
    )
    parser.add_argument("--game", default="Pong", help="the game to try (default Pong)")
    parser.add_argument(
        "--run_dir", type=Path, default=Path("runs"), help="where runs will be kept (default runs)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON instead of lines")
    flags = parser.parse_args()
    findings = []
    for finding in examine(flags.game, flags.run_dir):
        findings.append(finding)
        if not flags.json:
            print(f"{finding.state:<6} {finding.topic:<10} {finding.text}", flush=True)
            if finding.remedy:
                print(f"{'':<6} {'':<10} -> {finding.remedy}", flush=True)
    if flags.json:
        print(json.dumps([finding._asdict() for finding in findings]))
    wrong = sum(finding.state == WRONG for finding in findings)
    if not flags.json:
        print(f"{wrong} thing(s) to mend" if wrong else "everything runs here")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
