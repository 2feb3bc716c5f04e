"""The dream: specs of every step, its boundaries, and its numbers step by step."""

import numpy as np
import pytest
import tensorflow as tf
from tf_agents.specs import array_spec
from tf_agents.trajectories import StepType

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.encoded_replay import EncodedReplay
from smallwm_tf.models.build import build_models
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from tests.made_replays import made_replay

N, H, M, F = 3, 4, 3, 2
STEPS, ENDS, CONTEXT = 9, (4,), 3  # of the replay, its episodes, and before a dream
CERTAIN = 1e-6  # at this temperature a drawn code is the most probable one
PAIR = np.array([11, -5], np.int32)


def make_world_model(convolution):
    tf.keras.utils.set_random_seed(2)
    config = build_config(
        {
            "game.num_stacked_frames": F,
            "dynamics.channels": 8,
            "dynamics.convolution": convolution,
            "vqvae.num_embeddings": 16,
        }
    )
    model, _ = build_models(config, num_actions=M)
    head = model.dynamics.event_head.logits
    head.kernel.assign(5 * head.kernel)  # rewards that depend on codes, of all three kinds
    head.bias.assign(tf.zeros_like(head.bias))
    # The codes of an untrained encoder are all alike; these embeddings tell frames apart.
    vectors = model.vqvae.encoder(tf.random.stateless_uniform([4, 96, 96, F], [0, 1]))
    flat = tf.reshape(vectors, [-1, vectors.shape[-1]])
    model.vqvae.quantizer.embeddings.assign(tf.gather(flat, tf.range(0, 144, 9)))
    return model


@pytest.fixture(scope="module")
def world_model():
    return make_world_model("fast")


@pytest.fixture(scope="module")
def replay():
    # With room that no dream may start from.
    return made_replay(STEPS, M, capacity=20, terminated=np.isin(np.arange(STEPS), ENDS))


@pytest.fixture(scope="module")
def environments(world_model, replay):
    certain = DreamSettings(temperature=CERTAIN, rewards="expected")
    kinds = {
        "paper": (DreamSettings(), False),
        "bootstrap": (DreamSettings(), True),
        "certain": (certain, False),
        "warm": (certain._replace(context_steps=CONTEXT), False),
        "kept": (certain._replace(context_steps=CONTEXT), False),
    }
    direct = make_world_model("direct")
    for variable, other in zip(direct.variables, world_model.variables, strict=True):
        variable.assign(other)
    sizes = {"dream.num_dreams": N, "dream.horizon": H}
    kept = EncodedReplay(direct, replay, is_kept=True)
    kept.encode_all()
    return {
        name: DreamEnvironment(
            Dreamer(world_model if name == "paper" else direct, settings),
            replay,
            build_config(sizes | {"dream.bootstrap_at_horizon": bootstrap}),
            kept if name == "kept" else None,
        )
        for name, (settings, bootstrap) in kinds.items()
    }


@pytest.fixture
def environment(environments):
    environments["paper"].seed(PAIR)
    return environments["paper"]


@pytest.fixture(params=["paper", "warm"])
def either(request, environments):
    environments[request.param].seed(PAIR)
    return environments[request.param]


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


def test_every_step_of_several_dreams_fits_the_specs(either):
    """What ``utils.validate_py_environment`` asks of a Python environment."""
    assert either.batched and either.batch_size == N
    spec = tf.nest.map_structure(to_numpy_spec, either.time_step_spec())
    action_spec = to_numpy_spec(either.action_spec())
    assert (action_spec.minimum, action_spec.maximum) == (0, M - 1)
    previous = None
    for call, step in enumerate(play(either, 3 * (H + 1))):
        for n in range(N):
            one = tf.nest.map_structure(lambda array, n=n: array[n], step)
            assert array_spec.check_arrays_nest(one, spec), (call, one)
            assert one.discount in (0.0, 1.0)
        if previous is not None and np.all(previous == StepType.LAST):
            assert np.all(step.step_type == StepType.FIRST)
        elif previous is not None:
            assert np.all(step.step_type != StepType.FIRST)
        previous = step.step_type


@pytest.mark.parametrize(("name", "end"), [("paper", 0.0), ("bootstrap", 1.0), ("warm", 0.0)])
def test_boundaries_are_those_of_the_docstrings_table(environments, name, end):
    environment = environments[name]
    environment.seed(PAIR)
    steps = play(environment, 2 * H + 1)
    first, mid, last = (np.full(N, t) for t in (StepType.FIRST, StepType.MID, StepType.LAST))
    expected = [first, *[mid] * (H - 1), last]
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
    assert len(known) == STEPS
    resets = np.concatenate([environment.reset().observation for _ in range(30)])
    assert {codes.tobytes() for codes in resets} == known  # 90 draws from 9: none is left out
    dreamed = environment.step(actions_of(0)).observation.numpy()
    assert not {codes.tobytes() for codes in dreamed} & known


