"""Policy and value as the two networks that TF-Agents' PPO wants, on one evaluation.

Both take codes; their embedding vectors come out of the codebook, which is not theirs to train.

Shapes: B batch, D size of an embedding vector, K of them, M actions.
"""

import contextlib
from collections.abc import Iterator

import tensorflow as tf
import tensorflow_probability as tfp
from tf_agents.agents.ppo import ppo_clip_agent
from tf_agents.networks import network

from smallwm_tf.models.policy import PolicyAndValue, PreparedKernels


class SharedTrunk:
    """Evaluates policy and value together, and once where both are asked for.

    Args:
      model: the network.
      embeddings: the codebook [K, D].
    """

    def __init__(self, model: PolicyAndValue, embeddings: tf.Variable):
        self.model = model
        self._embeddings = embeddings
        self._evaluate = tf.function(model.__call__, jit_compile=model.compiled, autograph=False)
        self._kernels: PreparedKernels | None = None
        self._answers: list[tuple[tf.Tensor, tuple[tf.Tensor, tf.Tensor]]] | None = None

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Inside this context the large kernels are prepared once, not at every call."""
        self._kernels = self.model.prepare()
        try:
            yield
        finally:
            self._kernels = None

    @contextlib.contextmanager
    def once(self) -> Iterator[None]:
        """Inside this context each tensor of codes is evaluated once; weights must not change."""
        self._answers = []
        try:
            yield
        finally:
            self._answers = None

    def __call__(self, codes: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Codes [..., 6, 6] → logits [..., M] and values [...]."""
        for asked, answer in self._answers or ():
            if asked is codes:
                return answer
        outer_shape = tf.shape(codes)[:-2]
        flat = tf.reshape(codes, tf.concat([[-1], tf.shape(codes)[-2:]], axis=0))
        embeddings = tf.convert_to_tensor(self._embeddings)
        logits, values = self._evaluate(flat, embeddings, self._kernels)
        logits = tf.reshape(logits, tf.concat([outer_shape, [self.model.num_actions]], axis=0))
        logits = tf.ensure_shape(logits, [*codes.shape[:-2], self.model.num_actions])
        values = tf.ensure_shape(tf.reshape(values, outer_shape), codes.shape[:-2])
        if self._answers is not None:
            self._answers.append((codes, (logits, values)))
        return logits, values


class ActorNetwork(network.Network):
    """p(a | z): codes → ``Categorical`` (Eq. 7)."""

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
    """V(z): codes → values."""

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
