"""The recurrent state of an export's world model, carried along real games.

Shapes: B games, C channels of the cells.
"""

from collections.abc import Callable, Mapping

import tensorflow as tf

from smallwm_tf.models.bilinear_algorithms import GRID_SIZE


class ExportedCarrier:
    """A ``Carrier`` around the function ``advance`` of a ``SavedPolicy``.

    Args:
      advance: codes, actions and the parts of a state → the next state's parts by name.
      channels: of the parts, by name; see ``state_channels``.
    """

    def __init__(
        self,
        advance: Callable[..., dict[str, tf.Tensor]],
        channels: Mapping[str, int],
    ):
        self._advance, self._channels = advance, channels
        self.state_names = tuple(channels)

    def begin(self, num_games: int | tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Zeros, [B, 6, 6, ·] each."""
        grid = (num_games, GRID_SIZE, GRID_SIZE)
        return tuple(tf.zeros([*grid, channels]) for channels in self._channels.values())

    def advance(
        self, codes: tf.Tensor, actions: tf.Tensor, state: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, ...]:
        """The state after a step with codes int32 [B, 6, 6] and actions int32 [B]."""
        found = self._advance(*map(tf.convert_to_tensor, (codes, actions, *state)))
        return tuple(found[name] for name in self.state_names)
