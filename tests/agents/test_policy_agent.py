"""The policy as it acts, recomputed from the networks' parts."""

import functools
import gc
import weakref

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.policy_agent import PolicyAgent, PolicySnapshot, draw_actions
from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.execution import DIRECT

F, M = 2, 4
PAIR = np.array([3, 4], np.int32)


@pytest.fixture(scope="module")
def models():
    """Networks whose codes and actions differ from one noise to the next."""
    return shared_models("direct")


@functools.cache
def shared_models(convolution, precision="float32"):
    return make_models(convolution, precision)


def make_models(convolution, precision="float32"):
    tf.keras.utils.set_random_seed(5)
    config = build_config(
        {
            "game.num_stacked_frames": F,
            "dynamics.channels": 4,
            "dynamics.convolution": convolution,
            "vqvae.num_embeddings": 16,
            "precision": precision,
        }
    )
    world_model, policy = build_models(config, num_actions=M)
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    policy.conv_5x5.kernel.assign(
        np.random.default_rng(0).normal(scale=9, size=policy.conv_5x5.kernel.shape)
    )
    logits = policy_logits((world_model, policy), noise(20)).numpy()
    policy.logits.bias.assign(-logits.mean(axis=0))
    return world_model, policy


def noise(count):
    return np.random.default_rng(0).integers(256, size=[count, 96, 96, F], dtype=np.uint8)


def policy_logits(models, observations) -> tf.Tensor:
    world_model, policy = models
    codes = world_model.vqvae.encode(observations)
    return policy(codes, world_model.vqvae.quantizer.embeddings)[0]


def act(agent, observations, step=0):
    actions, state = agent.act(observations, agent.begin(len(observations)), PAIR, step)
    assert actions.dtype == np.int32 and state == ()
    return actions


@pytest.mark.parametrize("convolution", ["direct", "fast"])
@pytest.mark.parametrize("counts", [(1, 5, 7), (9, 12)])  # few and many take different ways
def test_greedy_actions_have_the_largest_logits(convolution, counts):
    models = shared_models(convolution)
    agent = PolicyAgent(models[0], models[1], temperature=0.0)
    expected = np.argmax(policy_logits(models, noise(12)), axis=-1)
    assert len(set(expected[:5])) > 1
    for count in counts:
        np.testing.assert_array_equal(act(agent, noise(count)), expected[:count])
    assert len(agent._graphs) == 1


def test_acting_rounds_as_the_networks_do():
    observations = noise(12)
    exact, rounded = (shared_models("direct", each) for each in ("float32", "bfloat16"))
    exact_codes, rounded_codes = (each[0].encode(observations) for each in (exact, rounded))
    agent = PolicyAgent(*rounded)
    for count in (5, 12):
        codes = agent._snapshots[agent._execution(count)].encode(observations)
        assert np.mean(codes == rounded_codes) > np.mean(codes == exact_codes)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_actions_are_drawn_as_often_as_the_policy_says(temperature):
    logits = np.array([0.3, -1.0, 1.2, 0.0])
    weights = np.exp(logits / temperature)
    expected = weights / weights.sum()
    rows = tf.constant(np.tile(logits, [1000, 1]), tf.float32)
    drawn = np.concatenate([draw_actions(rows, temperature, PAIR, step) for step in range(8)])
    assert drawn.dtype == np.int32
    spread = np.sqrt(expected * (1 - expected) / len(drawn))
    assert np.all(np.abs(np.bincount(drawn, minlength=M) / len(drawn) - expected) < 4 * spread)


def test_the_random_stream(models):
    """Golden: whoever changes which numbers are drawn for which step must say so."""
    world_model, policy = models
    agent = PolicyAgent(world_model, policy, temperature=1e9)  # uniform
    drawn = [act(agent, noise(3), step).tolist() for step in range(4)]
    assert drawn == [[0, 0, 1], [2, 0, 3], [2, 3, 0], [0, 2, 0]]
    assert drawn == [act(agent, noise(3), step).tolist() for step in range(4)]


@pytest.mark.parametrize("count", [1, 9])
def test_a_snapshot_keeps_its_weights(count):
    models = make_models("fast")
    observations, (world_model, policy) = noise(count), models
    agent = PolicyAgent(world_model, policy, temperature=0.0)
    old = np.argmax(policy_logits(models, observations), axis=-1)
    kernel, norm = policy.conv_5x5.kernel, world_model.vqvae.encoder.projection_norm
    for seed in range(100):  # weights under which the actions are others
        kernel.assign(np.random.default_rng(seed).normal(size=kernel.shape))
        norm.beta.assign(np.random.default_rng(seed).normal(size=norm.beta.shape))
        new = np.argmax(policy_logits(models, observations), axis=-1)
        if not np.array_equal(new, old):
            break
    np.testing.assert_array_equal(act(agent, observations), old)  # the graph comes only now
    later = PolicyAgent(world_model, policy, temperature=0.0)
    np.testing.assert_array_equal(act(later, observations), new)


def test_a_snapshot_gives_codes_logits_and_values_of_the_networks(models):
    world_model, policy = models
    snapshot = PolicySnapshot(world_model.vqvae, policy, world_model.dynamics.stack, DIRECT)
    codes = snapshot.encode(noise(5))
    np.testing.assert_array_equal(codes, world_model.vqvae.encode(noise(5)))
    expected = policy(codes, world_model.vqvae.quantizer.embeddings)
    for found, wanted in zip(snapshot.policy_of(codes), expected, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-3)


def resident_bytes():
    with open("/proc/self/statm") as file:
        return 4096 * int(file.read().split()[1])


def test_an_agent_is_released_at_once(models):
    """Not at the next collection of cycles, by which many would have come together."""
    world_model, policy = models
    gc.disable()
    try:
        agent = PolicyAgent(world_model, policy)
        act(agent, noise(1))
        alive = weakref.ref(agent)
        del agent
        assert alive() is None
    finally:
        gc.enable()


def test_snapshots_are_released(models):
    """A run makes thousands, each with some 25 MB of weights in its graph."""
    world_model, policy = models
    alive, sizes = [], []
    for _ in range(8):
        agent = PolicyAgent(world_model, policy)
        act(agent, noise(1))
        alive.append(weakref.ref(agent._graphs[DIRECT].graph))
        del agent
        gc.collect()
        sizes.append(resident_bytes())
    assert [graph() for graph in alive] == [None] * 8
    assert sizes[-1] - sizes[3] < 60e6
