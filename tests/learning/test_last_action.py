"""Policies that see their last action (``ppo.repeat_probability``), from dreams to exports."""

import functools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.deployment.saved_agent import saved_code_policy
from smallwm_tf.deployment.tf_agents_policy import save_tf_agents_policy
from smallwm_tf.experiment.config import ConfigError, build_config, validate
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.models.policy import PolicyObservation
from tests.made_replays import made_replay

STEPS, M, N, H, REPEATS = 60, 5, 6, 7, 0.6
DIFFERENCES = {
    "game.num_stacked_frames": 2,
    "vqvae.num_embeddings": 16,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
    "dream.num_dreams": N,
    "dream.horizon": H,
    "ppo.repeat_probability": REPEATS,
    "ppo.minibatch_size": 8,
    "ppo.num_epochs": 1,
}
PAIR = np.array([3, 4], np.int32)


@pytest.fixture(scope="module")
def models():
    """A policy whose two kinds of logits both matter."""
    world_model, policy = build_models(build_config(DIFFERENCES), M)
    draw = np.random.default_rng(4)
    policy.logits.kernel.assign(draw.normal(scale=0.05, size=policy.logits.kernel.shape))
    policy.after_action.kernel.assign(2.0 * np.roll(np.eye(M), 1, axis=1))
    return world_model, policy


@pytest.fixture(scope="module")
def replay():
    """Episodes of 20 steps."""
    return made_replay(STEPS, M, terminated=np.arange(STEPS) % 20 == 19)


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """The export, loaded with TensorFlow alone."""
    path = tmp_path_factory.mktemp("export") / "agent"
    saved_code_policy(models[0], models[1], temperature=1.0).save(path)
    return tf.saved_model.load(str(path))


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=[count, 96, 96, 2], dtype=np.uint8)


@functools.cache
def policy_of_the_paper():
    return build_models(build_config(DIFFERENCES | {"ppo.repeat_probability": 0.0}), M)[1]


def on_codes(models, codes, last_actions) -> np.ndarray:
    """Logits of the paper's policy, whose biases are moved by what each last action adds."""
    world_model, policy = models
    plain = policy_of_the_paper()
    own = {variable.name: variable for variable in policy.variables}
    for variable in plain.variables:
        variable.assign(own[variable.name])
    embeddings, found = world_model.vqvae.quantizer.embeddings, []
    parts = (plain.hidden, policy.last_action), (plain.logits, policy.after_action)
    biases = [layer.bias.numpy() for layer, _ in parts]
    for code, action in zip(codes, last_actions, strict=True):
        for (layer, added), bias in zip(parts, biases, strict=True):
            layer.bias.assign(bias if action < 0 else bias + added.kernel[action])
        found.append(plain(code[np.newaxis], embeddings)[0][0].numpy())
    return np.stack(found)


def logits_of(models, observations, last_actions) -> np.ndarray:
    return on_codes(models, models[0].vqvae.encode(observations).numpy(), last_actions)


def test_an_untrained_policy_repeats_as_the_agent_that_holds_does():
    world_model, policy = build_models(build_config(DIFFERENCES), M)
    policy.logits.kernel.assign(tf.zeros_like(policy.logits.kernel))
    policy.logits.bias.assign(tf.zeros([M]))
    codes = tf.zeros([M, 6, 6], tf.int32)
    embeddings = world_model.vqvae.quantizer.embeddings
    chances = tf.nn.softmax(policy(PolicyObservation(codes, tf.range(M)), embeddings)[0]).numpy()
    holding, last, counts = RandomAgent(M, REPEATS), np.tile(np.arange(M), 4000), np.zeros([M, M])
    np.add.at(counts, (last, holding.act(None, last, PAIR, 0)[0]), 1)
    np.testing.assert_allclose(chances, counts / 4000, atol=0.03)
    begun = tf.nn.softmax(policy(PolicyObservation(codes, tf.fill([M], -1)), embeddings)[0])
    np.testing.assert_allclose(begun, np.full([M, M], 1 / M), atol=1e-6)


def test_without_it_a_policy_has_the_weights_of_the_paper(models):
    names = {variable.name for variable in models[1].variables}
    further = {"after_action/kernel:0", "last_action/kernel:0"}
    assert names - {variable.name for variable in policy_of_the_paper().variables} == further


def test_model_free_ppo_has_no_such_policy():
    with pytest.raises(ConfigError, match="ppo.repeat_probability"):
        validate(build_config({"algorithm": "ppo", "ppo.repeat_probability": 0.5}))


def test_the_replay_knows_the_action_before_each_step(replay):
    actions = replay.actions.numpy()
    expected = [actions[t - 1] if t % 20 else -1 for t in range(STEPS)]
    np.testing.assert_array_equal(replay.last_actions(tf.range(STEPS)), expected)


def learner_of(world_model, policy, replay) -> DreamPolicyLearner:
    config = build_config(DIFFERENCES)
    environment = DreamEnvironment(Dreamer(world_model, DreamSettings.of(config)), replay, config)
    optimizer = built_adam(config, 1e-2, policy.trainable_variables)
    return DreamPolicyLearner(environment, policy, optimizer, config)


