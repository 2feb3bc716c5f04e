"""What the functions of an export do with inputs at the edge, and with several callers."""

import threading

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.deployment.opening import load_export, load_run
from smallwm_tf.deployment.single_caller import SingleCaller
from smallwm_tf.models.imagination import Dreamer, DreamSettings, DreamState

SEED = tf.constant([3, 4])


@pytest.fixture(scope="module")
def exported(export_dir):
    return load_export(export_dir)


@pytest.fixture(scope="module")
def live(run_dir):
    return load_run(run_dir)


@pytest.fixture(scope="module")
def episodes():
    """Frames of three callers, uint8 [3, 5, 1, 96, 96]: caller, step, batch."""
    random = np.random.default_rng(5)
    return random.integers(256, size=[3, 5, 1, 96, 96]).astype(np.uint8)


def stacks_of(frames):
    """The stacks of two that an episode's frames make, [5, 1, 96, 96, 2]."""
    return np.stack([np.concatenate([frames[:1], frames[:-1]]), frames], axis=-1)


# --- several callers -------------------------------------------------------------------------


def test_callers_that_take_turns_keep_their_own_stacks(saved, episodes):
    outputs = [saved.begin(frames[0]) for frames in episodes]
    for step in range(1, 5):
        outputs = [
            saved.act_with_stack(frames[step], last["stack"])
            for frames, last in zip(episodes, outputs, strict=True)
        ]
        for frames, found in zip(episodes, outputs, strict=True):
            stack = stacks_of(frames)[step]
            np.testing.assert_array_equal(found["stack"], stack)
            expected = saved.serve(stack)
            np.testing.assert_array_equal(found["codes"], expected["codes"])
            np.testing.assert_allclose(found["logits"], expected["logits"], atol=1e-5)


def test_equal_seeds_draw_equal_actions_also_with_a_stack(saved, episodes):
    frame = np.repeat(episodes[0, 0], 64, axis=0)
    begun = saved.begin(frame, [7, 0])
    np.testing.assert_array_equal(begun["action"], saved.reset(frame, [7, 0])["action"])
    found = saved.act_with_stack(frame, begun["stack"], [7, 1])["action"]
    np.testing.assert_array_equal(found, saved.act(frame, [7, 1])["action"])
    signature = saved.signatures["act_with_stack_seeded"]
    again = signature(frame=tf.constant(frame), stack=begun["stack"], seed=tf.constant([7, 1]))
    np.testing.assert_array_equal(again["action"], found)


def test_what_others_keep_is_not_touched(saved, episodes):
    mine, other = episodes[:2]
    saved.reset(mine[0])
    saved.act_with_stack(other[1], saved.begin(other[0])["stack"])
    stack = stacks_of(mine)[1]
    np.testing.assert_array_equal(saved.act(mine[1])["codes"], saved.serve(stack)["codes"])


