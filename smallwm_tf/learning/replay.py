"""Everything the agent has seen: one uint8 frame per step, stacked only when it is read.

Step t is (frame_t, a_t, r_t, terminated_t, truncated_t, lost_life_t): the newest frame of the
observation, the action taken on it, the raw reward it earned, whether the episode truly ended with
it, whether a time limit cut it off there, and whether a life was lost. The frame after either end
belongs to the next episode. Nothing that is read ever reaches across such a boundary:

    episode        |------- A -------|---- B ...
    steps           0  1  2  3  4  5  6  7
    stack of 6      6  6  6  6                       (F = 4: repeats B's first frame)
    window from 3   3  4  5  ·  ·                    (T = 5: steps 6, 7 are not valid)

Shapes: N steps held, B batch, T window length, F stacked frames.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.models.imagination import Past
from smallwm_tf.models.policy import NO_ACTION
from smallwm_tf.runs.replay_files import STEPS


class Windows(NamedTuple):
    """Windows of consecutive steps of one episode each.

    ``valid[:, t]`` says that step t belongs to the window's episode, the rest is padding;
    ``valid[:, t + 1]`` therefore says whether step t has a next observation.
    """

    observations: tf.Tensor  # uint8 [B, T, 96, 96, F]
    actions: tf.Tensor  # int32 [B, T]
    rewards: tf.Tensor  # float32 [B, T], raw
    ends: tf.Tensor  # bool [B, T], whether the step cost a life or ended the episode
    valid: tf.Tensor  # bool [B, T]


class Replay(tf.Module):
    """A flat buffer of at most ``capacity`` steps; frames have height and width in pixels."""

    def __init__(self, capacity: int, frame_shape: tuple[int, int] = (96, 96)):
        super().__init__(name="replay")
        self.capacity = capacity

        def buffer(name: str, shape: list[int], dtype: tf.DType) -> tf.Variable:
            # Not initialised: memory is taken as steps come in, and nothing beyond them is read.
            return tf.Variable(
                lambda: tf.raw_ops.Empty(shape=shape, dtype=dtype), trainable=False, name=name
            )

        # Frames stay in main memory: a gather of a few stacks is cheap, 1 GB on a GPU is not.
        with tf.device("/CPU:0"):
            self.frames = buffer("frames", [capacity, *frame_shape], tf.uint8)
            self.actions = buffer("actions", [capacity], tf.int32)
            self.rewards = buffer("rewards", [capacity], tf.float32)
            self.terminated = buffer("terminated", [capacity], tf.bool)
            self.truncated = buffer("truncated", [capacity], tf.bool)
            self.lost_life = buffer("lost_life", [capacity], tf.bool)
            self.episode_starts = buffer("episode_starts", [capacity], tf.int32)
            self.size_variable = tf.Variable(0, trainable=False, name="size", dtype=tf.int32)

    @property
    def size(self) -> int:
        """Number of steps held."""
        return int(self.size_variable)

    def clear(self) -> None:
        """Forgets all steps."""
        self.size_variable.assign(0)

    def append(self, **steps: np.ndarray) -> None:
        """Adds consecutive steps; they continue the last episode unless that was over.

        Frames are uint8 [n, 96, 96], actions int [n], rewards raw, float [n], terminated, truncated
        and lost_life bool [n].

        Raises:
          ValueError: if there is no room left, or lengths differ.
        """
        first, lengths = self.size, {name: len(steps[name]) for name in STEPS}
        count = lengths["frames"]
        if first + count > self.capacity:
            raise ValueError(
                f"the replay holds {first} of {self.capacity} steps; {count} more do not fit"
            )
        if set(lengths.values()) != {count}:
            raise ValueError(f"steps have the lengths {lengths}; their numbers must agree")
        is_last = np.logical_or(steps["terminated"], steps["truncated"])
        steps["episode_starts"] = self._starts_of(first, is_last)
        with tf.device("/CPU:0"):
            new = tf.range(first, first + count)
            for name, values in steps.items():
                # In place; assigning to a slice would keep a second copy of everything alive.
                variable = getattr(self, name)
                values = np.asarray(values, variable.dtype.as_numpy_dtype)
                variable.scatter_update(tf.IndexedSlices(values, new))
            self.size_variable.assign(first + count)

    def as_arrays(self) -> dict[str, np.ndarray]:
        """The arguments of an ``append`` that would fill an empty replay with the same steps."""
        return {name: getattr(self, name)[: self.size].numpy() for name in STEPS}

    def _starts_of(self, first: int, is_last: np.ndarray) -> np.ndarray:
        """First steps of the episodes of new steps, of which ``is_last`` end theirs."""
        start, last = first, first - 1
        if first and not (self.terminated[last] or self.truncated[last]):
            start = int(self.episode_starts[last])
        starts = np.empty(len(is_last), np.int32)
        for i, episode_over in enumerate(is_last):
            starts[i] = start
            if episode_over:
                start = first + i + 1
        return starts

    def observations(self, indices: tf.Tensor, num_stacked_frames: int) -> tf.Tensor:
        """Stacks of frames, oldest first: [...] → uint8 [..., 96, 96, F].

        Frames before the first one of the episode are replaced by that first one.
        """
        starts = tf.gather(self.episode_starts, indices)
        ages = tf.range(num_stacked_frames - 1, -1, -1)
        stacked = tf.maximum(indices[..., tf.newaxis] - ages, starts[..., tf.newaxis])
        frames = tf.gather(self.frames, stacked)  # [..., F, 96, 96]
        if num_stacked_frames == 1:
            shape = tf.shape(frames)
            reordered = tf.reshape(frames, tf.concat([shape[:-3], shape[-2:], [1]], axis=0))
        else:
            rank = frames.shape.rank
            reordered = tf.transpose(frames, [*range(rank - 3), rank - 2, rank - 1, rank - 3])
        return tf.ensure_shape(
            reordered, [*indices.shape, *self.frames.shape[1:], num_stacked_frames]
        )

    def window_steps(self, starts: tf.Tensor, length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Numbers of the steps of windows from ``starts`` [B] on, and which are valid: [B, T]."""
        steps = starts[:, tf.newaxis] + tf.range(length)  # [B, T]
        within = tf.minimum(steps, self.size_variable - 1)
        same_episode = tf.equal(
            tf.gather(self.episode_starts, within),
            tf.gather(self.episode_starts, starts)[:, tf.newaxis],
        )
        valid = same_episode & tf.equal(within, steps)
        # Padding repeats the window's first step: cheap, and never another episode's data.
        return tf.where(valid, steps, starts[:, tf.newaxis]), valid

    def windows(self, starts: tf.Tensor, length: int, num_stacked_frames: int) -> Windows:
        """Windows of ``length`` steps from the steps ``starts`` [B] on."""
        steps, valid = self.window_steps(starts, length)
        return Windows(
            observations=self.observations(steps, num_stacked_frames),
            actions=tf.gather(self.actions, steps),
            rewards=tf.gather(self.rewards, steps),
            ends=self.ends(steps),
            valid=valid,
        )

    def ends(self, steps: tf.Tensor) -> tf.Tensor:
        """Whether steps int32 [...] cost a life or ended the episode; a time limit is no end."""
        return tf.gather(self.terminated, steps) | tf.gather(self.lost_life, steps)

    def last_actions(self, steps: tf.Tensor) -> tf.Tensor:
        """Actions before the steps [B], int32; ``NO_ACTION`` where an episode begins."""
        begins = tf.equal(tf.gather(self.episode_starts, steps), steps)
        return tf.where(begins, NO_ACTION, tf.gather(self.actions, tf.maximum(steps - 1, 0)))

    def past(self, steps: tf.Tensor, length: int, num_stacked_frames: int) -> Past:
        """The ``length`` steps before each of the steps [B], oldest first.

        Where the episode is younger, the first ones are padding that repeats its first step.
        """
        within, valid = self.past_steps(steps, length)
        observations = self.observations(within, num_stacked_frames)
        return Past(observations, tf.gather(self.actions, within), valid)

    def past_steps(self, steps: tf.Tensor, length: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Numbers of the steps of such a past, and which are no padding: [B, T]."""
        before = steps[:, tf.newaxis] + tf.range(-length, 0)
        first = tf.gather(self.episode_starts, steps)[:, tf.newaxis]
        return tf.maximum(before, first), before >= first

    def _episodes(self) -> Iterable[tuple[int, int]]:
        """First step of each episode, and the step behind its last."""
        firsts = np.unique(self.episode_starts.numpy()[: self.size])
        return zip(firsts, [*firsts[1:], self.size], strict=True)

    def window_starts(self, generator: np.random.Generator, length: int) -> np.ndarray:
        """First steps of the windows of one epoch, shuffled, int32 [n].

        Every episode is tiled by windows that share their last step with the next window's
        first, from a fresh random offset; the part before the offset gets a window of its own.
        Every transition is visited at least once.
        """
        stride, tiles = length - 1, []
        for first, end in self._episodes():
            offset = int(generator.integers(stride))
            tiles.append(np.arange(first + offset, end, stride))
            if offset:
                tiles.append(np.array([first]))
        plan = np.concatenate(tiles).astype(np.int32)
        generator.shuffle(plan)
        return plan

    def tiling(self, length: int) -> np.ndarray:
        """First steps of windows that hold every transition exactly once, int32 [n]."""
        tiles = [np.arange(first, end, length - 1) for first, end in self._episodes()]
        return np.concatenate(tiles).astype(np.int32)

    def frame_order(self, generator: np.random.Generator) -> np.ndarray:
        """All steps in random order, int32 [N]: one epoch of single observations."""
        return generator.permutation(self.size).astype(np.int32)