@pytest.fixture(scope="module")
def rollout(models, replay):
    learner = learner_of(*models, replay)
    return tf.function(learner.rollout, autograph=False)(tf.constant(PAIR))


def test_a_dream_shows_the_action_before_each_code(rollout, replay, models):
    codes, last_actions = (part.numpy() for part in rollout.observation[:2])
    actions = rollout.action.numpy()
    np.testing.assert_array_equal(last_actions[:, 1:], actions[:, :-1])
    assert len(np.unique(last_actions[:, 0])) > 1
    observed = models[0].encode(replay.observations(tf.range(STEPS), 2)).numpy()
    before = replay.last_actions(tf.range(STEPS)).numpy()
    for code, action in zip(codes[:, 0], last_actions[:, 0], strict=True):
        assert action in before[(observed == code).all(axis=(1, 2))]


def test_ppo_sees_what_the_policy_saw(rollout, models):
    codes, last_actions = (part.numpy() for part in rollout.observation[:2])
    told = rollout.policy_info["dist_params"]["logits"].numpy()
    for t in range(H):
        expected = on_codes(models, codes[:, t], last_actions[:, t])
        expected -= expected.max(axis=1, keepdims=True)
        shown = told[:, t] - told[:, t].max(axis=1, keepdims=True)
        np.testing.assert_allclose(shown, expected, atol=1e-4)


def test_an_update_moves_what_the_last_action_adds(models, replay):
    _, policy = build_models(build_config(DIFFERENCES), M)
    learner = learner_of(models[0], policy, replay)
    kernels = policy.after_action.kernel, policy.last_action.kernel
    before = [kernel.numpy() for kernel in kernels]
    learner.update(tf.constant(PAIR), 0, 1e-2)
    for kernel, old in zip(kernels, before, strict=True):
        assert np.abs(kernel.numpy() - old).max() > 1e-3


def test_the_agent_remembers_its_last_action(models):
    agent, observations = PolicyAgent(models[0], models[1], 0.0), noise(40)
    memory = agent.begin(40)
    np.testing.assert_array_equal(memory.last_actions, np.full(40, -1))
    found = []
    for step in range(3):
        expected = logits_of(models, observations, memory.last_actions).argmax(axis=1)
        actions, memory = agent.act(observations, memory, PAIR, step)
        np.testing.assert_array_equal(actions, expected)
        np.testing.assert_array_equal(memory.last_actions, actions)
        found.append(actions)
    assert not np.array_equal(found[0], found[1])


def test_an_export_takes_the_last_action_or_keeps_it(models, saved):
    frames, seeds = noise(4, 1)[..., 0], [[7, step] for step in range(4)]
    first = np.repeat(frames[:1], 8, axis=0)
    begun, kept = saved.begin(first, seeds[0]), saved.reset(first, seeds[0])
    stack = np.repeat(first[..., np.newaxis], 2, axis=-1)
    expected = logits_of(models, stack, np.full(8, -1))
    np.testing.assert_allclose(begun["logits"], expected, atol=1e-4)
    for step in range(1, 4):
        frame, last = np.repeat(frames[step : step + 1], 8, axis=0), begun["action"]
        assert len(np.unique(last)) > 1
        stack = np.concatenate([stack[..., 1:], frame[..., np.newaxis]], axis=-1)
        begun = saved.act_with_stack(frame, begun["stack"], last, seeds[step])
        kept = saved.act(frame, seeds[step])
        expected = logits_of(models, stack, last.numpy())
        for found in (
            begun,
            kept,
            saved.serve(stack, last),
            saved.act_on_codes(kept["codes"], last),
        ):
            np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
        np.testing.assert_array_equal(kept["action"], begun["action"])
    signature = saved.signatures["serving_default"]
    named = signature(frames=tf.constant(stack), last_action=last)["logits"]
    np.testing.assert_allclose(named, expected, atol=1e-4)


@pytest.mark.slow  # as in test_policy_state, with less to keep
def test_tf_agents_policy_keeps_it_as_its_state(models, tmp_path):
    config = build_config(DIFFERENCES)
    agent = SimpleNamespace(config=config, action_meanings=("A",) * M, iteration=1)
    policy = saved_code_policy(models[0], models[1], temperature=1e-4)
    save_tf_agents_policy(policy, agent, tmp_path / "policy")
    loaded = tf.saved_model.load(str(tmp_path / "policy"))
    observations, state = tf.constant(noise(6, 2)), loaded.get_initial_state(6)
    for step in range(5):
        if step % 3 == 0:  # an episode begins, whatever the state says
            given, last = ts.restart(observations, batch_size=6), np.full(6, -1)
        else:
            given = ts.transition(observations, tf.zeros([6]))
        acted = loaded.action(given, state)
        state = acted.state
        np.testing.assert_array_equal(
            acted.action, logits_of(models, observations, last).argmax(axis=1)
        )
        last = acted.action.numpy()
