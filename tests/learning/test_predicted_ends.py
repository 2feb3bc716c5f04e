"""Dreams that end where the world model says that a life is lost (``dream.ends`` = predicted)."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.deployment.saved_world_model import SavedWorldModel
from smallwm_tf.experiment.config import build_config
from smallwm_tf.judging.held_out import HeldOutMeasures
from smallwm_tf.judging.promise import Starts, dreamed_rewards
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
from smallwm_tf.learning.dynamics_loss import dynamics_losses
from smallwm_tf.learning.world_model_learner import WorldModelLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from tests.made_replays import made_replay

STEPS, M, N, H = 60, 3, 4, 5
DIFFERENCES = {
    "game.num_stacked_frames": 1,
    "vqvae.num_embeddings": 16,
    "vqvae.update_interval": 0,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
    "dynamics.window_length": 4,
    "dynamics.context_steps": 3,
    "dream.num_dreams": N,
    "dream.horizon": H,
    "dream.ends": "predicted",
    "ppo.minibatch_size": 8,
    "ppo.num_epochs": 1,
}
SEED = tf.constant([3, 4])


@pytest.fixture(scope="module")
def replay():
    """Action 2 costs a life, every 20th step ends the episode, the last one by a time limit."""
    numbers, actions = np.arange(STEPS), np.random.default_rng(0).integers(M, size=STEPS)
    ends = {"terminated": np.isin(numbers, (19, 39)), "truncated": numbers == STEPS - 1}
    return made_replay(STEPS, actions=actions, lost_life=actions == 2, **ends)


@pytest.fixture(scope="module")
def models():
    return build_models(build_config(DIFFERENCES), M)


def make_likely(world_model, logit: float) -> None:
    """Lets every transition end with the same chance."""
    layer = world_model.dynamics.end_head.logits
    layer.kernel.assign(tf.zeros_like(layer.kernel))
    layer.bias.assign([logit])


def learner_of(models, replay, **differences) -> DreamPolicyLearner:
    world_model, policy = models
    config = build_config(DIFFERENCES | differences)
    environment = DreamEnvironment(Dreamer(world_model, DreamSettings.of(config)), replay, config)
    optimizer = built_adam(config, config.ppo.learning_rate, policy.trainable_variables)
    return DreamPolicyLearner(environment, policy, optimizer, config)


def test_only_such_a_run_has_the_weights():
    paper = build_models(build_config(DIFFERENCES | {"dream.ends": "horizon"}), M)[0]
    assert paper.dynamics.end_head is None
    assert not any("end_head" in variable.name for variable in paper.dynamics.variables)


def test_an_end_is_a_lost_life_or_a_termination_but_no_time_limit(replay):
    windows = replay.windows(tf.range(STEPS), 1, 1)
    expected = (replay.actions.numpy() == 2) | np.isin(np.arange(STEPS), (19, 39))
    np.testing.assert_array_equal(windows.ends[:, 0], expected)
    assert expected[:-1].any()
    assert not expected[-1] or replay.actions.numpy()[-1] == 2


def test_the_loss_is_the_cross_entropy_of_what_happened(models, replay):
    world_model, draw = models[0], np.random.default_rng(1)
    codes = draw.integers(16, size=[2, 4, 6, 6]).astype(np.int32)
    actions = draw.integers(M, size=[2, 4]).astype(np.int32)
    ends = np.array([[0, 1, 0, 1], [1, 0, 1, 1]], bool)
    valid = np.array([[1, 1, 1, 1], [1, 1, 0, 0]], bool)
    rewards = np.zeros([2, 4], np.float32)
    arguments = (codes, actions, rewards, ends, valid)
    losses = dynamics_losses(world_model, *map(tf.constant, arguments), 4, SEED)
    state, terms = world_model.initial_state(2), []
    for t in range(3):
        y, _, state = world_model.predict(codes[:, t], actions[:, t], state)
        chance = world_model.events(Transition(y, codes[:, t], actions[:, t])).ends.probability()
        likelihood = np.where(ends[:, t], chance, 1.0 - chance)
        terms += list(-np.log(likelihood)[valid[:, t]])
    assert len(terms) == 5
    assert float(losses.end) == pytest.approx(np.mean(terms), rel=1e-4)


def test_training_learns_which_transitions_end(replay):
    config = build_config(DIFFERENCES | {"dynamics.reward_head_learning_rate": 3e-3})
    world_model = build_models(config, M)[0]
    learner = WorldModelLearner(world_model, replay, config)
    learner.encoded.encode_all()
    measures = HeldOutMeasures(world_model, replay, 4)
    before = measures.one_step()
    starts = np.tile(replay.tiling(4), [40, 1]).astype(np.int32)
    _, dynamics, _ = learner.joint_steps(starts, 0, SEED)
    after = measures.one_step()
    assert learner.dynamics_metrics[-1] == "end_loss"
    assert dynamics.shape == [len(learner.dynamics_metrics)]
    assert after.end_auc > max(before.end_auc, 0.95)
    assert after.end_loss < before.end_loss
    assert after.end_skill > 0.5 > before.end_skill


@pytest.mark.parametrize(("bootstrap", "last"), [(False, 0.0), (True, 1.0)])
def test_a_dreams_discount_is_the_chance_that_it_goes_on(models, replay, bootstrap, last):
    make_likely(models[0], float(np.log(0.25 / 0.75)))
    learner = learner_of(models, replay, **{"dream.bootstrap_at_horizon": bootstrap})
    rollout = learner.rollout(SEED)
    expected = np.tile(0.75 * np.array([1.0] * (H - 1) + [last]), [N, 1])
    np.testing.assert_allclose(rollout.discount[:, :H], expected, rtol=1e-6)


def test_chances_differ_between_dreams_as_the_world_model_says(replay):
    models = build_models(build_config(DIFFERENCES), M)
    world_model = models[0]
    learner = learner_of(models, replay)
    rollout = learner.rollout(SEED)
    state = world_model.initial_state(N)
    for t in range(H - 1):
        codes, actions = rollout.observation[:, t], rollout.action[:, t]
        y, _, state = world_model.predict(codes, actions, state)
        chance = world_model.events(Transition(y, codes, actions)).ends.probability()
        np.testing.assert_allclose(rollout.discount[:, t], 1.0 - chance, atol=1e-5)
    assert np.std(rollout.discount[:, : H - 1]) > 1e-4


def test_advantages_and_weights_count_what_lies_behind_an_end_for_less(models, replay):
    make_likely(models[0], 0.0)
    learner = learner_of(models, replay, **{"dream.bootstrap_at_horizon": True})
    rollout = learner.rollout(SEED)
    rewards = np.random.default_rng(2).normal(size=rollout.reward.shape).astype(np.float32)
    experience = learner.with_advantages(rollout.replace(reward=tf.constant(rewards)))
    values = rollout.policy_info["value_prediction"].numpy()
    discount, trace = 0.99 * 0.5, 0.95
    advantages, following = np.zeros([N, H]), 0.0
    for t in reversed(range(H)):
        error = rewards[:, t] + discount * values[:, t + 1] - values[:, t]
        following = error + (discount * trace * following if t < H - 1 else 0.0)
        advantages[:, t] = following
    np.testing.assert_allclose(experience.policy_info["advantage"], advantages, atol=1e-4)
    np.testing.assert_allclose(learner.weights(experience), np.tile(0.5 ** np.arange(H), [N, 1]))


def test_minibatches_bring_their_weights(models, replay, monkeypatch):
    make_likely(models[0], 0.0)
    learner, shown = learner_of(models, replay), []

    def train(minibatch, weights):
        shown.append((minibatch.reward.numpy(), weights.numpy()))
        return SimpleNamespace(
            extra=SimpleNamespace(
                policy_gradient_loss=0.0, value_estimation_loss=0.0, clip_fraction=0.0
            )
        )

    experience = learner.with_advantages(learner.rollout(SEED))
    weights = learner.weights(experience)
    experience = experience.replace(reward=tf.identity(weights))  # tells whose weight it is
    monkeypatch.setattr(learner.agent, "train", train)
    learner.train_on(experience, SEED, weights)
    assert sum(len(rewards) for rewards, _ in shown) == N * H
    for rewards, of_minibatch in shown:
        np.testing.assert_array_equal(rewards, of_minibatch)


def test_what_counts_for_nothing_teaches_nothing(models, replay):
    policy = models[1]
    learner, initial = learner_of(models, replay), policy.get_weights()
    experience = learner.with_advantages(learner.rollout(SEED))
    learner.train_on(experience, SEED, tf.zeros([N, H]))
    for before, after in zip(initial, policy.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    learner.train_on(experience, SEED, tf.ones([N, H]))
    assert not np.array_equal(initial[0], policy.get_weights()[0])


def test_a_promise_counts_rewards_by_the_chance_that_no_end_came_before(models, replay):
    world_model, policy = models
    dreamer = Dreamer(world_model, DreamSettings(temperature=1e-4, rewards="expected"))
    starts = Starts([], replay.observations(tf.range(N), 1).numpy(), replay.past(tf.range(N), 0, 1))

    def promised(logit):
        make_likely(world_model, logit)
        return dreamed_rewards(dreamer, policy, starts, H, 1.0, SEED)

    never, half = promised(-100.0), promised(0.0)
    assert np.abs(never).min() > 0
    np.testing.assert_allclose(half, never * 0.5 ** np.arange(H), rtol=1e-4)


def test_a_saved_world_model_tells_the_chance_of_an_end(tmp_path):
    config = build_config(DIFFERENCES)
    world_model = build_models(config, M)[0]
    SavedWorldModel(world_model).save(tmp_path / "saved")
    saved = tf.saved_model.load(str(tmp_path / "saved"))
    draw = np.random.default_rng(3)
    codes = tf.constant(draw.integers(16, size=[N, 6, 6]), tf.int32)
    actions = tf.constant(draw.integers(M, size=N), tf.int32)
    y, _, _ = world_model.predict(codes, actions, world_model.initial_state(N))
    chance = world_model.events(Transition(y, codes, actions)).ends.probability()
    state = saved.initial_state(tf.constant(N))
    logits = saved.predict(codes, actions, **state)["end_logits"]
    np.testing.assert_allclose(tf.sigmoid(logits), chance, atol=1e-5)
    step = saved.dream_step(codes, actions, **state, temperature=tf.constant(1.0), seed=SEED)
    np.testing.assert_allclose(step["continues"], 1.0 - chance, atol=1e-5)
