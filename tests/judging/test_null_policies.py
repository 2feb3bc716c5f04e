"""Null policies: what they play, how the best is picked, what an agent earns blindly."""

import numpy as np
import pytest

from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.judging import null_policies
from smallwm_tf.judging.null_policies import (
    ActionCounter,
    nine_policies,
    pick_best_of_nine,
    score_null_policies,
)
from tests.tiny_runs import experiment_for

SEED = np.array([1, 2], np.int32)


def actions_of(agent, num_steps=4000, num_games=1):
    memory, taken = agent.begin(num_games), []
    for step in range(num_steps):
        actions, memory = agent.act(np.zeros([num_games, 1]), memory, SEED, step)
        taken.append(actions)
    return np.array(taken)


class Looking:
    """Takes the action that it sees."""

    def begin(self, num_games, past=None):
        return ()

    def act(self, observations, state, seed, step):
        return observations[:, 0].astype(np.int32), state


def test_a_mix_is_drawn_as_often_as_it_says():
    mix = np.array([0.6, 0.0, 0.3, 0.1])
    counts = np.bincount(actions_of(RandomAgent(4, probabilities=mix)).ravel(), minlength=4)
    np.testing.assert_allclose(counts / counts.sum(), mix, atol=0.03)


def test_there_are_nine_and_they_are_always_the_same():
    names = list(nine_policies(6))
    assert len(names) == 9 and names[:3] == ["repeat 0", "repeat 0.7", "repeat 0.9"]
    for one, other in zip(nine_policies(6).values(), nine_policies(6).values(), strict=True):
        np.testing.assert_array_equal(actions_of(one, 50), actions_of(other, 50))
    repeated = {
        name: np.mean(np.diff(actions_of(agent).ravel()) == 0)
        for name, agent in nine_policies(6).items()
    }
    for name, chance in (("repeat 0", 0.0), ("repeat 0.7", 0.7), ("repeat 0.9", 0.9)):
        assert repeated[name] == pytest.approx(chance + (1 - chance) / 6, abs=0.03)


def test_the_blind_control_takes_the_agents_actions_as_often_but_sees_nothing():
    counter = ActionCounter(Looking(), 3)
    for step, seen in enumerate([[0, 1], [2, 2], [2, 0], [2, 2], [2, 2]]):
        taken, _ = counter.act(np.array(seen)[:, np.newaxis], (), SEED, step)
        np.testing.assert_array_equal(taken, seen)
    blind = actions_of(counter.blind_control())
    counts = np.bincount(blind.ravel(), minlength=3) / blind.size
    np.testing.assert_allclose(counts, [0.2, 0.1, 0.7], atol=0.03)


def test_the_best_is_the_one_that_was_paid_most(tmp_path, monkeypatch):
    # In Catch a paddle that is still catches a ball in so many; here one policy alone is paid.
    experiment = experiment_for(tmp_path)
    policies = {name: RandomAgent(3, probabilities=np.eye(3)[2]) for name in ("a", "b", "c")}
    policies["b"] = RandomAgent(3)

    class Game:
        num_actions = 3

        def reset(self):
            pass

        def close(self):
            pass

    def play(game, agent, seed):
        while True:
            yield type("Step", (), {"reward": float(agent is policies["b"])})

    monkeypatch.setattr(null_policies, "nine_policies", lambda num_actions: policies)
    monkeypatch.setattr(null_policies, "open_game", lambda *_: Game())
    monkeypatch.setattr(null_policies, "play_steps", play)
    assert pick_best_of_nine(experiment, 90) == "b"


def test_they_are_scored_in_the_real_game(tmp_path):
    experiment = experiment_for(tmp_path)
    found = score_null_policies(experiment, RandomAgent(3))
    assert list(found) == ["uniform", "holding", "best of nine", "blind control"]
    for summary in found.values():
        assert len(summary["returns"]) == experiment.config.evaluation.num_episodes
        assert set(summary["returns"]) <= {-1.0, 1.0}
        assert summary["mean"] == np.mean(summary["returns"])
    assert found["best of nine"]["picked"] in nine_policies(3)
    # 2 × (81 to the moments) and 5 looks of 5 moments × 9 steps.
    assert found["best of nine"]["picked_by_steps"] == 2 * 81 + 5 * 45


def test_who_chooses_nothing_has_no_best_of_nine(tmp_path):
    experiment = experiment_for(tmp_path, {"ppo.check_interval": 0})
    assert list(score_null_policies(experiment)) == ["uniform", "holding"]
