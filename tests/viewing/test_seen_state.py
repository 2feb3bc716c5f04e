"""An agent whose policy sees the recurrent state, out of a run and out of an export, in use."""

import ml_collections
import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.agents.playing import play_episodes
from smallwm_tf.deployment.export_directory import write_export
from smallwm_tf.deployment.opening import load_export
from smallwm_tf.deployment.trained_agent import TrainedAgent
from smallwm_tf.experiment.config import build_config
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.games.frame_stack import push_frame, start_stack
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.interface.dreams import DreamEnv
from smallwm_tf.models.policy import PolicyObservation
from smallwm_tf.viewing.dream_session import DreamSession
from smallwm_tf.viewing.playing import play_episode

C = 4
SETTINGS = {
    "game.num_stacked_frames": 2,
    "vqvae.num_embeddings": 16,
    "dynamics.channels": C,
    "dynamics.convolution": "direct",
    "dream.context_steps": 2,
    "dream.horizon": 3,
    "ppo.minibatch_size": 8,
    "ppo.repeat_probability": 0.6,  # together with the last action
    "ppo.sees_recurrent_state": True,
}
PAIR = np.array([3, 4], np.int32)


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    config = build_config(SETTINGS)
    networks = CodeNetworks(config, num_actions=3, seed=5)
    norm = networks.world_model.vqvae.encoder.projection_norm
    norm.gamma.assign(1000.0 * norm.gamma)  # so that codes differ
    draw, policy = np.random.default_rng(4), networks.policy
    for kernel, scale in ((policy.state_1x1.kernel, 3.0), (policy.logits.kernel, 0.1)):
        kernel.assign(draw.normal(scale=scale, size=kernel.shape))
    policy.after_action.kernel.assign(np.roll(np.eye(3), 1, axis=1))
    codes = np.random.default_rng(0).integers(16, size=[20, 6, 6]).astype(np.int32)
    hidden = np.random.default_rng(1).normal(scale=0.3, size=[20, 6, 6, C]).astype(np.float32)
    logits = networks.policy_of(PolicyObservation(codes, hidden=hidden)).logits
    policy.logits.bias.assign(-logits.mean(axis=0))
    frozen = ml_collections.FrozenConfigDict(config)
    place = tmp_path_factory.mktemp("runs") / "x"
    return TrainedAgent(
        experiment=Experiment(resolve_game("Catch"), frozen, 3, place, ""),
        action_meanings=("STAY", "LEFT", "RIGHT"),
        networks=networks,
        iteration=1,
        num_interactions=0,
        parameters=networks.parameters,
        scores=None,
    )


@pytest.fixture(scope="module")
def exported(agent, tmp_path_factory):
    path = tmp_path_factory.mktemp("exports") / "export"
    write_export(agent, path, with_world_model=True)
    return load_export(path)


def by_hand(agent, frames) -> list[int]:
    """Greedy actions at the frames of an episode, each code and action fed to the world model."""
    model, policy = agent.world_model, agent.networks.policy
    state, last, stack, actions = model.initial_state(1), -1, None, []
    for frame in frames:
        frame = frame[np.newaxis]
        stack = start_stack(frame, 2) if stack is None else push_frame(stack, frame)
        codes = model.encode(stack)
        hidden = state[1].hidden.numpy()[:, 0].reshape(1, 6, 6, C)
        seen = PolicyObservation(codes, tf.constant([last]), tf.constant(hidden))
        last = int(np.argmax(policy(seen, model.vqvae.quantizer.embeddings)[0]))
        state = model.predict(codes, tf.constant([last]), state).state
        actions.append(last)
    return actions


def test_an_episode_of_run_export_and_saved_model(agent, exported):
    """The frames follow the actions: one that differs would part them for good."""
    outcomes = []
    for one in (agent, exported):
        game, memory, frames, actions = RealGame("Catch", 2, seed=4), None, [], []
        time_step = game.reset()
        while not time_step.is_last():
            frames.append(time_step.observation[..., -1])
            (action,), memory = one.act(frames[-1][np.newaxis], memory, PAIR, temperature=0.0)
            actions.append(int(action))
            time_step = game.step(action)
        game.close()
        outcomes.append((actions, np.stack(frames), memory))
    (actions, frames, memory), (of_export, _, other) = outcomes
    assert actions == of_export == by_hand(agent, frames) and len(set(actions)) > 1
    assert memory.of_policy.last_actions == other.of_policy.last_actions == actions[-1]
    for one, two in zip(memory.of_policy.recurrent, other.of_policy.recurrent, strict=True):
        np.testing.assert_allclose(one, two, atol=1e-4)


def test_whole_episodes_of_run_and_export(agent, exported):
    played = []
    for one in (agent, exported):
        games, taken = GameBatch("Catch", 3, 2, seed=1), []
        episodes = play_episodes(games, one.agent(1.0), 5, (3, "x"), taken=taken)
        games.close()
        played.append((episodes.returns, np.stack(taken).tolist()))
    assert played[0] == played[1] and len(np.unique(played[0][1])) == 3


def test_a_film_shows_what_the_agent_saw(agent):
    steps = list(play_episode(agent, 20, temperature=0.0))
    assert [step.action for step in steps] == [int(step.probabilities.argmax()) for step in steps]
    assert [step.action for step in steps] == by_hand(agent, [step.frame for step in steps])


@pytest.mark.parametrize("kind", ["agent", "exported"])
def test_play_shows_the_policy_at_the_dreams_state(agent, kind, request):
    session = DreamSession(request.getfixturevalue(kind), num_starts=2, interval=5)
    model, policy = agent.world_model, agent.networks.policy
    try:
        session.reset(1)
        past, number = session._starts.past, 1
        codes = model.encode(past.observations[number])
        state = model.initial_state(1)
        for t in range(2):
            state = model.predict(codes[t : t + 1], past.actions[number, t : t + 1], state).state
        last = -1
        for action in (2, None, None):
            hidden = state[1].hidden.numpy()[:, 0].reshape(1, 6, 6, C)
            assert hidden.any()
            shown = session.view()
            codes = tf.constant([shown["codes"]], tf.int32)
            seen = PolicyObservation(codes, tf.constant([last]), tf.constant(hidden))
            logits = policy(seen, model.vqvae.quantizer.embeddings)[0][0]
            found = shown["policy"]["probabilities"]
            np.testing.assert_allclose(found, tf.nn.softmax(logits), atol=1e-4)
            session.step(action)
            last = session.view()["last_action"]
            state = model.predict(codes, tf.constant([last]), state).state
    finally:
        session.close()


def test_gymnasium_shows_codes_alone(exported):
    environment = DreamEnv(exported, num_real_steps=20)
    observation, _ = environment.reset(seed=1)
    assert environment.observation_space.contains(observation)
    assert environment.observation_space.contains(environment.step(1)[0])
