"""Encoder and policy in the real game, nothing else (Eq. 2).

Shapes: B batch, F stacked frames, M actions.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.private_tensorflow import single_threaded_executor
from smallwm_tf.models.vector_quantizer import nearest
from smallwm_tf.models.vqvae import VQVAE

_MANY = 8  # observations from which on transformed kernels pay


class PolicySnapshot:
    """Encoder and policy with the weights of the moment; training further does not change them.

    Batch norm is folded, kernels are transformed, and all of it becomes constants of whatever graph
    calls the methods: oneDNN lays constants out once instead of at every call.

    Args:
      vqvae: gives the codes.
      policy: gives action logits and values.
      form: of the kernels, see ``PolicyAndValue.prepare``.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue, form: str | None):
        self._vqvae, self._policy = vqvae, policy
        self._folded, self._embeddings, self._kernel = tf.nest.map_structure(
            lambda tensor: tensor.numpy(),
            (vqvae.encoder.fold(form), vqvae.quantizer.embeddings, policy.prepare(form)),
        )

    def encode(self, observations: tf.Tensor) -> tf.Tensor:
        """uint8 [B, 96, 96, F] → codes int32 [B, 6, 6]."""
        folded = tf.nest.map_structure(tf.constant, self._folded)
        vectors = self._vqvae.encoder.infer(observations, folded)
        return nearest(vectors, tf.constant(self._embeddings))

    def policy_of(self, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes int32 [B, 6, 6] → action logits [B, M] and values [B]."""
        embeddings, kernel = tf.constant(self._embeddings), tf.constant(self._kernel)
        return self._policy(codes, embeddings, kernel, compiled=False)


class PolicyAgent:
    """Draws actions from the policy; a snapshot, see ``PolicySnapshot``.

    Args:
      vqvae: gives the codes.
      policy: gives the action logits.
      temperature: divides the logits; 0 takes the most probable action.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue, temperature: float = 1.0):
        self._temperature = temperature
        self._num_stacked_frames = vqvae.num_stacked_frames
        self._snapshots = {form: PolicySnapshot(vqvae, policy, form) for form in ("direct", None)}
        self._graphs: dict[str | None, Callable] = {}

    def begin(self, num_games: int) -> tuple[()]:
        """Nothing: an observation is all that this policy sees."""
        return ()

    def act(
        self, observations: np.ndarray, state: tuple[()], seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, tuple[()]]:
        """See ``Agent.act``."""
        graph = self._graph("direct" if len(observations) < _MANY else None)
        arguments = (tf.convert_to_tensor(observations), seed, tf.constant(step, tf.int32))
        with single_threaded_executor():
            return graph(*arguments).numpy(), state

    def _graph(self, form: str | None) -> Callable:
        """The graph for one form of the kernels, or for their own; made at its first use."""
        if form not in self._graphs:
            snapshot, temperature = self._snapshots[form], self._temperature

            def act(observations, seed, step):
                logits, _ = snapshot.policy_of(snapshot.encode(observations))
                return draw_actions(logits, temperature, seed, step)

            frames = [None, FRAME_SIZE, FRAME_SIZE, self._num_stacked_frames]
            signature = [
                tf.TensorSpec(frames, tf.uint8),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([], tf.int32),
            ]
            function = tf.function(act, input_signature=signature, autograph=False)
            self._graphs[form] = function.get_concrete_function()
        return self._graphs[form]


def draw_actions(
    logits: tf.Tensor, temperature: float, seed: tf.Tensor, step: tf.Tensor | int
) -> tf.Tensor:
    """Actions int32 [B] of logits [B, M]; a temperature of 0 takes the most probable ones.

    The step is folded into the seed, an int32 pair.
    """
    if temperature == 0.0:
        return tf.argmax(logits, axis=-1, output_type=tf.int32)
    pair = tf.random.experimental.stateless_fold_in(seed, step)
    return tfp.distributions.Categorical(logits / temperature).sample(seed=pair)
