"""The time that a run takes, put together from rates by hand."""

import pytest

from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.training.model_free_agent import ModelFreeAgent
from smallwm_tf.training.rates import Rates, measure_rates, play_at_random
from smallwm_tf.training.world_model_agent import WorldModelAgent
from tests.tiny_runs import MODEL_FREE, experiment_for

NOTHING = Rates(*[0.0] * len(Rates._fields))
OTHER = 12.0  # seconds that no rate tells

# Two iterations of 50 and 14 steps, 30 held-out steps each; two epochs of the dynamics, then one;
# five policy updates with a look before, after every second and after the last of an iteration.
AMOUNTS = {
    "random_step": 50 + 30,
    "acted_step": 14 + 30,
    # 5 moments, 20 steps apart, once per iteration; 9 steps from each at 3 + 2 looks, and at the
    # promise of each iteration.
    "shared_step": 2 * 81 + 5 * 9 * (3 + 2) + 5 * 9 * 2,
    "vqvae_update": 50 // 5 + 64 // 5 + (2 * (16 // 8) + 21 // 8) // 8,
    "policy_update": 3 + 1,
    "judging": 2,
    "start": 1,
}


@pytest.mark.parametrize("name", AMOUNTS)
def test_each_kind_of_work_counts_as_often_as_it_is_done(tmp_path, name):
    experiment = experiment_for(tmp_path)
    rates = NOTHING._replace(**{name: 1.0})
    found = rates.seconds(experiment, plan_of(experiment.config).work()) - OTHER
    assert found == AMOUNTS[name]


def test_dynamics_updates_follow_the_windows_that_fit_into_episodes(tmp_path):
    experiment = experiment_for(tmp_path)
    rates = NOTHING._replace(dynamics_update=1.0, updates_per_step=0.5)
    found = rates.seconds(experiment, plan_of(experiment.config).work()) - OTHER
    assert found == 2 * 25 + 1 * 32


def test_a_resting_vqvae_encodes_everything_once_per_iteration(tmp_path):
    experiment = experiment_for(tmp_path, {"vqvae.update_interval": 0})
    rates = NOTHING._replace(encoded_frame=1.0)
    assert rates.seconds(experiment, plan_of(experiment.config).work()) - OTHER == 2 * 64


def test_episodes_are_as_long_as_random_ones(tmp_path):
    experiment = experiment_for(tmp_path)
    work = plan_of(experiment.config).work()
    rates = NOTHING._replace(shared_step=1.0, episode_steps=100.0)
    without = NOTHING._replace(shared_step=1.0).seconds(experiment, work)
    assert rates.seconds(experiment, work) - without == 100.0 * 2 * 2


@pytest.mark.slow
def test_everything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("smallwm_tf.training.rates._LEAST_SECONDS", 0.1)
    experiment = experiment_for(tmp_path)
    played = play_at_random(experiment)
    agent = WorldModelAgent(experiment, played.num_actions, played.replay)
    rates = measure_rates(agent, played, experiment)
    assert all(value > 0.0 for value in rates)
    assert 5.0 < rates.episode_steps < 20.0  # a ball of Catch
    assert rates.updates_per_step > 1.0 / 3.0 / 8.0  # windows of four steps, eight at once


def test_a_model_free_run_is_measured_too(tmp_path, monkeypatch):
    monkeypatch.setattr("smallwm_tf.training.rates._LEAST_SECONDS", 0.1)
    experiment = experiment_for(tmp_path, MODEL_FREE)
    work = plan_of(experiment.config).work()
    parts = []
    seconds = ModelFreeAgent.seconds(experiment, work, lambda: parts.append(1))
    assert len(parts) == ModelFreeAgent.num_measurements
    more = work._replace(real_steps=work.real_steps._replace(learned_from=10**9))
    longer = ModelFreeAgent.seconds(experiment, more, lambda: None)
    assert 0.0 < seconds - OTHER < longer - OTHER > 1e5
