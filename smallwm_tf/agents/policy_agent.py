"""Encoder and policy in the real game, nothing else (Eq. 2).

Shapes: B batch, F stacked frames, M actions.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import AgentOnSight
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.execution import DIRECT, FAST, Execution
from smallwm_tf.models.policy import PolicyAndValue, draw_actions
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
      execution: form and precision of the kernels.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue, execution: Execution):
        self._vqvae, self._policy = vqvae, policy
        self._folded, self._embeddings, self._kernels = tf.nest.map_structure(
            lambda tensor: tensor.numpy(),
            (
                vqvae.encoder.fold(execution),
                vqvae.quantizer.embeddings,
                policy.prepare(execution),
            ),
        )

    def encode(self, observations: tf.Tensor) -> tf.Tensor:
        """uint8 [B, 96, 96, F] → codes int32 [B, 6, 6]."""
        folded = tf.nest.map_structure(tf.constant, self._folded)
        vectors = self._vqvae.encoder.infer(observations, folded)
        return nearest(vectors, tf.constant(self._embeddings))

    def policy_of(
        self, codes: tf.Tensor, last_actions: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes int32 [B, 6, 6] → action logits [B, M] and values [B]."""
        embeddings, kernels = tf.nest.map_structure(tf.constant, (self._embeddings, self._kernels))
        given = {"compiled": False, "last_actions": last_actions}
        return self._policy(codes, embeddings, kernels, **given)


class PolicyAgent(AgentOnSight):
    """Draws actions from the policy; a snapshot, see ``PolicySnapshot``. Computes in float32.

    Args:
      vqvae: gives the codes.
      policy: gives the action logits.
      temperature: divides the logits; 0 takes the most probable action.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue, temperature: float = 1.0):
        super().__init__(policy.sees_last_action)
        self._temperature = temperature
        self._num_stacked_frames = vqvae.num_stacked_frames
        self._for_many = FAST if policy.conv_5x5.form != "direct" else DIRECT
        self._snapshots = {
            execution: PolicySnapshot(vqvae, policy, execution) for execution in (DIRECT, FAST)
        }
        self._graphs: dict[Execution, Callable] = {}

    def _draw(
        self, observations: np.ndarray, seed: np.ndarray, step: int, *last_actions: np.ndarray
    ) -> np.ndarray:
        graph = self._graph(DIRECT if len(observations) < _MANY else self._for_many)
        arguments = (tf.convert_to_tensor(observations), seed, tf.constant(step, tf.int32))
        with single_threaded_executor():
            return graph(*arguments, *map(tf.convert_to_tensor, last_actions)).numpy()

    def _graph(self, execution: Execution) -> Callable:
        """The graph for one form of the kernels; made at its first use."""
        if execution not in self._graphs:
            snapshot = self._snapshots[execution]
            function = drawing_graph(
                lambda observations, *last: snapshot.policy_of(
                    snapshot.encode(observations), *last
                ),
                self._num_stacked_frames,
                self._temperature,
                self._sees_last_action,
            )
            self._graphs[execution] = function.get_concrete_function()
        return self._graphs[execution]


def drawing_graph(
    policy_on: Callable,
    num_stacked_frames: int,
    temperature: float,
    sees_last_action: bool = False,
) -> tf.types.experimental.GenericFunction:
    """Observations uint8 [B, 96, 96, F], seed and step → actions, see ``draw_actions``.

    Args:
      policy_on: observations → action logits [B, M] and values [B].
      num_stacked_frames: F.
      temperature: divides the logits.
      sees_last_action: the graph's last input are then last actions int32 [B], for ``policy_on``.
    """

    def act(observations, seed, step, *last_actions):
        logits, _ = policy_on(observations, *last_actions)
        return draw_actions(logits, temperature, seed, step)

    frames = [None, FRAME_SIZE, FRAME_SIZE, num_stacked_frames]
    signature = [
        tf.TensorSpec(frames, tf.uint8),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int32),
    ]
    signature += [tf.TensorSpec([None], tf.int32)] if sees_last_action else []
    return tf.function(act, input_signature=signature, autograph=False)
