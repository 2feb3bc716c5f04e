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
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from smallwm_tf import _environment, _requirements
from smallwm_tf.experiment.machine import cores_here
from smallwm_tf.experiment.messages import one_line
from smallwm_tf.experiment.numbers import counted

OK, NOTE, WRONG = "ok", "note", "wrong"
_LEAST_MEMORY = 3e9  # bytes that the smallest real run takes
_LEAST_DISK = 1e9  # bytes of a short run
_SLOW = 100.0  # GFLOP/s; two cores of today's laptops have more
_MOST_MEMORY = 4.5e9  # bytes of the paper's run
_STEPS_OF_GAME = 30
_LEAST_CONTRAST = 48  # grey levels between the darkest and the brightest pixel


class Finding(NamedTuple):
    """One line of the report."""

    state: str  # OK, NOTE or WRONG
    topic: str
    text: str
    remedy: str = ""  # a command or what to do

    def lines(self) -> list[str]:
        """For a terminal of 80 columns; what may be searched for or copied stays in one line."""
        head = f"{self.state:<6} {self.topic:<10} "
        room = " " * len(head)
        lines = [head + self.text]
        if self.state == OK:
            lines = textwrap.wrap(
                *lines, 80, subsequent_indent=room, break_long_words=False, break_on_hyphens=False
            )
        return [*lines, f"{room}-> {self.remedy}"] if self.remedy else lines


def examine(game: str, folder: Path) -> Iterator[Finding]:
    """Tries one thing after the other, a game and a folder for runs among them."""
    if problem := _requirements.problem_of_system():
        text, _, remedy = problem.partition(" Mend it with: ")
        yield Finding(WRONG, "system", text, remedy)
        return  # all else would fail, and for no other reason
    checks: dict[str, Callable[[], Iterator[Finding]]] = {
        "python": _examine_python,
        "disk": lambda: _examine_folder(folder),
        "packages": _examine_packages,
        "extras": _examine_extras,
        "environment": _examine_environment,
        "tensorflow": _examine_tensorflow,
        "memory": _examine_memory,
        "game": lambda: _examine_game(game),
    }
    for topic, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # one broken part must not hide the others
            remedy = "install again: pip install -e . --force-reinstall"
            yield Finding(WRONG, topic, one_line(error, 300), remedy)


def _noted(topic: str, text: str, remark: str) -> Finding:
    """All is well, unless there is a remark."""
    return Finding(NOTE, topic, f"{text}; {remark}") if remark else Finding(OK, topic, text)


def _examine_python() -> Iterator[Finding]:
    text = f"Python {platform.python_version()}, {platform.platform(terse=True)}"
    is_new = sys.version_info >= (3, 14)
    yield _noted("python", text, "tried are 3.11 to 3.13" if is_new else "")


def _examine_packages() -> Iterator[Finding]:
    required = [re.match(r"[\w-]+", text).group() for text in _requirements.install_requires()]
    versions = []
    for name in dict.fromkeys(["smallwm_tf", *required, "tf-agents"]):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    try:
        _requirements.check()
        yield Finding(OK, "packages", ", ".join(versions))
    except _requirements.RequirementsError as error:
        problem, _, remedy = str(error).partition("Mend it with: ")
        yield Finding(WRONG, "packages", problem.strip(), remedy)


def _examine_extras() -> Iterator[Finding]:
    for module, command in (("flask", "play"), ("ray", "sweep"), ("rliable", "report")):
        if not _requirements.is_importable(module):
            text = f"{module} is missing; only smallwm_tf.{command} needs it"
            yield Finding(NOTE, "extras", text, f"pip install -e '.[{command}]'")


def _examine_environment() -> Iterator[Finding]:
    from smallwm_tf.cli.tensorflow_start import load_matplotlib

    if problem := load_matplotlib():
        text, _, remedy = problem.partition("; ")
        yield Finding(WRONG, "matplotlib", text, remedy)
    for remark in _environment.remarks():
        yield Finding(NOTE, "environment", remark)


def _examine_tensorflow() -> Iterator[Finding]:
    from smallwm_tf.cli.tensorflow_start import without_start_up_notices

    with without_start_up_notices():
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    if tf.keras.Model.__module__.startswith("tf_keras"):
        version = importlib.metadata.version("tf-keras")
        yield Finding(OK, "keras", f"tf.keras is Keras 2 (tf-keras {version})")
    else:
        text = "tf.keras is Keras 3, but TF-Agents needs Keras 2"
        yield Finding(WRONG, "keras", text, "export TF_USE_LEGACY_KERAS=1")
    none = "no GPU that TensorFlow can use; everything runs on the CPU"
    yield Finding(OK, "devices", counted(len(gpus), "GPU") if gpus else none)
    from smallwm_tf.models.execution import resolve_precision
    from smallwm_tf.training.estimate import measure_gemm

    single, half = measure_gemm("float32"), measure_gemm("bfloat16")
    rates = f"{single:.0f} GFLOP/s in float32, {half:.0f} in bfloat16"
    text = f"{counted(cores_here(), 'core')}, {rates}"
    slow = "other programs at work? runs will take long" if single < _SLOW else ""
    yield _noted("speed", text, slow)
    precision = resolve_precision("auto")
    yield Finding(OK, "precision", f"runs compute in {precision} unless told otherwise")


