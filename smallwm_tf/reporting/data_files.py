"""A report as data: a CSV file, and a JSON file for rliable."""

import csv
import io
import json
from collections.abc import Sequence
from typing import Any

from smallwm_tf.reporting.aggregates import normalised
from smallwm_tf.reporting.comparison import PresetResult
from smallwm_tf.reporting.found_runs import Found, FoundRun
from smallwm_tf.runs.scores import (
    best_null_policy,
    human_normalised_score,
    standard_errors_above,
)


def csv_text(found: Found) -> str:
    """One row per run, numbers as they are."""
    rows = [_csv_row(run) for run in found.runs]
    text = io.StringIO()
    writer = csv.DictWriter(text, rows[0].keys(), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _csv_row(run: FoundRun) -> dict[str, Any]:
    last = run.entries[-1]
    best = best_null_policy(run.nulls) if run.nulls else None
    null = run.nulls.get(best, {"mean": None, "standard_error": None})
    return {
        "preset": run.preset,
        "algorithm": run.algorithm,
        "game": run.game,
        "seed": run.seed,
        "run": run.name,
        "smallwm_tf": run.version,
        "iteration": last["iteration"],
        "num_iterations": run.num_iterations,
        **run.real_steps()._asdict(),
        **{key: value for key, value in last.items() if key != "iteration"},
        "human_normalised": human_normalised_score(run.game, last["mean"]),
        "best_null": best,
        "best_null_mean": null["mean"],
        "best_null_standard_error": null["standard_error"],
        "standard_errors_above": standard_errors_above(last, null) if best else None,
    }


def rliable_json(presets: Sequence[PresetResult]) -> str:
    """Scores of runs by preset, kind and game; games without a human score are in "raw" only."""
    content = {
        preset.preset: {
            "raw": {game.game: game.scores for game in preset.games},
            "human_normalised": {
                game.game: normalised(game, game.scores) for game in preset.comparable_games
            },
        }
        for preset in presets
    }
    return json.dumps(content, indent=1, allow_nan=False) + "\n"
