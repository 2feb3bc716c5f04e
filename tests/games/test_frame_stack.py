"""Frame stacks against a deque."""

from collections import deque

import numpy as np
import pytest

from smallwm_tf.games.frame_stack import push_frame, start_stack


@pytest.mark.parametrize("num_stacked_frames", [1, 2, 4])
@pytest.mark.parametrize("leading_shape", [(), (3,)])
def test_equals_a_deque(num_stacked_frames, leading_shape):
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (9, *leading_shape, 5, 7), dtype=np.uint8)
    newest_last = deque([frames[0]] * num_stacked_frames, maxlen=num_stacked_frames)
    stack = start_stack(frames[0], num_stacked_frames)
    for frame in frames[1:]:
        before = stack.copy()
        pushed = push_frame(stack, frame)
        np.testing.assert_array_equal(stack, before)  # handed-out stacks never change
        stack = pushed
        newest_last.append(frame)
        assert stack.dtype == np.uint8
        for age, expected in enumerate(newest_last):
            np.testing.assert_array_equal(stack[..., age], expected)
