"""The recurrent state of a world model, carried along real games (h_{t−1} of Eq. 4).

Shapes: B games, C channels of the cells.
"""

from collections.abc import Callable

import tensorflow as tf

from smallwm_tf.models.recurrent_stack import Kernels, RecurrentStack
from smallwm_tf.models.vector_quantizer import embed

Parts = tuple[tf.Tensor, ...]  # of a state, batch-first, so that games can be picked: [B, 6, 6, C]


class StateCarrier:
    """Feeds a recurrent stack what was really seen and done, at the weights that it is given.

    Args:
      stack: of the dynamics.
      embeddings: the codebook [K, D].
      kernels: gives the stack's kernels; made anew at every step if not given.
    """

    def __init__(
        self,
        stack: RecurrentStack,
        embeddings: tf.Tensor,
        kernels: Callable[[], Kernels | None] = lambda: None,
    ):
        self._stack, self._embeddings, self._kernels = stack, embeddings, kernels
        self.state_names = stack.state_names

    def begin(self, num_games: int | tf.Tensor) -> Parts:
        """The state where as many episodes begin."""
        return self._stack.to_images(self._stack.initial_state(num_games))

    def advance(self, codes: tf.Tensor, actions: tf.Tensor, state: Parts) -> Parts:
        """The state after a step with codes int32 [B, 6, 6] and actions int32 [B]."""
        embedded = embed(codes, tf.convert_to_tensor(self._embeddings))
        before = self._stack.from_images(state)
        _, after = self._stack.step(embedded, actions, before, self._kernels())
        return self._stack.to_images(after)
