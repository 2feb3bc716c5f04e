"""Scores of the real game: published figures to compare with, summaries, and scores.json."""

from __future__ import annotations

import csv
import functools
import importlib.resources
import json
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import load_json, write_atomically
from smallwm_tf.runs.schema import Check, each, fields, named, number, optional, whole

# A full run has 15 entries of 32 returns; a file beyond this size is not one of ours.
_MAX_SCORES_BYTES = 16 * 2**20
_SUMMARY: dict[str, Check] = {
    **dict.fromkeys(("mean", "std", "median", "min", "max"), number()),
    "num_episodes": whole(1),
    "returns": each(number(), least=1),
    "lengths": each(whole()),
    **dict.fromkeys(("standard_error", "human_normalised_mean"), optional(number())),
}
_ENTRY = fields({**_SUMMARY, "num_interactions": whole()}, iteration=whole(1, 10**6))
_NULLS = named(fields(_SUMMARY, mean=number()))


class ScoresError(ValueError):
    """A scores file or a list of scores is not usable; one line says why."""


class PublishedScore(NamedTuple):
    """Mean and standard deviation over training runs, raw episode returns."""

    mean: float
    std: float


def published_scores(game: str) -> dict[str, float]:
    """Published figures of one game by column name of `data/atari_scores.csv`.

    Args:
      game: name as in the paper's Table 4, e.g. "MsPacman".

    Returns:
      Column name -> raw score, without the columns that are empty for this game; an empty dict for
      a game outside Table 4.
    """
    return dict(_table("atari_scores.csv").get(game, {}))


def games_of_table_4() -> list[str]:
    """The 36 games with published figures; the 26 of Atari 100k have a column ``iris``."""
    return list(_table("atari_scores.csv"))


def paper_score(game: str, num_stacked_frames: int) -> PublishedScore | None:
    """The paper's Table 4 for 1 or 4 stacked frames; None where the paper has no figure."""
    variant = {1: "paper_1frame", 4: "paper_4frames"}.get(num_stacked_frames)
    scores = published_scores(game)
    if variant is None or not scores:
        return None
    return PublishedScore(scores[f"{variant}_mean"], scores[f"{variant}_std"])


def human_normalised_score(game: str, score: float) -> float | None:
    """(score - random) / (human - random); None for a game without reference scores."""
    scores = published_scores(game)
    if not scores:
        return None
    return (float(score) - scores["random"]) / (scores["human"] - scores["random"])


def summarise(returns: Sequence[float]) -> dict[str, float | int | None]:
    """Summary of the raw returns of evaluation episodes.

    Args:
      returns: one finite number per episode, at least one.

    Returns:
      mean, std (population), median, min, max, num_episodes and standard_error of the mean
      (sample standard deviation / sqrt(n); None for a single episode).

    Raises:
      ScoresError: no episode, or a return that is not finite.
    """
    values = np.asarray(returns, np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ScoresError(f"returns: need one number per episode, got shape {values.shape}")
    if not np.isfinite(values).all():
        episode = int(np.flatnonzero(~np.isfinite(values))[0])
        raise ScoresError(f"returns: episode {episode} has the return {values[episode]}")
    count = values.size
    return {
        "mean": float(values.mean()),
        "std": float(values.std()),
        "median": float(np.median(values)),
        "min": float(values.min()),
        "max": float(values.max()),
        "num_episodes": count,
        "standard_error": float(values.std(ddof=1) / math.sqrt(count)) if count > 1 else None,
    }


def evaluation_entry(
    game: str, iteration: int, num_interactions: int, returns: Sequence[float]
) -> dict[str, Any]:
    """One entry of scores.json: the evaluation after one iteration.

    Args:
      game: canonical name of the game.
      iteration: 1 for the first.
      num_interactions: steps of the real game used for training so far.
      returns: raw return of each evaluation episode.

    Returns:
      A dict of JSON values that depends on the arguments alone.
    """
    summary = summarise(returns)
    return {
        "iteration": int(iteration),
        "num_interactions": int(num_interactions),
        **summary,
        "human_normalised_mean": human_normalised_score(game, summary["mean"]),
        "returns": [float(value) for value in returns],
    }


def write_scores(path: str | os.PathLike, entries: Sequence[Mapping[str, Any]]) -> None:
    """Writes scores.json: complete or not at all, equal bytes for equal entries.

    Args:
      path: the file; its directory exists.
      entries: one per iteration, as from `evaluation_entry`. Only repeatable values belong here:
        no times, no host names.

    Raises:
      ScoresError: an entry is not a mapping with rising `iteration`, or holds NaN or infinity.
    """
    _check_entries(entries, path)
    try:
        text = json.dumps([dict(entry) for entry in entries], indent=2, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ScoresError(f"{os.fspath(path)}: cannot be written as JSON: {error}") from None
    write_atomically(pathlib.Path(path), lambda file: file.write((text + "\n").encode()))


def read_scores(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Reads scores.json; an absent file has no entries.

    Raises:
      ScoresError: the file is damaged, too large, or not a list of entries.
    """
    try:
        entries = _read_json(path)
    except FileNotFoundError:
        return []
    _check_entries(entries, path)
    return entries


def read_summaries(path: str | os.PathLike) -> dict[str, dict[str, Any]]:
    """Summaries by name, as `null_policies.json` holds them.

    Raises:
      ScoresError: the file is damaged, too large, empty, or a summary has no finite mean.
    """
    summaries = _read_json(path)
    if problem := _NULLS(summaries, "") or ("" if summaries else "is empty"):
        raise ScoresError(f"{os.fspath(path)}: holds no summaries: {problem}; move it away")
    return summaries


def best_null_policy(summaries: Mapping[str, Mapping[str, Any]]) -> str:
    """The name of the one with the highest mean return."""
    return max(summaries, key=lambda name: summaries[name]["mean"])


def standard_errors_above(agent: Mapping[str, Any], null: Mapping[str, Any]) -> float | None:
    """Difference of two means over its standard error; None where that is unknown or 0."""
    errors = [summary["standard_error"] for summary in (agent, null)]
    if None in errors or not any(errors):
        return None
    return (agent["mean"] - null["mean"]) / math.hypot(*errors)


def _read_json(path: str | os.PathLike) -> Any:
    try:
        return load_json(pathlib.Path(path), _MAX_SCORES_BYTES)
    except RunError as error:
        raise ScoresError(f"{error}; move it away") from error


def _check_entries(entries: Any, path: str | os.PathLike) -> None:
    if isinstance(entries, str | bytes) or not isinstance(entries, Sequence):
        raise ScoresError(
            f"{os.fspath(path)}: expected a list with one entry per iteration; move it away"
        )
    last = 0
    for position, entry in enumerate(entries):
        if problem := _ENTRY(entry, f"entry {position}"):
            raise ScoresError(f"{os.fspath(path)}: {problem}; move it away")
        iteration = entry["iteration"]
        if iteration <= last:
            raise ScoresError(
                f"{os.fspath(path)}: entry {position} has iteration {iteration!r}, "
                f"expected a whole number above {last}; move it away"
            )
        last = iteration


@functools.cache
def _table(name: str) -> dict[str, dict[str, float]]:
    """One table of package data: game -> column -> number, empty cells left out."""
    text = importlib.resources.files("smallwm_tf.data").joinpath(name).read_text("utf-8")
    return {
        row.pop("game"): {column: float(cell) for column, cell in row.items() if cell}
        for row in csv.DictReader(text.splitlines())
    }
