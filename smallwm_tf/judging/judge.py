"""Judging what was learned by real steps that nothing is trained on.

The world model after every training of it: predictions of held-out steps. The policy after every
training of it: what the dream promised it and what the real game pays.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.actor import Actor
from smallwm_tf.agents.collecting import Collector
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.experiment.schedule import STEPS_BETWEEN_STARTS
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.judging import held_out
from smallwm_tf.judging.evaluation import open_game
from smallwm_tf.judging.promise import Promise, dreamed_rewards, find_starts, real_rewards
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import reward_precision_and_recall
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel

_PURPOSE = "held_out"
_GAMES_AT_ONCE = 16
_LAST_LOOK = -1
_LOGGED_HORIZONS = (1, 5, 10, 25, 50)


def play_held_out(
    experiment: Experiment,
    actor: Actor,
    iteration: int,
    before_step: Callable[[], None] = lambda: None,
) -> Replay:
    """Real steps as the iteration's collection plays them, in a game and with numbers of its own.

    Args:
      experiment: game, configuration and seed of the run.
      actor: plays, at ``collection.temperature``; the first iteration plays at random.
      iteration: counted from 1.
      before_step: called again and again; may raise to stop.
    """
    config = experiment.config
    num_steps = config.inspection.held_out_steps
    game = _open_game(experiment, _PURPOSE, iteration)
    temperature = None if iteration == 1 else config.collection.temperature
    collected = Collector(game, actor).collect(
        num_steps,
        temperature,
        experiment.seed,
        iteration,
        lambda count: before_step(),
        _PURPOSE,
        config.collection.repeat_probability,
    )
    game.close()
    replay = Replay(num_steps)
    replay.append(collected.frames, collected.actions, collected.rewards, collected.ended)
    return replay


def judge_world_model(
    world_model: WorldModel, replay: Replay, config, seed: int, iteration: int
) -> tuple[dict[str, float | None], held_out.OpenLoopCurves]:
    """Measures on held-out steps, by name of metric, and the open-loop curves.

    Args:
      world_model: what is judged.
      replay: from ``play_held_out``.
      config: the run's configuration.
      seed: of the run.
      iteration: counted from 1.
    """
    order = generator(seed, _PURPOSE, "starts", iteration)
    num_starts = min(config.inspection.num_starts, replay.size)
    starts = np.sort(order.choice(replay.size, num_starts, replace=False)).astype(np.int32)
    one_step = held_out.one_step(world_model, replay, config.dynamics.window_length)
    curves = held_out.open_loop_curves(
        world_model,
        replay,
        starts,
        config.inspection.horizon,
        seed_pair(seed, _PURPOSE, iteration),
        config.dream.context_steps,
        config.dynamics.temperature,
    )
    codes = held_out.autoencoding(world_model, replay)
    measures: dict[str, float | None] = {
        **{name: _number(value) for name, value in codes._asdict().items()},
        "latent_loss": one_step.latent_loss,
        "reward_loss": one_step.reward_loss,
        "code_accuracy": one_step.code_accuracy,
        "copy_accuracy": one_step.copy_accuracy,
        **reward_precision_and_recall(one_step.confusion),
    }
    for name, value in zip(("negative", "zero", "positive"), one_step.calibration, strict=True):
        measures[f"reward_calibration_{name}"] = _number(value)
    for horizon in _LOGGED_HORIZONS:
        if horizon <= config.inspection.horizon:
            for name, curve in curves._asdict().items():
                if curve.ndim == 1:
                    measures[f"open_loop_{name}_{horizon}"] = _number(curve[horizon - 1])
    return measures, curves


class RealityCheck:
    """Moments of the real game from which to see what a policy earns, and what a dream promises.

    Args:
      experiment: game, configuration and seed of the run.
      actor: plays, with the weights it has now, to find the moments.
      iteration: counted from 1.
    """

    def __init__(self, experiment: Experiment, actor: Actor, iteration: int):
        config = experiment.config
        self._config, self._actor = config, actor
        pairs = [seed_pair(experiment.seed, "promise", iteration, part) for part in range(3)]
        starts_pair, self._real_pair, self._dream_pair = map(tf.constant, pairs)
        num_games = min(config.inspection.num_starts, _GAMES_AT_ONCE)
        self._games = [_open_game(experiment, "promise", iteration) for _ in range(num_games)]
        self._starts = find_starts(
            self._games[0],
            actor,
            config.inspection.num_starts,
            STEPS_BETWEEN_STARTS,
            config.evaluation.temperature,
            starts_pair,
            config.dream.context_steps,
        )

    def real_rewards(self, look: int) -> np.ndarray:
        """Clipped rewards of the actor's policy in the real game, [S, H].

        Args:
          look: keeps the random numbers of several looks apart.
        """
        return real_rewards(
            self._games,
            self._actor,
            self._starts,
            self._config.inspection.horizon,
            self._config.evaluation.temperature,
            tf.random.experimental.stateless_fold_in(self._real_pair, look),
        )

    def promise(self, world_model: WorldModel, policy: PolicyAndValue) -> Promise:
        """Rewards of the policy in the dream, and in the real game played once more.

        Once more, since the looks that chose a policy flatter it.
        """
        dreamed = dreamed_rewards(
            world_model,
            policy,
            self._starts,
            self._config.inspection.horizon,
            self._config.evaluation.temperature,
            self._dream_pair,
            self._config.dream.rewards,
            self._config.dynamics.temperature,
        )
        return Promise(dreamed, self.real_rewards(_LAST_LOOK))

    def close(self) -> None:
        """Closes the games."""
        for game in self._games:
            game.close()


def _open_game(experiment: Experiment, purpose: str, iteration: int) -> RealGame:
    game = open_game(experiment, purpose, iteration)
    game.reset()
    return game


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
