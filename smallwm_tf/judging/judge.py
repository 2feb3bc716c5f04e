"""Judging what was learned by real steps that nothing is trained on.

The world model after every training of it: predictions of held-out steps. The policy after every
training of it: what the dream promised it and what the real game pays.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.collecting import collect
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.experiment.schedule import STEPS_BETWEEN_STARTS
from smallwm_tf.games.opening import open_game
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.judging.dream_rewards import rewards_along_dreams
from smallwm_tf.judging.held_out import HeldOutMeasures, OpenLoopCurves
from smallwm_tf.judging.promise import Promise, dreamed_rewards, find_starts, real_rewards
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import DYNAMICS_METRICS, reward_precision_and_recall
from smallwm_tf.models.imagination import Dreamer
from smallwm_tf.models.policy import PolicyAndValue

_PURPOSE = "held_out"
_GAMES_AT_ONCE = 16
_LOGGED_HORIZONS = (1, 5, 10, 15, 25, 50)
_DREAM_STEPS = (1, 2, 4, 8)
#: One step ahead, open loop, autoencoding, rewards along dreams.
JUDGED_PARTS = 4


def play_held_out(
    experiment: Experiment,
    agent: Agent,
    iteration: int,
    before_step: Callable[[], None] = lambda: None,
) -> Replay:
    """Real steps as the iteration's collection plays them, in a game and with numbers of its own.

    Iterations count from 1. ``before_step`` is called again and again; it may raise to stop.
    """
    num_steps = experiment.config.inspection.held_out_steps
    game = _open_game(experiment, _PURPOSE, iteration)
    path = (experiment.seed, _PURPOSE, iteration)
    collected = collect(game, agent, num_steps, path, before_step)
    game.close()
    replay = Replay(num_steps)
    replay.append(**collected.steps())
    return replay


class WorldModelJudge:
    """Measures of a world model on steps from ``play_held_out``; graphs serve all iterations.

    Args:
      dreamer: of the world model, as policies dream.
      replay: of the steps; may be filled with others from time to time.
      window_length: see ``HeldOutMeasures``.
    """

    def __init__(self, dreamer: Dreamer, replay: Replay, window_length: int):
        self._dreamer, self.replay = dreamer, replay
        self.measures = HeldOutMeasures(dreamer.world_model, replay, window_length)

    def judge(
        self,
        experiment: Experiment,
        iteration: int,
        on_part: Callable[[], None] = lambda: None,
    ) -> tuple[dict[str, float | None], OpenLoopCurves]:
        """Measures by name of metric, and the open-loop curves.

        ``on_part`` is called after each of the ``JUDGED_PARTS``.
        """
        config, seed = experiment.config.inspection, experiment.seed
        dreamer, replay, world_model = self._dreamer, self.replay, self._dreamer.world_model
        order = generator(seed, _PURPOSE, "starts", iteration)
        num_starts = min(config.num_starts, replay.size)
        starts = np.sort(order.choice(replay.size, num_starts, replace=False)).astype(np.int32)
        one_step = self.measures.one_step()
        on_part()
        pair = seed_pair(seed, _PURPOSE, iteration)
        curves = self.measures.open_loop(dreamer, starts, config.horizon, pair)
        on_part()
        measures = {
            **self.measures.autoencoding()._asdict(),
            **{name: getattr(one_step, name) for name in DYNAMICS_METRICS},
            **reward_precision_and_recall(one_step.confusion),
        }
        on_part()
        measures["reward_skill"] = one_step.reward_skill
        measures |= _by_class("reward_calibration_{}", one_step.calibration)
        measures |= _by_class("reward_auc_{}", one_step.reward_auc)
        if world_model.dynamics.end_head:
            names = ("end_loss", "end_skill", "end_auc")
            measures |= {name: getattr(one_step, name) for name in names}
        along = rewards_along_dreams(
            dreamer,
            replay,
            min(max(_DREAM_STEPS), config.horizon),
            seed_pair(seed, _PURPOSE, "rewards", iteration),
        )
        if world_model.recognition_head:
            recognition = self.measures.recognition()
            measures["recognition_skill"] = recognition.skill
            measures |= _by_class("recognition_auc_{}", recognition.auc)
        on_part()
        for step in _DREAM_STEPS:
            if step <= len(along.skill):
                measures[f"dream_reward_skill_{step}"] = along.skill[step - 1]
                measures |= _by_class(f"dream_reward_auc_{{}}_{step}", along.auc[step - 1])
        measures["dreamed_reward_rate"] = along.dreamed_rate
        measures["real_reward_rate"] = along.real_rate
        for horizon in _LOGGED_HORIZONS:
            if horizon <= config.horizon:
                for name, curve in curves._asdict().items():
                    if curve.ndim == 1:
                        measures[f"open_loop_{name}_{horizon}"] = curve[horizon - 1]
        return {name: _finite(value) for name, value in measures.items()}, curves


class RealityCheck:
    """Moments of the real game from which to see what a policy earns, and what a dream promises.

    The agent plays, at ``evaluation.temperature``, to find the moments; ``on_step`` is called after
    each of the ``steps_to_starts``, and may raise.
    """

    def __init__(
        self,
        experiment: Experiment,
        agent: Agent,
        iteration: int,
        on_step: Callable[[], None] = lambda: None,
    ):
        self._config = config = experiment.config
        self._path = (experiment.seed, "promise", iteration)
        num_games = min(config.inspection.num_starts, _GAMES_AT_ONCE)
        self._games = [_open_game(experiment, "promise", iteration) for _ in range(num_games)]
        self._starts = find_starts(
            self._games[0],
            agent,
            config.inspection.num_starts,
            STEPS_BETWEEN_STARTS,
            (*self._path, "starts"),
            config.dream.context_steps,
            on_step,
        )

    def real_rewards(self, agent: Agent, purpose: int | str) -> np.ndarray:
        """Clipped rewards of an agent, [S, H]; the purpose keeps random numbers of plays apart."""
        horizon, seed = self._config.inspection.horizon, seed_pair(*self._path, "real", purpose)
        lives_end = self._config.dream.ends == "predicted"
        return real_rewards(self._games, agent, self._starts, horizon, seed, lives_end)

    def promise(
        self,
        dreamer: Dreamer,
        policy: PolicyAndValue,
        agent: Agent,
        on_part: Callable[[], None] = lambda: None,
    ) -> Promise:
        """Rewards of a policy in the dream, and as an agent in the real game played once more.

        Once more, since real play that chose a policy flatters it. ``on_part`` is called after each
        of both.
        """
        dreamed = dreamed_rewards(
            dreamer,
            policy,
            self._starts,
            self._config.inspection.horizon,
            self._config.evaluation.temperature,
            tf.constant(seed_pair(*self._path, "dream")),
        )
        on_part()
        real = self.real_rewards(agent, "promise")
        on_part()
        return Promise(dreamed, real)

    def close(self) -> None:
        """Closes the games."""
        for game in self._games:
            game.close()


def _open_game(experiment: Experiment, purpose: str, iteration: int) -> RealGame:
    game = open_game(experiment, purpose, iteration)
    game.reset()
    return game


def _by_class(pattern: str, values: np.ndarray) -> dict[str, float]:
    """Values [3] of the reward classes by name of metric."""
    return {
        pattern.format(name): value
        for name, value in zip(("negative", "zero", "positive"), values, strict=True)
    }


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
