"""Dreams with the actions that were really taken, beside what really happened.

Shapes: S starts, H horizon, n observations.
"""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.event_heads import class_rewards, reward_classes
from smallwm_tf.models.imagination import DreamableModel, Dreamer, DreamState


class Unrolled(NamedTuple):
    """What the world model predicts step after step."""

    codes: np.ndarray  # ẑ_1 … ẑ_H, int32 [S, H, 6, 6]
    rewards: np.ndarray  # r̂_0 … r̂_{H-1}, float32 [S, H]
    reward_probabilities: np.ndarray  # of −1, 0 and 1, float32 [S, H, 3]


class Reconstructions(NamedTuple):
    """Newest frames of observations, their codes, and what the decoder makes of the codes."""

    frames: np.ndarray  # uint8 [n, 96, 96]
    codes: np.ndarray  # int32 [n, 6, 6]
    reconstructions: np.ndarray  # uint8 [n, 96, 96]


class OpenLoop(NamedTuple):
    """A dream with the actions that were really taken, beside reality; H steps."""

    real: Reconstructions  # of the real observations
    dreamed: np.ndarray  # uint8 [H, 96, 96]; the first one is real
    dreamed_codes: np.ndarray  # int32 [H, 6, 6]
    real_rewards: np.ndarray  # [H], clipped and rounded
    dreamed_rewards: np.ndarray  # [H]


def start_at(dreamer: Dreamer, replay: Replay, starts: np.ndarray) -> DreamState:
    """Dreams that begin at real steps int [S], with the context that the dreamer wants."""
    steps, num_frames = tf.constant(starts, tf.int32), dreamer.world_model.num_stacked_frames
    past = replay.past(steps, dreamer.settings.context_steps, num_frames)
    return dreamer.start(replay.observations(steps, num_frames), past)


def unroll(
    dreamer: Dreamer, state: DreamState, actions: tf.Tensor, seed: np.ndarray | None
) -> Unrolled:
    """Dreams on with given actions a_0 … a_{H-1}, int32 [S, H].

    Codes and rewards are drawn from the seed, an int32 pair; None takes the most probable ones.
    """
    found = []
    for t in range(actions.shape[1]):
        pair = None if seed is None else tf.random.experimental.stateless_fold_in(seed, t)
        dreamed, state = dreamer.compiled_step(state, actions[:, t], pair)
        probabilities = dreamed.reward_distribution.probabilities()
        found.append((dreamed.codes.numpy(), dreamed.rewards.numpy(), probabilities.numpy()))
    return Unrolled(*(np.stack(parts, axis=1) for parts in zip(*found, strict=True)))


def reconstruct(world_model: DreamableModel, replay: Replay, steps: np.ndarray) -> Reconstructions:
    """Encodes and decodes the observations at the given steps [n]."""
    observations = replay.observations(tf.constant(steps, tf.int32), world_model.num_stacked_frames)
    codes = world_model.encode(observations)
    frames = observations[..., -1].numpy()
    return Reconstructions(frames, codes.numpy(), pictures_of(world_model, codes))


def open_loop(
    dreamer: Dreamer, replay: Replay, start: int, length: int, seed: np.ndarray
) -> OpenLoop:
    """Dreams from one real observation on, with the real actions of H = ``length`` steps.

    They lie in one episode. The seed is an int32 pair; at temperature 0 rewards, too, are the most
    probable ones.
    """
    steps = np.arange(start, start + length)
    real = reconstruct(dreamer.world_model, replay, steps)
    actions = tf.gather(replay.actions, steps)[tf.newaxis]
    pair = seed if dreamer.settings.temperature else None
    dream = unroll(dreamer, start_at(dreamer, replay, steps[:1]), actions, pair)
    codes = np.concatenate([real.codes[:1], dream.codes[0, :-1]])
    return OpenLoop(
        real,
        pictures_of(dreamer.world_model, tf.constant(codes)),
        codes,
        class_rewards(reward_classes(tf.gather(replay.rewards, steps))).numpy(),
        dream.rewards[0],
    )


def longest_start(replay: Replay, length: int, generator: np.random.Generator) -> tuple[int, int]:
    """A random first step in the newest half of the replay, and how many of ``length`` follow it.

    A few are drawn; the one whose episode goes on longest is taken.
    """
    size = replay.size
    starts = replay.episode_starts.numpy()[:size]
    ends = np.append(np.flatnonzero(np.diff(starts)) + 1, size)
    candidates = generator.integers(size // 2, size, size=16)
    left = np.array([ends[np.searchsorted(ends, c, side="right")] - c for c in candidates])
    best = int(np.argmax(np.minimum(left, length)))
    return int(candidates[best]), int(min(left[best], length))


def pictures_of(world_model: DreamableModel, codes: tf.Tensor) -> np.ndarray:
    """Newest frames of codes: [n, 6, 6] → uint8 [n, 96, 96]."""
    pixels = world_model.decode(codes)[..., -1]
    return tf.cast(tf.round(pixels * 255.0), tf.uint8).numpy()
