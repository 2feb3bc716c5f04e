"""The recurrent state of an export's world model, carried along real games.

Shapes: B games, C channels of the cells.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

from smallwm_tf.models.bilinear_algorithms import GRID_SIZE


class ExportedCarrier:
    """A ``Carrier`` around the function ``advance`` of a ``SavedPolicy``.

    Args:
      advance: codes, actions and the parts of a state → the next state's parts by name.
      num_channels: C.
      state_names: of the parts, see ``StackKind``.
    """

    def __init__(
        self,
        advance: Callable[..., dict[str, tf.Tensor]],
        num_channels: int,
        state_names: Sequence[str],
    ):
        self._advance, self._num_channels = advance, num_channels
        self.state_names = state_names

    def begin(self, num_games: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Zeros, [B, 6, 6, C] each."""
        zeros = tf.zeros([num_games, GRID_SIZE, GRID_SIZE, self._num_channels])
        return (zeros,) * len(self.state_names)

    def advance(
        self, codes: tf.Tensor, actions: tf.Tensor, state: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, ...]:
        """The state after a step with codes int32 [B, 6, 6] and actions int32 [B]."""
        found = self._advance(*map(tf.convert_to_tensor, (codes, actions, *state)))
        return tuple(found[name] for name in self.state_names)
