"""A world model judged by eye and by number: its dreams beside what really happened.

The real game is played by the agent, at ``collection.temperature``; nothing was trained on that.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.deployment.trained_agent import TrainedAgent
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.figures.curves import draw_horizons
from smallwm_tf.judging import held_out, open_loop
from smallwm_tf.judging.judge import play_held_out
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import reward_precision_and_recall
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import write_json


def play_real_game(agent: TrainedAgent, num_steps: int) -> Replay:
    """Real steps of the agent to compare dreams with."""
    agent = agent.with_settings(inspection__held_out_steps=num_steps)
    player = agent.agent(agent.config.collection.temperature)
    return play_held_out(agent.experiment, player, agent.iteration + 1)


def choose_starts(replay: Replay, count: int, horizon: int, seed: int) -> list[int]:
    """First steps of dreams, far from each other and from the ends of their episodes."""
    random = generator(seed, "dream", "starts")
    chosen = {open_loop.longest_start(replay, horizon, random)[0] for _ in range(count)}
    return sorted(chosen)


def dream_beside_reality(
    agent: TrainedAgent, replay: Replay, start: int, horizon: int, temperature: float
) -> open_loop.OpenLoop:
    """A dream from a real step on, with the actions that were really taken.

    It has ``horizon`` steps, fewer where the episode ends before. The temperature divides the
    logits of drawn codes; 0 takes the most probable ones.

    Raises:
      RunError: the start lies behind the end of the replay.
    """
    if start >= replay.size:
        raise RunError(
            f"start={start}: must be below steps={replay.size}; raise --steps, or start earlier"
        )
    steps = int(replay.window_steps(tf.constant([start]), horizon)[1].numpy()[0].sum())
    pair = seed_pair(agent.experiment.seed, "dream", start)
    return open_loop.open_loop(_dreamer(agent, temperature), replay, start, steps, pair)


def _dreamer(agent: TrainedAgent, temperature: float) -> Dreamer:
    settings = DreamSettings.of(agent.config)._replace(temperature=temperature)
    return Dreamer(agent.world_model, settings)


def measure(
    agent: TrainedAgent, replay: Replay, num_starts: int, horizon: int, temperature: float
) -> held_out.OpenLoopCurves:
    """Open-loop accuracy by horizon from random starts of the replay."""
    path = (agent.experiment.seed, "dream", "measure")
    starts = generator(*path).choice(replay.size, min(num_starts, replay.size), replace=False)
    starts = np.sort(starts).astype(np.int32)
    dreamer = _dreamer(agent, temperature)
    measures = held_out.HeldOutMeasures(
        agent.world_model, replay, agent.config.dynamics.window_length
    )
    return measures.open_loop(dreamer, starts, horizon, seed_pair(*path))


def save_horizons(
    folder: Path, agent: TrainedAgent, curves: held_out.OpenLoopCurves, settings: dict[str, Any]
) -> None:
    """Writes curves and settings of ``measure`` to ``horizon.json``, draws ``horizon.png``."""
    content = {"game": agent.experiment.game.name, **settings}
    for name, curve in curves._asdict().items():
        if curve.ndim == 1:
            content[name] = [float(value) if np.isfinite(value) else None for value in curve]
    # Precision and recall per reward class, over all steps up to each horizon.
    rewards = [reward_precision_and_recall(c) for c in curves.reward_confusion.cumsum(axis=0)]
    occurring: dict[str, Sequence[float]] = {}
    for key in rewards[0]:
        content[key] = [entry[key] for entry in rewards]
        if not key.endswith("zero") and content[key][-1] is not None:
            label = key.removeprefix("reward_").replace("_", ", ")
            occurring[label] = np.array(content[key], float)  # None becomes NaN
    content["reward_confusion"] = curves.reward_confusion.tolist()
    write_json(folder / "horizon.json", content)
    title = f"{content['game']}: open-loop predictions of real steps"
    draw_horizons(folder / "horizon.png", curves, title, occurring)
