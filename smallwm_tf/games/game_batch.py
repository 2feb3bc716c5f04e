"""Many copies of one game, played side by side.

Shapes: N = number of games, F = number of stacked frames. This module imports no TensorFlow.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from smallwm_tf.experiment.machine import cores_here
from smallwm_tf.experiment.settings import FRAME_SIZE, Config
from smallwm_tf.games.catalogue import Game, cannot_open, resolve_game
from smallwm_tf.games.faults import GameFaultError
from smallwm_tf.games.frame_source import DEFAULT_SETTINGS, check_at_least, open_frame_source
from smallwm_tf.games.frame_stack import push_frame, start_stack

_MAX_SEED = 2**31 - 1
_NO_FRAME_LIMIT = 2**31 - 1


class BatchStep(NamedTuple):
    """What one step of all games yields."""

    observations: np.ndarray  # uint8 [N, 96, 96, F]
    rewards: np.ndarray  # float32 [N], raw; 0 for a frozen game
    terminated: np.ndarray  # bool [N], a true end with this step
    truncated: np.ndarray  # bool [N], cut off with this step by a time limit
    episode_over: np.ndarray  # bool [N], with this step or before, or left out of `active`


class GameBatch:
    """N independent copies of a game, one episode each per `reset`.

    Frames, rewards and ends are those of `RealGame`. One difference: an Atari episode starts
    with 0 to `noop_max` - 1 idle frames here (ale-py's vector environment), with 1 to `noop_max`
    there (Gymnasium's wrapper). A game whose episode is over is frozen until the next `reset`: it
    keeps its last observation, earns 0 and ignores its actions. Everything follows from `seed`
    and the actions since opening: open a new batch to repeat it.

    Attributes:
        game: The game that is played.
        num_games: N.
        num_actions: Number of its actions; `action_meanings` are their names.
        episode_over: bool [N], which games are over (or were left out of `active`).
    """

    def __init__(
        self,
        game: Game | str,
        num_games: int,
        num_stacked_frames: int,
        seed: int,
        settings: Config = DEFAULT_SETTINGS,
    ):
        """Opens the games; the arguments are those of `RealGame`.

        Raises:
            UnknownGameError, MissingGameError, UnsuitableGameError: One line each.
            ValueError: `num_games` is less than 1.
        """
        check_at_least("num_games", num_games, 1)
        self.game = resolve_game(game) if isinstance(game, str) else game
        self.num_games = num_games
        self.episode_over = np.ones(num_games, bool)
        self._max_episode_steps = settings.max_episode_steps
        self._episode_steps = 0
        self._stack = np.zeros((num_games, FRAME_SIZE, FRAME_SIZE, num_stacked_frames), np.uint8)
        open_games = _AtariGames if self.game.is_atari else _GymnasiumGames
        self._games = open_games(self.game, num_games, np.random.SeedSequence(seed), settings)
        self.action_meanings = self._games.action_meanings
        self.num_actions = len(self.action_meanings)

    def reset(self) -> np.ndarray:
        """Starts an episode in every game; returns uint8 [N, 96, 96, F]."""
        self._stack = start_stack(self._games.reset(), self._stack.shape[-1])
        self._episode_steps = 0
        self.episode_over = np.zeros(self.num_games, bool)
        return self._stack

    def step(self, actions: np.ndarray, active: np.ndarray | None = None) -> BatchStep:
        """Plays one agent step in every game that is not over.

        Args:
            actions: Whole numbers [N]; those of frozen games are ignored.
            active: bool [N], optional. A game left out is frozen from now on, over or not.

        Raises:
            ValueError: An array has the wrong shape, or an action is out of range.
        """
        if active is not None:
            self.episode_over = self.episode_over | ~self._per_game("active", active).astype(bool)
        playing = ~self.episode_over
        actions = np.where(playing, self._per_game("actions", actions), 0).astype(np.int32)
        wrong = (actions < 0) | (actions >= self.num_actions)
        if wrong.any():
            raise ValueError(
                f"actions[{wrong.argmax()}]={actions[wrong.argmax()]} is out of range: "
                f"{self.game.name} has actions 0 to {self.num_actions - 1}"
            )
        rewards = np.zeros(self.num_games, np.float32)
        terminated = truncated = np.zeros(self.num_games, bool)
        if playing.any():
            frames, new_rewards, terminated, truncated = self._games.step(actions, playing)
            pushed = push_frame(self._stack, frames)
            pushed[~playing] = self._stack[~playing]
            self._stack = pushed
            rewards[playing] = new_rewards[playing]
            self._episode_steps += 1
            out_of_time = self._episode_steps >= self._max_episode_steps
            terminated = terminated & playing
            truncated = (truncated | out_of_time) & playing & ~terminated
            self.episode_over = self.episode_over | terminated | truncated
        return BatchStep(self._stack, rewards, terminated, truncated, self.episode_over.copy())

    def close(self) -> None:
        """Frees the games."""
        self._games.close()

    def _per_game(self, key: str, values: np.ndarray) -> np.ndarray:
        values = np.asarray(values)
        if values.shape != (self.num_games,):
            raise ValueError(f"{key} has shape {list(values.shape)}, expected [{self.num_games}]")
        return values


# Frames uint8 [N, 96, 96] of one step, and rewards, terminated and truncated as in `BatchStep`.
_Played = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _nothing_played(num_games: int) -> _Played:
    frames = np.zeros((num_games, FRAME_SIZE, FRAME_SIZE), np.uint8)
    terminated, truncated = np.zeros([2, num_games], bool)
    return frames, np.zeros(num_games, np.float32), terminated, truncated


class _AtariGames:
    """`ale_py`'s vector environment, several times faster than N wrapped emulators.

    One environment for each game, since a vector cannot leave out a game that is over; as many play
    at the same time as there are threads. Its own frame stack starts with zeros where ours repeats
    the first frame, so it yields single frames.
    """

    def __init__(self, game: Game, num_games: int, seeds: np.random.SeedSequence, settings: Config):
        try:
            import gymnasium
            from ale_py.vector_env import AtariVectorEnv

            rom = gymnasium.spec(game.gymnasium_id).kwargs["game"]
            self._envs = [
                AtariVectorEnv(
                    rom,
                    1,
                    num_threads=1,
                    max_num_frames_per_episode=_NO_FRAME_LIMIT,  # GameBatch counts agent steps
                    repeat_action_probability=settings.sticky_action_probability,
                    full_action_space=False,
                    img_height=FRAME_SIZE,
                    img_width=FRAME_SIZE,
                    grayscale=True,
                    stack_num=1,
                    frameskip=settings.frame_skip,
                    maxpool=settings.frame_skip > 1,
                    noop_max=settings.noop_max,
                    episodic_life=False,
                    reward_clipping=False,
                    use_fire_reset=False,
                )
                for _ in range(num_games)
            ]
        except Exception as error:
            raise cannot_open(game, error) from error
        self._game, self._num_threads = game, num_threads()
        # One drawn seed per game: with an integer, seeds s and s + 1 would share N - 1 games.
        drawn = np.random.default_rng(seeds).integers(_MAX_SEED, size=num_games, dtype=np.int32)
        self._first_seeds: np.ndarray | None = drawn
        actions = self._envs[0].ale.get_action_set()
        self.action_meanings = tuple(action.name for action in actions)

    def reset(self) -> np.ndarray:
        # Seeding reloads the ROM, 0.1 s a game: later episodes go on with the games' own numbers.
        seeds, self._first_seeds = self._first_seeds, None

        def reset(number: int) -> np.ndarray:
            seed = None if seeds is None else seeds[number : number + 1]
            return self._single_frame(self._envs[number].reset(seed=seed)[0])

        with ThreadPoolExecutor(self._num_threads) as threads:
            return np.stack(list(threads.map(reset, range(len(self._envs)))))

    def step(self, actions: np.ndarray, playing: np.ndarray) -> _Played:
        frames, rewards, terminated, truncated = _nothing_played(len(self._envs))
        numbers, at_once = np.flatnonzero(playing), self._num_threads
        for group in (numbers[n : n + at_once] for n in range(0, len(numbers), at_once)):
            for number in group:
                self._envs[number].send(actions[number : number + 1])
            for number in group:
                observations, reward, is_terminal, is_truncated, _ = self._envs[number].recv()
                frames[number], rewards[number] = self._single_frame(observations), reward[0]
                terminated[number], truncated[number] = is_terminal[0], is_truncated[0]
        return frames, rewards, terminated, truncated

    def close(self) -> None:
        for env in self._envs:
            env.close()

    def _single_frame(self, observations: np.ndarray) -> np.ndarray:
        expected = (1, 1, FRAME_SIZE, FRAME_SIZE)
        if observations.shape != expected:
            raise GameFaultError(
                f"game {self._game.name}: observations are {list(observations.shape)}, expected "
                f"{list(expected)}; this version of ale-py is not supported"
            )
        return observations[0, 0]


def num_threads() -> int:
    """How many games are played at the same time: as many as TensorFlow has threads."""
    given = os.environ.get("OMP_NUM_THREADS", "")  # `--threads` sets it, and a container's quota
    if given.isdecimal() and int(given):
        return int(given)
    return cores_here()


class _GymnasiumGames:
    """N environments in one thread (Python's lock leaves nothing to gain from more)."""

    def __init__(self, game: Game, num_games: int, seeds: np.random.SeedSequence, settings: Config):
        self._sources = [
            open_frame_source(game, int(seed), settings) for seed in seeds.generate_state(num_games)
        ]
        self.action_meanings = self._sources[0].action_meanings

    def reset(self) -> np.ndarray:
        return np.stack([source.reset() for source in self._sources])

    def step(self, actions: np.ndarray, playing: np.ndarray) -> _Played:
        frames, rewards, terminated, truncated = _nothing_played(len(self._sources))
        for number in np.flatnonzero(playing):
            step = self._sources[number].step(int(actions[number]))
            frames[number], rewards[number] = step.frame, step.reward
            terminated[number], truncated[number] = step.terminated, step.truncated
        return frames, rewards, terminated, truncated

    def close(self) -> None:
        for source in self._sources:
            source.close()
