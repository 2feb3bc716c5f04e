"""What runs' world models are worth, game by game: size, held-out predictions, speed of dreams.

All of it is read from the run's metrics, the time of a decision from what ``evaluate`` has filed.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smallwm_tf.runs.scores import summarise

#: Names of measures by the heading of their column; the metrics' own names where they have one.
MEASURES = {
    "parameters": "parameters",
    "nats per grid": "latent_loss",
    "right codes, 5 steps": "open_loop_sampled_accuracy_5",
    "15 steps": "open_loop_sampled_accuracy_15",
    "objects doubled, 5 steps": "open_loop_more_objects_5",
    "vanished": "open_loop_fewer_objects_5",
    "reward skill": "reward_skill",
    "dream steps per second": "dream_steps_per_second",
    "milliseconds per decision": "milliseconds_per_decision",
}
_HELD_OUT = [name for name in MEASURES.values() if name.startswith("open_loop_")]
_HELD_OUT += ["latent_loss", "reward_skill"]


def measures_of(
    lines: Iterable[Mapping[str, Any]], settings: Mapping[str, Any]
) -> dict[str, float]:
    """Measures by name: those of the last held-out judgement, and means over the whole run.

    The settings are a run's by key. Dream steps per second are those of the phases in which the
    policy learns, everything included.
    """
    found, seconds, updates = {}, 0.0, 0
    for line in lines:
        if line["event"] == "networks":
            found["parameters"] = line.get("training_total")
        elif line["event"] == "held_out":
            found |= {name: line.get(name) for name in _HELD_OUT}
        elif line["event"] == "phase" and line.get("phase") == "learn_policy":
            taken, number = line.get("seconds"), line["iteration"] - 1
            if _is_number(taken) and 0 <= number < len(settings["ppo.num_updates"]):
                seconds += taken
                updates += settings["ppo.num_updates"][number]
    if seconds > 0.0 and settings["algorithm"] == "world_model":
        steps = updates * settings["dream.num_dreams"] * settings["dream.horizon"]
        found["dream_steps_per_second"] = steps / seconds
    return {name: value for name, value in found.items() if _is_number(value)}


@dataclass(frozen=True)
class WorldModelRow:
    """The runs of one preset on one game."""

    game: str
    preset: str
    num_runs: int
    measures: Mapping[str, Mapping[str, Any]]  # summaries over the runs by name
    score: Mapping[str, Any]  # summary


def rows_of(presets: Sequence[Any]) -> list[WorldModelRow]:
    """A row for each ``PresetResult`` and game that has a world model, games together."""
    rows = []
    for preset in presets:
        for game in preset.games:
            measured = [run.measures for run in game.runs]
            summaries = {}
            for name in MEASURES.values():
                if values := [each[name] for each in measured if name in each]:
                    summaries[name] = summarise(values)
            if "latent_loss" in summaries:
                row = (game.game, preset.preset, len(game.runs), summaries, game.summary)
                rows.append(WorldModelRow(*row))
    return sorted(rows, key=lambda row: (row.game, row.preset))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)