def test_a_training_of_the_policy_begins_with_codes_that_are_kept(world_model, replay):
    """A run that goes on inside one has not trained its world model in this process."""
    kept = EncodedReplay(world_model, replay, is_kept=True)
    config = build_config({"dream.num_dreams": 30, "dream.horizon": H})
    environment = DreamEnvironment(Dreamer(world_model, DreamSettings()), replay, config, kept)
    environment.look_through_replay(0)
    environment.seed(PAIR)
    starts = {codes.tobytes() for codes in environment.reset().observation.numpy()}
    assert len(starts) > 3 and starts <= real_codes(world_model, replay)


def test_the_recurrent_state_is_zero_at_the_start_and_after_an_end(environment):
    def size_of_state() -> float:
        return max(np.abs(part).max() for part in tf.nest.flatten(environment.dreams.recurrent))

    environment.reset()
    assert size_of_state() == 0.0
    for t in range(H):
        environment.step(actions_of(t))
        assert size_of_state() > 0.0
    assert np.all(environment.step(actions_of(0)).step_type == StepType.FIRST)
    assert size_of_state() == 0.0


def age_of(step: int) -> int:
    """Steps of its episode before a step."""
    return step - max([0, *(end + 1 for end in ENDS if end < step)])


def steps_of(world_model, replay, codes) -> list[int]:
    """The steps of the replay with these codes [N, 6, 6]; all of them differ."""
    known = world_model.encode(replay.observations(tf.range(STEPS), F)).numpy()
    return [int(np.flatnonzero((known == one).all(axis=(1, 2)))[0]) for one in np.asarray(codes)]


def state_before(world_model, replay, step: int, num_steps: int):
    """Unrolls the world model over the last real steps before one, from zeros; [36, 1, C]."""
    state = world_model.initial_state(1)
    for past in range(step - min(num_steps, age_of(step)), step):
        codes = world_model.encode(replay.observations(tf.constant([past]), F))
        state = world_model.predict(codes, replay.actions.numpy()[past : past + 1], state).state
    return state


@pytest.mark.parametrize("name", ["warm", "kept"])
def test_with_context_the_state_has_seen_the_real_steps_before(
    environments, world_model, replay, name
):
    by_hand = {
        (step, num_steps): tf.nest.flatten(state_before(world_model, replay, step, num_steps))
        for step in range(STEPS)
        for num_steps in range(age_of(step) + 1)
    }
    environment = environments[name]
    environment.seed(PAIR)
    seen = set()
    for _ in range(10):
        codes = environment.reset().observation
        parts = tf.nest.flatten(environment.dreams.recurrent)
        for n, step in enumerate(steps_of(world_model, replay, codes)):
            seen.add(age_of(step))
            for num_steps in range(age_of(step) + 1):
                error = max(
                    np.abs(part[:, n] - other[:, 0]).max()
                    for part, other in zip(parts, by_hand[step, num_steps], strict=True)
                )
                is_right = num_steps == min(CONTEXT, age_of(step))
                assert (error < 1e-5) == is_right, (step, num_steps, error)
    assert seen == {0, 1, 2, 3, 4}  # from no real steps before to more than enough


@pytest.mark.parametrize(("name", "context"), [("certain", 0), ("warm", CONTEXT)])
def test_codes_and_rewards_equal_a_recomputation_step_by_step(
    environments, world_model, replay, name, context
):
    environments[name].seed(PAIR)
    steps = play(environments[name], 2 * H + 1)
    for offset in (0, H + 1):
        dream = steps[offset : offset + H + 1]
        codes = tf.constant(dream[0].observation)
        starts = steps_of(world_model, replay, codes)
        states = [state_before(world_model, replay, step, context) for step in starts]
        state = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=1), *states)
        for t in range(H):
            found = world_model.predict(codes, actions_of(offset + t), state)
            codes, state = (
                tf.argmax(found.next_codes.logits, axis=-1, output_type=tf.int32),
                found.state,
            )
            np.testing.assert_array_equal(dream[t + 1].observation, codes)
            # Pays p(+1) − p(−1); the paper's head looks at y alone.
            logits = world_model.events(Transition(found.y, codes, codes)).rewards.logits
            odds = np.exp(logits.numpy().astype(np.float64))
            rewards = (odds[:, 2] - odds[:, 0]) / odds.sum(axis=1)
            assert 0.01 < np.abs(rewards).max() < 0.99
            np.testing.assert_allclose(dream[t + 1].reward, rewards, atol=1e-4)


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


def test_a_compiled_dream_equals_the_eager_one(either):
    eager = play(either, H + 2)

    @tf.function
    def compiled_reset(pair):
        either.seed(pair)
        return either.reset()

    compiled_step = tf.function(either.step)
    either.seed(PAIR + 1)
    steps = [compiled_reset(PAIR)]
    steps += [compiled_step(tf.constant(actions_of(t))) for t in range(H + 2)]
    for ours, theirs in zip(steps, eager, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, ours, theirs)


def test_a_new_dream_uses_the_weights_of_now(environment, world_model):
    before = play(environment, 2)
    kernel = world_model.dynamics.stack.cells[0].conv_x.kernel
    kept = kernel.numpy()
    kernel.assign(-20 * kernel)
    environment.seed(PAIR)
    after = play(environment, 2)
    kernel.assign(kept)
    np.testing.assert_array_equal(before[0].observation, after[0].observation)
    assert not np.array_equal(before[1].observation, after[1].observation)