def _examine_memory() -> Iterator[Finding]:
    total, free = _pages("SC_PHYS_PAGES"), _available_memory() or _pages("SC_AVPHYS_PAGES")
    if free is None:  # macOS does not say
        text = f"{total / 1e9:.1f} GB in all" if total else "how much there is, is not known"
        text += "; this system does not say how much is free"
        if total and total < _LEAST_MEMORY:
            yield Finding(WRONG, "memory", text, "training needs a machine with 3 GB or more")
        else:
            yield Finding(NOTE, "memory", text)
        return
    text = f"{free / 1e9:.1f} GB free" + (f" of {total / 1e9:.1f} GB" if total else "")
    if free < _LEAST_MEMORY:
        text += f"; training needs {_LEAST_MEMORY / 1e9:.0f} GB or more"
        yield Finding(WRONG, "memory", text, "close other programs")
    else:
        little = "the preset atari100k wants 4.5 GB, quick less" if free < _MOST_MEMORY else ""
        yield _noted("memory", text, little)


def _pages(name: str) -> float | None:
    """Bytes of the pages that go by a name; None where the system does not know the name."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        pages, size = os.sysconf(name), os.sysconf("SC_PAGE_SIZE")
        return float(pages * size) if pages > 0 and size > 0 else None
    return None


def _available_memory() -> float | None:
    """What the kernel could hand out, caches included; Linux only."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        found = re.search(r"MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text())
        return int(found.group(1)) * 1024.0
    return None


def _examine_game(name: str) -> Iterator[Finding]:
    from smallwm_tf.games.catalogue import UnknownGameError, resolve_game
    from smallwm_tf.games.faults import GameFaultError, UnsuitableGameError
    from smallwm_tf.games.game_batch import GameBatch
    from smallwm_tf.games.repetition import check_repeats

    try:
        game = resolve_game(name)
        games = GameBatch(game, 1, 1, seed=0)
        seen = [games.reset()]
        for step in range(_STEPS_OF_GAME):
            seen.append(games.step([step % games.num_actions]).observations)
        games.close()
        check_repeats(game)
    except (UnknownGameError, UnsuitableGameError, GameFaultError) as error:
        problem, _, remedy = str(error).rpartition("; ")  # what a game raised may hold one, too
        yield Finding(WRONG, "game", problem, remedy.removeprefix("run: "))
        return
    kind = "ROM and emulator work" if game.is_atari else "works"
    text = f"{game.name}: {kind}, frames {list(seen[0].shape[1:])}"
    darkest = min(int(frames.min()) for frames in seen)
    brightest = max(int(frames.max()) for frames in seen)
    faint = f"its pictures hold only greys {darkest} to {brightest} of 0 to 255, which a VQ-VAE "
    faint += "hardly tells apart; stretch them in a wrapper (docs/own_game.md)"
    yield _noted("game", text, faint if brightest - darkest < _LEAST_CONTRAST else "")


def _examine_folder(folder: Path) -> Iterator[Finding]:
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        text = f"{folder}: cannot be written ({error.strerror})"
        yield Finding(WRONG, "disk", text, "name another place with --run_dir")
        return
    free = shutil.disk_usage(existing).free
    text = f"{folder}: can be written, {free / 1e9:.0f} GB free"
    if free < _LEAST_DISK:
        yield Finding(WRONG, "disk", text, "make room, or name another place with --run_dir")
    else:
        yield Finding(OK, "disk", text)


def main() -> None:
    """Reads the command line, examines, prints; exit code 1 if something is wrong."""
    from smallwm_tf.cli.errors import refuse
    from smallwm_tf.cli.flags import CommandParser
    from smallwm_tf.cli.streams import OutputError, put, results_alone

    parser = CommandParser(
        "doctor",
        "Says whether everything runs here: packages, Keras generation, devices, memory, emulator "
        "and ROM, write access. Whatever is wrong comes with the command that mends it.",
    )
    add = parser.add_argument
    add("--game", default="Pong", help="the game to try (default Pong); list: names them all")
    add("--run_dir", type=Path, default="runs", help="where runs will be kept (default runs)")
    add("--json", action="store_true", help="print JSON instead of lines")
    flags = parser.parse_args()
    if flags.game == "list":
        from smallwm_tf.games.catalogue import list_games

        parser.put(*list_games())
        return
    findings = []
    try:
        with results_alone(flags.json):
            for finding in examine(flags.game, flags.run_dir):
                findings.append(finding)
                if not flags.json:
                    put(*finding.lines())
            wrong = sum(finding.state == WRONG for finding in findings)
            if flags.json:
                put(json.dumps([finding._asdict() for finding in findings]))
            else:
                put(f"{counted(wrong, 'thing')} to mend" if wrong else "everything runs here")
    except OutputError as error:
        refuse(str(error), "smallwm_tf.doctor")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
