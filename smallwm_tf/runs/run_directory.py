"""The run directory: what belongs to one run, and whether a command may continue it."""

import importlib.metadata
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smallwm_tf.experiment.config import ConfigError, flatten
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.settings import FIELDS
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import cannot_write, read_json, remove_half_written, write_json
from smallwm_tf.runs.lock import Lock

_PACKAGES = (
    "smallwm_tf",
    "tensorflow",
    "tf-keras",
    "tensorflow-probability",
    "tf-agents",
    "numpy",
    "gymnasium",
    "ale-py",
    "opencv-python-headless",
    "ml-collections",
    "absl-py",
)
_FOLDERS = ("checkpoints", "replay", "figures", "events")
_MEMBERS = {"config.json", "versions.json", "metrics.jsonl", "scores.json", "lock", *_FOLDERS}


class RunDirectory:
    """An open run directory, locked for this process.

    Attributes:
        path: The directory.
        changes: One line for every harmless difference from the command that made the run.
        checkpoints, replay, figures, events: Its subdirectories; all exist.
        scores: Path of `scores.json`, which need not exist yet.
    """

    def __init__(self, path: Path, lock: Lock, changes: list[str]) -> None:
        self.path = path
        self.changes = changes
        self._lock = lock
        self.checkpoints = path / "checkpoints"
        self.replay = path / "replay"
        self.figures = path / "figures"
        self.events = path / "events"
        self.scores = path / "scores.json"

    @classmethod
    def open(
        cls, path: Path | str, game: Any, config: Mapping[str, Any], seed: int, preset: str
    ) -> "RunDirectory":
        """Makes a run directory, or reopens one to continue.

        Args:
            path: Where; parents are made.
            game: A `Game`, or its canonical name.
            config: Every setting.
            seed: The seed.
            preset: The preset's name.

        Raises:
            LockedError: Another process writes to it.
            RunError: It belongs to another game, seed or architecture, it is damaged, it holds
                something else, or it cannot be written. Nothing in it was changed.
        """
        path = Path(path)
        wanted = _wanted(game, config, seed, preset)
        made = [parent for parent in (path, *path.parents) if not parent.exists()]
        lock = None
        try:
            path.mkdir(parents=True, exist_ok=True)
            _check_is_run(path)
            lock = Lock(path / "lock")
            record = path / "config.json"
            changes = _compare(path, read_json(record), wanted) if record.exists() else []
            run = cls(path, lock, changes)
            if lock.stale_holder:
                run.changes.append(f"a stale lock was taken over from {lock.stale_holder}")
            _record(path, wanted, changes)
            for folder in _FOLDERS:
                (path / folder).mkdir(exist_ok=True)
            for place in (path, *(path / folder for folder in _FOLDERS)):
                remove_half_written(place)
            return run
        except BaseException as error:
            if lock is not None:
                lock.release()
            for parent in made:  # only what is empty goes
                try:
                    parent.rmdir()
                except OSError:
                    break
            if isinstance(error, OSError):
                raise cannot_write(f"run_dir={path}", error, path) from error
            raise

    def close(self) -> None:
        """Gives the lock back; harmless when repeated."""
        self._lock.release()

    def __enter__(self) -> "RunDirectory":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_may_continue(
    path: Path, game: Any, config: Mapping[str, Any], seed: int, preset: str
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
    record = path / "config.json"
    if not record.exists():
        return []
    return _compare(path, read_json(record), _wanted(game, config, seed, preset))


def _wanted(game: Any, config: Mapping[str, Any], seed: int, preset: str) -> dict[str, Any]:
    """What config.json says of a run."""
    name = getattr(game, "name", game)
    return {"game": name, "seed": int(seed), "preset": preset, "config": _nest(config)}


def _check_is_run(path: Path) -> None:
    """Refuses to mix a run with files of something else."""
    names = {name for name in os.listdir(path) if not name.startswith(".")}
    if "config.json" not in names and not names <= _MEMBERS:
        stranger = min(names - _MEMBERS)
        raise RunError(
            f"run_dir={path}: holds {show(stranger)} but no run; name an empty or new directory"
        )
    if "config.json" not in names and any((path / "checkpoints").glob("[0-9]*")):
        raise RunError(
            f"run_dir={path}: has checkpoints but its config.json is missing; "
            "bring the file back, or name another --run_dir"
        )


def _compare(path: Path, kept: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Refuses what a run is bound to; returns the other differences, one line each."""
    old, new = _flat(path, kept), _flat(path, wanted)
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


def _flat(path: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    config = record.get("config")
    if not isinstance(config, Mapping):
        raise RunError(f"{path / 'config.json'}: holds no configuration")
    try:
        flat = {key: _listed(value) for key, value in flatten(config).items()}
    except ConfigError as error:
        raise RunError(f"{path / 'config.json'}: {error}") from error
    # A setting that is younger than the run had its default's effect.
    defaults = {field.key: _listed(field.default) for field in FIELDS}
    return {**{key: record.get(key) for key in ("game", "seed", "preset")}, **defaults, **flat}


def _listed(value: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    return list(value) if isinstance(value, tuple) else value


def _nest(config: Mapping[str, Any]) -> dict[str, Any]:
    return config.to_dict() if hasattr(config, "to_dict") else dict(config)


def _record(path: Path, wanted: dict[str, Any], changes: list[str]) -> None:
    """Writes config.json and versions.json, keeping the history of changes."""
    file = path / "config.json"
    history = read_json(file).get("changes", []) if file.exists() else []
    now = time.strftime("%Y-%m-%d %H:%M:%S %z")
    if changes:
        history = [*history, {"time": now, "changes": list(changes)}]
    if changes or not file.exists():
        write_json(file, {**wanted, "changes": history})
    versions, file = describe_versions(), path / "versions.json"
    earlier = read_json(file) if file.exists() else {}
    if any(earlier.get(key) != value for key, value in versions.items()):
        past = earlier.pop("earlier", [])
        write_json(file, {**versions, "since": now, "earlier": [*past, earlier] if earlier else []})
        if earlier:
            old, new = flatten(earlier), flatten(versions)
            changes.extend(
                f"{key}: {show(old.get(key))} -> {show(value)}"
                for key, value in new.items()
                if old.get(key) != value
            )


def describe_versions() -> dict[str, Any]:
    """Packages, machine and commit; reads only metadata and imports nothing."""
    packages = {}
    for name in _PACKAGES:
        try:
            packages[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            packages[name] = None
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
    try:
        for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _commit() -> str | None:
    """The commit of this source tree, with "+changes" if it has any; None outside a clone."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None

    def git(*words: str) -> str:
        command = ["git", "-C", str(root), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        return commit + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.SubprocessError):
        return None
