"""The agent's settings, minibatches, rollouts and whole updates of PPO."""

from collections import namedtuple
from types import SimpleNamespace

import numpy as np
import tensorflow as tf
from tf_agents.trajectories import StepType

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning import ppo
from smallwm_tf.learning.adam import BiasCorrectedAdam
from smallwm_tf.learning.dream_policy_learner import METRICS
from smallwm_tf.models.event_heads import Events, RewardDistribution

N, H, M = 2, 3, 3  # as in conftest.py
FIRST, MID, LAST = (int(t) for t in (StepType.FIRST, StepType.MID, StepType.LAST))


def test_every_argument_of_the_agent_is_the_configured_one(shared_parts, monkeypatch):
    config = build_config({})
    seen = {}
    monkeypatch.setattr(
        ppo.ppo_networks, "SharedTrunkAgent", lambda **arguments: seen.update(arguments)
    )
    shared_parts.learner(**{"ppo.minibatch_size": 6})
    assert seen["importance_ratio_clipping"] == config.ppo.ratio_clip == 0.1
    assert seen["value_clipping"] == config.ppo.value_clip == 0.1
    assert seen["discount_factor"] == config.ppo.discount == 0.99
    assert seen["lambda_value"] == config.ppo.gae_lambda == 0.95
    assert seen["entropy_regularization"] == config.ppo.entropy_weight == 0.01
    assert seen["value_pred_loss_coef"] == config.ppo.value_loss_weight == 0.5
    assert seen["gradient_clipping"] == config.ppo.max_gradient_norm == 0.5
    assert seen["num_epochs"] == 1
    for switch in ("use_gae", "use_td_lambda_return"):
        assert seen[switch] is True
    for switch in (
        "normalize_rewards",
        "normalize_observations",
        "update_normalizers_in_train",
        "compute_value_and_advantage_in_train",
        "greedy_eval",
    ):
        assert seen[switch] is False
    for weight in ("policy_l2_reg", "value_function_l2_reg", "shared_vars_l2_reg"):
        assert seen[weight] == 0.0
    assert seen["log_prob_clipping"] == 0.0
    assert isinstance(seen["optimizer"], BiasCorrectedAdam)
    assert config.ppo.num_epochs == 4 and config.ppo.minibatch_size == 256
    np.testing.assert_allclose(seen["optimizer"].learning_rate, 2.5e-4)


def test_the_agent_trains_the_policys_variables_and_has_no_normalisers(parts):
    agent = parts.learner().agent
    expected = {variable.ref() for variable in parts.policy.trainable_variables}
    assert {v.ref() for v in agent.actor_net.trainable_weights} == expected
    assert agent._reward_normalizer is None and agent._observation_normalizer is None


# ---- minibatches and whole updates ------------------------------------------------------------


def test_minibatches_show_every_transition_once_per_epoch():
    sizes, shown = [], []
    Extra = namedtuple("Extra", "policy_gradient_loss value_estimation_loss clip_fraction")

    def train(minibatch, weights):
        assert weights is None
        shown.append(minibatch["number"].numpy()[:, 0])
        sizes.append(len(shown[-1]))
        count = float(len(sizes))
        return SimpleNamespace(extra=Extra(count, 2.0, 0.5))

    config = build_config({})
    learner = ppo.PolicyLearner(SimpleNamespace(train=train), None, config)
    experience = {"number": tf.reshape(tf.range(800), [16, 50])}
    means = learner.train_on(experience, tf.constant([1, 2]))
    assert sizes == [256, 256, 256, 32] * 4
    orders = [np.concatenate(shown[4 * epoch : 4 * epoch + 4]) for epoch in range(4)]
    for order in orders:
        np.testing.assert_array_equal(np.sort(order), np.arange(800))
        assert not np.array_equal(order, np.arange(800))
    assert len({order.tobytes() for order in orders}) == 4
    np.testing.assert_allclose(means, [np.mean(np.arange(1, 17)), 2.0, 0.5])


