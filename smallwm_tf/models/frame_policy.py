"""Policy and state value on stacked frames: the network of model-free PPO.

The convolutions of Mnih et al. (2015) on 96×96 instead of 84×84 pixels; weights are drawn as in
OpenAI Baselines' PPO (Schulman et al., 2017; Huang et al., 2022, "The 37 implementation details").
"""

import math

import tensorflow as tf
import tf_keras

from smallwm_tf.experiment.settings import FRAME_SIZE

_CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # filters, kernel size, stride
_UNITS = 512
_RELU = math.sqrt(2.0)  # gain of a layer before a rectifier


class FramePolicy(tf_keras.Model):
    """Frames uint8 [B, 96, 96, F] → action logits [B, M] and state value [B].

    Args:
      num_actions: M.
      num_stacked_frames: F.
      drawn: whether initial kernels are drawn; else they are zero, for weights that are to be set.
    """

    def __init__(self, num_actions: int, num_stacked_frames: int, drawn: bool = True, **kwargs):
        super().__init__(**kwargs)

        def initializer(gain: float) -> tf_keras.initializers.Initializer:
            return (
                tf_keras.initializers.Orthogonal(gain) if drawn else tf_keras.initializers.Zeros()
            )

        self.num_actions, self.num_stacked_frames = num_actions, num_stacked_frames
        self.convolutions = [
            tf_keras.layers.Conv2D(
                filters,
                size,
                stride,
                activation="relu",
                kernel_initializer=initializer(_RELU),
                name=f"conv_{size}x{size}",  # TF-Agents sorts gradients by name
            )
            for filters, size, stride in _CONVOLUTIONS
        ]
        dense = tf_keras.layers.Dense
        self.hidden = dense(
            _UNITS, activation="relu", kernel_initializer=initializer(_RELU), name="hidden"
        )
        self.logits = dense(num_actions, kernel_initializer=initializer(0.01), name="logits")
        self.value = dense(1, kernel_initializer=initializer(1.0), name="value")
        self(tf.zeros([1, FRAME_SIZE, FRAME_SIZE, num_stacked_frames], tf.uint8))

    def call(self, frames: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Logits [B, M] and values [B]."""
        features = tf.cast(frames, tf.float32) / 255.0
        for convolution in self.convolutions:
            features = convolution(features)
        hidden = self.hidden(tf.reshape(features, [-1, math.prod(features.shape[1:])]))
        return self.logits(hidden), tf.squeeze(self.value(hidden), axis=-1)
