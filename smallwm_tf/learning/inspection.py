"""Looking inside a world model: reconstructions, and dreams beside what really happened."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.dynamics import (
    class_rewards,
    latent_distribution,
    reward_classes,
    reward_distribution,
)
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
    world_model: WorldModel, replay: Replay, start: int, length: int, seed: np.ndarray
) -> OpenLoop:
    """Dreams from one real observation on, with the real actions.

    Args:
      world_model: what dreams.
      replay: what really happened; ``length`` steps from ``start`` on lie in one episode.
      start: first step.
      length: T.
      seed: int32 pair for the sampled codes and rewards.
    """
    steps = np.arange(start, start + length)
    real = reconstruct(world_model, replay, steps)
    actions = tf.gather(replay.actions, steps)
    rewards = class_rewards(reward_classes(tf.gather(replay.rewards, steps))).numpy()
    step = tf.function(world_model.step)
    codes = tf.constant(real.codes[:1])
    state = world_model.dynamics.initial_state(1)
    kernels = world_model.dynamics.prepare("fewest_products")
    all_codes, all_rewards = [], []
    for t in range(length):
        all_codes.append(codes[0].numpy())
        latent_logits, reward_logits, state = step(codes, actions[t : t + 1], state, kernels)
        pair = tf.random.experimental.stateless_fold_in(seed, t)
        codes = latent_distribution(latent_logits).sample(seed=pair)
        pair = tf.random.experimental.stateless_fold_in(pair, 1)
        reward = class_rewards(reward_distribution(reward_logits).sample(seed=pair))
        all_rewards.append(float(reward[0]))
    dreamed_codes = np.stack(all_codes)
    return OpenLoop(
        real,
        _pictures(world_model, tf.constant(dreamed_codes)),
        dreamed_codes,
        rewards,
        np.array(all_rewards),
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
    means = world_model.vqvae.decode(codes).mean()[..., -1]
    return tf.cast(tf.round(means * 255.0), tf.uint8).numpy()