def test_the_rollout_lines_up_as_its_table_says(parts):
    learner = parts.learner()
    seed = tf.constant([7, 8])
    rollout = learner.rollout(seed)
    np.testing.assert_array_equal(rollout.step_type, [[FIRST, MID, MID, LAST]] * N)
    np.testing.assert_array_equal(rollout.next_step_type[:, :H], [[MID, MID, LAST]] * N)
    np.testing.assert_array_equal(rollout.discount[:, :H], [[1.0, 1.0, 0.0]] * N)
    # The same dream by hand, with the actions that were drawn.
    environment = learner._environment
    environment.seed(tf.random.experimental.stateless_fold_in(seed, 0))
    step = environment.reset()
    embeddings = parts.world_model.vqvae.quantizer.embeddings
    for t in range(H + 1):
        np.testing.assert_array_equal(rollout.observation[:, t], step.observation)
        logits, values = parts.policy(step.observation, embeddings)
        info = rollout.policy_info
        np.testing.assert_allclose(info["dist_params"]["logits"][:, t], logits, atol=1e-5)
        np.testing.assert_allclose(info["value_prediction"][:, t], values, atol=1e-5)
        if t < H:
            step = environment.step(rollout.action[:, t])
            np.testing.assert_array_equal(rollout.reward[:, t], step.reward)


def test_an_update_is_one_traced_function_that_evaluates_the_trunk_once_per_call(
    parts, monkeypatch
):
    learner = parts.learner()
    trunk = learner.agent.trunk
    evaluations = []
    original = trunk._evaluate

    def counting(*arguments):
        evaluations.append(arguments)
        return original(*arguments)

    monkeypatch.setattr(trunk, "_evaluate", counting)
    seed = np.array([5, 6], np.int32)
    before = [variable.numpy() for variable in parts.policy.variables]
    results = [learner.update(seed, number, 2.5e-4).numpy() for number in range(3)]
    # Traced once each: a step of the rollout, its last column, and a minibatch.
    assert len(evaluations) == 3
    assert learner.update.experimental_get_tracing_count() == 1
    for variable, value in zip(parts.policy.trainable_variables, before, strict=True):
        assert not np.array_equal(variable, value), variable.name
    named = dict(zip(METRICS, results[0], strict=True))
    assert all(np.isfinite(result).all() for result in results)
    assert 0 < named["entropy"] <= np.log(M) * 1.0001
    assert -H <= named["dream_return"] <= H
    # Two epochs of six transitions in minibatches of four: four gradient steps per update.
    assert int(learner.agent.train_step_counter) == 3 * 4

    # The first update's metrics, from the same rollout with the same weights.
    for variable, value in zip(parts.policy.variables, before, strict=True):
        variable.assign(value)
    rollout = learner.rollout(tf.random.experimental.stateless_fold_in(seed, 0))
    logits = rollout.policy_info["dist_params"]["logits"].numpy()[:, :H].astype(np.float64)
    p = np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(named["entropy"], -np.mean(np.sum(p * np.log(p), -1)), rtol=1e-4)
    returns = np.mean(np.sum(rollout.reward.numpy()[:, :H], axis=1))
    np.testing.assert_allclose(named["dream_return"], returns, atol=1e-6)
    info = learner.with_advantages(rollout).policy_info
    error = np.mean(np.abs(info["value_prediction"] - info["return"]))
    np.testing.assert_allclose(named["value_error"], error, rtol=1e-3)


def test_updates_make_rewarded_actions_likelier(parts, monkeypatch):
    """In a dream that pays for action 2 only, the policy soon takes nothing else."""

    def paying(transition):
        reward_class = tf.where(tf.equal(transition.actions, 2), 2, 1)
        rewards = RewardDistribution(100.0 * tf.one_hot(reward_class, 3))
        return Events(rewards, None)

    monkeypatch.setattr(parts.world_model, "events", paying)
    learner = parts.learner(**{"dream.num_dreams": 8, "ppo.minibatch_size": 8})
    seed = np.array([1, 2], np.int32)
    returns = [learner.update(seed, number, 1e-3).numpy()[0] for number in range(15)]
    assert returns[0] < 0.6 * H
    assert np.mean(returns[-3:]) > 0.9 * H


def test_an_update_steps_at_the_rate_that_it_is_given_and_is_counted(parts):
    """Adam's first step moves what has a clear gradient by the learning rate."""
    learner = parts.learner(
        **{"ppo.learning_rate": 0.5, "ppo.num_epochs": 1, "ppo.minibatch_size": 6}
    )
    before = parts.policy.value.bias.numpy()
    learner.update(np.array([1, 2], np.int32), 0, 1e-3)
    np.testing.assert_allclose(np.abs(parts.policy.value.bias - before), 1e-3, rtol=1e-2)
    assert int(learner.num_updates) == 1
