"""A trained agent in the real game: its scores, and a film of an episode."""

import contextlib
import itertools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.playing import play_steps
from smallwm_tf.deployment.trained_agent import TrainedAgent
from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.figures import videos
from smallwm_tf.games.opening import open_game
from smallwm_tf.judging.evaluation import evaluate
from smallwm_tf.judging.null_policies import (
    ActionCounter,
    num_null_episodes,
    score_null_policies,
)
from smallwm_tf.runs import scores
from smallwm_tf.runs.progress import Progress

_TIMED_DECISIONS = 21
_FRAMES_PER_SECOND = 15.0  # real time at four emulator frames per step


def score(
    agent: TrainedAgent, temperature: float | None = None, with_null_policies: bool = True
) -> dict[str, Any]:
    """Plays ``evaluation.num_episodes`` episodes, and as many with each null policy if asked to.

    Returns:
      JSON values: summaries, returns and lengths of the agent's episodes, those of the null
      policies, how far it is above the best of them, and the paper's figure where it has one.
    """
    experiment, config = agent.experiment, agent.config
    name = experiment.game.name
    with Progress(config.evaluation.num_episodes, "evaluate", "episode") as progress:
        player = ActionCounter(agent.agent(temperature), len(agent.action_meanings))
        episodes = evaluate(experiment, player, agent.iteration, progress.update)
    paper = scores.paper_score(name, config.game.num_stacked_frames)
    entry = scores.evaluation_entry(name, agent.iteration, agent.num_interactions, episodes.returns)
    nulls = best = above = None
    if with_null_policies:
        blind = player.blind_control()
        with Progress(num_null_episodes(experiment, True), "null policies", "episode") as progress:
            nulls = score_null_policies(experiment, blind, progress.update)
        best = scores.best_null_policy(nulls)
        above = scores.standard_errors_above(entry, nulls[best])
    return {
        "game": name,
        "num_interactions": agent.num_interactions,
        "iteration": agent.iteration,
        "seed": experiment.seed,
        "greedy": agent.temperature(temperature) == 0.0,
        "temperature": agent.temperature(temperature),
        "agent": entry | {"lengths": episodes.lengths},
        "milliseconds_per_decision": milliseconds_per_decision(player, config),
        "null_policies": nulls,
        "best_null_policy": best,
        "standard_errors_above_it": above,
        "paper": None if paper is None else paper._asdict(),
    }


def milliseconds_per_decision(agent: Agent, config: Config) -> float:
    """Median time of one action on one observation, without the game."""
    shape = [1, FRAME_SIZE, FRAME_SIZE, config.game.num_stacked_frames]
    frame, state, times = np.zeros(shape, np.uint8), agent.begin(1), []
    for step in range(_TIMED_DECISIONS):
        begun = time.perf_counter()
        _, state = agent.act(frame, state, np.zeros(2, np.int32), step)
        times.append(time.perf_counter() - begun)
    return round(1000.0 * float(np.median(times)), 3)


def play_episode(
    agent: TrainedAgent, most_steps: int, temperature: float | None = None
) -> Iterator[videos.PlayedStep]:
    """One episode of the real game, or its first ``most_steps``, as the agent sees it."""
    divisor = agent.temperature(temperature) or 1.0
    pair = seed_pair(agent.experiment.seed, "video")
    episode_return = 0.0
    with contextlib.closing(open_game(agent.experiment, "video")) as game:
        game.reset()
        steps = play_steps(game, agent.agent(temperature), pair)
        for step in itertools.islice(steps, most_steps):
            seen = step.observation[np.newaxis]
            (logits, values), codes = agent.policy_on(seen, step.memory)
            episode_return += step.reward
            yield videos.PlayedStep(
                frame=step.frame,
                codes=None if codes is None else codes[0],
                probabilities=tf.nn.softmax(logits[0] / divisor).numpy(),
                action=step.action,
                value=float(values[0]),
                reward=step.reward,
                episode_return=episode_return,
            )
            if step.is_last:
                return


def film_episode(
    agent: TrainedAgent, path: Path, most_steps: int, temperature: float | None = None
) -> None:
    """Writes a GIF or MP4 of ``play_episode``: frame, codes, value and probabilities of actions."""
    pictures = []
    with Progress(None, "film", "step") as progress:
        for number, step in enumerate(play_episode(agent, most_steps, temperature)):
            pictures.append(videos.draw_played_step(step, number, agent.action_meanings))
            progress.update()
    path.parent.mkdir(parents=True, exist_ok=True)
    videos.save_video(path, pictures, _FRAMES_PER_SECOND)
