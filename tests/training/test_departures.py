"""What departs from the paper, all at once, in a tiny session of Catch."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.runs import scores
from smallwm_tf.runs.stop_request import Stopped
from smallwm_tf.train import train
from tests.tiny_runs import (
    StopAfter,
    experiment_for,
    logged,
    look_over_the_shoulder,
    open_run,
    perform,
    policy_of,
    start_run,
    train_in_pieces,
)

DEPARTURES = {
    "vqvae.pixel_margin": 0.05,
    "vqvae.foreground_weight": 10.0,
    "vqvae.update_interval": 0,
    "collection.repeat_probability": 0.9,
    "dream.context_steps": 2,
    "dynamics.temperature": 0.5,
    "dream.rewards": "expected",
    "dream.ends": "predicted",
    "dream.newest_share": 0.25,
    "dream.paid_share": 0.5,
    "collection.final_temperature_share": 0.5,
    "collection.policy_repeat_probability": 0.5,
    "dynamics.learning_rate": 1e-3,
    "dynamics.reward_head_learning_rate": 2e-3,
    "dynamics.final_learning_rate_share": 0.25,
    "ppo.learning_rate": 1e-3,
    "ppo.final_learning_rate_share": 0.5,
    "evaluation.interval": 3,
    "inspection.num_starts": 12,
}

STAY, LEFT, RIGHT = range(3)


@pytest.fixture(scope="module")
def departures(tmp_path_factory):
    """One iteration up to its policy, which is replaced by a certain one before every look."""
    experiment = experiment_for(tmp_path_factory.mktemp("departures") / "run", DEPARTURES)

    def be_certain(policy, action: int) -> None:
        policy.logits.kernel.assign(tf.zeros_like(policy.logits.kernel))
        policy.logits.bias.assign(100.0 * tf.one_hot(action, 3))

    with open_run(experiment) as directory, pytest.MonkeyPatch.context() as monkeypatch:
        run = start_run(experiment, directory)
        seen = look_over_the_shoulder(run, monkeypatch)
        agent = run.algorithm
        learner, seen.dynamics_rates = agent.world_model_learner, []
        joint_steps = learner.joint_steps

        def note_rates_and_learn(rows, first, pair):
            rates = (
                learner.dynamics_optimizer.learning_rate,
                learner.reward_optimizer.learning_rate,
            )
            seen.dynamics_rates.append([first, *map(float, rates)])
            return joint_steps(rows, first, pair)

        learner.joint_steps = note_rates_and_learn
        perform(run, "collect", "learn_world_model")
        steps = tf.range(run.algorithm.replay.size)
        observations = run.algorithm.replay.observations(steps, 2)
        seen.codes = agent.world_model.encode(observations).numpy()
        seen.codes_held = agent.world_model_learner.encoded.codes(steps).numpy()
        seen.actions = run.algorithm.replay.actions.numpy()[: run.algorithm.replay.size]
        seen.frames = run.algorithm.replay.frames.numpy()[: run.algorithm.replay.size]
        seen.background = agent.world_model_learner._background.numpy()
        seen.vqvae_updates = int(agent.world_model_learner.vqvae_updates)
        seen.dynamics_updates = int(agent.world_model_learner.dynamics_updates)
        seen.pixel_margin = agent.world_model.vqvae.pixel_margin
        agent.dream.reset()
        seen.first_state = tf.nest.flatten(agent.dream._dreams.recurrent)
        seen.dream_settings = agent.dream.dreamer.settings
        seen.dream_rewards = agent.dream.step(tf.zeros([4], tf.int32)).reward.numpy()
        update, seen.policy_rates = agent.policy_learner.update, []

        def update_and_replace(pair, number, rate):
            seen.policy_rates.append(rate)
            values = update(pair, number, rate)
            be_certain(agent.policy, (STAY, RIGHT, LEFT)[number])
            return values

        agent.policy_learner.update = update_and_replace
        be_certain(agent.policy, STAY)
        perform(run, "learn_policy")
        seen.policy = policy_of(run)
        perform(run, "evaluate")
        seen.was_evaluated = (directory.path / "scores.json").exists()
        perform(run, "evaluate", iteration=2)
        seen.scores = scores.read_scores(directory.path / "scores.json")
        seen.lines = run.metrics.read()
        run.close()
    return seen


def test_a_resting_vqvae_is_encoded_after_its_warm_up(departures):
    assert departures.vqvae_updates == 10
    assert departures.dynamics_updates > 0
    np.testing.assert_array_equal(departures.codes_held, departures.codes)
    assert len(np.unique(departures.codes)) > 1
    median = np.median(departures.frames, axis=0) / 255
    np.testing.assert_allclose(departures.background, median, atol=1e-6)


def test_only_the_last_iteration_of_two_is_evaluated_at_an_interval_of_three(departures):
    assert not departures.was_evaluated
    assert [entry["iteration"] for entry in departures.scores] == [2]
    phases = [line["phase"] for line in departures.lines if line["event"] == "phase"]
    assert phases == [
        "collect",
        "learn_world_model",
        "learn_policy",
        "evaluate",
        "evaluate",
    ]  # one without work is a phase nevertheless


def test_random_actions_are_repeated_as_configured(departures):
    assert np.mean(departures.actions[1:] == departures.actions[:-1]) > 0.7


def test_models_and_dreams_are_built_as_configured(departures):
    assert departures.dream_settings == (0.5, 2, "expected")
    assert departures.pixel_margin == 0.05
    assert max(np.abs(part).max() for part in departures.first_state) > 0
    assert np.all(np.abs(departures.dream_rewards) < 1)
    assert np.all(departures.dream_rewards != 0)


def test_the_dynamics_learning_rates_fall_from_group_to_group_of_updates(departures):
    first, rates, of_heads = np.transpose(departures.dynamics_rates)
    assert len(first) > 1
    last = departures.dynamics_updates - 1
    np.testing.assert_allclose(rates, 1e-3 - 0.75e-3 * first / last, rtol=1e-6)
    np.testing.assert_allclose(of_heads, 2 * rates, rtol=1e-6)


def test_the_policys_learning_rate_falls_in_a_line(departures):
    np.testing.assert_allclose(departures.policy_rates, [1e-3, 0.75e-3, 0.5e-3], rtol=1e-6)


def test_a_policy_that_earned_less_in_the_end_is_not_the_one_kept(departures):
    checks = [line for line in departures.lines if line["event"] == "check"]
    staying, right, left = (line["real"] for line in checks)
    assert staying == right > left  # what Catch pays them does not depend on chance
    assert [line["kept"] for line in checks] == [True, True, False]
    for played, policy in zip(departures.players[:3], departures.policies, strict=True):
        np.testing.assert_array_equal(played[-1], policy[-1])
    for value, best in zip(departures.policy, departures.policies[1], strict=True):
        np.testing.assert_array_equal(value, best)
    promise = next(line for line in departures.lines if line["event"] == "promise")
    assert promise["real"] == pytest.approx(right) and promise["step"] == 3
    # Sums of −1, 0, 1 over twelve starts are whole; those of expectations are not.
    assert abs(12 * promise["dreamed"] - round(12 * promise["dreamed"])) > 1e-3


@pytest.mark.slow
def test_codes_that_keep_what_pays_are_learned_the_same_in_pieces(tmp_path):
    """With a policy that sees the recurrent state."""
    differences = {
        "vqvae.event_loss_weight": 300.0,
        "vqvae.batch_size": 8,
        "vqvae.update_interval": 0,
        "dream.paid_share": 0.5,
        "dream.newest_share": 0.25,
        "dream.disagreement_weight": 0.5,
        "collection.policy_repeat_probability": 0.5,
        "ppo.num_updates": "(1,0)",
        "ppo.sees_recurrent_state": True,
        "dynamics.past_codes": 2,
        "dream.context_steps": 2,
        "ppo.check_interval": 0,
        "evaluation.interval": 2,
        "precision": "float32",
    }
    whole = experiment_for(tmp_path / "whole", differences)
    train(whole)
    pieces = experiment_for(tmp_path / "pieces", differences)
    assert train_in_pieces(pieces) >= 3
    lines = logged(whole.run_dir)  # with the metrics that only such runs have
    assert lines == logged(pieces.run_dir)
    assert all("event_loss" in line for line in lines if line["event"] == "vqvae")
    assert all("recognition_skill" in line for line in lines if line["event"] == "held_out")


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["st_lstm", "causal_lstm"])
def test_a_stop_while_other_cells_learn_changes_nothing(cell, tmp_path):
    differences = {
        "dynamics.cell": cell,
        "dynamics.convolution": "direct",
        "dynamics.epochs": "(2,)",
        "collection.num_iterations": 1,
        "vqvae.update_interval": 0,
        "precision": "float32",
    }
    whole, pieces = (experiment_for(tmp_path / name, differences) for name in ("whole", "pieces"))
    with pytest.raises(Stopped):
        train(pieces, StopAfter(87))
    events = [line["event"] for line in logged(pieces.run_dir)]
    assert "dynamics" in events and "held_out" not in events  # in the middle of it
    learned = []
    for experiment in (whole, pieces):
        with open_run(experiment) as directory:
            run = start_run(experiment, directory)
            perform(run, "collect", "learn_world_model")
            learned.append(
                [v.numpy() for v in run.algorithm.world_model_learner.dynamics_variables]
            )
            run.close()
    for ours, theirs in zip(*learned, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert logged(whole.run_dir) == logged(pieces.run_dir)
