"""Policy and value as the two networks that TF-Agents' PPO wants, on one evaluation.

Both take codes, whose embedding vectors come out of the codebook, which is not theirs to train; or
frames.

Observations are tensors or nests of them. Shapes: B batch, D size of an embedding vector, K of
them, M actions.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_probability as tfp
import tf_keras
from tf_agents.agents.ppo import ppo_clip_agent
from tf_agents.networks import network

from smallwm_tf.models.policy import PolicyAndValue, PolicyObservation, PreparedKernels


class SharedTrunk:
    """Evaluates policy and value together, and once where both are asked for.

    Args:
      model: the network; a call gives logits [B, M] and values [B].
      observation_rank: number of dimensions of one observation, of its first tensor.
      compiled: whether XLA should compile the network.
    """

    def __init__(self, model: tf_keras.Model, observation_rank: int, compiled: bool = False):
        self.model = model
        self._rank = observation_rank
        self._evaluate = tf.function(model.__call__, jit_compile=compiled, autograph=False)
        self._answers: list[tuple[list[tf.Tensor], tuple[tf.Tensor, tf.Tensor]]] | None = None

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Inside this context each tensor is evaluated once; weights must not change."""
        self._answers = []
        try:
            yield
        finally:
            self._answers = None

    def __call__(self, observations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Observations [..., *] → logits [..., M] and values [...]."""
        parts = tf.nest.flatten(observations)
        for asked, answer in self._answers or ():
            if all(part is known for part, known in zip(parts, asked, strict=True)):
                return answer
        static_shape = parts[0].shape[: -self._rank]
        outer_rank, outer_shape = static_shape.rank, tf.shape(parts[0])[: -self._rank]

        def without_outer(part: tf.Tensor) -> tf.Tensor:
            return tf.reshape(part, tf.concat([[-1], tf.shape(part)[outer_rank:]], axis=0))

        logits, values = self._evaluate_flat(tf.nest.map_structure(without_outer, observations))
        num_actions = self.model.num_actions
        logits = tf.reshape(logits, tf.concat([outer_shape, [num_actions]], axis=0))
        logits = tf.ensure_shape(logits, [*static_shape, num_actions])
        values = tf.ensure_shape(tf.reshape(values, outer_shape), static_shape)
        if self._answers is not None:
            self._answers.append((parts, (logits, values)))
        return logits, values

    def _evaluate_flat(self, observations: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._evaluate(observations)


class CodeTrunk(SharedTrunk):
    """The same for codes [..., 6, 6], whose embedding vectors come out of a codebook [K, D].

    Observations are codes, or a ``PolicyObservation`` where the policy sees more.
    """

    def __init__(self, model: PolicyAndValue, embeddings: tf.Variable):
        super().__init__(model, observation_rank=2, compiled=model.compiled)
        self._embeddings = embeddings
        self._kernels: PreparedKernels | None = None

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Inside this context the large kernels are prepared once, not at every call."""
        self._kernels = self.model.prepare()
        try:
            yield
        finally:
            self._kernels = None

    def _evaluate_flat(
        self, observations: tf.Tensor | PolicyObservation
    ) -> tuple[tf.Tensor, tf.Tensor]:
        embeddings = tf.convert_to_tensor(self._embeddings)
        return self._evaluate(observations, embeddings, self._kernels)


class ActorNetwork(network.Network):
    """p(a | z): codes, or frames → ``Categorical`` (Eq. 7)."""

    def __init__(self, observation_spec, action_spec, trunk: SharedTrunk):
        super().__init__(input_tensor_spec=observation_spec, state_spec=(), name="actor")
        self.trunk = trunk
        self._model = trunk.model  # tracked by Keras: these are the network's variables
        self._action_dtype = action_spec.dtype

    def call(self, observations, step_type=None, network_state=(), training=False):
        del step_type, training
        logits, _ = self.trunk(observations)
        return tfp.distributions.Categorical(logits, dtype=self._action_dtype), network_state


class ValueNetwork(network.Network):
    """V(z): codes, or frames → values."""

    def __init__(self, observation_spec, trunk: SharedTrunk):
        super().__init__(input_tensor_spec=observation_spec, state_spec=(), name="value")
        self._trunk = trunk
        self._model = trunk.model

    def call(self, observations, step_type=None, network_state=(), training=False):
        del step_type, training
        _, values = self._trunk(observations)
        return values, network_state


class SharedTrunkAgent(ppo_clip_agent.PPOClipAgent):
    """TF-Agents' clipped PPO agent, whose loss evaluates actor and value network together."""

    def __init__(self, *, actor_net: ActorNetwork, **arguments):
        super().__init__(actor_net=actor_net, **arguments)
        self.trunk = actor_net.trunk

    def get_loss(self, *arguments, **named):
        """One loss, with one evaluation; the weights change between losses only."""
        with self.trunk.once():
            return super().get_loss(*arguments, **named)
