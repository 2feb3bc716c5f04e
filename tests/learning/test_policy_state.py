"""Policies that see the recurrent state (``ppo.sees_recurrent_state``), from dreams to exports."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.trajectories import time_step as ts

from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.agents.playing import play_steps
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.deployment.saved_agent import saved_code_policy
from smallwm_tf.deployment.tf_agents_policy import save_tf_agents_policy
from smallwm_tf.experiment.config import ConfigError, build_config, validate
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.judging.promise import dreamed_rewards, find_starts, real_rewards
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Events, RewardDistribution
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.models.parameter_counts import parameter_counts
from smallwm_tf.models.policy import PolicyObservation
from tests.made_replays import made_replay

STEPS, M, K, C, N, H, CONTEXT = 50, 3, 16, 4, 5, 4, 3
DIFFERENCES = {
    "game.num_stacked_frames": 2,
    "vqvae.num_embeddings": K,
    "dynamics.channels": C,
    "dynamics.convolution": "direct",
    "dream.num_dreams": N,
    "dream.horizon": H,
    "dream.context_steps": CONTEXT,
    "ppo.sees_recurrent_state": True,
    "dynamics.past_codes": 2,
    "ppo.minibatch_size": 8,
    "ppo.num_epochs": 1,
}
OFF = DIFFERENCES | {"ppo.sees_recurrent_state": False}
PAIR = np.array([3, 4], np.int32)
PARTS = dict.fromkeys(("hidden_1", "cell_1", "hidden_2", "cell_2"), C)  # and their channels
PARTS["past_codes"] = 2 * 32  # two embedding vectors


@pytest.fixture(scope="module")
def models():
    """Networks whose codes differ from one picture to the next, and a policy that follows h."""
    return make_models()


def make_models():
    world_model, policy = build_models(build_config(DIFFERENCES), M)
    norm = world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)
    draw = np.random.default_rng(4)
    for kernel, scale in ((policy.state_1x1.kernel, 3.0), (policy.logits.kernel, 0.3)):
        kernel.assign(draw.normal(scale=scale, size=kernel.shape))
    return world_model, policy


@pytest.fixture(scope="module")
def replay():
    """Episodes of 20 steps."""
    return made_replay(STEPS, M, terminated=np.arange(STEPS) % 20 == 19)


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(256, size=[count, 96, 96, 2], dtype=np.uint8)


def image(grid_major) -> np.ndarray:
    """A part of the state of a single game, [36, 1, ·] → [6, 6, ·]."""
    return grid_major.numpy()[:, 0].reshape(6, 6, -1)


def states_along(world_model, codes, actions) -> list:
    """The state before each step of a single game, and after the last one."""
    states = [world_model.initial_state(1)]
    for code, action in zip(codes, actions, strict=True):
        given = tf.constant([code]), tf.constant([action], tf.int32), states[-1]
        states.append(world_model.predict(*given).state)
    return states


def hidden_along(*given) -> list[np.ndarray]:
    return [image(state[1].hidden) for state in states_along(*given)]


def logits_at(models, codes, hidden) -> np.ndarray:
    seen = PolicyObservation(np.asarray(codes), hidden=np.asarray(hidden))
    return models[1](seen, models[0].vqvae.quantizer.embeddings)[0].numpy()


def test_it_equals_a_policy_on_a_codebook_that_holds_h(models):
    """Where h is a function of the code it may as well stand behind the embedding vector."""
    world_model, policy = models
    draw = np.random.default_rng(1)
    table = draw.normal(size=[K, C]).astype(np.float32)
    codes = draw.integers(K, size=[7, 6, 6]).astype(np.int32)
    embeddings = world_model.vqvae.quantizer.embeddings
    _, wider = build_models(build_config(OFF | {"vqvae.embedding_dim": 32 + C}), M)
    own = {variable.name: variable for variable in policy.variables}
    for variable in wider.variables:
        if variable.name != "conv_1x1/kernel:0":
            variable.assign(own[variable.name])
    kernels = policy.conv_1x1.kernel, policy.state_1x1.kernel
    wider.conv_1x1.kernel.assign(tf.concat(kernels, axis=0))
    expected = wider(codes, tf.concat([embeddings, table], axis=1))
    found = policy(PolicyObservation(codes, hidden=table[codes]), embeddings)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    at_zero = policy(
        PolicyObservation(codes, hidden=np.zeros([7, 6, 6, C], np.float32)), embeddings
    )
    for one, other, moved in zip(policy(codes, embeddings), at_zero, found, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
        assert np.abs(moved - other).min() > 1e-3


def test_without_it_a_policy_has_the_weights_of_the_paper():
    (world_model, plain), (_, seeing) = (
        build_models(build_config(settings), M) for settings in (OFF, DIFFERENCES)
    )
    weights = {variable.name: variable.numpy() for variable in plain.variables}
    further = {variable.name: variable.numpy() for variable in seeing.variables}
    assert set(further) - set(weights) == {"state_1x1/kernel:0"}
    for name, value in weights.items():
        np.testing.assert_array_equal(value, further[name])
    codes = np.random.default_rng(0).integers(K, size=[5, 6, 6]).astype(np.int32)
    embeddings = world_model.vqvae.quantizer.embeddings
    seen = PolicyObservation(codes, hidden=np.ones([5, 6, 6, C], np.float32))
    np.testing.assert_array_equal(plain(seen, embeddings)[0], plain(codes, embeddings)[0])
    counts = [parameter_counts(world_model, policy) for policy in (plain, seeing)]
    stack = sum(np.prod(v.shape) for v in world_model.dynamics.stack.trainable_variables)
    assert counts[1]["policy"] - counts[0]["policy"] == 64 * C
    assert counts[1]["inference_total"] - counts[0]["inference_total"] == 64 * C + stack


def test_model_free_ppo_has_no_such_policy():
    with pytest.raises(ConfigError, match="ppo.sees_recurrent_state"):
        validate(build_config({"algorithm": "ppo", "ppo.sees_recurrent_state": True}))


def learner_of(world_model, policy, replay) -> DreamPolicyLearner:
    config = build_config(DIFFERENCES)
    environment = DreamEnvironment(Dreamer(world_model, DreamSettings.of(config)), replay, config)
    optimizer = built_adam(config, 1e-2, policy.trainable_variables)
    return DreamPolicyLearner(environment, policy, optimizer, config)


@pytest.fixture(scope="module")
def rollout(models, replay):
    learner = learner_of(*models, replay)
    return tf.function(learner.rollout, autograph=False)(tf.constant(PAIR))


def test_a_dream_shows_the_state_with_which_codes_go_into_the_dynamics(rollout, replay, models):
    codes, hidden = rollout.observation.codes.numpy(), rollout.observation.hidden.numpy()
    assert rollout.observation.last_actions == () and hidden.shape == (N, H + 1, 6, 6, C)
    world_model, taken = models[0], rollout.action.numpy()
    observed = world_model.encode(replay.observations(tf.range(STEPS), 2)).numpy()
    actions, ages = replay.actions.numpy(), []
    for n in range(N):
        fits = []
        for step in np.flatnonzero((observed == codes[n, 0]).all(axis=(1, 2))):
            first = max(step - CONTEXT, step - step % 20)
            along = np.concatenate([observed[first:step], codes[n, :H]])
            done = np.concatenate([actions[first:step], taken[n, :H]])
            expected = hidden_along(world_model, along, done)[step - first :]
            fits.append(np.allclose(hidden[n], expected, atol=1e-5))
            ages.append(step - first)
        assert any(fits)
    assert max(ages) == CONTEXT and np.ptp(hidden[:, 0], axis=0).max() > 0.01


def test_ppo_sees_what_the_policy_saw(rollout, models):
    codes, hidden = rollout.observation.codes.numpy(), rollout.observation.hidden.numpy()
    told = rollout.policy_info["dist_params"]["logits"].numpy()
    for t in range(H):
        expected = logits_at(models, codes[:, t], hidden[:, t])
        expected -= expected.max(axis=1, keepdims=True)
        shown = told[:, t] - told[:, t].max(axis=1, keepdims=True)
        np.testing.assert_allclose(shown, expected, atol=1e-4)


def test_an_update_trains_the_policy_alone(replay):
    world_model, policy = build_models(build_config(DIFFERENCES), M)
    learner = learner_of(world_model, policy, replay)
    kernel, before = policy.state_1x1.kernel, policy.state_1x1.kernel.numpy()
    weights = [variable.numpy() for variable in world_model.variables]
    assert np.isfinite(learner.update(tf.constant(PAIR), 0, 1e-2)).all()
    assert np.abs(kernel.numpy() - before).max() > 1e-3
    for variable, old in zip(world_model.variables, weights, strict=True):
        np.testing.assert_array_equal(variable, old)
    with tf.GradientTape() as tape:
        hidden = tf.ones([1, 6, 6, C])
        tape.watch(hidden)
        seen = PolicyObservation(tf.zeros([1, 6, 6], tf.int32), hidden=hidden)
        value = policy(seen, world_model.vqvae.quantizer.embeddings)[1]
    assert tape.gradient(value, hidden) is None


def test_in_the_real_game_it_is_carried_from_the_beginning_of_each_episode(models):
    world_model, policy = models
    game = RealGame("Catch", 2, seed=4)
    game.reset()
    steps = list(itertools.islice(play_steps(game, PolicyAgent(*models, 0.0), PAIR), 27))
    game.close()
    codes = world_model.encode(np.stack([step.observation for step in steps])).numpy()
    actions = np.array([step.action for step in steps])
    assert len(set(actions)) > 1
    for first in range(0, 27, 12):  # an episode of Catch has 12 steps
        episode = slice(first, first + 12)
        hidden = hidden_along(world_model, codes[episode], actions[episode])
        for step, expected in zip(steps[episode], hidden[:-1], strict=True):
            np.testing.assert_allclose(step.memory.recurrent[2][0], expected, atol=1e-5)
        greedy = logits_at(models, codes[episode], hidden[:-1]).argmax(axis=1)
        np.testing.assert_array_equal(actions[episode], greedy)


@pytest.mark.parametrize("convolution", ["direct", "fast"])
def test_games_side_by_side_do_not_meet(convolution):
    """Nine games, of which some end: each goes on as if it were alone, in either form."""
    settings = DIFFERENCES | {"dynamics.convolution": convolution}
    models = build_models(build_config(settings), M)
    for variable, other in zip(models[0].variables, make_models()[0].variables, strict=True):
        variable.assign(other)
    kernel = models[1].logits.kernel
    kernel.assign(np.random.default_rng(4).normal(scale=0.3, size=kernel.shape))
    agent, observations = PolicyAgent(*models, 0.0), [noise(9, seed) for seed in range(4)]
    codes = [models[0].encode(seen).numpy() for seen in observations]
    memory, games, taken = agent.begin(9), np.arange(9), np.full([4, 9], -1)
    for step in range(4):
        taken[step, games], memory = agent.act(observations[step][games], memory, PAIR, step)
        if step == 1:
            goes_on = np.arange(9) % 2 == 0  # then few enough for the other form
            games = games[goes_on]
            memory = tf.nest.map_structure(lambda part: part[goes_on], memory)  # noqa: B023
    for place, game in enumerate(games):
        own = [step[game] for step in codes], taken[:, game]
        state = tf.nest.flatten(states_along(models[0], *own)[-1])
        for part, expected in zip(memory.recurrent, state, strict=True):
            np.testing.assert_allclose(part[place], image(expected), atol=1e-4)


def test_an_agent_keeps_all_its_weights():
    models = make_models()
    agent, observations, memory = PolicyAgent(*models, 0.0), noise(5), []
    for _ in range(2):
        first, before = agent.act(observations, agent.begin(5), PAIR, 0)
        second, after = agent.act(observations, before, PAIR, 1)
        memory.append((first, second, *before.recurrent, *after.recurrent))
        for variable in (*models[1].variables, *models[0].dynamics.variables):
            variable.assign(-variable)
    for old, new in zip(*memory, strict=True):
        np.testing.assert_array_equal(old, new)


class Spy:
    """Notes what an agent remembers where it begins."""

    def __init__(self, agent):
        self._agent, self.begun = agent, []

    def begin(self, num_games, past=None):
        memory = self._agent.begin(num_games, past)
        self.begun.append(memory.recurrent[2])
        return memory

    def act(self, *given):
        return self._agent.act(*given)


def test_promise_and_pay_begin_with_the_same_state(models, monkeypatch):
    world_model, policy = models

    def open_catch():
        game = RealGame("Catch", 2, seed=11)
        game.reset()
        return game

    starts = find_starts(open_catch(), RandomAgent(M), 5, 5, (3, "promise"), CONTEXT)
    spy = Spy(PolicyAgent(world_model, policy))
    real_rewards([open_catch(), open_catch()], spy, starts, 2, PAIR)
    dreamer = Dreamer(world_model, DreamSettings(context_steps=CONTEXT))
    begun = dreamer.start(tf.constant(starts.observations), starts.past)
    hidden = world_model.visible(begun.recurrent).numpy()
    np.testing.assert_allclose(np.concatenate(spy.begun), hidden, atol=1e-5)
    assert not hidden[0].any() and hidden[1:].any(axis=(1, 2, 3)).all()
    for number in range(5):  # by hand
        valid = starts.past.valid[number].numpy()
        codes = world_model.encode(starts.past.observations[number]).numpy()[valid]
        actions = starts.past.actions[number].numpy()[valid]
        expected = hidden_along(world_model, codes, actions)[-1]
        np.testing.assert_allclose(hidden[number], expected, atol=1e-5)

    def paying(transition):  # action 0 pays −1, 1 pays 0, 2 pays 1
        return Events(RewardDistribution(100.0 * tf.one_hot(transition.actions, 3)), None)

    monkeypatch.setattr(world_model, "events", paying)
    dreamer = Dreamer(world_model, DreamSettings(context_steps=CONTEXT))
    dreamed = dreamed_rewards(dreamer, policy, starts, 1, 1e-6, PAIR)[:, 0]
    greedy = logits_at(models, begun.codes, hidden).argmax(axis=1)
    np.testing.assert_allclose(dreamed, greedy - 1.0, atol=1e-6)
    assert (greedy != logits_at(models, begun.codes, 0.0 * hidden).argmax(axis=1)).any()


@pytest.fixture(scope="module")
def saved(models, tmp_path_factory):
    """The export, loaded with TensorFlow alone."""
    path = tmp_path_factory.mktemp("export") / "agent"
    saved_code_policy(*models, temperature=1.0).save(path)
    return tf.saved_model.load(str(path))


def test_an_export_takes_the_state_or_keeps_it(models, saved):
    frames = noise(4, 1)[..., 0]
    first = np.repeat(frames[:1], 6, axis=0)
    begun, kept = saved.begin(first, [7, 0]), saved.reset(first, [7, 0])
    stack = np.repeat(first[..., np.newaxis], 2, axis=-1)
    codes, actions = [], []
    state = {name: np.zeros([6, 6, 6, size], np.float32) for name, size in PARTS.items()}
    for step in range(1, 5):
        codes.append(models[0].encode(stack).numpy())
        hidden, before = state["hidden_2"], [state[name] for name in PARTS]
        expected = logits_at(models, codes[-1], hidden)
        for found in (
            begun,
            kept,
            saved.serve(stack, hidden),
            saved.act_on_codes(codes[-1], hidden),
        ):
            np.testing.assert_allclose(found["logits"], expected, atol=1e-4)
        np.testing.assert_array_equal(kept["action"], begun["action"])
        actions.append(begun["action"].numpy())
        after = [
            tf.nest.flatten(states_along(models[0], *along)[-1])
            for along in zip(np.stack(codes, axis=1), np.stack(actions, axis=1), strict=True)
        ]
        for number, name in enumerate(PARTS):
            images = [image(parts[number]) for parts in after]
            np.testing.assert_allclose(begun[name], images, atol=1e-5)
        state = saved.advance(codes[-1], actions[-1], *before)
        for name in PARTS:
            np.testing.assert_allclose(state[name], begun[name], atol=1e-5)
        if step < 4:
            frame = np.repeat(frames[step : step + 1], 6, axis=0)
            stack = np.concatenate([stack[..., 1:], frame[..., np.newaxis]], axis=-1)
            parts = [begun[name] for name in PARTS]
            begun = saved.act_with_stack(frame, begun["stack"], *parts, [7, step])
            kept = saved.act(frame, [7, step])
    assert len({tuple(row) for row in np.stack(actions, axis=1).tolist()}) > 1
    with pytest.raises(tf.errors.InvalidArgumentError, match="actions must be from 0 to 2"):
        saved.advance(codes[0], actions[0] + M, *before)
    signature = saved.signatures["act_with_stack"]
    named = {name: state[name] for name in PARTS}
    told = signature(frame=tf.constant(first), stack=tf.constant(stack), **named)
    assert PARTS.keys() < told.keys()


def test_tf_agents_policy_keeps_it_as_its_state(models, tmp_path):
    agent = SimpleNamespace(
        config=build_config(DIFFERENCES), action_meanings=("A",) * M, iteration=1
    )
    policy = saved_code_policy(*models, temperature=1e-4)
    save_tf_agents_policy(policy, agent, tmp_path / "policy")
    loaded = tf.saved_model.load(str(tmp_path / "policy"))
    player, state, memory = PolicyAgent(*models, 0.0), loaded.get_initial_state(3), None
    for step in range(6):
        observations = noise(3, step)
        if step % 4 == 0:  # an episode begins, whatever the state says
            given, memory = ts.restart(tf.constant(observations), batch_size=3), player.begin(3)
        else:
            given = ts.transition(tf.constant(observations), tf.zeros([3]))
        acted = loaded.action(given, state)
        state = acted.state
        actions, memory = player.act(observations, memory, PAIR, step)
        np.testing.assert_array_equal(acted.action, actions)
        np.testing.assert_allclose(state["cell_2"], memory.recurrent[3], atol=1e-5)
