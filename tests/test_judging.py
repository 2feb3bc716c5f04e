"""Held-out play on Catch: repeatable, apart from what is trained on, and judged by every metric."""

import numpy as np
import pytest

from smallwm_tf.command_line import read_train_arguments
from smallwm_tf.envs.real_game import RealGame
from smallwm_tf.evaluation import game_seed, game_settings
from smallwm_tf.judging import judge_world_model, play_held_out
from smallwm_tf.learning.acting import Actor
from smallwm_tf.learning.collection import Collector
from smallwm_tf.models.build import build_models

STEPS = 40


@pytest.fixture(scope="module")
def arguments(tmp_path_factory):
    settings = {
        "dynamics.channels": 4,
        "dream.horizon": 10,
        "inspection.held_out_steps": STEPS,
        "inspection.num_starts": 6,
    }
    words = [f"--config.{key}={value}" for key, value in settings.items()]
    run_dir = tmp_path_factory.mktemp("judging") / "run"
    return read_train_arguments(
        ["train", "--game=Catch", "--config=catch", f"--run_dir={run_dir}", *words]
    )


@pytest.fixture(scope="module")
def models(arguments):
    return build_models(arguments.config, num_actions=3)


@pytest.fixture(scope="module")
def actor(models):
    return Actor(models[0].vqvae, models[1])


def frames_of(arguments, actor, iteration):
    return play_held_out(arguments, actor, iteration).frames.numpy()


@pytest.mark.parametrize("iteration", [1, 2])  # at random, and with the policy
def test_held_out_play_repeats_and_differs_between_iterations(arguments, actor, iteration):
    first = frames_of(arguments, actor, iteration)
    np.testing.assert_array_equal(first, frames_of(arguments, actor, iteration))
    assert not np.array_equal(first, frames_of(arguments, actor, 3))


def test_held_out_play_is_not_what_is_trained_on(arguments, actor):
    config = arguments.config
    seed = game_seed(arguments.seed, "collect")
    game = RealGame(arguments.game, 1, seed=seed, **game_settings(config))
    game.reset()
    collected = Collector(game, actor).collect(STEPS, None, arguments.seed, 1, lambda count: None)
    held_out = play_held_out(arguments, actor, 1)
    assert not np.array_equal(held_out.frames, collected.frames)
    assert not np.array_equal(held_out.actions, collected.actions)


def test_every_measure_is_a_number_or_none(arguments, models, actor):
    held_out = play_held_out(arguments, actor, 1)
    measures, curves = judge_world_model(models[0], held_out, arguments.config, 0, 1)
    # Episodes of Catch are shorter than ten steps ahead from most starts, and never longer.
    assert measures["open_loop_code_accuracy_1"] == pytest.approx(float(curves.code_accuracy[0]))
    assert {"elbo", "codebook_perplexity", "latent_loss", "reward_loss"} <= set(measures)
    assert {"code_accuracy", "copy_accuracy", "reward_calibration_zero"} <= set(measures)
    assert not any(name.endswith(("_25", "_50")) for name in measures)
    assert all(value is None or np.isfinite(value) for value in measures.values())
    assert 0 <= measures["code_accuracy"] <= 1 and measures["codebook_perplexity"] >= 1


def test_held_out_games_start_differently_in_every_iteration(arguments, actor):
    first_frames = {frames_of(arguments, actor, iteration)[0].tobytes() for iteration in range(8)}
    assert len(first_frames) > 1  # the ball falls in another column
