"""What departs from the paper, all at once, in a tiny session of Catch."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from smallwm_tf.training.session import PHASES, Session

from smallwm_tf.runs import scores
from tests.tiny_runs import experiment_for, look_over_the_shoulder, open_run, policy_of

DEPARTURES = {
    "vqvae.pixel_margin": 0.05,
    "vqvae.foreground_weight": 10.0,
    "vqvae.update_interval": 0,
    "collection.repeat_probability": 0.9,
    "dream.context_steps": 2,
    "dynamics.temperature": 0.5,
    "dream.rewards": "expected",
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
    seen = SimpleNamespace(policies=[], rates=[], policy_rates=[], actor_is_fresh=[])

    def be_certain(session, action: int) -> None:
        layer = session.policy.logits
        layer.kernel.assign(tf.zeros_like(layer.kernel))
        layer.bias.assign(100.0 * tf.one_hot(action, 3))

    with open_run(experiment) as run:
        session = Session(experiment, run)
        look_over_the_shoulder(session, seen)
        session.collect(1)
        session.learn_world_model(1)
        observations = session.replay.observations(tf.range(session.replay.size), 2)
        seen.codes = session.world_model.vqvae.encode(observations).numpy()
        seen.codes_held = session.learner._codes.numpy()[: session.replay.size]
        seen.actions = session.replay.actions.numpy()[: session.replay.size]
        seen.frames = session.replay.frames.numpy()[: session.replay.size]
        seen.background = session.learner._background.numpy()
        seen.counters = dict(session.counters)
        seen.pixel_margin = session.world_model.vqvae.pixel_margin
        session.dream.reset()
        seen.first_state = tf.nest.flatten(session.dream.recurrent_state)
        seen.dream_temperature = session.dream._temperature
        seen.dream_rewards = session.dream.step(tf.zeros([4], tf.int32)).reward.numpy()
        update = session.ppo.update

        def update_and_replace(pair, number):
            seen.policy_rates.append(float(session.ppo_optimizer.learning_rate))
            values = update(pair, number)
            be_certain(session, (STAY, RIGHT, LEFT)[number])
            return values

        session.ppo.update = update_and_replace
        be_certain(session, STAY)
        session.learn_policy(1)
        seen.policy = policy_of(session)
        session.evaluate(1)
        seen.was_evaluated = (run.path / "scores.json").exists()
        session.evaluate(2)
        seen.scores = scores.read_scores(run.path / "scores.json")
        seen.lines = session.metrics.read()
        session.close()
    return seen


def test_a_resting_vqvae_is_encoded_after_its_warm_up(departures):
    assert departures.counters["vqvae_steps"] == 10
    assert departures.counters["dynamics_steps"] > 0
    np.testing.assert_array_equal(departures.codes_held, departures.codes)
    assert len(np.unique(departures.codes)) > 1
    median = np.median(departures.frames, axis=0) / 255
    np.testing.assert_allclose(departures.background, median, atol=1e-6)


def test_only_the_last_iteration_of_two_is_evaluated_at_an_interval_of_three(departures):
    assert not departures.was_evaluated
    assert [entry["iteration"] for entry in departures.scores] == [2]
    phases = [line["phase"] for line in departures.lines if line["event"] == "phase"]
    assert phases == [*PHASES, "evaluate"]  # one without work is a phase nevertheless


def test_random_actions_are_repeated_as_configured(departures):
    assert np.mean(departures.actions[1:] == departures.actions[:-1]) > 0.7


def test_models_and_dreams_are_built_as_configured(departures):
    assert departures.dream_temperature == 0.5
    assert departures.pixel_margin == 0.05
    assert max(np.abs(part).max() for part in departures.first_state) > 0
    assert np.all(np.abs(departures.dream_rewards) < 1)
    assert np.all(departures.dream_rewards != 0)


def test_the_policys_learning_rate_falls_in_a_line(departures):
    np.testing.assert_allclose(departures.policy_rates, [1e-3, 0.75e-3, 0.5e-3], rtol=1e-6)


def test_a_policy_that_earned_less_in_the_end_is_not_the_one_kept(departures):
    checks = [line for line in departures.lines if line["event"] == "check"]
    staying, right, left = (line["real"] for line in checks)
    assert staying == right > left  # what Catch pays them does not depend on chance
    assert [line["kept"] for line in checks] == [True, True, False]
    assert departures.actor_is_fresh == [True] * 4
    for value, best in zip(departures.policy, departures.policies[1], strict=True):
        np.testing.assert_array_equal(value, best)
    promise = next(line for line in departures.lines if line["event"] == "promise")
    assert promise["real"] == pytest.approx(right) and promise["step"] == 3
    # Sums of −1, 0, 1 over twelve starts are whole; those of expectations are not.
    assert abs(12 * promise["dreamed"] - round(12 * promise["dreamed"])) > 1e-3
