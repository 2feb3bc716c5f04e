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
from smallwm_tf.figures import run_figures as pictures
from smallwm_tf.figures import videos
from smallwm_tf.figures.strips import absolute_difference
from smallwm_tf.judging import held_out, open_loop
from smallwm_tf.judging.judge import play_held_out
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import reward_precision_and_recall
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import write_json

_FRAMES_PER_SECOND = 6.0  # slow enough to compare by eye


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

    Args:
      agent: its world model dreams.
      replay: from ``play_real_game``.
      start: first step.
      horizon: steps to show, fewer where the episode ends before.
      temperature: divides the logits of drawn codes; 0 takes the most probable ones.

    Raises:
      RunError: the start lies behind the end of the replay.
    """
    if start >= replay.size:
        raise RunError(
            f"start={start}: must be below steps={replay.size}; raise --steps, or start earlier"
        )
    same_episode = replay.window_steps(tf.constant([start]), horizon)[1].numpy()[0]
    pair = seed_pair(agent.experiment.seed, "dream", start)
    return open_loop.open_loop(
        _dreamer(agent, temperature), replay, start, int(same_episode.sum()), pair
    )


def _dreamer(agent: TrainedAgent, temperature: float) -> Dreamer:
    settings = DreamSettings.of(agent.config)._replace(temperature=temperature)
    return Dreamer(agent.world_model, settings)


def save_film(path: Path, loop: open_loop.OpenLoop) -> None:
    """The dream of `pictures.draw_dream` as a GIF or MP4."""
    difference = absolute_difference(loop.real.frames, loop.dreamed)
    labels = ("real", "reconstruction", "dream", "difference", "real codes", "dream codes")
    drawn = []
    for step in range(len(loop.dreamed)):
        shown = (
            loop.real.frames[step],
            loop.real.reconstructions[step],
            loop.dreamed[step],
            difference[step],
            loop.real.codes[step],
            loop.dreamed_codes[step],
        )
        agreement = (loop.real.codes[step] == loop.dreamed_codes[step]).mean()
        caption = (
            f"step {step}    codes that agree {agreement:.0%}    reward: real "
            f"{loop.real_rewards[step]:+.0f}, dream {loop.dreamed_rewards[step]:+.0f}"
        )
        drawn.append(videos.draw_comparison(labels, shown, caption, scale=1))
    videos.save_video(path, drawn, _FRAMES_PER_SECOND)


def measure(
    agent: TrainedAgent, replay: Replay, num_starts: int, horizon: int, temperature: float
) -> held_out.OpenLoopCurves:
    """Open-loop accuracy by horizon from random starts of the replay."""
    seed = agent.experiment.seed
    order = generator(seed, "dream", "measure")
    starts = order.choice(replay.size, min(num_starts, replay.size), replace=False)
    return held_out.open_loop_curves(
        _dreamer(agent, temperature),
        replay,
        np.sort(starts).astype(np.int32),
        horizon,
        seed_pair(seed, "dream", "measure"),
    )


def rewards_by_horizon(curves: held_out.OpenLoopCurves) -> list[dict[str, float | None]]:
    """Precision and recall per reward class, over all steps up to each horizon."""
    return [
        reward_precision_and_recall(counts) for counts in curves.reward_confusion.cumsum(axis=0)
    ]


def save_horizons(
    folder: Path, agent: TrainedAgent, curves: held_out.OpenLoopCurves, settings: dict[str, Any]
) -> None:
    """Writes ``horizon.json`` and draws ``horizon.png``.

    Args:
      folder: where they go.
      agent: for its game's name.
      curves: from ``measure``.
      settings: how they were measured; becomes part of the JSON.
    """
    rewards = rewards_by_horizon(curves)
    listed = {
        name: [_number(value) for value in curve]
        for name, curve in curves._asdict().items()
        if curve.ndim == 1
    }
    content = {"game": agent.experiment.game.name, **settings, **listed}
    for key in rewards[0]:
        content[key] = [entry[key] for entry in rewards]
    content["reward_confusion"] = curves.reward_confusion.tolist()
    write_json(folder / "horizon.json", content)
    occurring: dict[str, Sequence[float]] = {
        key.removeprefix("reward_").replace("_", ", "): np.array(
            [np.nan if entry[key] is None else entry[key] for entry in rewards]
        )
        for key in rewards[0]
        if not key.endswith("zero") and rewards[-1][key] is not None
    }
    title = f"{content['game']}: open-loop predictions of real steps"
    pictures.draw_horizons(folder / "horizon.png", curves, title, occurring)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
