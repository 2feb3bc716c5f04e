"""Encoder and policy as a SavedModel: frames in, actions out.

Shapes: B batch, F stacked frames (oldest first), M actions.
"""

from pathlib import Path

import tensorflow as tf

from smallwm_tf.agents.policy_agent import PolicySnapshot
from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vqvae import VQVAE


class SavedAgent(tf.Module):
    """Functions of the SavedModel; each is a signature and an attribute of the loaded object.

    ``serving_default`` (the object itself)
        frames uint8 [B, 96, 96, F] → action int32 [B] (drawn), greedy_action int32 [B],
        logits float32 [B, M], value float32 [B], codes int32 [B, 6, 6].
    ``encode``
        frames uint8 [B, 96, 96, F] → codes.
    ``act_on_codes``
        codes int32 [B, 6, 6] → as ``serving_default``, without codes.
    ``reset``, then ``act``
        frame uint8 [B, 96, 96], the newest one only → as ``serving_default``; the stack of frames
        is kept inside. ``reset`` begins an episode with its first frame, repeated F times.

    Args:
      vqvae: gives the codes.
      policy: gives logits and value; its convolutions are "direct".
      temperature: divides the logits of drawn actions.
      half_precision: see ``freeze``.
    """

    def __init__(
        self, vqvae: VQVAE, policy: PolicyAndValue, temperature: float, half_precision: bool = False
    ):
        super().__init__(name="smallwm_tf_agent")
        num_frames = vqvae.num_stacked_frames
        stack = [None, FRAME_SIZE, FRAME_SIZE, num_frames]
        frames_spec = tf.TensorSpec(stack, tf.uint8, "frames")
        frame_spec = tf.TensorSpec(stack[:-1], tf.uint8, "frame")
        codes_spec = tf.TensorSpec([None, GRID_SIZE, GRID_SIZE], tf.int32, "codes")

        snapshot = PolicySnapshot(vqvae, policy, DIRECT)
        frozen_encode = freeze(
            lambda frames: (snapshot.encode(frames),), [frames_spec], half_precision
        )
        frozen_policy = freeze(snapshot.policy_of, [codes_spec], half_precision)
        zeros = tf.zeros([1, *stack[1:]], tf.uint8)
        self._frames = tf.Variable(zeros, shape=stack, trainable=False, name="frames")

        def act_on_codes(codes):
            logits, value = frozen_policy(codes)
            drawn = tf.random.categorical(logits / temperature, 1, tf.int32)
            return {
                "action": drawn[:, 0],
                "greedy_action": tf.argmax(logits, axis=-1, output_type=tf.int32),
                "logits": logits,
                "value": value,
            }

        def serve(frames):
            (codes,) = frozen_encode(frames)
            return {**act_on_codes(codes), "codes": codes}

        def reset(frame):
            self._frames.assign(tf.repeat(frame[..., tf.newaxis], num_frames, axis=-1))
            return serve(tf.convert_to_tensor(self._frames))

        def act(frame):
            kept = tf.convert_to_tensor(self._frames)[..., 1:]
            self._frames.assign(tf.concat([kept, frame[..., tf.newaxis]], axis=-1))
            return serve(tf.convert_to_tensor(self._frames))

        def graph(function, spec):
            return tf.function(function, input_signature=[spec], autograph=False)

        self.serve = self.__call__ = graph(serve, frames_spec)
        self.encode = graph(lambda frames: {"codes": frozen_encode(frames)[0]}, frames_spec)
        self.act_on_codes = graph(act_on_codes, codes_spec)
        self.reset, self.act = graph(reset, frame_spec), graph(act, frame_spec)

    def save(self, path: Path) -> None:
        """Writes the SavedModel into a new directory."""
        names = ("encode", "act_on_codes", "reset", "act")
        signatures = {name: getattr(self, name) for name in names}
        signatures["serving_default"] = self.serve
        tf.saved_model.save(self, str(path), signatures=signatures)
