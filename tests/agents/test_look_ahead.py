"""Looking ahead, against dreams that are dreamed one by one."""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.look_ahead import LookAheadAgent, scored_agent
from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.policy import PolicyObservation

M, DEPTH, DISCOUNT = 3, 3, 0.9
DIFFERENCES = {
    "game.num_stacked_frames": 1,
    "vqvae.num_embeddings": 16,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
    "dynamics.temperature": 1e-6,  # draws are the most probable codes
    "dream.rewards": "expected",
    "dream.ends": "predicted",
    "evaluation.look_ahead_dreams": 2,
    "evaluation.look_ahead_depth": DEPTH,
    "ppo.discount": DISCOUNT,
}
SEED = np.array([3, 4], np.int32)
MEMORIES = {
    "codes": {},
    "last action": {"ppo.repeat_probability": 0.5},
    "state": {"ppo.sees_recurrent_state": True},
}


@pytest.fixture(scope="module", params=MEMORIES)
def parts(request):
    config = build_config(DIFFERENCES | MEMORIES[request.param])
    networks = CodeNetworks(config, M, seed=1)
    policy = networks.policy
    for layer in (policy.logits, policy.value):  # far apart, so that roundings decide nothing
        layer.kernel.assign(30.0 * layer.kernel)
    draw = np.random.default_rng(0)
    model = networks.world_model

    @tf.function(autograph=False)
    def dream_step(codes, actions, state):
        y, next_codes, state = model.predict(codes, actions, state)
        events = model.events(Transition(y, codes, actions))
        return events.rewards.mean()[0], events.ends.probability()[0], next_codes.mode(), state

    return SimpleNamespace(
        config=config,
        networks=networks,
        dream_step=dream_step,
        agent=LookAheadAgent(networks, config, temperature=0.0),
        observations=draw.integers(256, size=[5, 3, 96, 96, 1], dtype=np.uint8),
    )


def worth_of(parts, codes, state, action) -> float:
    """Of one dream that begins with an action; codes int [1, 6, 6]."""
    model, networks = parts.networks.world_model, parts.networks
    worth, weight = 0.0, 1.0
    for _ in range(DEPTH):
        given = tf.constant([action])
        reward, chance_of_end, codes, state = parts.dream_step(codes, given, state)
        worth += weight * float(reward)
        weight *= DISCOUNT * (1.0 - float(chance_of_end))
        seen = codes
        if parts.config.ppo.repeat_probability or parts.config.ppo.sees_recurrent_state:
            is_seen = parts.config.ppo.sees_recurrent_state
            last = given if parts.config.ppo.repeat_probability else ()
            seen = PolicyObservation(codes, last, model.visible(state) if is_seen else ())
        logits, value = networks.policy_of(seen)
        action = int(np.argmax(logits[0]))
    return worth + weight * float(value[0])


def play(parts, games):
    """Actions [5, games] over five steps, and the memories after each."""
    memory, played, memories = parts.agent.begin(len(games)), [], []
    for step, observations in enumerate(parts.observations):
        actions, memory = parts.agent.act(observations[games], memory, SEED, step)
        played.append(actions)
        memories.append(memory)
    return np.array(played), memories


@pytest.fixture(scope="module")
def played(parts):
    return play(parts, [0, 1, 2])


def test_it_takes_what_dreams_one_by_one_promise_most(parts, played):
    model = parts.networks.world_model
    margins = []
    for game in range(3):
        state = model.initial_state(1)
        for step in range(5):
            codes = model.encode(tf.constant(parts.observations[step, game][np.newaxis]))
            worth = [worth_of(parts, codes, state, action) for action in range(M)]
            best, second = np.sort(worth)[::-1][:2]
            margins.append(best - second)
            assert played[0][step, game] == np.argmax(worth)
            state = model.predict(codes, tf.constant([np.argmax(worth)]), state).state
        for part, expected in zip(
            played[1][-1].recurrent, model.state_to_images(state), strict=True
        ):
            np.testing.assert_allclose(part[game : game + 1], expected, atol=1e-4)
    assert min(margins) > 1e-3  # nothing is decided by roundings
    assert len(np.unique(played[0])) > 1


def test_games_side_by_side_do_not_matter_to_each_other(parts, played):
    alone, _ = play(parts, [1])
    np.testing.assert_array_equal(alone[:, 0], played[0][:, 1])


def test_the_memory_is_one_of_games_of_which_some_may_go_on(parts, played):
    _, memories = played
    some = tf.nest.map_structure(lambda array: array[[2]], memories[1])
    actions, _ = parts.agent.act(parts.observations[2][[2]], some, SEED, 2)
    assert actions == played[0][2, 2]


def test_it_is_who_is_scored_where_it_is_asked_for(parts):
    assert isinstance(scored_agent(parts.networks, parts.config, 1.0), LookAheadAgent)
    without = build_config({**DIFFERENCES, "evaluation.look_ahead_dreams": 0})
    assert isinstance(scored_agent(parts.networks, without, 1.0), PolicyAgent)


def test_with_a_temperature_it_draws_by_worth(parts):
    if parts.networks.policy.sees_state or parts.networks.policy.sees_last_action:
        pytest.skip("what it draws from does not depend on what the policy remembers")
    further = {"evaluation.look_ahead_temperature": 0.5, "evaluation.look_ahead_dreams": 1}
    config = build_config(DIFFERENCES | further)
    agent = LookAheadAgent(parts.networks, config, temperature=0.0)
    model = parts.networks.world_model
    frame = parts.observations[0, :1]
    codes, state = model.encode(tf.constant(frame)), model.initial_state(1)
    worth = np.array([worth_of(parts, codes, state, action) for action in range(M)])
    expected = np.exp(worth / 0.5) / np.exp(worth / 0.5).sum()
    same = np.repeat(frame, 64, axis=0)
    drawn = [agent.act(same, agent.begin(64), SEED, step)[0] for step in range(15)]
    shares = np.bincount(np.ravel(drawn), minlength=M) / np.size(drawn)
    np.testing.assert_allclose(shares, expected, atol=0.04)  # 960 draws