@pytest.mark.parametrize("kind", ["live", "exported"])
def test_threads_share_an_opened_agent(kind, request, episodes):
    agent = request.getfixturevalue(kind)
    found, seed = {}, np.array([1, 2], np.int32)

    def play(caller):
        memory, actions = None, []
        for step, frames in enumerate(episodes[caller]):
            drawn, memory = agent.act(frames, memory, seed, step, temperature=1.0)
            actions.append(int(drawn[0]))
        found[caller] = actions, memory

    threads = [threading.Thread(target=play, args=(caller,)) for caller in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    player = agent.agent(1.0)
    for caller, frames in enumerate(episodes):
        stacks = stacks_of(frames)
        expected = [int(player.act(stacks[t], (), seed, t)[0][0]) for t in range(5)]
        assert found[caller][0] == expected
        np.testing.assert_array_equal(found[caller][1].stacks, stacks[-1])
        assert found[caller][1].of_policy == ()  # it sees codes alone


def outcomes(calls, *moments):
    """What each moment of calls comes to: "a" begins with an act, "A" with a reset, "." ends."""
    found = []
    for moment in "".join(moments):
        try:
            calls.leave() if moment == "." else calls.enter(moment == "A")
        except tf.errors.InvalidArgumentError as error:
            assert "two calls overlapped" in str(error) and "act_with_stack" in str(error)
            found.append(False)
        else:
            found.append(True)
    return found


def test_one_call_after_the_other():
    calls = SingleCaller()
    assert all(outcomes(calls, "A.a.a.A.A.a."))


@pytest.mark.parametrize("first", "aA")
@pytest.mark.parametrize("second", "aA")
def test_calls_that_overlap_are_errors_until_a_reset(first, second):
    calls = SingleCaller()
    entered, other, left = outcomes(calls, first, second, ".")
    assert (entered, other, left) == (True, False, False)  # who was refused does not leave
    if second == "a":
        assert outcomes(calls, "a") == [False]
        assert outcomes(calls, "A") == [False]
    assert all(outcomes(calls, "A.a.a."))


def test_all_of_the_stack_lies_between_entering_and_leaving(saved, episodes):
    """The guard is around what is exported: an entry of another's is seen by it."""
    saved.reset(episodes[0, 0])
    saved._calls._entered.assign_add(1)
    for function in (saved.act, saved.reset):
        with pytest.raises(tf.errors.InvalidArgumentError, match="two calls overlapped"):
            function(episodes[0, 1])
    saved.reset(episodes[0, 0])
    stack = stacks_of(episodes[0])[1]
    found = saved.act(episodes[0, 1])
    np.testing.assert_array_equal(found["codes"], saved.serve(stack)["codes"])


def test_a_wrong_batch_is_not_laid_to_others(saved, episodes):
    saved.reset(episodes[0, 0])
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        saved.act(np.repeat(episodes[0, 1], 2, axis=0))
    assert "overlapped" not in str(caught.value)
    stack = stacks_of(episodes[0])[1]
    found = saved.act(episodes[0, 1])
    np.testing.assert_array_equal(found["codes"], saved.serve(stack)["codes"])


# --- inputs at the edge ----------------------------------------------------------------------


def dream(saved_world_model, codes, actions, temperature):
    state = saved_world_model.initial_state(tf.constant(len(codes)))
    return saved_world_model.dream_step(
        codes, actions, **state, temperature=tf.constant(temperature, tf.float32), seed=SEED
    )


@pytest.mark.parametrize("temperature", [0.0, 1e-30, 1e-9])
def test_cold_dreams_take_the_most_probable_codes(live, saved_world_model, temperature):
    codes, actions = tf.zeros([3, 6, 6], tf.int32), tf.constant([0, 1, 2])
    found = dream(saved_world_model, codes, actions, temperature)
    state = live.world_model.initial_state(3)
    expected = live.world_model.predict(codes, actions, state).next_codes.mode()
    np.testing.assert_array_equal(found["codes"], expected)
    np.testing.assert_array_equal(found["entropy"], np.zeros([3, 6, 6]))
    dreamer = Dreamer(live.world_model, DreamSettings(temperature))
    step, _ = dreamer.step(DreamState(codes, state, live.world_model.prepare()), actions, SEED)
    np.testing.assert_array_equal(step.codes, expected)
    entropy = step.code_distribution.entropy(step.codes, temperature)
    np.testing.assert_array_equal(entropy, found["entropy"])


@pytest.mark.parametrize("temperature", [-1.0, -1e-30, float("nan"), float("inf"), -float("inf")])
def test_temperatures_that_are_none(live, saved_world_model, temperature):
    codes, actions = tf.zeros([1, 6, 6], tf.int32), tf.constant([0])
    with pytest.raises(tf.errors.InvalidArgumentError, match="temperature must be a finite"):
        dream(saved_world_model, codes, actions, temperature)
    with pytest.raises(ValueError, match="temperature must be a finite"):
        Dreamer(live.world_model, DreamSettings(temperature))
    with pytest.raises(ValueError, match="temperature must be a finite"):
        live.agent(temperature)


@pytest.mark.parametrize(
    ("code", "actions", "named"),
    [
        (0, [3, 0], "actions must be from 0 to 2"),
        (0, [0, -1], "actions must be from 0 to 2"),
        (128, [0, 0], "codes must be from 0 to 127"),
        (-1, [0, 0], "codes must be from 0 to 127"),
        (0, [0], "codes and actions must be as many"),
        (0, [0, 1, 2], "codes and actions must be as many"),
    ],
)
def test_codes_and_actions_that_are_none(live, exported, saved_world_model, code, actions, named):
    codes, actions = tf.fill([2, 6, 6], code), tf.constant(actions)
    with pytest.raises(tf.errors.InvalidArgumentError, match=named):
        dream(saved_world_model, codes, actions, 1.0)
    state = saved_world_model.initial_state(tf.constant(2))
    with pytest.raises(tf.errors.InvalidArgumentError, match=named):
        saved_world_model.predict(codes, actions, **state)
    for agent in (live, exported):
        model = agent.world_model
        dreamer, state = Dreamer(model, DreamSettings()), model.initial_state(2)
        with pytest.raises(ValueError, match=named):
            dreamer.step(DreamState(codes, state, model.prepare()), actions, SEED)
        with pytest.raises(ValueError, match=named):
            model.predict(codes, actions, state, model.prepare())


@pytest.mark.parametrize("code", [128, -1, 2**31 - 1])
def test_codes_that_are_none_are_not_decoded_or_acted_on(
    live, exported, saved, saved_world_model, code
):
    codes = tf.fill([1, 6, 6], code)
    for function in (saved_world_model.decode, saved.act_on_codes):
        with pytest.raises(tf.errors.InvalidArgumentError, match="codes must be from 0 to 127"):
            function(codes)
    for agent in (live, exported):
        with pytest.raises(ValueError, match="codes must be from 0 to 127"):
            agent.world_model.decode(codes)
        with pytest.raises(ValueError, match="codes must be from 0 to 127"):
            agent.policy_of(codes.numpy())
