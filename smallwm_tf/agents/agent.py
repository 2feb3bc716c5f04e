"""Who acts in the real game: one interface for policies, null policies and what is to come."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from smallwm_tf.models.imagination import Past
from smallwm_tf.models.policy import NO_ACTION


class Agent(Protocol):
    """Chooses actions for games that are played side by side; never changes once it is made.

    What an agent remembers of an episode lies in a state that whoever plays hands back to it: a
    nest of NumPy arrays whose first axis counts the games, so that those still running can be
    picked. Without a memory it is an empty tuple.
    """

    def begin(self, num_games: int, past: Past | None = None) -> Any:
        """The state before the first step of as many episodes.

        A ``past`` of real steps has gone before where play begins in the middle of episodes; who
        carries a recurrent state carries it through them, as dreams do.
        """
        ...

    def act(
        self, observations: np.ndarray, state: Any, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, Any]:
        """Actions int32 [B] for uint8 [B, 96, 96, F], and the state for the next step.

        The state is of these games, from ``begin`` or the last ``act``; the step is folded into
        the seed, an int32 pair.
        """
        ...


class SeeingAgent:
    """Acts on what it is shown and remembers nothing; by a function of observations, seed, step."""

    def __init__(self, draw: Callable[..., np.ndarray]):
        self._draw = draw

    def begin(self, num_games: int, past: Past | None = None) -> tuple[()]:
        """See ``Agent.begin``."""
        return ()

    def act(
        self, observations: np.ndarray, state: tuple[()], seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, tuple[()]]:
        """See ``Agent.act``."""
        return self._draw(observations, seed, step), state


class HoldingAgent:
    """Does what another agent does, but by chance a step repeats the last action of its episode.

    Args:
      agent: chooses the other actions; it does not know which ones were held.
      repeat_probability: the chance that the last action is repeated.
    """

    def __init__(self, agent: Agent, repeat_probability: float):
        self._agent = agent
        self._repeat_probability = repeat_probability

    def begin(self, num_games: int, past: Past | None = None) -> tuple[Any, np.ndarray]:
        """The agent's state, and no last action yet, int32 [B]."""
        return self._agent.begin(num_games, past), np.full([num_games], NO_ACTION, np.int32)

    def act(
        self, observations: np.ndarray, state: Any, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, Any]:
        """See ``Agent.act``."""
        agent_state, last = state
        fresh, agent_state = self._agent.act(observations, agent_state, seed, step)
        random = np.random.default_rng([*np.asarray(seed).view(np.uint32), step])
        actions = _held(random, last, fresh, self._repeat_probability)
        return actions, (agent_state, actions)


class RandomAgent:
    """Random actions, whatever the game shows; by chance a step repeats the last of its episode.

    Args:
      num_actions: M.
      repeat_probability: the chance that the last action is repeated.
      probabilities: of the actions, [M]; equal ones if not given.
    """

    def __init__(
        self,
        num_actions: int,
        repeat_probability: float = 0.0,
        probabilities: np.ndarray | None = None,
    ):
        self._num_actions = num_actions
        self._repeat_probability = repeat_probability
        self._probabilities = probabilities

    def begin(self, num_games: int, past: Past | None = None) -> np.ndarray:
        """No last action yet, int32 [B]."""
        return np.full([num_games], NO_ACTION, np.int32)

    def act(
        self, observations: np.ndarray, state: np.ndarray, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, np.ndarray]:
        """See ``Agent.act``; the state is the last actions."""
        random = np.random.default_rng([*np.asarray(seed).view(np.uint32), step])
        if self._probabilities is None:
            fresh = random.integers(self._num_actions, size=len(state), dtype=np.int32)
        else:
            fresh = random.choice(self._num_actions, size=len(state), p=self._probabilities)
        actions = _held(random, state, fresh, self._repeat_probability)
        return actions, actions


def _held(
    random: np.random.Generator, last: np.ndarray, fresh: np.ndarray, probability: float
) -> np.ndarray:
    """Actions int32 [B]: by chance the last ones, where there are any."""
    is_held = (random.random(len(last)) < probability) & (last != NO_ACTION)
    return np.where(is_held, last, fresh).astype(np.int32)
