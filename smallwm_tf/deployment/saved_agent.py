"""A policy as a SavedModel: frames in, actions out.

Shapes: B batch, F stacked frames (oldest first), M actions.
"""

from collections.abc import Callable
from pathlib import Path

import tensorflow as tf

from smallwm_tf.agents.policy_agent import PolicySnapshot
from smallwm_tf.deployment.frozen_functions import freeze
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vqvae import VQVAE


class SavedPolicy(tf.Module):
    """Functions of the SavedModel; each is a signature and an attribute of the loaded object.

    ``serving_default`` (the object itself)
        frames uint8 [B, 96, 96, F] → action int32 [B] (drawn), greedy_action int32 [B],
        logits float32 [B, M], value float32 [B], and what else the policy has to say.
    ``reset``, then ``act``
        frame uint8 [B, 96, 96], the newest one only → as ``serving_default``; the stack of frames
        is kept inside. ``reset`` begins an episode with its first frame, repeated F times.

    Args:
      answer: frames → the outputs.
      num_stacked_frames: F.
      further: other signatures by name.
    """

    def __init__(
        self,
        answer: Callable[[tf.Tensor], dict[str, tf.Tensor]],
        num_stacked_frames: int,
        further: dict[str, tf.types.experimental.GenericFunction],
    ):
        super().__init__(name="smallwm_tf_agent")
        frames_spec = _frames_spec(num_stacked_frames)
        stack = frames_spec.shape
        frame_spec = tf.TensorSpec(stack[:-1], tf.uint8, "frame")
        zeros = tf.zeros([1, *stack[1:]], tf.uint8)
        self._frames = tf.Variable(zeros, shape=stack, trainable=False, name="frames")

        def reset(frame):
            self._frames.assign(tf.repeat(frame[..., tf.newaxis], num_stacked_frames, axis=-1))
            return answer(tf.convert_to_tensor(self._frames))

        def act(frame):
            kept = tf.convert_to_tensor(self._frames)[..., 1:]
            self._frames.assign(tf.concat([kept, frame[..., tf.newaxis]], axis=-1))
            return answer(tf.convert_to_tensor(self._frames))

        self.serve = self.__call__ = _graph(answer, frames_spec)
        self.reset, self.act = _graph(reset, frame_spec), _graph(act, frame_spec)
        for name, function in further.items():
            setattr(self, name, function)
        self._names = ("reset", "act", *further)

    def save(self, path: Path) -> None:
        """Writes the SavedModel into a new directory."""
        signatures = {name: getattr(self, name) for name in self._names}
        signatures["serving_default"] = self.serve
        tf.saved_model.save(self, str(path), signatures=signatures)


def saved_code_policy(
    vqvae: VQVAE, policy: PolicyAndValue, temperature: float, half_precision: bool = False
) -> SavedPolicy:
    """Encoder and policy; the outputs have codes int32 [B, 6, 6] too.

    Further functions: ``encode``, frames → codes; ``act_on_codes``, codes → the other outputs.

    Args:
      vqvae: gives the codes.
      policy: gives logits and value; its convolutions are "direct".
      temperature: divides the logits of drawn actions.
      half_precision: see ``freeze``.
    """
    codes_spec = tf.TensorSpec([None, GRID_SIZE, GRID_SIZE], tf.int32, "codes")
    frames_spec = _frames_spec(vqvae.num_stacked_frames)
    snapshot = PolicySnapshot(vqvae, policy, DIRECT)
    encode = freeze(lambda frames: (snapshot.encode(frames),), [frames_spec], half_precision)
    frozen_policy = freeze(snapshot.policy_of, [codes_spec], half_precision)

    def act_on_codes(codes):
        return _with_actions(*frozen_policy(codes), temperature)

    def answer(frames):
        (codes,) = encode(frames)
        return {**act_on_codes(codes), "codes": codes}

    further = {
        "encode": _graph(lambda frames: {"codes": encode(frames)[0]}, frames_spec),
        "act_on_codes": _graph(act_on_codes, codes_spec),
    }
    return SavedPolicy(answer, vqvae.num_stacked_frames, further)


def saved_frame_policy(
    policy: FramePolicy, temperature: float, half_precision: bool = False
) -> SavedPolicy:
    """The policy of model-free PPO; arguments as of ``saved_code_policy``."""
    frames_spec = _frames_spec(policy.num_stacked_frames)
    frozen = freeze(policy.__call__, [frames_spec], half_precision)
    return SavedPolicy(
        lambda frames: _with_actions(*frozen(frames), temperature), policy.num_stacked_frames, {}
    )


def _with_actions(logits: tf.Tensor, value: tf.Tensor, temperature: float) -> dict[str, tf.Tensor]:
    return {
        "action": tf.random.categorical(logits / temperature, 1, tf.int32)[:, 0],
        "greedy_action": tf.argmax(logits, axis=-1, output_type=tf.int32),
        "logits": logits,
        "value": value,
    }


def _frames_spec(num_frames: int) -> tf.TensorSpec:
    return tf.TensorSpec([None, FRAME_SIZE, FRAME_SIZE, num_frames], tf.uint8, "frames")


def _graph(function: Callable, spec: tf.TensorSpec) -> tf.types.experimental.GenericFunction:
    return tf.function(function, input_signature=[spec], autograph=False)
