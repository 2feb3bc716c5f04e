"""A trained agent in the real game: its scores, and a film of an episode."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.deployment.trained_agent import TrainedAgent, draw_actions
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.figures import videos
from smallwm_tf.judging.evaluation import evaluate, open_game, score_random_policy
from smallwm_tf.runs import scores
from smallwm_tf.runs.progress import Progress

_FRAMES_PER_SECOND = 15.0  # real time at four emulator frames per step


def score(agent: TrainedAgent, with_random_policy: bool = True) -> dict[str, Any]:
    """Plays ``evaluation.num_episodes`` episodes at ``evaluation.temperature`` (0: greedy).

    Args:
      agent: what plays.
      with_random_policy: also score the uniformly random policy, as many episodes.

    Returns:
      JSON values: summaries, returns and lengths of the agent's episodes, the random policy's
      summary, and the paper's figure where it has one.
    """
    experiment, config = agent.experiment, agent.config
    name = experiment.game.name
    with Progress(config.evaluation.num_episodes, "evaluate", "episode") as progress:
        episodes = evaluate(experiment, agent.actor, agent.iteration, progress.update)
    random_policy = None
    if with_random_policy:
        random_policy = score_random_policy(experiment)
        random_policy["human_normalised_mean"] = scores.human_normalised_score(
            name, random_policy["mean"]
        )
    paper = scores.paper_score(name, config.game.num_stacked_frames)
    entry = scores.evaluation_entry(name, agent.iteration, agent.num_interactions, episodes.returns)
    return {
        "game": name,
        "num_interactions": agent.num_interactions,
        "iteration": agent.iteration,
        "seed": experiment.seed,
        "greedy": config.evaluation.temperature == 0.0,
        "temperature": config.evaluation.temperature,
        "agent": entry | {"lengths": episodes.lengths},
        "random_policy": random_policy,
        "paper": None if paper is None else paper._asdict(),
    }


def play_steps(agent: TrainedAgent, most_steps: int) -> Iterator[videos.PlayedStep]:
    """One episode of the real game, or its first steps.

    Args:
      agent: what plays, at ``evaluation.temperature``.
      most_steps: where to stop if the episode is longer.
    """
    experiment, config = agent.experiment, agent.config
    game = open_game(experiment, "video")
    pair = tf.constant(seed_pair(experiment.seed, "video"))
    episode_return = 0.0
    with contextlib.closing(game):
        time_step = game.reset()
        for number in range(most_steps):
            codes = agent.encode(time_step.observation[np.newaxis])
            logits, values = agent.look(codes)
            temperature = config.evaluation.temperature
            action = int(draw_actions(logits, temperature, pair, number)[0])
            frame = time_step.observation[..., -1].copy()
            time_step = game.step(np.int32(action))
            episode_return += float(time_step.reward)
            yield videos.PlayedStep(
                frame=frame,
                codes=codes[0],
                probabilities=tf.nn.softmax(logits[0]).numpy(),
                action=action,
                value=float(values[0]),
                reward=float(time_step.reward),
                episode_return=episode_return,
            )
            if time_step.is_last():
                return


def film_episode(agent: TrainedAgent, path: Path, most_steps: int) -> None:
    """Writes a GIF or MP4 of an episode: frame, codes, value and probabilities of actions.

    Args:
      agent: what plays.
      path: ends with .gif or .mp4.
      most_steps: where to stop if the episode is longer.
    """
    pictures = []
    with Progress(None, "film", "step") as progress:
        for number, step in enumerate(play_steps(agent, most_steps)):
            pictures.append(videos.draw_played_step(step, number, agent.action_meanings))
            progress.update()
    path.parent.mkdir(parents=True, exist_ok=True)
    videos.save_video(path, pictures, _FRAMES_PER_SECOND)
