"""Judging what was learned by real steps that nothing is trained on.

The world model after every training of it: predictions of held-out steps. The policy after every
training of it: what the dream promised it and what the real game pays.
"""

import numpy as np
import tensorflow as tf

from smallwm_tf.command_line import TrainArguments
from smallwm_tf.envs.real_game import RealGame
from smallwm_tf.evaluation import game_seed, game_settings
from smallwm_tf.learning import held_out
from smallwm_tf.learning.acting import Actor
from smallwm_tf.learning.collection import Collector
from smallwm_tf.learning.promise import Promise, dreamed_rewards, find_starts, real_rewards
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import reward_precision_and_recall
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel
from smallwm_tf.randomness import generator, seed_pair

_PURPOSE = "held_out"
_STEPS_BETWEEN_STARTS = 20
_LOGGED_HORIZONS = (1, 5, 10, 25, 50)


def play_held_out(arguments: TrainArguments, actor: Actor, iteration: int) -> Replay:
    """Real steps as the iteration's collection plays them, in a game and with numbers of its own.

    Args:
      arguments: game, configuration and seed of the run.
      actor: plays, at ``collection.temperature``; the first iteration plays at random.
      iteration: counted from 1.
    """
    config = arguments.config
    num_steps = config.inspection.held_out_steps
    game = _open_game(arguments, _PURPOSE, iteration)
    temperature = None if iteration == 1 else config.collection.temperature
    collected = Collector(game, actor).collect(
        num_steps, temperature, arguments.seed, iteration, lambda count: None, _PURPOSE
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
        world_model, replay, starts, config.dream.horizon, seed_pair(seed, _PURPOSE, iteration)
    )
    codes = held_out.autoencoding(world_model, replay)
    measures: dict[str, float | None] = {
        "elbo": codes.elbo,
        "codebook_perplexity": codes.codebook_perplexity,
        "latent_loss": one_step.latent_loss,
        "reward_loss": one_step.reward_loss,
        "code_accuracy": one_step.code_accuracy,
        "copy_accuracy": one_step.copy_accuracy,
        **reward_precision_and_recall(one_step.confusion),
    }
    for name, value in zip(("negative", "zero", "positive"), one_step.calibration, strict=True):
        measures[f"reward_calibration_{name}"] = _number(value)
    for horizon in _LOGGED_HORIZONS:
        if horizon <= config.dream.horizon:
            for name, curve in curves._asdict().items():
                measures[f"open_loop_{name}_{horizon}"] = _number(curve[horizon - 1])
    return measures, curves


def compare_dream_with_reality(
    arguments: TrainArguments,
    world_model: WorldModel,
    policy: PolicyAndValue,
    actor: Actor,
    iteration: int,
) -> Promise:
    """Rewards of the policy in the dream and in the real game, from the same starts.

    Args:
      arguments: game, configuration and seed of the run.
      world_model: what dreams.
      policy: what acts in the dream.
      actor: the same policy, refreshed, for the real game.
      iteration: counted from 1.
    """
    config, purpose = arguments.config, "promise"
    temperature, horizon = config.evaluation.temperature, config.dream.horizon
    pairs = [tf.constant(seed_pair(arguments.seed, purpose, iteration, part)) for part in range(3)]
    game = _open_game(arguments, purpose, iteration)
    starts = find_starts(
        game,
        actor,
        config.inspection.num_starts,
        _STEPS_BETWEEN_STARTS,
        temperature,
        pairs[0],
    )
    real = real_rewards(game, actor, starts, horizon, temperature, pairs[1])
    game.close()
    dreamed = dreamed_rewards(
        world_model, policy, starts.observations, horizon, temperature, pairs[2]
    )
    return Promise(dreamed, real)


def _open_game(arguments: TrainArguments, purpose: str, iteration: int) -> RealGame:
    config = arguments.config
    game = RealGame(
        arguments.game,
        config.game.num_stacked_frames,
        seed=game_seed(arguments.seed, purpose, iteration),
        **game_settings(config),
    )
    game.reset()
    return game


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
