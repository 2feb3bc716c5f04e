"""Encoder and policy in the real game (Eq. 2); what a policy remembers goes along.

Shapes: B batch, F stacked frames, M actions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.episode_memory import MemoryKeeper
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.carried_state import StateCarrier
from smallwm_tf.models.execution import DIRECT, Execution
from smallwm_tf.models.imagination import Past
from smallwm_tf.models.policy import PolicyAndValue, PolicyObservation, draw_actions
from smallwm_tf.models.private_tensorflow import single_threaded_executor
from smallwm_tf.models.recurrent_stack import Kernels, RecurrentStack
from smallwm_tf.models.vector_quantizer import nearest
from smallwm_tf.models.vqvae import VQVAE
from smallwm_tf.models.world_model import WorldModel

_MANY = 8  # observations from which on transformed kernels pay


class PolicySnapshot:
    """Encoder and policy with the weights of the moment, as far as they are large.

    Batch norm is folded, kernels are transformed, and all of it becomes constants of whatever graph
    calls the methods: oneDNN lays constants out once instead of at every call. Small weights are
    read when that runs: whoever goes on training hands in copies of policy and stack.

    Args:
      vqvae: gives the codes.
      policy: gives action logits and values.
      stack: of the dynamics; carries the state of a policy that sees it.
      execution: form and precision of the kernels.

    Attributes:
      memory: of the policy.
    """

    def __init__(
        self, vqvae: VQVAE, policy: PolicyAndValue, stack: RecurrentStack, execution: Execution
    ):
        self._vqvae, self._policy = vqvae, policy
        self._folded, self._embeddings, self._kernels = tf.nest.map_structure(
            lambda tensor: tensor.numpy(),
            (
                vqvae.encoder.fold(execution),
                vqvae.quantizer.embeddings,
                policy.prepare(execution),
            ),
        )
        prepared: list[Kernels] = []

        def stack_kernels() -> Kernels:
            if not prepared:  # not before they are needed: they are the largest
                with tf.init_scope():
                    kernels = stack.prepare(execution.dreaming_form)
                    prepared.append(tf.nest.map_structure(lambda kernel: kernel.numpy(), kernels))
            return tf.nest.map_structure(tf.constant, prepared[0])

        carrier = StateCarrier(stack, self._embeddings, stack_kernels)
        self.memory = MemoryKeeper(policy.sees_last_action, carrier if policy.sees_state else None)

    def encode(self, observations: tf.Tensor) -> tf.Tensor:
        """uint8 [B, 96, 96, F] → codes int32 [B, 6, 6]."""
        folded = tf.nest.map_structure(tf.constant, self._folded)
        vectors = self._vqvae.encoder.infer(observations, folded)
        return nearest(vectors, tf.constant(self._embeddings))

    def policy_of(self, observation: tf.Tensor | PolicyObservation) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes int32 [B, 6, 6], alone or with more → action logits [B, M] and values [B]."""
        embeddings, kernels = tf.nest.map_structure(tf.constant, (self._embeddings, self._kernels))
        return self._policy(observation, embeddings, kernels, compiled=False)


class PolicyAgent:
    """Draws actions from the policy as it is now; training further does not change the agent.

    Computes in the networks' precision, as the dreams do that the policy has learned in.

    Args:
      world_model: gives the codes, and carries the state of a policy that sees it.
      policy: gives the action logits.
      temperature: divides the logits; 0 takes the most probable action.
    """

    def __init__(self, world_model: WorldModel, policy: PolicyAndValue, temperature: float = 1.0):
        vqvae, stack = world_model.vqvae, world_model.dynamics.stack
        self._temperature = temperature
        self._num_stacked_frames = vqvae.num_stacked_frames
        self._for_many = policy.execution
        self._for_few = DIRECT._replace(precision=policy.execution.precision)
        policy = policy.copy()
        if policy.sees_state:
            stack = stack.copy(self._for_few)  # which form kernels have is the snapshots' choice
        self._snapshots = {
            execution: PolicySnapshot(vqvae, policy, stack, execution)
            for execution in (self._for_few, self._for_many)
        }
        self._graphs: dict[Execution, Callable] = {}

    def begin(self, num_games: int, past: Past | None = None) -> Any:
        """See ``Agent.begin``; the state is an ``EpisodeMemory``."""
        snapshot = self._snapshots[self._execution(num_games)]
        if past is None:
            memory = snapshot.memory.begin(num_games)
        else:
            memory = snapshot.memory.begin_after(past, snapshot.encode)
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), memory)

    def act(
        self, observations: np.ndarray, state: Any, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, Any]:
        """See ``Agent.act``."""
        graph = self._graph(self._execution(len(observations)))
        arguments = (tf.convert_to_tensor(observations), seed, tf.constant(step, tf.int32))
        remembered = map(tf.convert_to_tensor, tf.nest.flatten(state))
        with single_threaded_executor():
            actions, *following = (tensor.numpy() for tensor in graph(*arguments, *remembered))
        return actions, tf.nest.pack_sequence_as(state, following)

    def _execution(self, num_games: int) -> Execution:
        return self._for_few if num_games < _MANY else self._for_many

    def _graph(self, execution: Execution) -> Callable:
        """The graph for one form of the kernels; made at its first use."""
        if execution not in self._graphs:
            snapshot, temperature = self._snapshots[execution], self._temperature
            memory = snapshot.memory.begin(1)

            def act(observations, seed, step, *remembered):
                before = tf.nest.pack_sequence_as(memory, remembered)
                codes = snapshot.encode(observations)
                logits, _ = snapshot.policy_of(snapshot.memory.observation(codes, before))
                actions = draw_actions(logits, temperature, seed, step)
                after = snapshot.memory.after(codes, actions, before)
                return [actions, *tf.nest.flatten(after)]

            specs = [
                tf.TensorSpec([None, *part.shape[1:]], part.dtype)
                for part in tf.nest.flatten(memory)
            ]
            function = acting_graph(act, self._num_stacked_frames, specs)
            self._graphs[execution] = function.get_concrete_function()
        return self._graphs[execution]


def acting_graph(
    act: Callable, num_stacked_frames: int, memory: Sequence[tf.TensorSpec] = ()
) -> tf.types.experimental.GenericFunction:
    """The graph of a function of observations uint8 [B, 96, 96, F], seed, step and what else it is
    given, as in ``Agent.act``."""
    frames = [None, FRAME_SIZE, FRAME_SIZE, num_stacked_frames]
    signature = [
        tf.TensorSpec(frames, tf.uint8),
        tf.TensorSpec([2], tf.int32),
        tf.TensorSpec([], tf.int32),
        *memory,
    ]
    return tf.function(act, input_signature=signature, autograph=False)
