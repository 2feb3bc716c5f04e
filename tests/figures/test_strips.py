"""Strips of pictures: pixels of the written files against the arrays they show."""

import os

import numpy as np
import pytest
from PIL import Image

from smallwm_tf.figures import dream_film, strips
from smallwm_tf.figures.code_colours import colours_of_codes
from smallwm_tf.judging.open_loop import OpenLoop, Reconstructions


def _frames(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, 96, 96), np.uint8)


def _codes(count, high=128, seed=0):
    return np.random.default_rng(seed).integers(0, high, (count, 6, 6))


def _read(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _find(image, picture):
    """Top left corners at which `picture` stands in `image`; both uint8 [H, W, 3]."""
    height, width = picture.shape[:2]
    probe = (image[: 1 - height, : 1 - width] == picture[0, 0]).all(-1)
    return [
        (y, x)
        for y, x in np.argwhere(probe)
        if (image[y : y + height, x : x + width] == picture).all()
    ]


def _dream(num_steps):
    real = Reconstructions(_frames(num_steps, 1), _codes(num_steps, seed=4), _frames(num_steps, 2))
    rewards = np.arange(num_steps) % 3 - 1.0
    dreamed = _frames(num_steps, 3), _codes(num_steps, seed=5)
    return OpenLoop(real, *dreamed, rewards, np.zeros(num_steps))


def test_colours_are_distinct_and_the_same_in_every_figure():
    colours = colours_of_codes(np.arange(128))
    assert colours.shape == (128, 3) and colours.dtype == np.uint8
    assert len({tuple(colour) for colour in colours}) == 128
    distances = np.abs(colours[:, None].astype(int) - colours[None]).sum(-1)
    assert distances[~np.eye(128, dtype=bool)].min() >= 17
    np.testing.assert_array_equal(colours_of_codes(np.arange(7)), colours[:7])
    assert (colours.max(1) > 40).all(), "an index looks black"
    assert (colours @ (0.21, 0.72, 0.07) < 235).all(), "an index looks like the background"


def test_colours_repeat_for_a_huge_codebook():
    colours = colours_of_codes(np.arange(3000))
    np.testing.assert_array_equal(colours[1024:2048], colours[:1024])


def test_codes_figure_shows_frames_codes_and_reconstructions_in_columns(tmp_path):
    frames, codes, reconstructions = _frames(3), _codes(3), _frames(3, 9)
    strips.save_codes_figure(tmp_path / "a.png", frames, codes, reconstructions, 128)
    image = _read(tmp_path / "a.png")
    colours = colours_of_codes(np.arange(128))
    for column in range(3):
        large = [
            np.kron(pictures[column], np.ones((2, 2), np.uint8))[..., None].repeat(3, -1)
            for pictures in (frames, reconstructions)
        ]
        ((top, left),) = _find(image, large[0])
        ((bottom, same_left),) = _find(image, large[1])
        assert left == same_left and bottom > top
        middle = (top + bottom) // 2
        for row in range(6):
            for place in range(6):
                pixel = image[middle + 32 * row + 16, left + 32 * place + 16]
                np.testing.assert_array_equal(pixel, colours[codes[column, row, place]])
    assert os.listdir(tmp_path) == ["a.png"]


def test_equal_input_gives_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        strips.save_codes_figure(tmp_path / name, _frames(2), _codes(2), _frames(2), 128)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize(("num_steps", "shown"), [(1, [0]), (4, [0, 1, 2, 3]), (50, [0, 25, 49])])
def test_dream_strip_shows_evenly_spaced_steps(tmp_path, monkeypatch, num_steps, shown):
    monkeypatch.setattr(strips, "_MOST_COLUMNS", max(3, len(shown)))
    dream = _dream(num_steps)
    strips.draw_dream(tmp_path / "d.png", dream)
    image = _read(tmp_path / "d.png")
    for frames in (dream.real.frames, dream.real.reconstructions, dream.dreamed):
        places = [_find(image, frame[..., None].repeat(3, -1)) for frame in frames]
        found = [step for step, place in enumerate(places) if place]
        assert len(found) == len(shown)
        np.testing.assert_allclose(found, shown, atol=1)
        lefts = [places[step][0][1] for step in found]
        assert lefts == sorted(lefts)


def test_dream_strip_shows_every_reward(tmp_path):
    strips.draw_dream(tmp_path / "d.png", _dream(30))
    image = _read(tmp_path / "d.png").astype(int)
    rows = image[-40:]  # the two reward rows stand at the bottom
    green = (rows == strips._POSITIVE).all(-1).any(0)
    red = (rows == strips._NEGATIVE).all(-1).any(0)
    starts = [np.flatnonzero(np.diff(mask.astype(int)) == 1) for mask in (green, red)]
    assert [len(start) for start in starts] == [10, 10]
    assert (starts[1] < starts[0]).all()  # each -1 stands two steps before its +1


def test_an_expected_reward_is_shown_for_what_it_is(tmp_path):
    rewards = np.array([0.0, 0.25, 1.0, -0.5, -1.0, 2.0], np.float32)
    loop = _dream(len(rewards))._replace(dreamed_rewards=rewards)
    strips.draw_dream(tmp_path / "d.png", loop)
    row = _read(tmp_path / "d.png").astype(int)[-10]  # in the last row of rewards
    seen = [tuple(colour) for colour in row[np.r_[True, (np.diff(row, axis=0) != 0).any(1)]]]
    grey, green, red = (222, 222, 222), (0, 140, 60), (205, 40, 40)
    mixed = (round(222 * 0.75), round(222 * 0.75 + 140 / 4), round(222 * 0.75 + 60 / 4))
    for colour in (grey, mixed, green, (214, 131, 131), red):
        assert colour in seen
    assert seen.count(green) == 2  # 2.0 is no more than 1
    words = [dream_film.caption(loop, step).split(", dream ")[1] for step in range(len(rewards))]
    assert words == ["+0", "+0.25", "+1", "-0.50", "-1", "+2"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("frames", np.zeros((2, 96, 96), np.float32)),
        ("frames", np.zeros((2, 96, 95), np.uint8)),
        ("frames", np.zeros((0, 96, 96), np.uint8)),
        ("reconstructions", np.zeros((3, 96, 96), np.uint8)),
        ("codes", np.full((2, 6, 6), 128)),
        ("codes", np.full((2, 6, 6), -1)),
        ("codes", np.zeros((2, 6, 6), np.float32)),
    ],
)
def test_codes_figure_names_a_bad_argument(tmp_path, name, value):
    arguments = {"frames": _frames(2), "codes": _codes(2), "reconstructions": _frames(2)}
    with pytest.raises(ValueError, match=name):
        strips.save_codes_figure(
            tmp_path / "a.png", **{**arguments, name: value}, num_embeddings=128
        )
    assert os.listdir(tmp_path) == []
