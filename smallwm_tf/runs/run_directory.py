"""The run directory: what belongs to one run, and whether a command may continue it."""

import contextlib
import importlib.metadata
import os
import platform
import re
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smallwm_tf.experiment.config import Config, flatten
from smallwm_tf.experiment.experiment import Game
from smallwm_tf.experiment.messages import printable, show
from smallwm_tf.experiment.settings import FIELDS
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import cannot_write, remove_half_written, write_json
from smallwm_tf.runs.lock import Lock
from smallwm_tf.runs.plain_files import refuse_links
from smallwm_tf.runs.records import CONFIG, VERSIONS, read_config, read_versions
from smallwm_tf.runs.scores import read_scores, read_summaries

_PACKAGES = (
    "smallwm_tf", "tensorflow", "tf-keras", "tensorflow-probability", "tf-agents", "numpy",
    "gymnasium", "ale-py", "opencv-python-headless", "ml-collections", "absl-py",
)  # fmt: skip
_FOLDERS = ("checkpoints", "replay", "figures", "events")
_BEGUN = "begun.json"
_MEMBERS = {CONFIG, VERSIONS, _BEGUN, "metrics.jsonl", "scores.json", "lock", "films", *_FOLDERS}


class RunDirectory(contextlib.AbstractContextManager):
    """An open run directory, locked for this process.

    Attributes:
        path: The directory.
        changes: One line for every harmless difference from the command that made the run.
        checkpoints, replay, figures, events: Its subdirectories; all exist.
        scores: Path of `scores.json`, which need not exist yet.
    """

    def __init__(self, path: Path, lock: Lock, wanted: dict[str, Any]) -> None:
        self.path = path
        self._lock = lock
        self._wanted, self._versions = wanted, describe_versions()
        self._settings_changed = _compare(path, wanted)
        self.changes = self._settings_changed + _changed_versions(path, self._versions)
        folders = (path / folder for folder in _FOLDERS)
        self.checkpoints, self.replay, self.figures, self.events = folders
        self.scores = path / "scores.json"

    @classmethod
    def open(
        cls, path: Path, game: Game | str, config: Config, seed: int, preset: str
    ) -> "RunDirectory":
        """Makes a run directory and its parents, or reopens one to continue.

        What a run was made with stays as it is until `record` is called. The arguments are those
        of `Experiment`; the game may be its canonical name.

        Raises:
            LockedError: Another process writes to it.
            RunError: It belongs to another game, seed or architecture, it is damaged, it holds
                something else, or it cannot be written. Nothing in it was changed.
        """
        wanted = _wanted(game, config, seed, preset)
        made = [parent for parent in (path, *path.parents) if not parent.exists()]
        lock = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            _check_is_run(path)
            lock = Lock(path / "lock")
            run = cls(path, lock, wanted)
            if lock.stale_holder:
                run.changes.append(f"a stale lock was taken over from {lock.stale_holder}")
            if not (path / CONFIG).exists():
                run.record()
            read_scores(run.scores)  # damage is told before hours of work, not after
            if (path / "null_policies.json").exists():
                read_summaries(path / "null_policies.json")
            for folder in (path, *(path / name for name in _FOLDERS)):
                folder.mkdir(exist_ok=True)
                remove_half_written(folder)
            return run
        except BaseException as error:
            if lock is not None:
                lock.release()
            with contextlib.suppress(OSError):
                for parent in made:
                    parent.rmdir()  # only what is empty goes
            if isinstance(error, OSError):
                raise cannot_write(f"run_dir={path}", error, path) from error
            raise

    def record(self) -> None:
        """Keeps what this command does differently in config.json and versions.json.

        For whoever is about to train on: a finished run stays what it was made with. Harmless when
        repeated.
        """
        now = time.strftime("%Y-%m-%d %H:%M:%S %z")
        kept, earlier = read_config(self.path), read_versions(self.path)
        history = kept.get("changes", [])
        if self._settings_changed:
            history = [*history, {"time": now, "changes": self._settings_changed}]
        if self._settings_changed or not kept:
            write_json(self.path / CONFIG, {**self._wanted, "changes": history})
            self._settings_changed = []
        if any(earlier.get(key) != value for key, value in self._versions.items()):
            past = earlier.pop("earlier", [])
            content = {**self._versions, "since": now}
            content["earlier"] = [*past, earlier] if earlier else []
            write_json(self.path / VERSIONS, content)

    def note_checkpoint(self) -> None:
        """Leaves a sign that a checkpoint was written, once; it outlives the checkpoints."""
        if not (self.path / _BEGUN).exists():
            now = time.strftime("%Y-%m-%d %H:%M:%S %z")
            write_json(self.path / _BEGUN, {"first_checkpoint": now})

    def sign_of_progress(self) -> str | None:
        """What shows that the run once had a checkpoint; None if it may begin (again).

        A run that was killed before its first checkpoint has metrics up to the end of its first
        phase, and the steps of its first collection. Whatever goes beyond came after a checkpoint.
        """
        beyond = [file for file in self.replay.iterdir() if file.name != "000001.npz"]
        for file in (self.path / _BEGUN, self.scores, *beyond):
            if file.exists():
                return f"{file.relative_to(self.path)} is there"
        return None

    def close(self) -> None:
        """Gives the lock back; harmless when repeated."""
        self._lock.release()

    def __exit__(self, *_: object) -> None:
        self.close()


