"""The time that a run takes, put together from rates by hand."""

import numpy as np
import pytest

from smallwm_tf.agents.agent import HoldingAgent, RandomAgent
from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.training.model_free_agent import ModelFreeAgent
from smallwm_tf.training.rates import RandomPlay, Rates, measure_rates, play_at_random
from smallwm_tf.training.world_model_agent import WorldModelAgent
from tests.tiny_runs import MODEL_FREE, experiment_for

NOTHING = Rates(*[0.0] * len(Rates._fields))
STILL = RandomPlay(3, None, None, opening=0.0, step=0.0, episode_steps=0.0)
OTHER = 12.0  # seconds that no rate tells

# Two iterations of 50 and 14 steps, 30 held-out steps each; two epochs of the dynamics, then one;
# five policy updates with a look before, after every second and after the last of an iteration.
# 5 moments, 20 steps apart, once per iteration; 9 steps from each at 3 + 2 looks, and at the
# promise of each iteration.
CHOOSING = 2 * 81 + 5 * 9 * (3 + 2)
AMOUNTS = {
    "acted_step": 14 + 30,
    "shared_step": CHOOSING + 5 * 9 * 2,
    "vqvae_update": 50 // 5 + 64 // 5 + (2 * (16 // 8) + 21 // 8) // 8,
    "policy_update": 3 + 1,
    "judging": 2,
    "start": 1,
}


def seconds(experiment, rates=NOTHING, played=STILL):
    parts = rates.seconds(experiment, plan_of(experiment.config).work(), played)
    return sum(parts.values()) - OTHER


@pytest.mark.parametrize("name", AMOUNTS)
def test_each_kind_of_work_counts_as_often_as_it_is_done(tmp_path, name):
    rates = NOTHING._replace(**{name: 1.0})
    assert seconds(experiment_for(tmp_path), rates) == AMOUNTS[name]


def test_random_play_collects_first_and_picks_null_policies(tmp_path):
    found = seconds(experiment_for(tmp_path), played=STILL._replace(step=1.0))
    assert found == 50 + 30 + CHOOSING


def test_games_are_opened_for_every_evaluation_and_null_policy(tmp_path):
    # Two episodes each, side by side: two evaluations; uniform, holding and the best of nine.
    found = seconds(experiment_for(tmp_path), played=STILL._replace(opening=1.0))
    assert found == 2 * (2 + 3)


def test_dynamics_updates_follow_the_windows_that_fit_into_episodes(tmp_path):
    rates = NOTHING._replace(dynamics_update=1.0, updates_per_step=0.5)
    assert seconds(experiment_for(tmp_path), rates) == 2 * 25 + 1 * 32


@pytest.mark.parametrize(("later_epochs", "encoded"), [(1, 50 + 64), (0, 64)])
def test_a_resting_vqvae_encodes_what_it_has_not_as_it_is(tmp_path, later_epochs, encoded):
    settings = {"vqvae.update_interval": 0, "vqvae.later_epochs": later_epochs}
    experiment = experiment_for(tmp_path, settings)
    assert seconds(experiment, NOTHING._replace(encoded_frame=1.0)) == encoded


def test_episodes_are_as_long_as_random_ones(tmp_path):
    experiment, long = experiment_for(tmp_path), STILL._replace(episode_steps=100.0)
    rates = NOTHING._replace(shared_step=1.0)
    assert seconds(experiment, rates, long) - seconds(experiment, rates) == 100.0 * 2 * 2
    random, still = long._replace(step=1.0), STILL._replace(step=1.0)
    # Of three null policies, two episodes each.
    assert seconds(experiment, played=random) - seconds(experiment, played=still) == 100.0 * 3 * 2


@pytest.mark.parametrize("num_games", [1, 4])
def test_agents_that_remember_are_asked_with_what_they_remember(num_games, monkeypatch):
    monkeypatch.setattr("smallwm_tf.training.rates._LEAST_SECONDS", 0.0)
    played = STILL._replace(observations=np.zeros([4, 96, 96, 1], np.uint8), step=1000.0)
    found = played.acted_step(HoldingAgent(RandomAgent(3), 0.5), num_games)
    assert 1000.0 < found < 1001.0


@pytest.mark.slow
def test_everything_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("smallwm_tf.training.rates._LEAST_SECONDS", 0.1)
    experiment = experiment_for(tmp_path)
    played = play_at_random(experiment)
    agent = WorldModelAgent(experiment, played.num_actions, played.replay)
    rates = measure_rates(agent, played, experiment)
    assert all(value > 0.0 for value in rates)
    assert played.opening > 0.0 and played.step > 0.0
    assert 5.0 < played.episode_steps < 20.0  # a ball of Catch
    assert rates.updates_per_step > 1.0 / 3.0 / 8.0  # windows of four steps, eight at once


def test_a_model_free_run_is_measured_too(tmp_path, monkeypatch):
    monkeypatch.setattr("smallwm_tf.training.rates._LEAST_SECONDS", 0.1)
    experiment = experiment_for(tmp_path, MODEL_FREE)
    work = plan_of(experiment.config).work()
    parts = []
    found = ModelFreeAgent.seconds(experiment, work, lambda: parts.append(1))
    assert len(parts) == ModelFreeAgent.num_measurements and all(of > 0 for of in found.values())
    more = work._replace(real_steps=work.real_steps._replace(learned_from=10**9))
    longer = ModelFreeAgent.seconds(experiment, more, lambda: None)
    assert longer["playing and policy updates"] > 1e5
