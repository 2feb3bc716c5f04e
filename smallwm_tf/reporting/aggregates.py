"""Many games as one number, with rliable: aggregates, performance profiles, improvement.

Scores come as one list per game, which need not be equally long: where they are, rliable is given
the usual matrix of runs and games, and else one array per game, each resampled on its own.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from smallwm_tf.reporting.comparison import PUBLISHED, GameResult, PresetResult, games_of
from smallwm_tf.runs.scores import human_normalised_score, published_scores

METRICS = ("mean", "median", "IQM", "optimality gap")
BEST_NULLS = "best null policies"
_REPETITIONS = 2000
_SEED = 0
_NUM_THRESHOLDS = 101


@dataclass(frozen=True)
class Estimate:
    """Numbers with their 95 % intervals."""

    label: str  # of whom
    num_games: int  # out of how many
    num_runs: int
    num_single: int  # games with one run, from which an interval learns nothing
    values: np.ndarray  # [K]
    low: np.ndarray | None = None  # [K]; None without a game that has several runs
    high: np.ndarray | None = None


@dataclass(frozen=True)
class Aggregates:
    """Of one preset, over its games with a human score."""

    preset: str
    rows: Sequence[Estimate]  # ``METRICS`` of its runs, its null policies, published scores
    thresholds: np.ndarray  # human-normalised scores [T]
    profiles: Sequence[Estimate]  # shares of runs above each threshold, for rows that have runs


def aggregates(preset: PresetResult) -> Aggregates | None:
    """Aggregates and profiles of a preset; None if no game has a human score."""
    games = preset.comparable_games
    if not games:
        return None
    columns = {preset.preset: [normalised(game, game.scores) for game in games]}
    if all(game.nulls for game in games):
        nulls = [normalised(game, game.null_scores) for game in games]
        columns[f"{preset.preset}: {BEST_NULLS}"] = nulls
    scores = [score for lists in columns.values() for column in lists for score in column]
    thresholds = np.linspace(min(0.0, *scores), max(0.0, *scores), _NUM_THRESHOLDS)
    rows, profiles = [], []
    for label, lists in columns.items():
        both = estimate(label, lists, lambda *given: _metrics_and_profile(thresholds, *given))
        rows.append(_part(both, slice(len(METRICS))))
        profiles.append(_part(both, slice(len(METRICS), None)))
    rows += published([game.game for game in games])
    return Aggregates(preset.preset, rows, thresholds, profiles)


def published(games: Sequence[str]) -> list[Estimate]:
    """Aggregates of published means on some games: values without intervals."""
    rows = []
    for label, column in list(PUBLISHED.items())[2:]:
        means = [published_scores(game)[column] for game in games]
        scores = [
            np.array([human_normalised_score(game, mean)])
            for game, mean in zip(games, means, strict=True)
        ]
        rows.append(Estimate(label, len(games), 0, 0, _metrics(_rectangle(scores))))
    return rows


def published_on_all_games() -> list[Estimate]:
    """Of the 26 games of Atari 100k, then of all 36 of Table 4."""
    return published(games_of("iris")) + published(games_of("random"))


def improvements(presets: Sequence[PresetResult]) -> list[tuple[str, Estimate]]:
    """Chances that a run beats one of somebody else on the same game: (of whom, over whom).

    Every preset over its null policies, and every preset of world models over every one of PPO
    with which it shares a game. Ties count half; games count equally.
    """
    found = []
    for preset in presets:
        games = [game for game in preset.games if game.nulls]
        if games:
            pairs = [(game.scores, game.null_scores) for game in games]
            found.append((preset.preset, _improvement(BEST_NULLS, pairs)))
    for one in presets:
        for other in presets:
            if (one.algorithm, other.algorithm) == ("world_model", "ppo"):
                theirs = {game.game: game.scores for game in other.games}
                pairs = [(g.scores, theirs[g.game]) for g in one.games if g.game in theirs]
                if pairs:
                    found.append((one.preset, _improvement(other.preset, pairs)))
    return found


def normalised(game: GameResult, scores: Sequence[float]) -> list[float]:
    """Human-normalised scores of a game that has a human score."""
    return [human_normalised_score(game.game, score) for score in scores]


def estimate(
    label: str, columns: Sequence[Sequence[float]], function: Callable[..., np.ndarray]
) -> Estimate:
    """A function of scores, one list per game, with intervals of rliable's stratified bootstrap.

    The function takes one matrix [runs, games], or several arrays [runs], one per game.
    """
    lengths = [len(column) for column in columns]
    arrays = [np.asarray(column, float) for column in columns]
    scores = [np.stack(arrays, axis=1)] if len(set(lengths)) == 1 else arrays
    shape = len(columns), sum(lengths), lengths.count(1)
    return _with_intervals(Estimate(label, *shape, function(*scores)), scores, function)


def _improvement(label: str, pairs: Sequence[tuple[Sequence[float], Sequence[float]]]) -> Estimate:
    """Of pairs of lists, the scores of two on one game."""
    columns = [np.asarray(column, float) for pair in pairs for column in pair]
    num_single = sum(len(ours) == len(theirs) == 1 for ours, theirs in pairs)
    shape = len(pairs), sum(len(ours) for ours, _ in pairs), num_single
    return _with_intervals(Estimate(label, *shape, _chance(*columns)), columns, _chance)


def _with_intervals(
    point: Estimate, scores: Sequence[np.ndarray], function: Callable[..., np.ndarray]
) -> Estimate:
    from rliable.library import get_interval_estimates

    if point.num_single == point.num_games:
        return point
    given = scores[0] if len(scores) == 1 else list(scores)
    state = np.random.get_state()
    np.random.seed(_SEED)  # rliable draws from NumPy's global stream, whatever it is given
    try:
        _, intervals = get_interval_estimates({"": given}, function, reps=_REPETITIONS)
    finally:
        np.random.set_state(state)
    low, high = intervals[""]
    return replace(point, low=low, high=high)


def _chance(*columns: np.ndarray) -> np.ndarray:
    """Chance that the first of a pair is above the second; columns are pairs, game by game."""
    pairs = zip(columns[::2], columns[1::2], strict=True)
    signs = [np.sign(ours[:, None] - theirs).mean() for ours, theirs in pairs]
    return np.array([0.5 + np.mean(signs) / 2])


def _metrics_and_profile(thresholds: np.ndarray, *given: np.ndarray) -> np.ndarray:
    scores = given[0] if len(given) == 1 else _rectangle(given)
    above = np.sort(scores, axis=None)
    profile = 1.0 - np.searchsorted(above, thresholds, side="right") / above.size
    return np.concatenate([_metrics(scores), profile])


def _metrics(scores: np.ndarray) -> np.ndarray:
    """``METRICS`` of scores [runs, games]."""
    from rliable import metrics

    return np.array(
        [
            metrics.aggregate_mean(scores),
            metrics.aggregate_median(scores),
            metrics.aggregate_iqm(scores),
            metrics.aggregate_optimality_gap(scores),
        ]
    )


def _rectangle(columns: Sequence[np.ndarray]) -> np.ndarray:
    """Columns of different lengths as a matrix in which games weigh the same: runs are repeated."""
    rows = math.lcm(*(len(column) for column in columns))
    return np.stack([np.repeat(column, rows // len(column)) for column in columns], axis=1)


def _part(whole: Estimate, part: slice) -> Estimate:
    limits = {name: getattr(whole, name) for name in ("values", "low", "high")}
    limits = {name: None if limit is None else limit[part] for name, limit in limits.items()}
    return replace(whole, **limits)
