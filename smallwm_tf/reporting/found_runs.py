"""Run directories below some folders, read with everything that a report shows of them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from smallwm_tf.experiment.config import Config, ConfigError, build_config, flatten
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.schedule import RealSteps, plan_of, total_steps
from smallwm_tf.experiment.settings import FIELD_OF_KEY, FIELDS
from smallwm_tf.reporting.world_models import measures_of
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import read_json
from smallwm_tf.runs.metrics import read_metrics
from smallwm_tf.runs.plain_files import refuse_links
from smallwm_tf.runs.records import read_config, read_versions
from smallwm_tf.runs.scores import ScoresError, read_scores, read_summaries, summarise

_METRICS = "metrics.jsonl"
_NULLS, _OLD_NULLS = "null_policies.json", "random_policy.json"
_MEND = "mend the file, or move the run away"


@dataclass(frozen=True)
class FoundRun:
    """One run directory."""

    name: str  # its path below the folder that was searched, with that folder's own name
    path: Path
    game: str
    seed: int
    preset: str
    settings: Mapping[str, Any]  # all by key; what is younger than the run at its default
    version: str | None  # of smallwm_tf
    entries: Sequence[Mapping[str, Any]]  # of ``scores.json``, with summaries of their returns
    nulls: Mapping[str, Mapping[str, Any]]  # summaries of null policies by name; may be empty
    collections: Sequence[tuple[int, int, float]]  # iteration, steps learned from, mean return
    measures: Mapping[str, float]  # see ``world_models.measures_of``

    @cached_property
    def config(self) -> Config:
        """What this version of the program knows of its settings."""
        return build_config({key: v for key, v in self.settings.items() if key in FIELD_OF_KEY})

    @property
    def algorithm(self) -> str:
        """``world_model`` or ``ppo``."""
        return self.settings["algorithm"]

    @property
    def num_iterations(self) -> int:
        """Iterations of the whole run."""
        return self.config.collection.num_iterations

    @property
    def is_finished(self) -> bool:
        """Whether its last iteration has been evaluated."""
        return self.entries[-1]["iteration"] >= self.num_iterations

    def real_steps(self, iteration: int | None = None) -> RealSteps:
        """Real steps up to the end of an iteration, by default of the last evaluated one."""
        iteration = self.entries[-1]["iteration"] if iteration is None else iteration
        if not iteration:
            return RealSteps(0, 0, 0)
        config = self.config.copy_and_resolve_references()
        config.collection.num_iterations = min(iteration, self.num_iterations)
        return plan_of(config).real_steps()

    def steps_while_collecting(self) -> Iterator[tuple[int, float]]:
        """All real steps at the ends of collections, and their mean returns."""
        for iteration, learned_from, mean_return in self.collections:
            before = total_steps(self.config, iteration - 1) if iteration > 1 else 0
            yield sum(self.real_steps(iteration - 1)) + learned_from - before, mean_return

    def figures(self) -> dict[str, Path]:
        """By kind, the newest picture of each kind that it has drawn; and its films."""
        found = {}
        for folder in (self.path / "figures", self.path):
            for kind in ("dream", "codes", "horizon", "promise"):
                if pictures := sorted(folder.glob(f"{kind}_*.png")):
                    found.setdefault(kind, pictures[-1])
            for film in sorted([*folder.glob("*.gif"), *folder.glob("*.mp4")]):
                found.setdefault(film.name, film)
        return found


@dataclass(frozen=True)
class Found:
    """Everything below the folders that were searched."""

    runs: Sequence[FoundRun]  # with at least one evaluation, by preset, game and seed
    not_evaluated: Sequence[str]  # names of those without


def find(folders: Sequence[Path]) -> Found:
    """Reads all run directories and null policies below some folders.

    Raises:
        RunError, ScoresError: No such folder, no run, or a damaged file; one line names it.
    """
    directories, null_files = {}, {}
    for folder in folders:
        if not folder.is_dir():
            problem = "is not a directory" if folder.exists() else "no such directory"
            raise RunError(f"--runs={folder}: {problem}; name one that holds run directories")
        for directory, names in _walk(folder):
            if _is_run(names):
                below = directory.relative_to(folder)
                name = Path(folder.resolve().name, below).as_posix()
                directories.setdefault(directory.resolve(), name)
            if directory.name == "null_policies":
                files = {name[:-5]: directory / name for name in names if name.endswith(".json")}
                null_files = files | null_files
    nulls = {game: _pooled_form(read_summaries(path)) for game, path in null_files.items()}
    runs = [_read(path, name, nulls) for path, name in directories.items()]
    if not any(run.entries for run in runs):
        places = ",".join(map(str, folders))
        what = "holds no evaluated run" if runs else "holds no run"
        raise RunError(f"--runs={places}: {what} (a folder with config.json and scores.json)")
    runs.sort(key=lambda run: (run.preset, run.game, run.seed, run.name))
    return Found(
        runs=[run for run in runs if run.entries],
        not_evaluated=[run.name for run in runs if not run.entries],
    )


def refuse_differences(runs: Sequence[FoundRun]) -> None:
    """Refuses runs of one preset that have other settings or versions than its first.

    Raises:
        RunError: Names both runs and what differs.
    """
    first: dict[str, FoundRun] = {}
    for run in sorted(runs, key=lambda run: run.version is None):
        other = first.setdefault(run.preset, run)
        if difference := next(differences(other, run), None):
            key, one, two = difference
            raise RunError(
                f"--runs: preset {show(run.preset)} is not one experiment: {other.name} has "
                f"{key}={show(one)}, {run.name} has {show(two)}; name folders that hold one of "
                "them, or add --mix"
            )


def differences(one: FoundRun, other: FoundRun) -> Iterator[tuple[str, Any, Any]]:
    """(key, value of one, value of the other) wherever settings or known versions differ."""
    if None not in (one.version, other.version) and one.version != other.version:
        yield "smallwm_tf", one.version, other.version
    for key in sorted({**one.settings, **other.settings}):
        values = one.settings.get(key), other.settings.get(key)
        if values[0] != values[1]:
            yield key, *values


def _walk(folder: Path) -> Iterator[tuple[Path, list[str]]]:
    """Directories and the names of their files, in a fixed order; nothing below a run."""

    def fail(error: OSError):
        raise error

    for place, folders, names in os.walk(folder, onerror=fail):
        folders[:] = [] if _is_run(names) else sorted(folders)
        yield Path(place), names


def _is_run(names: Sequence[str]) -> bool:
    return "config.json" in names and ("scores.json" in names or "metrics.jsonl" in names)


def _read(path: Path, name: str, nulls: Mapping[str, Mapping[str, Any]]) -> FoundRun:
    refuse_links(path)
    record = read_config(path)
    game, settings = record["game"], _settings(path / "config.json", record["config"])
    lines = list(read_metrics(path / _METRICS)) if (path / _METRICS).exists() else []
    run = FoundRun(
        name=name,
        path=path,
        game=game,
        seed=record["seed"],
        preset=record["preset"],
        settings=settings,
        version=read_versions(path).get("packages", {}).get("smallwm_tf"),
        entries=list(_entries(path / "scores.json")),
        nulls=_own_nulls(path) or nulls.get(game, {}) | _uniform_alone(path),
        collections=list(_collections(lines)),
        measures=measures_of(lines, settings) | _decision_time(path / "evaluation.json"),
    )
    try:
        _ = run.config
    except ConfigError as error:
        raise RunError(f"{path / 'config.json'}: {error}; {_MEND}") from error
    return run


def _object(path: Path) -> dict[str, Any]:
    try:
        return read_json(path)
    except RunError as error:
        raise RunError(f"{error}; {_MEND}") from error


def _settings(path: Path, config: Mapping[str, Any]) -> dict[str, Any]:
    try:
        flat = {field.key: field.default for field in FIELDS} | flatten(config)
    except ConfigError as error:
        raise RunError(f"{path}: {error}; {_MEND}") from error
    return {key: list(value) if isinstance(value, tuple) else value for key, value in flat.items()}


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for number, entry in enumerate(read_scores(path)):
        try:
            summary = summarise(entry["returns"])
        except (KeyError, TypeError, ValueError) as error:
            problem = "has no returns" if isinstance(error, KeyError) else error
            raise ScoresError(f"{path}: entry {number}: {problem}; {_MEND}") from error
        yield {"iteration": entry["iteration"], **summary}


def _own_nulls(path: Path) -> dict[str, dict[str, Any]]:
    file = path / _NULLS
    return _pooled_form(read_summaries(file)) if file.exists() else {}


def _uniform_alone(path: Path) -> dict[str, dict[str, Any]]:
    """What runs left of null policies before there were others than uniform play."""
    file = path / _OLD_NULLS
    if not file.exists():
        return {}
    summary = _object(file)
    if type(summary.get("mean")) not in (int, float):
        raise ScoresError(f"{file}: mean={show(summary.get('mean'))}; {_MEND}")
    return _pooled_form({"uniform": summary})


def _pooled_form(summaries: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    keys = ("mean", "standard_error", "num_episodes")
    return {name: {key: each.get(key) for key in keys} for name, each in summaries.items()}


def _decision_time(path: Path) -> dict[str, float]:
    """What ``evaluate`` measured, if it was called."""
    name = "milliseconds_per_decision"
    value = _object(path).get(name) if path.exists() else None
    return {name: value} if type(value) in (int, float) else {}


def _collections(lines: Sequence[Mapping[str, Any]]) -> Iterator[tuple[int, int, float]]:
    for line in lines:
        if line["event"] == "collect":
            values = line["iteration"], line["step"], line.get("mean_return")
            if all(type(value) in (int, float) for value in values):
                yield values
