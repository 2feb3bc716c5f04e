"""What a policy remembers of its episodes, and what it therefore sees.

    step          0        1        2        …
    codes         z_0      z_1      z_2          of the real observations
    it sees       −, 0     a_0, h_0  a_1, h_1    the last action and the recurrent state, if it does
    actions       a_0      a_1      a_2
    remembered       h_0      h_1      h_2       h_t = h(z_t, a_t, h_{t−1}) of the world model

Shapes: B games, C channels of the cells.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from smallwm_tf.models.imagination import Past, state_after
from smallwm_tf.models.policy import NO_ACTION, PolicyObservation
from smallwm_tf.models.recurrent_stack import VISIBLE_PART


class EpisodeMemory(NamedTuple):
    """Of a policy that sees more than codes; an empty tuple stands for what it does not see."""

    last_actions: Any = ()  # int32 [B], ``NO_ACTION`` where an episode begins
    recurrent: Any = ()  # h_{t−1}, a tuple of float32 [B, 6, 6, C]


class Carrier(Protocol):
    """Carries a world model's recurrent state; see ``StateCarrier``."""

    state_names: Sequence[str]  # of the parts, see ``StackKind``

    def begin(self, num_games: int | tf.Tensor) -> tuple[tf.Tensor, ...]: ...

    def advance(
        self, codes: tf.Tensor, actions: tf.Tensor, state: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, ...]: ...


class MemoryKeeper:
    """Begins and carries on the memories of a policy; inside graphs and outside.

    The memory of a policy that sees codes alone is an empty tuple.

    Args:
      sees_last_action: whether the policy does.
      carrier: of the recurrent state, for a policy that sees it; else None.
    """

    def __init__(self, sees_last_action: bool = False, carrier: Carrier | None = None):
        self.sees_last_action, self.carrier = sees_last_action, carrier

    def begin(self, num_games: int | tf.Tensor) -> EpisodeMemory | tuple[()]:
        """Where as many episodes begin."""
        if not (self.sees_last_action or self.carrier):
            return ()
        return EpisodeMemory(
            tf.fill([num_games], NO_ACTION) if self.sees_last_action else (),
            self.carrier.begin(num_games) if self.carrier else (),
        )

    def begin_after(self, past: Past, encode: Callable) -> EpisodeMemory | tuple[()]:
        """In the middle of episodes: the recurrent state has seen ``past``, as in dreams.

        There is no last action. ``encode`` turns uint8 [·, 96, 96, F] into codes.
        """
        memory = self.begin(len(past.actions))
        if not self.carrier:
            return memory

        def advance(codes, actions, valid, state):
            kept = tf.cast(valid, tf.float32)[:, tf.newaxis, tf.newaxis, tf.newaxis]
            return tuple(kept * part for part in self.carrier.advance(codes, actions, state))

        recurrent = state_after(past.encoded(encode), memory.recurrent, advance)
        return memory._replace(recurrent=recurrent)

    def observation(self, codes: Any, memory: EpisodeMemory | tuple[()]) -> Any:
        """What the policy sees at codes: a ``PolicyObservation``, or they alone.

        A memory may hold more, as that of an agent that looks ahead does.
        """
        if not (self.sees_last_action or self.carrier):
            return codes
        last_actions = memory.last_actions if self.sees_last_action else ()
        hidden = ()
        if self.carrier:
            hidden = memory.recurrent[self.carrier.state_names.index(VISIBLE_PART)]
        return PolicyObservation(codes, last_actions, hidden)

    def completed(self, observation: Any) -> Any:
        """What the policy sees of a ``PolicyObservation`` or of codes alone, and nothing else.

        What is missing is that of an episode's beginning.
        """
        is_more = isinstance(observation, PolicyObservation)
        given = observation if is_more else PolicyObservation(observation)
        seen = self.observation(given.codes, self.begin(len(given.codes)))
        if not isinstance(seen, PolicyObservation):
            return given.codes
        return PolicyObservation(
            *(
                begun if isinstance(begun, tuple) or isinstance(part, tuple) else part
                for part, begun in zip(given, seen, strict=True)
            )
        )

    def after(
        self, codes: tf.Tensor, actions: tf.Tensor, memory: EpisodeMemory | tuple[()]
    ) -> EpisodeMemory | tuple[()]:
        """The memory after a step at codes int32 [B, 6, 6], with actions int32 [B]."""
        if not memory:
            return memory
        return EpisodeMemory(
            actions if self.sees_last_action else (),
            self.carrier.advance(codes, actions, memory.recurrent) if self.carrier else (),
        )
