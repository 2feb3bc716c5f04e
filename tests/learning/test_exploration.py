"""Where dreams begin, what they add for the unknown, and how real play is varied."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.agent import HoldingAgent
from smallwm_tf.experiment.config import build_config
from smallwm_tf.experiment.schedule import collecting_temperature, policy_repeat_probability
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.world_model_learner import WorldModelLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from tests.made_replays import made_replay

STEPS, EPISODE, M, K, N, H = 60, 20, 3, 16, 8, 4
DIFFERENCES = {
    "game.num_stacked_frames": 1,
    "vqvae.num_embeddings": K,
    "vqvae.update_interval": 0,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
    "dynamics.window_length": 3,
    "dynamics.context_steps": 2,
    "dynamics.reward_head_learning_rate": 5e-3,
    "dream.num_dreams": N,
    "dream.horizon": H,
    "dream.disagreement_weight": 10.0,
}
PAIR = tf.constant([3, 4])


@pytest.fixture(scope="module")
def parts():
    """A world model and a replay of three episodes, with pay at the 6th, 39th and 41st step."""
    numbers = np.arange(STEPS)
    replay = made_replay(
        STEPS,
        M,
        rewards=np.select([numbers == 5, numbers == 38, numbers == 40], [1.0, -7.0, 0.6], 0.0),
        terminated=numbers % EPISODE == EPISODE - 1,
    )
    config = build_config(DIFFERENCES)
    return SimpleNamespace(world_model=build_models(config, M)[0], replay=replay, config=config)


def dream_of(parts, **differences) -> DreamEnvironment:
    config = build_config(DIFFERENCES | differences)
    return DreamEnvironment(
        Dreamer(parts.world_model, DreamSettings.of(config)), parts.replay, config
    )


# ---- disagreement --------------------------------------------------------------------------------


def predictions(heads, y):
    """[5, 36, B, K] in NumPy."""

    def answer(hidden, logits):
        features = y @ hidden.kernel.numpy() + hidden.bias.numpy()
        features = np.where(features > 0.0, features, 0.01 * features)
        exponents = np.exp(features @ logits.kernel.numpy() + logits.bias.numpy())
        return exponents / exponents.sum(axis=-1, keepdims=True)

    return np.stack([answer(*layers) for layers in zip(heads.hidden, heads.logits, strict=True)])


def test_only_such_a_run_has_the_heads(parts):
    paper = build_models(build_config(DIFFERENCES | {"dream.disagreement_weight": 0.0}), M)[0]
    assert paper.dynamics.disagreement_heads is None
    size = paper.dynamics.count_params()
    heads = 5 * ((4 + M) * 64 + 64 + 64 * K + K)
    assert parts.world_model.dynamics.count_params() == size + heads


def test_disagreement_is_what_the_codes_would_tell_about_the_head(parts):
    heads, y = parts.world_model.dynamics.disagreement_heads, np.random.default_rng(1)
    y = (5.0 * y.normal(size=[36, 2, 4 + M])).astype(np.float32)
    p = predictions(heads, y)  # [5, 36, 2, K]; the mutual information, by its other formula
    mean = p.mean(axis=0)
    expected = (p * np.log(p / mean)).sum(axis=-1).mean(axis=(0, 1))
    assert (expected > 1e-3).all()
    np.testing.assert_allclose(heads.disagreement(tf.constant(y)), expected, rtol=1e-3)


def test_heads_that_say_the_same_do_not_disagree(parts):
    heads = parts.world_model.dynamics.disagreement_heads
    saved = heads.get_weights()
    for layers in (heads.hidden, heads.logits):
        for layer in layers[1:]:
            layer.set_weights(layers[0].get_weights())
    y = tf.random.stateless_normal([36, 2, 4 + M], [0, 1])
    np.testing.assert_allclose(heads.disagreement(y), [0.0, 0.0], atol=1e-6)
    heads.set_weights(saved)


def test_their_loss_is_the_mean_over_heads_and_leaves_the_world_model_alone(parts):
    heads, draw = parts.world_model.dynamics.disagreement_heads, np.random.default_rng(2)
    y = draw.normal(size=[36, 2, 4 + M]).astype(np.float32)
    codes = draw.integers(K, size=[2, 6, 6]).astype(np.int32)
    p = predictions(heads, y)
    hit = np.take_along_axis(p, codes.reshape(2, 36).T[None, :, :, None], axis=-1)[..., 0]
    with tf.GradientTape() as tape:
        watched = tf.constant(y)
        tape.watch(watched)
        losses = heads.losses(watched, tf.constant(codes))
    np.testing.assert_allclose(losses, -np.log(hit).sum(axis=1).mean(axis=0), rtol=1e-4)
    of_y, of_kernel = tape.gradient(losses, [watched, heads.hidden[4].kernel])
    assert of_y is None and np.abs(of_kernel).max() > 0.0


def test_heads_agree_more_about_what_they_have_seen(parts):
    world_model, _ = build_models(parts.config, M)
    learner = WorldModelLearner(world_model, parts.replay, parts.config)
    learner.encoded.encode_all()
    starts = parts.replay.tiling(3)
    learner.joint_steps(np.tile(starts, [60, 1]).astype(np.int32), 0, PAIR)
    seen, actions = learner.encoded.codes(starts), tf.gather(parts.replay.actions, starts)
    state = world_model.initial_state(len(starts))

    def disagreement(codes):
        y = world_model.predict(codes, actions, state).y
        events = world_model.events(Transition(y, codes, actions))
        return float(tf.reduce_mean(events.disagreement))

    unseen = np.random.default_rng(3).integers(K, size=seen.shape).astype(np.int32)
    assert disagreement(seen) < 0.8 * disagreement(tf.constant(unseen))


def test_a_dream_pays_the_bonus_and_a_promise_does_not(parts):
    with_bonus, without = dream_of(parts), dream_of(parts, **{"dream.disagreement_weight": 0.0})
    action = tf.zeros([N], tf.int32)
    for environment in (with_bonus, without):
        environment.seed(PAIR)
        environment.reset()
    state = without.dreams
    y = parts.world_model.predict(state.codes, action, state.recurrent).y
    bonus = 10.0 * parts.world_model.dynamics.disagreement_heads.disagreement(y)
    paid, plain = (dream.step(action).reward.numpy() for dream in (with_bonus, without))
    np.testing.assert_allclose(paid - plain, bonus, rtol=1e-4, atol=1e-5)
    assert np.isin(plain, (-1.0, 0.0, 1.0)).all()  # what ``Dreamer.step`` pays anybody else


# ---- starts --------------------------------------------------------------------------------------


def starts_of(environment, count=40):
    pairs = [tf.constant([number, 0]) for number in range(count)]
    return np.stack([environment._drawn_starts(pair).numpy() for pair in pairs])


def test_shares_of_the_dreams_begin_where_it_is_new_or_paid(parts):
    environment = dream_of(parts, **{"dream.newest_share": 0.25, "dream.paid_share": 0.5})
    environment.look_through_replay(first_newest=50)
    starts = starts_of(environment)
    newest, paid, among_all = starts[:, :2], starts[:, 2:6], starts[:, 6:]
    rewards = parts.replay.rewards.numpy()
    expected = {
        step
        for step in range(STEPS)
        if any(
            abs(rewards[t]) > 0.5
            for t in range(step, min(step + H, STEPS))
            if t // EPISODE == step // EPISODE
        )
    }
    assert expected == {2, 3, 4, 5, 35, 36, 37, 38, 40}
    assert set(paid.ravel()) == expected
    assert set(newest.ravel()) == set(range(50, STEPS))
    assert len(set(among_all.ravel())) > 30


def test_without_pay_such_dreams_begin_anywhere(parts):
    silent = made_replay(STEPS, **parts.replay.as_arrays() | {"rewards": np.zeros(STEPS)})
    environment = dream_of(
        SimpleNamespace(**vars(parts) | {"replay": silent}), **{"dream.paid_share": 1.0}
    )
    environment.look_through_replay(first_newest=0)
    assert len(set(starts_of(environment).ravel())) > 50


def test_by_default_the_random_numbers_are_those_of_before(parts):
    drawn = dream_of(parts)._drawn_starts(PAIR)
    np.testing.assert_array_equal(drawn, tf.random.stateless_uniform([N], PAIR, 0, STEPS, tf.int32))


# ---- real play -----------------------------------------------------------------------------------


class Counting:
    """Plays 0, 1, 2, …, the number of its own steps."""

    def begin(self, num_games, past=None):
        return np.zeros(num_games, np.int32)

    def act(self, observations, state, seed, step):
        return state, state + 1


def test_a_holding_agent_repeats_what_it_did_and_never_at_a_start():
    agent, num_games, seed = HoldingAgent(Counting(), 0.7), 500, np.array([5, 6], np.int32)
    frames, state = np.zeros([num_games, 96, 96, 1], np.uint8), agent.begin(num_games)
    played = []
    for step in range(40):
        actions, state = agent.act(frames, state, seed, step)
        played.append(actions)
    played = np.array(played)
    np.testing.assert_array_equal(played[0], 0)
    fresh = played == np.arange(40)[:, np.newaxis]
    assert (fresh[1:] | (played[1:] == played[:-1])).all()
    assert 1.0 - fresh[1:].mean() == pytest.approx(0.7, abs=0.015)  # 19,500 draws
    again, _ = agent.act(frames, state, seed, 40)
    np.testing.assert_array_equal(again, agent.act(frames, state, seed, 40)[0])
    some = np.array([1, 7])
    half = tf.nest.map_structure(lambda array: array[some], state)
    assert len(agent.act(frames[some], half, seed, 40)[0]) == 2


def test_both_fall_in_a_line_over_the_collections_of_the_policy():
    settings = {
        "collection.num_iterations": 6,
        "collection.temperature": 2.0,
        "collection.final_temperature_share": 0.5,
        "collection.policy_repeat_probability": 0.5,
    }
    config = build_config(settings)
    temperatures = [collecting_temperature(config, number) for number in range(2, 7)]
    np.testing.assert_allclose(temperatures, [2.0, 1.75, 1.5, 1.25, 1.0])
    chances = [policy_repeat_probability(config, number) for number in range(2, 7)]
    np.testing.assert_allclose(chances, [0.5, 0.4, 0.3, 0.2, 0.1])
    paper = build_config({"collection.num_iterations": 2})
    assert collecting_temperature(paper, 2) == 1.5 and policy_repeat_probability(paper, 2) == 0.0