def check_may_continue(
    path: Path, game: Game | str, config: Config, seed: int, preset: str
) -> list[str]:
    """Refuses what `RunDirectory.open` would, of a directory that exists; changes nothing.

    Returns:
        One line for every harmless difference.

    Raises:
        RunError: As `RunDirectory.open`.
    """
    try:
        _check_is_run(path)
    except OSError as error:
        raise cannot_write(f"run_dir={path}", error, path) from error
    return _compare(path, _wanted(game, config, seed, preset))


def _wanted(game: Game | str, config: Config, seed: int, preset: str) -> dict[str, Any]:
    """What config.json says of a run."""
    name = game.name if isinstance(game, Game) else game
    shown = printable(preset)  # of a file with an odd name
    return {"game": name, "seed": int(seed), "preset": shown, "config": config.to_dict()}


def _check_is_run(path: Path) -> None:
    """Refuses to mix a run with files of something else, and links."""
    names = {name for name in os.listdir(path) if not name.startswith(".")}
    if "config.json" not in names and not names <= _MEMBERS:
        stranger = min(names - _MEMBERS)
        raise RunError(
            f"run_dir={path}: holds {show(stranger)} but no run; name an empty or new directory"
        )
    refuse_links(path)
    if "config.json" not in names and any((path / "checkpoints").glob("[0-9]*")):
        raise RunError(
            f"run_dir={path}: has checkpoints but its config.json is missing; "
            "bring the file back, or name another --run_dir"
        )


def _compare(path: Path, wanted: dict[str, Any]) -> list[str]:
    """Refuses what a run is bound to; returns the other differences, one line each."""
    kept = read_config(path)
    if not kept:
        return []
    old, new = _flat(kept), _flat(wanted)
    bound = {"game", "seed"} | {field.key for field in FIELDS if field.fixed}
    differences = [key for key in {**new, **old} if old.get(key) != new.get(key)]
    for key in differences:
        if key in bound:
            raise RunError(
                f"{key}: run_dir={path} was made with {show(old.get(key))}, this command has "
                f"{show(new.get(key))}; repeat the first command or name another --run_dir"
            )
    key = "collection.num_iterations"
    begun = sum(1 for _ in (path / "replay").glob("[0-9]*.npz"))
    if new[key] < begun:
        raise RunError(
            f"{key}: run_dir={path} has begun iteration {begun}, this command has {new[key]}; "
            f"give at least {begun}, or name another --run_dir"
        )
    return [f"{key}: {show(old.get(key))} -> {show(new.get(key))}" for key in differences]


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    flat = {key: record.get(key) for key in ("game", "seed", "preset")}
    # A setting that is younger than the run had its default's effect.
    flat |= {field.key: field.default for field in FIELDS} | flatten(record["config"])
    # Tuples as lists, as JSON gives them back.
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flat.items()}


def _changed_versions(path: Path, versions: dict[str, Any]) -> list[str]:
    """How these versions differ from those that a run was made with, one line each."""
    earlier = read_versions(path)
    if not earlier:
        return []
    old, new = flatten({key: earlier.get(key) for key in versions}), flatten(versions)
    different = [key for key in new if old.get(key) != new[key]]
    return [f"{key}: {show(old.get(key))} -> {show(new[key])}" for key in different]


def describe_versions() -> dict[str, Any]:
    """Packages, machine and commit; reads only metadata and imports nothing."""
    packages = dict.fromkeys(_PACKAGES)
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            packages[name] = importlib.metadata.version(name)
    return {
        "packages": packages,
        "python": platform.python_version(),
        "emulator": f"ale-py {packages['ale-py']}",
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processor": _processor(),
            "cores": os.cpu_count(),
        },
        "commit": _commit(),
    }


def _processor() -> str:
    with contextlib.suppress(OSError):
        described = Path("/proc/cpuinfo").read_text(errors="replace")
        if found := re.search(r"^model name\s*:(.*)$", described, re.MULTILINE):
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of this source tree, with "+changes" if it has any; None outside a clone."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command, silent = ["git", "-C", str(root), *words], subprocess.DEVNULL
        return subprocess.check_output(command, stderr=silent, text=True, timeout=20).strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
