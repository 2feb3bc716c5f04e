"""Run directories as a training leaves them, without a training."""

import copy
import json

import numpy as np
from PIL import Image

from smallwm_tf.runs.scores import evaluation_entry, summarise, write_scores

CONFIG = {
    "collection": {"num_iterations": 3, "first_iteration_steps": 100, "steps_per_iteration": 50},
    "dynamics": {"epochs": [1, 1, 1]},
    "ppo": {"num_updates": [10, 10, 10], "check_interval": 5},
    "inspection": {"held_out_steps": 30, "num_starts": 3, "horizon": 7},
}


def make_run(
    path,
    game="Alien",
    seed=0,
    preset="quick",
    returns=((1.0, 3.0), (2.0, 4.0), (10.0, 20.0, 30.0)),
    config=None,
    version="0.1.0",
    nulls=None,
):
    """Writes a run directory.

    Args:
      path: where.
      game, seed, preset, version: as recorded.
      returns: those of the evaluations after iterations 1, 2, ...
      config: sections to settings that differ from ``CONFIG``.
      nulls: name to returns; None for none.
    """
    path.mkdir(parents=True)
    settings = copy.deepcopy(CONFIG)
    for section, values in (config or {}).items():
        if isinstance(values, dict):
            settings.setdefault(section, {}).update(values)
        else:
            settings[section] = values
    record = {"game": game, "seed": seed, "preset": preset, "config": settings, "changes": []}
    write_json(path / "config.json", record)
    write_json(path / "versions.json", {"packages": {"smallwm_tf": version}, "commit": f"c{seed}"})
    entries = [
        evaluation_entry(game, number, 50 + 50 * number, each)
        for number, each in enumerate(returns, 1)
    ]
    write_scores(path / "scores.json", entries)
    if nulls:
        write_json(path / "null_policies.json", summaries(nulls))
    lines = [
        {"event": "collect", "iteration": n, "step": 50 + 50 * n, "mean_return": float(n)}
        for n in range(1, len(returns) + 1)
    ]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def summaries(returns_by_name):
    """What null_policies.json holds."""
    return {name: {**summarise(r), "returns": list(r)} for name, r in returns_by_name.items()}


def make_pictures(path, film=False):
    """Dream strips, codes and a film of a run."""
    (path / "figures").mkdir(exist_ok=True)
    noise = np.random.default_rng(0).integers(0, 255, [60, 300, 3], dtype=np.uint8)
    for name in ("dream_001", "dream_003", "codes_003"):
        Image.fromarray(noise).save(path / "figures" / f"{name}.png")
    if film:
        Image.fromarray(noise).save(path / "episode.gif")


def write_json(path, content):
    """Makes the folder, too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
