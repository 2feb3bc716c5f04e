"""The replay as the world model sees it: in codes, which a resting VQ-VAE forms once."""

import numpy as np
import tensorflow as tf

from smallwm_tf.learning.best_weights import values_of
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.imagination import DreamableModel, EncodedPast
from smallwm_tf.models.world_model import WorldModel

_FRAMES_AT_ONCE = 256


class EncodedReplay(tf.Module):
    """Codes of the replay's observations.

    Args:
      world_model: encodes them, at its weights of the moment.
      replay: of real steps.
      is_kept: whether codes are kept from one ``encode_all`` to the next, instead of being formed
        at every visit; for a ``WorldModel``.
    """

    def __init__(
        self, world_model: WorldModel | DreamableModel, replay: Replay, is_kept: bool = False
    ):
        super().__init__(name="encoded_replay")
        self.replay = replay
        self._is_kept = is_kept
        self._world_model = world_model
        self._num_encoded, self._encoded_with = 0, []
        if is_kept:
            shape = [replay.capacity, GRID_SIZE, GRID_SIZE]
            with tf.device("/CPU:0"):
                self._codes = tf.Variable(tf.zeros(shape, tf.int32), trainable=False, name="codes")

    def codes(self, steps: tf.Tensor) -> tf.Tensor:
        """Codes of the observations at steps int32 [...]: int32 [..., 6, 6]."""
        if self._is_kept:
            return tf.gather(self._codes, steps)
        observations = self._observations(steps)
        codes = self._world_model.encode(tf.reshape(observations, [-1, *observations.shape[-3:]]))
        shape = tf.concat([tf.shape(steps), [GRID_SIZE, GRID_SIZE]], axis=0)
        return tf.ensure_shape(tf.reshape(codes, shape), [*steps.shape, GRID_SIZE, GRID_SIZE])

    def past(self, steps: tf.Tensor, length: int) -> EncodedPast:
        """The ``length`` steps before each of the steps [B]; see ``Replay.past``."""
        if not self._is_kept:
            model = self._world_model
            return self.replay.past(steps, length, model.num_stacked_frames).encoded(model.encode)
        within, valid = self.replay.past_steps(steps, length)
        return EncodedPast(self.codes(within), tf.gather(self.replay.actions, within), valid)

    def windows(self, starts: tf.Tensor, length: int) -> tuple[tf.Tensor, ...]:
        """Codes, actions, raw rewards, ends and validity of windows; see ``Replay.windows``."""
        replay = self.replay
        steps, valid = replay.window_steps(starts, length)
        actions, rewards = (tf.gather(held, steps) for held in (replay.actions, replay.rewards))
        return self.codes(steps), actions, rewards, replay.ends(steps), valid

    def encode_all(self) -> None:
        """Forms all codes that the VQ-VAE, as it is now, has not formed yet."""
        if not self._is_kept:
            return
        weights, size = values_of(self._world_model.vqvae.variables), self.replay.size
        is_same = bool(self._encoded_with) and all(map(np.array_equal, weights, self._encoded_with))
        # Whole groups only: codes then do not depend on how often this was called.
        num_kept = self._num_encoded // _FRAMES_AT_ONCE * _FRAMES_AT_ONCE if is_same else 0
        for first in range(num_kept, size, _FRAMES_AT_ONCE):
            self._encode(tf.range(first, min(first + _FRAMES_AT_ONCE, size)))
        self._num_encoded, self._encoded_with = size, weights

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)], autograph=False)
    def _encode(self, steps: tf.Tensor) -> None:
        codes = self._world_model.encode(self._observations(steps))
        self._codes.scatter_update(tf.IndexedSlices(codes, steps))

    def _observations(self, steps: tf.Tensor) -> tf.Tensor:
        return self.replay.observations(steps, self._world_model.num_stacked_frames)
