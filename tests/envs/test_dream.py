"""The dream: specs of every step, its boundaries, and its numbers step by step."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from tf_agents.specs import array_spec
from tf_agents.trajectories import StepType

from smallwm_tf.config import build_config
from smallwm_tf.envs.dream import DreamEnvironment
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.build import build_models

N, H, M, F = 3, 4, 3, 2
PAIR = np.array([11, -5], np.int32)


@pytest.fixture(scope="module")
def world_model():
    tf.keras.utils.set_random_seed(2)
    config = build_config(
        {
            "game.num_stacked_frames": F,
            "dynamics.channels": 8,
            "dynamics.convolution": "fast",
            "vqvae.num_embeddings": 16,
        }
    )
    model, _ = build_models(config, num_actions=M)
    head = model.dynamics.reward_head.logits
    head.kernel.assign(5 * head.kernel)  # rewards that depend on codes, of all three kinds
    head.bias.assign(tf.zeros_like(head.bias))
    # The codes of an untrained encoder are all alike; these embeddings tell frames apart.
    vectors = model.vqvae.encoder(tf.random.stateless_uniform([4, 96, 96, F], [0, 1]))
    flat = tf.reshape(vectors, [-1, vectors.shape[-1]])
    model.vqvae.quantizer.embeddings.assign(tf.gather(flat, tf.range(0, 144, 9)))
    return model


@pytest.fixture(scope="module")
def replay():
    draw = np.random.default_rng(0)
    buffer = Replay(20)  # with room that no dream may start from
    buffer.append(
        frames=draw.integers(256, size=[9, 96, 96], dtype=np.uint8),
        actions=np.zeros(9, np.int32),
        rewards=np.zeros(9, np.float32),
        ended=np.arange(9) == 4,
    )
    return buffer


@pytest.fixture(scope="module")
def environments(world_model, replay):
    return {
        bootstrap: DreamEnvironment(world_model, replay, N, H, bootstrap_at_horizon=bootstrap)
        for bootstrap in (False, True)
    }


@pytest.fixture
def environment(environments):
    environments[False].seed(PAIR)
    return environments[False]


def actions_of(step: int) -> np.ndarray:
    return ((np.arange(N) + step) % M).astype(np.int32)


def play(environment, num_calls: int) -> list:
    """One reset and then steps, as NumPy."""
    time_steps = [environment.reset()]
    time_steps += [environment.step(actions_of(t)) for t in range(num_calls)]
    return [tf.nest.map_structure(lambda tensor: tensor.numpy(), step) for step in time_steps]


def to_numpy_spec(spec):
    minimum, maximum = getattr(spec, "minimum", None), getattr(spec, "maximum", None)
    if minimum is None:
        return array_spec.ArraySpec(spec.shape, spec.dtype.as_numpy_dtype)
    return array_spec.BoundedArraySpec(spec.shape, spec.dtype.as_numpy_dtype, minimum, maximum)


def test_every_step_of_several_dreams_fits_the_specs(environment):
    """What ``utils.validate_py_environment`` asks of a Python environment."""
    assert environment.batched and environment.batch_size == N
    spec = tf.nest.map_structure(to_numpy_spec, environment.time_step_spec())
    action_spec = to_numpy_spec(environment.action_spec())
    assert (action_spec.minimum, action_spec.maximum) == (0, M - 1)
    previous = None
    for call, step in enumerate(play(environment, 3 * (H + 1))):
        for n in range(N):
            one = tf.nest.map_structure(lambda array, n=n: array[n], step)
            assert array_spec.check_arrays_nest(one, spec), (call, one)
            assert one.discount in (0.0, 1.0)
        if previous is not None and np.all(previous == StepType.LAST):
            assert np.all(step.step_type == StepType.FIRST)
        elif previous is not None:
            assert np.all(step.step_type != StepType.FIRST)
        previous = step.step_type


@pytest.mark.parametrize("bootstrap", [False, True])
def test_boundaries_are_those_of_the_docstrings_table(environments, bootstrap):
    environment = environments[bootstrap]
    environment.seed(PAIR)
    steps = play(environment, 2 * H + 1)
    first, mid, last = (np.full(N, t) for t in (StepType.FIRST, StepType.MID, StepType.LAST))
    expected = [first, *[mid] * (H - 1), last]
    end = 1.0 if bootstrap else 0.0
    discounts = [1.0] * H + [end]
    for step, step_type, discount in zip(steps, expected * 2, discounts * 2, strict=True):
        np.testing.assert_array_equal(step.step_type, step_type)
        np.testing.assert_array_equal(step.discount, np.full(N, discount, np.float32))
    for start in (steps[0], steps[H + 1]):
        np.testing.assert_array_equal(start.reward, np.zeros(N, np.float32))


def test_all_rewards_are_minus_one_zero_or_one(environment):
    rewards = np.stack([step.reward for step in play(environment, 8 * (H + 1))])
    assert rewards.dtype == np.float32
    assert set(rewards.ravel()) == {-1.0, 0.0, 1.0}


def real_codes(world_model, replay) -> set[bytes]:
    observations = replay.observations(tf.range(replay.size), F)
    return {codes.tobytes() for codes in world_model.vqvae.encode(observations).numpy()}


def test_dreams_start_from_codes_of_real_observations(environment, world_model, replay):
    known = real_codes(world_model, replay)
    assert len(known) == 9
    resets = np.concatenate([environment.reset().observation for _ in range(30)])
    assert {codes.tobytes() for codes in resets} == known  # 90 draws from 9: none is left out
    dreamed = environment.step(actions_of(0)).observation.numpy()
    assert not {codes.tobytes() for codes in dreamed} & known


def test_the_recurrent_state_is_zero_at_the_start_and_after_an_end(environment):
    def size_of_state() -> float:
        return max(np.abs(part).max() for part in tf.nest.flatten(environment.recurrent_state))

    environment.reset()
    assert size_of_state() == 0.0
    for t in range(H):
        environment.step(actions_of(t))
        assert size_of_state() > 0.0
    assert np.all(environment.step(actions_of(0)).step_type == StepType.FIRST)
    assert size_of_state() == 0.0


def test_codes_and_rewards_equal_a_recomputation_step_by_step(environment, world_model, replay):
    """Random numbers: the count of calls is folded into the seed, then 0, 1 or 2 by purpose."""

    def pair(count: int, purpose: int):
        folded = tf.random.experimental.stateless_fold_in(PAIR, count)
        return tf.random.experimental.stateless_fold_in(folded, purpose)

    steps = play(environment, 2 * H + 1)
    count = 0
    for dream in (steps[: H + 1], steps[H + 1 :]):
        indices = tf.random.stateless_uniform([N], pair(count, 0), 0, 9, tf.int32)
        codes = world_model.vqvae.encode(replay.observations(indices, F))
        state = world_model.dynamics.initial_state(N)
        np.testing.assert_array_equal(dream[0].observation, codes)
        offset = 0 if count == 0 else H + 1
        for t in range(H):
            count += 1
            latent, reward, state = world_model.step(codes, actions_of(offset + t), state)
            codes = tfp.distributions.Categorical(latent).sample(seed=pair(count, 1))
            rewards = tfp.distributions.Categorical(reward).sample(seed=pair(count, 2)) - 1
            np.testing.assert_array_equal(dream[t + 1].observation, codes)
            np.testing.assert_array_equal(dream[t + 1].reward, rewards)
        count += 1


def test_the_same_seed_gives_the_same_dream_and_another_seed_another(environment):
    def dream(pair) -> list[bytes]:
        environment.seed(pair)
        return [step.observation.tobytes() + step.reward.tobytes() for step in play(environment, 6)]

    once, again, other = dream(PAIR), dream(PAIR), dream(PAIR + 1)
    assert once == again
    assert all(a != b for a, b in zip(once, other, strict=True))


def test_a_step_after_seeding_resets(environment):
    environment.reset()
    environment.step(actions_of(0))
    environment.seed(PAIR)
    begun = environment.step(actions_of(0))
    assert np.all(begun.step_type == StepType.FIRST)
    environment.seed(PAIR)
    np.testing.assert_array_equal(environment.reset().observation, begun.observation)


def test_current_time_step_repeats_the_last_answer(environment):
    for call in (environment.reset, lambda: environment.step(actions_of(0))):
        answer = call()
        repeated = environment.current_time_step()
        tf.nest.map_structure(np.testing.assert_array_equal, repeated, answer)


def test_a_compiled_dream_equals_the_eager_one(environment):
    eager = play(environment, H + 2)

    @tf.function
    def compiled_reset(pair):
        environment.seed(pair)
        return environment.reset()

    compiled_step = tf.function(environment.step)
    environment.seed(PAIR + 1)
    steps = [compiled_reset(PAIR)]
    steps += [compiled_step(tf.constant(actions_of(t))) for t in range(H + 2)]
    for ours, theirs in zip(steps, eager, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)


def test_a_new_dream_uses_the_weights_of_now(environment, world_model):
    before = play(environment, 2)
    kernel = world_model.dynamics.cell_1.conv_x.kernel
    kept = kernel.numpy()
    kernel.assign(-20 * kernel)
    environment.seed(PAIR)
    after = play(environment, 2)
    kernel.assign(kept)
    np.testing.assert_array_equal(before[0].observation, after[0].observation)
    assert not np.array_equal(before[1].observation, after[1].observation)
