"""The real game as a TF-Agents environment.

Shapes: F = number of stacked frames, M = number of actions.
"""

import numpy as np
from tf_agents.environments import py_environment
from tf_agents.specs import array_spec
from tf_agents.trajectories import time_step as ts

from smallwm_tf.experiment.settings import FRAME_SIZE, Config
from smallwm_tf.games.catalogue import Game, resolve_game
from smallwm_tf.games.frame_source import (
    DEFAULT_SETTINGS,
    State,
    check_at_least,
    checked_pixels,
    open_frame_source,
)
from smallwm_tf.games.frame_stack import push_frame, start_stack

_STATE_KEYS = ("gymnasium_id", "stack", "episode_steps", "step_type", "reward", "discount")
_SOURCE = "source/"  # begins the names of the source's own arrays


class RealGame(py_environment.PyEnvironment):
    """One real game: Atari (paper, section 4), Catch, or any Gymnasium pixel environment.

    Observation: uint8 [96, 96, F], the last F frames, oldest first, newest last; at the start
    of an episode the first frame is repeated, so no stack reaches into the previous episode.
    Action: a whole number in 0 ... M-1, the game's minimal action set. Reward: float32, raw.
    Discount: 0 at a true end, 1 otherwise. An episode that reaches `max_episode_steps` ends
    with `StepType.LAST` and discount 1: it is cut off, not over. The `step` after a LAST one
    ignores its action and starts the next episode.

    Attributes:
        game: The game that is played.
        num_actions: M.
        action_meanings: M names.
        lost_life: Whether the last `step` lost a life; False before the first one.
    """

    def __init__(
        self,
        game: Game | str,
        num_stacked_frames: int,
        seed: int,
        settings: Config = DEFAULT_SETTINGS,
    ):
        """Opens the game.

        Args:
            game: A resolved game, or its name.
            num_stacked_frames: F, at least 1.
            seed: Fixes every random number of the game, not negative.
            settings: How it is played, the section `game` of a configuration.

        Raises:
            UnknownGameError, MissingGameError, UnsuitableGameError: One line each.
            ValueError: A number is out of range; the message names it.
        """
        super().__init__(handle_auto_reset=True)
        check_at_least("num_stacked_frames", num_stacked_frames, 1)
        check_at_least("seed", seed, 0)
        self.game = resolve_game(game) if isinstance(game, str) else game
        self._source = open_frame_source(self.game, seed, settings)
        self.action_meanings = self._source.action_meanings
        self.num_actions = len(self.action_meanings)
        self.lost_life = False
        self._max_episode_steps = settings.max_episode_steps
        self._episode_steps = 0
        self._stack = np.zeros((FRAME_SIZE, FRAME_SIZE, num_stacked_frames), np.uint8)
        self._observation_spec = array_spec.BoundedArraySpec(
            self._stack.shape, np.uint8, 0, 255, name="observation"
        )
        self._action_spec = array_spec.BoundedArraySpec(
            (), np.int32, 0, self.num_actions - 1, name="action"
        )

    def observation_spec(self) -> array_spec.BoundedArraySpec:
        """uint8 [96, 96, F]."""
        return self._observation_spec

    def action_spec(self) -> array_spec.BoundedArraySpec:
        """int32 scalar, 0 ... M-1."""
        return self._action_spec

    def _reset(self) -> ts.TimeStep:
        frame = self._source.reset()
        self._episode_steps, self.lost_life = 0, False
        self._stack = start_stack(frame, self._stack.shape[-1])
        return ts.restart(self._stack)

    def _step(self, action: np.ndarray) -> ts.TimeStep:
        action = int(action)
        if not 0 <= action < self.num_actions:
            raise ValueError(
                f"action={action} is out of range: {self.game.name} has actions 0 to "
                f"{self.num_actions - 1}"
            )
        frame, reward, terminated, truncated, self.lost_life = self._source.step(action)
        self._episode_steps += 1
        observation = self._stack = push_frame(self._stack, frame)  # [96, 96, F]
        if terminated:
            return ts.termination(observation, reward)
        if truncated or self._episode_steps >= self._max_episode_steps:
            return ts.truncation(observation, np.float32(reward), np.float32(1.0))
        return ts.transition(observation, reward)

    def get_state(self) -> State:
        """Everything the future depends on, given the same actions; arrays without Python objects.

        Raises:
            ValueError: The game was never reset.
        """
        current = self.current_time_step()
        state = {
            "gymnasium_id": np.array(self.game.gymnasium_id),
            "stack": self._stack.copy(),
            "episode_steps": np.int64(self._episode_steps),
            "step_type": np.int32(current.step_type),
            "reward": np.float32(current.reward),
            "discount": np.float32(current.discount),
        }
        return state | {_SOURCE + key: value for key, value in self._source.get_state().items()}

    def set_state(self, state: State) -> ts.TimeStep:
        """Continues from a saved state: the same actions give the same frames and rewards.

        Returns the time step that was current when the state was taken.

        Raises:
            ValueError: The state is of another game or shape; the message gives both.
        """
        missing = [key for key in _STATE_KEYS if key not in state]
        if missing:
            raise ValueError(f"saved game state: {missing[0]!r} is missing")
        saved_id = str(state["gymnasium_id"])
        if saved_id != self.game.gymnasium_id:
            raise ValueError(
                f"saved game state: it is of {saved_id!r}, this is {self.game.gymnasium_id!r}"
            )
        stack = checked_pixels("stack", state["stack"], self._stack.shape)
        names = [key for key in state if key.startswith(_SOURCE)]
        try:
            self._source.set_state({key.removeprefix(_SOURCE): state[key] for key in names})
        except KeyError as error:
            raise ValueError(f"saved game state: {_SOURCE + error.args[0]!r} is missing") from error
        self._stack = stack.copy()
        self._episode_steps, self.lost_life = int(state["episode_steps"]), False
        self._current_time_step = ts.TimeStep(  # as TF-Agents' own TicTacToeEnvironment does
            step_type=np.asarray(state["step_type"], np.int32),
            reward=np.asarray(state["reward"], np.float32),
            discount=np.asarray(state["discount"], np.float32),
            observation=self._stack.copy(),
        )
        return self._current_time_step

    def close(self) -> None:
        """Frees the game."""
        self._source.close()
