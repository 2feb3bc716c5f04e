"""The same policy from the same starts, in the dream and in Catch itself."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.experiment.config import build_config
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.judging.promise import (
    Promise,
    Starts,
    dreamed_rewards,
    find_starts,
    real_rewards,
)
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Events, RewardDistribution, Transition
from smallwm_tf.models.imagination import Dreamer, DreamSettings, Past

M, S, F = 3, 5, 2
H = 30  # episodes of Catch last 12 steps
INTERVAL, CONTEXT = 5, 7
SETTINGS = {
    "game.num_stacked_frames": F,
    "vqvae.num_embeddings": 8,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
}
PAIR, PATH = np.array([3, 4], np.int32), (3, "promise")


@pytest.fixture(scope="module")
def models():
    tf.keras.utils.set_random_seed(0)
    world_model, policy = build_models(build_config(SETTINGS), num_actions=M)
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # far apart, the vectors have different codes
    head = world_model.dynamics.event_head.logits
    head.kernel.assign(5.0 * head.kernel)  # rewards that depend on codes, of all three kinds
    head.bias.assign(tf.zeros_like(head.bias))
    return world_model, policy


def be_certain(policy, action: int) -> None:
    policy.logits.kernel.assign(tf.zeros_like(policy.logits.kernel))
    policy.logits.bias.assign(100.0 * tf.one_hot(action, M))


def follow_the_codes(policy, scale: float) -> None:
    """Logits that depend on the codes; with a large scale they leave chance no say."""
    kernel = policy.logits.kernel
    kernel.assign(scale * np.random.default_rng(5).normal(size=kernel.shape))
    policy.logits.bias.assign(tf.zeros(M))


def open_catch(seed: int = 11) -> RealGame:
    game = RealGame("Catch", F, seed=seed)
    game.reset()
    return game


def open_games(number: int) -> list[RealGame]:
    """Games that start elsewhere: only what they are set to may count."""
    return [open_catch(seed=100 + i) for i in range(number)]


def play(game: RealGame, num_steps: int, choose) -> SimpleNamespace:
    """Plays on, episode after episode; ``choose`` has observation and number of the step."""
    seen = SimpleNamespace(observations=[], actions=[], rewards=[], ended=[])
    time_step = game.current_time_step()
    for step in range(num_steps):
        seen.observations.append(time_step.observation.copy())
        seen.actions.append(int(choose(time_step.observation, step)))
        time_step = game.step(np.int32(seen.actions[-1]))
        seen.rewards.append(float(time_step.reward))
        seen.ended.append(bool(time_step.is_last()))
        if seen.ended[-1]:
            time_step = game.reset()
    return seen


def act(agent, observation, step: int) -> int:
    return int(agent.act(observation[np.newaxis], (), seed_pair(*PATH), step)[0][0])


def paid_from(seen: SimpleNamespace, first: int) -> np.ndarray:
    """Rewards of the ``H`` steps from ``first`` on, up to the end of its episode."""
    rewards = np.zeros(H)
    for step in range(H):
        rewards[step] = seen.rewards[first + step]
        if seen.ended[first + step]:
            break
    return rewards


def starts_without_past(observations: np.ndarray) -> Starts:
    empty = tf.zeros([len(observations), 0])
    frames = tf.zeros([len(observations), 0, 96, 96, F], tf.uint8)
    past = Past(frames, tf.cast(empty, tf.int32), tf.cast(empty, tf.bool))
    return Starts([], observations, past)


@pytest.mark.parametrize("action", [0, 2])
@pytest.mark.parametrize("num_games", [1, 2])
def test_the_real_game_is_set_back_to_each_start_and_pays_until_the_episode_ends(
    models, action, num_games
):
    world_model, policy = models
    be_certain(policy, action)
    agent = PolicyAgent(world_model, policy)
    starts = find_starts(open_catch(), agent, S, INTERVAL, PATH)
    rewards = real_rewards(open_games(num_games), agent, starts, H, PAIR)

    # The same play once more, by hand: one long sequence of rewards and ends.
    seen = play(open_catch(), (S - 1) * INTERVAL + 1 + H, lambda observation, step: action)
    assert starts.observations.shape == (S, 96, 96, F)
    assert rewards.shape == (S, H)
    for number in range(S):
        first = number * INTERVAL
        np.testing.assert_array_equal(starts.observations[number], seen.observations[first])
        np.testing.assert_array_equal(rewards[number], paid_from(seen, first))
    assert np.abs(rewards).sum() > 0


@pytest.mark.parametrize("num_games", [1, 2, 3])
def test_games_side_by_side_each_get_the_action_for_what_they_show(models, num_games):
    """Episodes end one after the other in a group; the others go on as if they were alone."""
    world_model, policy = models
    follow_the_codes(policy, scale=1e4)
    agent = PolicyAgent(world_model, policy)
    starts = find_starts(open_catch(), agent, S, INTERVAL, PATH)
    games = open_games(num_games)
    rewards = real_rewards(games, agent, starts, H, PAIR)
    actions, last_frames = set(), []
    for number, state in enumerate(starts.states):
        game = open_catch(seed=7)
        game.set_state(state)
        expected = np.zeros(H)
        for step in range(H):
            shown = game.current_time_step().observation[np.newaxis]
            action = agent.act(shown, (), PAIR, 0)[0][0]
            actions.add(int(action))
            time_step = game.step(action)
            expected[step] = time_step.reward
            if time_step.is_last():
                break
        np.testing.assert_array_equal(rewards[number], expected, err_msg=f"start {number}")
        last_frames.append(time_step.observation)
    assert len(actions) > 1
    for number in range(S - 1 - (S - 1) % num_games, S):  # what the last group ended with
        shown = games[number % num_games].current_time_step().observation
        np.testing.assert_array_equal(shown, last_frames[number])


def test_real_rewards_follow_the_seed(models):
    world_model, policy = models
    be_certain(policy, 0)
    policy.logits.bias.assign(tf.zeros(M))
    agent = PolicyAgent(world_model, policy)
    starts = find_starts(open_catch(), agent, 12, 12, PATH)  # all at the start of an episode
    games = open_games(3)
    first, again, other = (
        real_rewards(games, agent, starts, H, pair) for pair in (PAIR, PAIR, PAIR + 1)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_starts_keep_the_steps_that_were_really_played_before_them(models):
    world_model, policy = models
    follow_the_codes(policy, scale=0.01)
    agent = PolicyAgent(world_model, policy)
    starts = find_starts(open_catch(), agent, S, INTERVAL, PATH, CONTEXT)
    seen = play(
        open_catch(),
        (S - 1) * INTERVAL + 1,
        lambda observation, step: act(agent, observation, step),
    )
    assert len(set(seen.actions)) == M
    past = starts.past
    assert past.observations.shape == [S, CONTEXT, 96, 96, F]
    for number in range(S):
        now = number * INTERVAL
        np.testing.assert_array_equal(starts.observations[number], seen.observations[now])
        for t in range(CONTEXT):
            step = now - CONTEXT + t
            inside = step >= 0 and not any(seen.ended[step:now])
            assert bool(past.valid[number, t]) == inside, (number, t)
            if inside:
                assert int(past.actions[number, t]) == seen.actions[step], (number, t)
                np.testing.assert_array_equal(past.observations[number, t], seen.observations[step])
    # Episodes last 12 steps, so the starts are 0, 5, 10, 3 and 8 steps old.
    assert past.valid.numpy().sum(axis=1).tolist() == [0, 5, 7, 3, 7]


def test_dreams_pay_what_the_world_model_says_for_the_policys_actions(models, monkeypatch):
    world_model, policy = models

    def paying(transition):
        # Action 0 pays −1, 1 pays 0, 2 pays 1.
        rewards = RewardDistribution(100.0 * tf.one_hot(transition.actions, 3))
        return Events(rewards, None)

    monkeypatch.setattr(world_model, "events", paying)
    starts = starts_without_past(np.zeros([S, 96, 96, F], np.uint8))
    for action in range(M):
        be_certain(policy, action)
        for kind in ("sampled", "expected"):
            dreamer = Dreamer(world_model, DreamSettings(rewards=kind))
            rewards = dreamed_rewards(dreamer, policy, starts, H, 1.0, PAIR)
            np.testing.assert_allclose(rewards, np.full([S, H], action - 1.0), atol=1e-6)
    policy.logits.bias.assign(tf.zeros(M))
    dreamer = Dreamer(world_model, DreamSettings())
    mixed = dreamed_rewards(dreamer, policy, starts, H, 1.0, PAIR)
    assert set(np.unique(mixed)) == {-1.0, 0.0, 1.0}
    again = dreamed_rewards(dreamer, policy, starts, H, 1.0, PAIR)
    np.testing.assert_array_equal(mixed, again)


def real_state(world_model, seen: SimpleNamespace, now: int):
    """The recurrent state after the steps before ``now``, at most ``CONTEXT`` of its episode."""
    state = world_model.initial_state(1)
    first = max([0, *(step + 1 for step in range(now) if seen.ended[step])])
    for step in range(max(first, now - CONTEXT), now):
        codes = world_model.encode(seen.observations[step][np.newaxis])
        action = np.array([seen.actions[step]], np.int32)
        state = world_model.predict(codes, action, state).state
    return state


@pytest.mark.parametrize("has_context", [False, True])
def test_dreams_equal_a_recomputation_step_by_step(models, has_context):
    """At a temperature near 0 what is drawn is what is most probable, of codes and of actions."""
    world_model, policy = models
    follow_the_codes(policy, scale=0.01)
    agent = PolicyAgent(world_model, policy)
    context_steps, horizon, certain = CONTEXT if has_context else 0, 6, 1e-6
    starts = find_starts(open_catch(), agent, S, INTERVAL, PATH, context_steps)
    dreamer = Dreamer(world_model, DreamSettings(certain, context_steps, "expected"))
    rewards = dreamed_rewards(dreamer, policy, starts, horizon, certain, PAIR)

    state = world_model.initial_state(S)
    if has_context:
        seen = play(
            open_catch(),
            (S - 1) * INTERVAL + 1,
            lambda observation, step: act(agent, observation, step),
        )
        states = [real_state(world_model, seen, number * INTERVAL) for number in range(S)]
        state = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=1), *states)
    codes = world_model.encode(starts.observations)
    for step in range(horizon):
        logits, _ = policy(codes, world_model.vqvae.quantizer.embeddings)
        actions = np.argmax(logits, axis=-1).astype(np.int32)
        y, next_codes, state = world_model.predict(codes, actions, state)
        reward = world_model.events(Transition(y, codes, codes)).rewards.logits
        codes = tf.argmax(next_codes.logits, axis=-1, output_type=tf.int32)
        odds = np.exp(reward.numpy().astype(np.float64))
        odds /= odds.sum(axis=1, keepdims=True)
        assert 0.01 < np.abs(odds[:, 2] - odds[:, 0]).max() < 1
        np.testing.assert_allclose(rewards[:, step], odds[:, 2] - odds[:, 0], atol=1e-5)


def test_the_gap_and_its_error_by_hand():
    dreamed = np.array([[1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
    real = np.array([[0.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    promise = Promise(dreamed, real)
    assert promise.gap == pytest.approx(1.0)  # differences 2, 0, 1
    assert promise.gap_error == pytest.approx(1.0 / np.sqrt(3))
    assert Promise(dreamed[:1], real[:1]).gap_error == 0.0
