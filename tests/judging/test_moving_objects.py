"""Objects in pictures, counted by filling them one by one."""

import numpy as np

from smallwm_tf.judging.moving_objects import count_objects


def filled(mask: np.ndarray) -> list[int]:
    """Sizes of the connected regions of a mask; corners connect."""
    left, sizes = {tuple(place) for place in np.argwhere(mask)}, []
    while left:
        edge, size = [left.pop()], 0
        while edge:
            y, x = edge.pop()
            size += 1
            near = {(y + i, x + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            edge += near
        sizes.append(size)
    return sizes


def test_what_is_drawn_is_counted():
    background = np.full((96, 96), 90.0)
    background[:, 50:] = 130.0
    frames = np.repeat(background[np.newaxis], 4, axis=0)
    frames[1, 10:14, 10:14] = 200.0  # brighter
    frames[1, 60:63, 70:80] = 60.0  # darker
    frames[1, 30, 30:32] = 200.0  # too small
    frames[2, 20:23, 20:23] = 200.0
    frames[2, 23:26, 23:26] = 200.0  # touches its corner
    frames[3, 40:50, 40:60] += 15.0  # too faint
    np.testing.assert_array_equal(count_objects(frames, background), [0, 2, 1, 0])


def test_as_many_as_can_be_filled():
    draw = np.random.default_rng(0)
    background = draw.uniform(0, 255, (96, 96))
    frames = draw.uniform(0, 255, (3, 96, 96))
    frames[1:] = background + draw.choice([0.0, 40.0], (2, 96, 96), p=[0.8, 0.2])
    expected = [sum(n >= 3 for n in filled(np.abs(f - background) > 15)) for f in frames]
    np.testing.assert_array_equal(count_objects(frames, background), expected)
    assert max(expected) > 100
