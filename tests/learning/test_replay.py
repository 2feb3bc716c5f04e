"""The replay against a reference in NumPy that walks through episodes step by step."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import default_config
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.learning.replay import Replay

# Lengths of episodes; the last one is not over. Two are a single step long.
LENGTHS = [5, 1, 9, 1, 3, 12, 4]
SIZE = sum(LENGTHS)
FIRSTS = [sum(LENGTHS[:i]) for i in range(len(LENGTHS))]
EPISODE = [i for i, length in enumerate(LENGTHS) for _ in range(length)]


def recording() -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    last = [first + n - 1 for first, n in zip(FIRSTS[:-1], LENGTHS[:-1], strict=True)]
    terminated, truncated, lost_life = np.zeros([3, SIZE], bool)
    terminated[last[::2]] = truncated[last[1::2]] = True  # both kinds end an episode
    lost_life[::4] = True  # and this does not
    return {
        "frames": draw.integers(256, size=[SIZE, 4, 4], dtype=np.uint8),
        "actions": draw.integers(6, size=SIZE).astype(np.int32),
        "rewards": draw.normal(size=SIZE).astype(np.float32),
        "terminated": terminated,
        "truncated": truncated,
        "lost_life": lost_life,
    }


@pytest.fixture(scope="module")
def steps():
    return recording()


@pytest.fixture(scope="module")
def replay(steps):
    """Appended in three pieces, cut inside an episode, and with room to spare."""
    buffer = Replay(SIZE + 7, (4, 4))
    for piece in (slice(0, 10), slice(10, 22), slice(22, SIZE)):
        buffer.append(**{name: array[piece] for name, array in steps.items()})
    return buffer


def stack(frames: np.ndarray, step: int, num_stacked_frames: int) -> np.ndarray:
    """Walks backwards from a step and stays at the first frame of its episode."""
    newest_first = []
    for _ in range(num_stacked_frames):
        newest_first.append(frames[step])
        if step > 0 and EPISODE[step - 1] == EPISODE[step]:
            step -= 1
    return np.stack(newest_first[::-1], axis=-1)


@pytest.mark.parametrize("num_stacked_frames", [1, 2, 4])
def test_every_stack_equals_the_walk_backwards(replay, steps, num_stacked_frames):
    stacks = replay.observations(tf.range(SIZE), num_stacked_frames)
    assert stacks.dtype == tf.uint8 and stacks.shape == [SIZE, 4, 4, num_stacked_frames]
    for step in range(SIZE):
        expected = stack(steps["frames"], step, num_stacked_frames)
        np.testing.assert_array_equal(stacks[step], expected, err_msg=f"step {step}")


def test_stacks_have_the_shape_of_their_indices(replay, steps):
    indices = tf.constant([[3, 0, 20], [8, 34, 1]])
    stacks = replay.observations(indices, 4)
    assert stacks.shape == [2, 3, 4, 4, 4]
    np.testing.assert_array_equal(stacks[1, 1], stack(steps["frames"], 34, 4))


@pytest.mark.parametrize("length", [2, 4, 11])
@pytest.mark.parametrize("num_stacked_frames", [1, 3])
def test_windows_stop_at_the_end_of_their_episode(replay, steps, length, num_stacked_frames):
    windows = replay.windows(tf.range(SIZE), length, num_stacked_frames)
    assert windows.observations.shape == [SIZE, length, 4, 4, num_stacked_frames]
    assert windows.valid.shape == windows.actions.shape == windows.rewards.shape == [SIZE, length]
    for start in range(SIZE):
        for t in range(length):
            step = start + t
            inside = step < SIZE and EPISODE[step] == EPISODE[start]
            assert bool(windows.valid[start, t]) == inside, (start, t)
            if inside:
                assert windows.actions[start, t] == steps["actions"][step]
                assert windows.rewards[start, t] == steps["rewards"][step]
                expected = stack(steps["frames"], step, num_stacked_frames)
            else:  # never a frame of another episode
                expected = stack(steps["frames"], start, num_stacked_frames)
            np.testing.assert_array_equal(windows.observations[start, t], expected)


@pytest.mark.parametrize("length", [2, 4, 11])
def test_steps_of_windows_are_numbers_that_can_be_read(replay, length):
    numbers, valid = replay.window_steps(tf.range(SIZE), length)
    assert numbers.shape == valid.shape == [SIZE, length]
    for start in range(SIZE):
        for t in range(length):
            step = start + t
            inside = step < SIZE and EPISODE[step] == EPISODE[start]
            assert bool(valid[start, t]) == inside, (start, t)
            assert int(numbers[start, t]) == (step if inside else start), (start, t)


@pytest.mark.parametrize("length", [0, 1, 4, 11])
@pytest.mark.parametrize("num_stacked_frames", [1, 3])
def test_the_past_goes_back_to_the_first_step_of_the_episode(
    replay, steps, length, num_stacked_frames
):
    past = replay.past(tf.range(SIZE), length, num_stacked_frames)
    assert past.observations.shape == [SIZE, length, 4, 4, num_stacked_frames]
    assert past.valid.shape == past.actions.shape == [SIZE, length]
    for now in range(SIZE):
        for t in range(length):
            step = now - length + t
            inside = step >= 0 and EPISODE[step] == EPISODE[now]
            assert bool(past.valid[now, t]) == inside, (now, t)
            readable = step if inside else FIRSTS[EPISODE[now]]  # never another episode's
            assert past.actions[now, t] == steps["actions"][readable]
            expected = stack(steps["frames"], readable, num_stacked_frames)
            np.testing.assert_array_equal(past.observations[now, t], expected)


def test_the_past_inside_a_graph_has_a_known_length(replay, steps):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def read(numbers):
        past = replay.past(numbers, 3, 2)
        assert past.actions.shape[1] == past.valid.shape[1] == past.observations.shape[1] == 3
        return past

    past = read(tf.constant([8, 6]))  # the third and the first step of an episode
    assert past.valid.numpy().tolist() == [[False, True, True], [False] * 3]
    np.testing.assert_array_equal(past.actions[0, 1:], steps["actions"][6:8])


def test_reading_works_inside_a_graph(replay, steps):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def read(starts):
        return replay.windows(starts, 4, 2)

    windows = read(tf.constant([0, 6]))
    np.testing.assert_array_equal(windows.observations[1, 0], stack(steps["frames"], 6, 2))
    assert windows.valid.numpy().tolist() == [[True] * 4, [True] * 4]


@pytest.mark.parametrize("length", [2, 3, 4, 11, 30])
@pytest.mark.parametrize("seed", range(5))
def test_the_windows_of_one_epoch_cover_every_transition(replay, steps, length, seed):
    plan = replay.window_starts(np.random.default_rng(seed), length)
    assert plan.dtype == np.int32 and plan.min() >= 0 and plan.max() < SIZE
    windows = replay.windows(tf.constant(plan), length, 1)
    valid = windows.valid.numpy()
    has_next, has_reward = set(), set()
    for start, row in zip(plan, valid, strict=True):
        for t in range(length - 1):  # the last step of a window is only a target
            if row[t]:
                has_reward.add(start + t)
            if row[t] and row[t + 1]:
                has_next.add(start + t)
    ends = {first + n - 1 for first, n in zip(FIRSTS, LENGTHS, strict=True)}
    assert has_reward == set(range(SIZE))
    assert has_next == set(range(SIZE)) - ends


def test_window_starts_are_few_shuffled_and_change_from_epoch_to_epoch(replay):
    order = np.random.default_rng(3)
    plans = [replay.window_starts(order, 4) for _ in range(20)]
    assert len({tuple(sorted(plan)) for plan in plans}) > 5  # other offsets
    for plan in plans:
        episodes = np.array(EPISODE)[plan]
        assert not np.array_equal(episodes, np.sort(episodes))
    for plan in plans:
        # At most one window per stride, one rest and one part before the offset per episode.
        assert len(plan) <= sum(n // 3 + 2 for n in LENGTHS)
        assert len(np.unique(plan)) == len(plan)


def test_frame_order_visits_every_step_once(replay):
    order = replay.frame_order(np.random.default_rng(0))
    assert order.dtype == np.int32
    assert not np.array_equal(order, np.arange(SIZE))
    np.testing.assert_array_equal(np.sort(order), np.arange(SIZE))


def test_pieces_give_the_same_replay_as_the_whole(replay, steps):
    whole = Replay(SIZE, (4, 4))
    whole.append(**steps)
    assert whole.size == replay.size == SIZE
    for name in (*steps, "episode_starts"):
        np.testing.assert_array_equal(
            getattr(whole, name)[:SIZE], getattr(replay, name)[:SIZE], err_msg=name
        )
    np.testing.assert_array_equal(whole.episode_starts, [FIRSTS[e] for e in EPISODE])
    assert whole.as_arrays().keys() == steps.keys()
    for name, array in steps.items():
        np.testing.assert_array_equal(whole.as_arrays()[name], array, err_msg=name)


def test_a_piece_after_an_end_starts_a_new_episode(steps):
    buffer = Replay(12, (4, 4))
    buffer.append(**{name: array[:5] for name, array in steps.items()})  # ends with its episode
    buffer.append(**{name: array[:3] for name, array in steps.items()})
    buffer.append(**{name: array[3:5] for name, array in steps.items()})
    np.testing.assert_array_equal(buffer.episode_starts[:10], [0] * 5 + [5] * 5)


def test_what_does_not_fit_is_refused_and_changes_nothing(steps):
    buffer = Replay(SIZE + 2, (4, 4))
    buffer.append(**steps)
    message = f"the replay holds {SIZE} of {SIZE + 2} steps; {SIZE} more do not fit"
    with pytest.raises(ValueError, match=message):
        buffer.append(**steps)
    assert buffer.size == SIZE


@pytest.mark.parametrize("name", sorted(recording().keys() - {"frames"}))
def test_lengths_that_differ_are_refused(steps, name):
    buffer = Replay(SIZE, (4, 4))
    with pytest.raises(ValueError, match="their numbers must agree"):
        buffer.append(**(steps | {name: steps[name][:-1]}))
    assert buffer.size == 0


def test_102400_steps_take_less_than_1_1_gigabytes():
    config = default_config()
    capacity = total_steps(config)
    assert capacity == 102_400
    # A small buffer tells bytes per step without allocating the large one.
    small = Replay(16)
    num_bytes = 0
    for variable in small.variables:
        size = variable.dtype.size * int(np.prod(variable.shape))
        assert variable.shape.rank == 0 or variable.shape[0] == 16
        num_bytes += size if variable.shape.rank == 0 else size // 16 * capacity
    assert sum(v.dtype.size * int(np.prod(v.shape)) for v in small.variables) < 16 * 9300
    assert num_bytes < 1.1e9
    frames = [v for v in small.variables if v.dtype == tf.uint8]
    assert [v.shape.as_list() for v in frames] == [[16, 96, 96]]
