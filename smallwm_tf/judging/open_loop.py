"""Looking inside a world model: reconstructions, and dreams beside what really happened."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.learning.dream_environment import warm_state
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.dynamics import class_rewards, reward_classes
from smallwm_tf.models.imagination import unroll
from smallwm_tf.models.world_model import WorldModel


class Reconstructions(NamedTuple):
    """Newest frames of observations, their codes, and what the decoder makes of the codes."""

    frames: np.ndarray  # uint8 [n, 96, 96]
    codes: np.ndarray  # int32 [n, 6, 6]
    reconstructions: np.ndarray  # uint8 [n, 96, 96]


class OpenLoop(NamedTuple):
    """A dream with the actions that were really taken, beside reality; T steps."""

    real: Reconstructions  # of the real observations
    dreamed: np.ndarray  # uint8 [T, 96, 96]; the first one is real
    dreamed_codes: np.ndarray  # int32 [T, 6, 6]
    real_rewards: np.ndarray  # [T], clipped and rounded
    dreamed_rewards: np.ndarray  # [T]


def reconstruct(world_model: WorldModel, replay: Replay, steps: np.ndarray) -> Reconstructions:
    """Encodes and decodes the observations at the given steps [n]."""
    vqvae = world_model.vqvae
    observations = replay.observations(tf.constant(steps, tf.int32), vqvae.num_stacked_frames)
    codes = vqvae.encode(observations)
    return Reconstructions(
        observations[..., -1].numpy(), codes.numpy(), _pictures(world_model, codes)
    )


def open_loop(
    world_model: WorldModel,
    replay: Replay,
    start: int,
    length: int,
    seed: np.ndarray,
    context_steps: int = 0,
    temperature: float = 1.0,
) -> OpenLoop:
    """Dreams from one real observation on, with the real actions.

    Args:
      world_model: what dreams.
      replay: what really happened; ``length`` steps from ``start`` on lie in one episode.
      start: first step.
      length: T.
      seed: int32 pair for the sampled codes and rewards.
      context_steps: real steps before the start that the recurrent state has seen.
      temperature: divides the logits of the codes.
    """
    steps = np.arange(start, start + length)
    real = reconstruct(world_model, replay, steps)
    vqvae = world_model.vqvae
    past = replay.past(tf.constant(steps[:1], tf.int32), context_steps, vqvae.num_stacked_frames)
    state = warm_state(world_model, past, world_model.dynamics.prepare("fewest_products"))
    actions = tf.gather(replay.actions, steps)[tf.newaxis]
    dream = unroll(world_model, tf.constant(real.codes[:1]), actions, state, seed, temperature)
    codes = np.concatenate([real.codes[:1], dream.codes[0, :-1]])
    return OpenLoop(
        real,
        _pictures(world_model, tf.constant(codes)),
        codes,
        class_rewards(reward_classes(tf.gather(replay.rewards, steps))).numpy(),
        dream.rewards[0],
    )


def longest_start(replay: Replay, length: int, generator: np.random.Generator) -> tuple[int, int]:
    """A random start in the newest half of the replay, and how many steps its episode leaves.

    Returns:
      First step, and the number of steps to show, at most ``length``.
    """
    size = replay.size
    starts = replay.episode_starts.numpy()[:size]
    ends = np.append(np.flatnonzero(np.diff(starts)) + 1, size)
    candidates = generator.integers(size // 2, size, size=16)
    left = np.array([ends[np.searchsorted(ends, c, side="right")] - c for c in candidates])
    best = int(np.argmax(np.minimum(left, length)))
    return int(candidates[best]), int(min(left[best], length))


def _pictures(world_model: WorldModel, codes: tf.Tensor) -> np.ndarray:
    """Mean of p(x|z), newest frame: [n, 6, 6] → uint8 [n, 96, 96]."""
    means = world_model.vqvae.mean_pixels(codes)[..., -1]
    return tf.cast(tf.round(means * 255.0), tf.uint8).numpy()
