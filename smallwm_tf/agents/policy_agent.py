"""Encoder and policy in the real game, nothing else (Eq. 2)."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tensorflow.python.eager import context  # no public module offers the choice of executor

from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.grid_convolution import to_grid_major
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vector_quantizer import nearest
from smallwm_tf.models.vqvae import VQVAE

_MANY = 8  # observations from which on transformed kernels pay


class PolicyAgent:
    """Draws actions from a snapshot of a policy.

    The networks' weights of the moment are taken over: batch norm is folded, kernels are
    transformed, and all of it becomes constants of a graph, which oneDNN lays out once instead of
    at every call. Training the networks further does not change the agent.

    Args:
      vqvae: gives the codes.
      policy: gives the action logits.
      temperature: divides the logits; 0 takes the most probable action.
    """

    def __init__(self, vqvae: VQVAE, policy: PolicyAndValue, temperature: float = 1.0):
        self._vqvae, self._policy = vqvae, policy
        self._temperature = temperature
        self._graphs: dict[str | None, Callable] = {}
        self._weights = {
            form: tf.nest.map_structure(
                lambda tensor: tensor.numpy(),
                (vqvae.encoder.fold(form), vqvae.quantizer.embeddings, policy.prepare(form)),
            )
            for form in ("direct", None)
        }

    def begin(self, num_games: int) -> tuple[()]:
        """Nothing: an observation is all that this policy sees."""
        return ()

    def act(
        self, observations: np.ndarray, state: tuple[()], seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, tuple[()]]:
        """See ``Agent.act``."""
        arguments = (
            tf.convert_to_tensor(observations),
            tf.constant(self._temperature, tf.float32),
            seed,
            tf.constant(step, tf.int32),
        )
        graph = self._graph("direct" if len(observations) < _MANY else None)
        # A chain of short operations: handing them from thread to thread, as TensorFlow's default
        # executor does, takes a tenth of the time of a single observation.
        with context.function_executor_type("SINGLE_THREADED_EXECUTOR"):
            return graph(*arguments).numpy(), state

    def _graph(self, form: str | None) -> Callable:
        """The graph for one form of the kernels, or for their own; made at its first use."""
        if form not in self._graphs:
            weights = self._weights[form]

            def act(observations, temperature, seed, step):
                folded, embeddings, kernel = tf.nest.map_structure(tf.constant, weights)
                vectors = self._vqvae.encoder.infer(observations, folded)
                codes = nearest(vectors, embeddings)
                embedded = to_grid_major(tf.gather(embeddings, codes))
                logits, _ = self._policy(embedded, kernel, fused=False)
                is_greedy = tf.equal(temperature, 0.0)
                drawn = tfp.distributions.Categorical(
                    logits / tf.where(is_greedy, 1.0, temperature)
                ).sample(seed=tf.random.experimental.stateless_fold_in(seed, step))
                return tf.where(is_greedy, tf.argmax(logits, -1, tf.int32), drawn)

            frames = [None, FRAME_SIZE, FRAME_SIZE, self._vqvae.num_stacked_frames]
            signature = [
                tf.TensorSpec(frames, tf.uint8),
                tf.TensorSpec([], tf.float32),
                tf.TensorSpec([2], tf.int32),
                tf.TensorSpec([], tf.int32),
            ]
            function = tf.function(act, input_signature=signature, autograph=False)
            self._graphs[form] = function.get_concrete_function()
        return self._graphs[form]
