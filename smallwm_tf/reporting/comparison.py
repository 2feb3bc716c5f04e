"""Runs of one preset, game by game: means, null policies, published scores, learning curves."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from smallwm_tf.experiment.schedule import RealSteps
from smallwm_tf.reporting.found_runs import Found, FoundRun, differences
from smallwm_tf.runs.scores import (
    best_null_policy,
    games_of_table_4,
    human_normalised_score,
    published_scores,
    standard_errors_above,
    summarise,
)

PUBLISHED = {
    "random": "random",
    "human": "human",
    "paper, 1 frame": "paper_1frame_mean",
    "paper, 4 frames": "paper_4frames_mean",
    "PPO": "ppo100k_mean",
    "SimPLe": "simple_mean",
}
"""Columns of the published scores by the name that a table gives them."""


class Point(NamedTuple):
    """One evaluation, or a mean of several at the same place."""

    real_steps: RealSteps
    mean: float
    error: float | None  # standard error, over the runs or else over the episodes
    num_runs: int


@dataclass(frozen=True)
class GameResult:
    """All runs of one preset on one game."""

    game: str
    all_runs: Sequence[FoundRun]  # those in the learning curve

    @cached_property
    def runs(self) -> Sequence[FoundRun]:
        """Those whose last score counts: the finished ones, or all if there is none."""
        return [run for run in self.all_runs if run.is_finished] or self.all_runs

    @property
    def left_out(self) -> Sequence[FoundRun]:
        """Unfinished runs beside finished ones."""
        return [run for run in self.all_runs if run not in self.runs]

    @property
    def is_finished(self) -> bool:
        """Whether the score is that of finished runs."""
        return self.runs[0].is_finished

    @cached_property
    def scores(self) -> list[float]:
        """The last mean return of each run."""
        return [run.entries[-1]["mean"] for run in self.runs]

    @cached_property
    def summary(self) -> Mapping[str, Any]:
        """Mean and standard error over the runs; of a single run over its episodes."""
        return summarise(self.scores) if len(self.runs) > 1 else self.runs[0].entries[-1]

    @property
    def human_normalised(self) -> float | None:
        """Of the mean."""
        return human_normalised_score(self.game, self.summary["mean"])

    @property
    def human_normalised_error(self) -> float | None:
        """Its standard error."""
        error, normalised = self.summary["standard_error"], self.human_normalised
        if error is None or normalised is None:
            return None
        return human_normalised_score(self.game, error) - human_normalised_score(self.game, 0.0)

    @cached_property
    def nulls(self) -> dict[str, Mapping[str, Any]]:
        """Null policies by name, the episodes of all runs taken together."""
        return pooled(run.nulls for run in self.runs)

    @property
    def best_null(self) -> str | None:
        """The name of the best null policy, if any was scored."""
        return best_null_policy(self.nulls) if self.nulls else None

    @property
    def null_scores(self) -> list[float]:
        """What the best null policy earned beside each run."""
        summaries = (run.nulls.get(self.best_null) for run in self.runs)
        # Runs without nulls of their own share those of the game, which count once.
        distinct = {id(summary): summary for summary in summaries if summary}
        return [summary["mean"] for summary in distinct.values()]

    @property
    def above(self) -> float | None:
        """By how many standard errors the mean is above the best null policy."""
        return (
            standard_errors_above(self.summary, self.nulls[self.best_null]) if self.nulls else None
        )

    @property
    def published(self) -> dict[str, float]:
        """Published scores by the names of ``PUBLISHED``."""
        found = published_scores(self.game)
        return {name: found[key] for name, key in PUBLISHED.items() if key in found}

    def real_steps(self) -> RealSteps:
        """The most that a run has played."""
        return max((run.real_steps() for run in self.runs), key=sum)

    def curve(self) -> list[Point]:
        """Evaluations of all runs over real steps."""
        places: dict[RealSteps, list[Mapping[str, Any]]] = {}
        for run in self.all_runs:
            for entry in run.entries:
                places.setdefault(run.real_steps(entry["iteration"]), []).append(entry)
        points = []
        for steps, entries in sorted(places.items(), key=lambda item: sum(item[0])):
            means = [entry["mean"] for entry in entries]
            summary = summarise(means) if len(means) > 1 else entries[0]
            points.append(Point(steps, summary["mean"], summary["standard_error"], len(means)))
        return points

    def curve_while_collecting(self) -> list[tuple[int, float]]:
        """(real steps, mean return) of the collections of all runs."""
        places: dict[int, list[float]] = {}
        for run in self.all_runs:
            for steps, mean_return in run.steps_while_collecting():
                places.setdefault(steps, []).append(mean_return)
        return [(steps, sum(means) / len(means)) for steps, means in sorted(places.items())]


@dataclass(frozen=True)
class PresetResult:
    """All runs of one preset."""

    preset: str
    games: Sequence[GameResult]  # in the order of their names

    @property
    def algorithm(self) -> str:
        """``world_model`` or ``ppo``."""
        return self.games[0].all_runs[0].algorithm

    @cached_property
    def comparable_games(self) -> Sequence[GameResult]:
        """Games with a human score."""
        return [game for game in self.games if game.human_normalised is not None]

    @cached_property
    def runs(self) -> Sequence[FoundRun]:
        """All of them."""
        return [run for game in self.games for run in game.all_runs]

    @property
    def versions(self) -> list[str]:
        """Versions of smallwm_tf that made the runs."""
        return sorted({run.version or "unknown" for run in self.runs})

    def mixture(self) -> dict[str, dict[str, list[str]]]:
        """Setting to value to names of runs, wherever the runs' settings differ."""
        first = min(self.runs, key=lambda run: run.version is None)
        keys = sorted({key for run in self.runs for key, *_ in differences(first, run)})
        found: dict[str, dict[str, list[str]]] = {key: {} for key in keys}
        for run in self.runs:
            for key in keys:
                value = run.version if key == "smallwm_tf" else run.settings.get(key)
                found[key].setdefault(str(value), []).append(run.name)
        return found


def by_preset(found: Found) -> list[PresetResult]:
    """The runs by preset and game."""
    results: dict[str, dict[str, list[FoundRun]]] = {}
    for run in found.runs:
        results.setdefault(run.preset, {}).setdefault(run.game, []).append(run)
    return [
        PresetResult(preset, [GameResult(game, runs) for game, runs in games.items()])
        for preset, games in results.items()
    ]


def games_of(column: str) -> list[str]:
    """Games with a figure in a column of the published scores."""
    return [game for game in games_of_table_4() if column in published_scores(game)]


def pooled(nulls: Iterable[Mapping[str, Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Summaries of null policies, by name, as if all their episodes had been one evaluation.

    The standard error is that of a mean of independent means; None where one of them is unknown.
    """
    together: dict[str, dict[int, Mapping[str, Any]]] = {}
    for summaries in nulls:
        for name, summary in summaries.items():
            together.setdefault(name, {})[id(summary)] = summary
    found = {}
    for name, distinct in together.items():
        summaries = list(distinct.values())
        counts = [summary["num_episodes"] or 1 for summary in summaries]
        errors = [summary["standard_error"] for summary in summaries]
        weighted = zip(counts, errors, strict=True)
        found[name] = {
            "mean": sum(n * s["mean"] for n, s in zip(counts, summaries, strict=True))
            / sum(counts),
            "standard_error": None
            if None in errors
            else math.hypot(*(n * error for n, error in weighted)) / sum(counts),
            "num_episodes": sum(counts),
        }
    return found
