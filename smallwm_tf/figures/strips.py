"""Strips of small pictures as PNG files: codes in colour, dreams beside reality.

Shapes: N frames, T steps; frames are [96, 96] grey, codes [6, 6] embedding indices.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.figures.code_colours import colours_of_codes
from smallwm_tf.runs.files import write_atomically

_MARGIN = 6  # pixels between pictures
_FONT_SIZE = 13
_INK = (20, 20, 20)
_POSITIVE, _NEGATIVE, _NO_REWARD = (0, 140, 60), (205, 40, 40), (222, 222, 222)


def save_codes_figure(
    path: str | os.PathLike,
    frames: np.ndarray,
    codes: np.ndarray,
    reconstructions: np.ndarray,
    num_embeddings: int,
) -> None:
    """Frame, 6x6 codes as coloured squares, and reconstruction as PNG: the paper's Fig. 5.

    Frames and reconstructions are uint8 [N, 96, 96], codes int [N, 6, 6] below `num_embeddings`.

    Raises:
      ValueError: a wrong shape, type or index.
    """
    frames, reconstructions = _frames("frames", frames), _frames("reconstructions", reconstructions)
    codes = _codes("codes", codes, num_embeddings)
    _check_equal_lengths(frames=frames, codes=codes, reconstructions=reconstructions)
    rows = [
        ("frame", _grey(frames, scale=2)),
        ("codes", _squares(codes, scale=2)),
        ("reconstruction", _grey(reconstructions, scale=2)),
    ]
    _save(path, _draw_rows(rows, column_labels=None))


def save_dream_strip(
    path: str | os.PathLike,
    real: np.ndarray,
    reconstructed: np.ndarray,
    dreamed: np.ndarray,
    real_codes: np.ndarray,
    dreamed_codes: np.ndarray,
    real_rewards: np.ndarray,
    dreamed_rewards: np.ndarray,
    max_columns: int = 10,
) -> None:
    """What happened beside what the world model dreamed from the same start and actions.

    Shows at most `max_columns` steps, evenly spaced from the first to the last; the two reward rows
    show every step: green for a positive, red for a negative, grey for no reward.

    Frames are uint8 [T, 96, 96], codes int [T, 6, 6], rewards numbers [T].

    Raises:
      ValueError: a wrong shape, type or value.
    """
    arrays = {
        "real": _frames("real", real),
        "reconstructed": _frames("reconstructed", reconstructed),
        "dreamed": _frames("dreamed", dreamed),
        "real_codes": _codes("real_codes", real_codes),
        "dreamed_codes": _codes("dreamed_codes", dreamed_codes),
        "real_rewards": _rewards("real_rewards", real_rewards),
        "dreamed_rewards": _rewards("dreamed_rewards", dreamed_rewards),
    }
    num_steps = _check_equal_lengths(**arrays)
    if max_columns < 1:
        raise ValueError(f"max_columns: {max_columns} is not at least 1")
    num_columns = min(num_steps, max_columns)
    shown = np.linspace(0, num_steps - 1, num_columns).round().astype(int)
    difference = absolute_difference(arrays["real"], arrays["dreamed"])
    rows = [
        ("real", _grey(arrays["real"][shown], scale=1)),
        ("real codes", _squares(arrays["real_codes"][shown], scale=1)),
        ("reconstruction", _grey(arrays["reconstructed"][shown], scale=1)),
        ("dream", _grey(arrays["dreamed"][shown], scale=1)),
        ("difference", _grey(difference[shown], scale=1)),
        ("dream codes", _squares(arrays["dreamed_codes"][shown], scale=1)),
    ]
    real, dream = arrays["real_rewards"], arrays["dreamed_rewards"]
    reward_rows = [("real reward", real), ("dream reward", dream)]
    _save(path, _draw_rows(rows, [f"t={step}" for step in shown], reward_rows))


def absolute_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|one − other| of uint8 pictures of one shape; black where they agree."""
    return np.abs(one.astype(np.int16) - other).astype(np.uint8)


def _draw_rows(
    rows: Sequence[tuple[str, np.ndarray]],
    column_labels: Sequence[str] | None,
    reward_rows: Sequence[tuple[str, np.ndarray]] = (),
) -> Image.Image:
    """Draws labelled rows of pictures (uint8 [N, S, S, 3]) and, below, rows of reward cells."""
    font = ImageFont.load_default(_FONT_SIZE)
    labels = [label for label, _ in rows] + [label for label, _ in reward_rows]
    left = 2 * _MARGIN + int(max(font.getlength(label) for label in labels))
    count, side = rows[0][1].shape[:2]
    top = _MARGIN + (_FONT_SIZE + _MARGIN if column_labels else 0)
    width = left + count * (side + _MARGIN)
    line = _FONT_SIZE + 2 + _MARGIN
    height = top + len(rows) * (side + _MARGIN) + len(reward_rows) * line
    canvas = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for column, label in enumerate(column_labels or ()):
        centre = left + column * (side + _MARGIN) + side / 2
        draw.text((centre, _MARGIN), label, _INK, font, anchor="ma")
    for row, (label, pictures) in enumerate(rows):
        y = top + row * (side + _MARGIN)
        draw.text((left - _MARGIN, y + side / 2), label, _INK, font, anchor="rm")
        for column, picture in enumerate(pictures):
            canvas.paste(Image.fromarray(picture), (left + column * (side + _MARGIN), y))
    y = top + len(rows) * (side + _MARGIN)
    for label, rewards in reward_rows:
        draw.text((left - _MARGIN, y + _FONT_SIZE / 2), label, _INK, font, anchor="rm")
        _draw_rewards(draw, rewards, left, width - _MARGIN, y)
        y += line
    return canvas


def _draw_rewards(
    draw: ImageDraw.ImageDraw, rewards: np.ndarray, left: int, right: int, y: int
) -> None:
    edges = np.linspace(left, right, len(rewards) + 1).round().astype(int)
    for reward, start, end in zip(rewards, edges[:-1], edges[1:], strict=True):
        colour = _POSITIVE if reward > 0 else _NEGATIVE if reward < 0 else _NO_REWARD
        draw.rectangle((start, y, max(start, end - 2), y + _FONT_SIZE), fill=colour)


def _grey(frames: np.ndarray, scale: int) -> np.ndarray:
    """uint8 [N, S, S] -> uint8 [N, scale*S, scale*S, 3]."""
    return np.repeat(_enlarge(frames, scale)[..., None], 3, axis=-1)


def _squares(codes: np.ndarray, scale: int) -> np.ndarray:
    """int [N, 6, 6] -> uint8 [N, 96*scale, 96*scale, 3], one square per index, thin white gaps."""
    side = FRAME_SIZE * scale // codes.shape[1]
    pictures = _enlarge(colours_of_codes(codes), side)
    gap = np.arange(pictures.shape[1]) % side == side - 1
    pictures[:, gap], pictures[:, :, gap] = 255, 255
    return pictures


def _enlarge(pictures: np.ndarray, factor: int) -> np.ndarray:
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)


def _frames(name: str, value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    if value.shape[1:] != (FRAME_SIZE, FRAME_SIZE) or len(value) == 0 or value.dtype != np.uint8:
        raise ValueError(f"{name}: expected uint8 [N, 96, 96], got {value.dtype} {value.shape}")
    return value


def _codes(name: str, value: np.ndarray, num_embeddings: int | None = None) -> np.ndarray:
    value = np.asarray(value)
    if value.shape[1:] != (6, 6) or len(value) == 0 or value.dtype.kind not in "iu":
        raise ValueError(
            f"{name}: expected whole numbers [N, 6, 6], got {value.dtype} {value.shape}"
        )
    if value.min() < 0 or (num_embeddings is not None and value.max() >= num_embeddings):
        raise ValueError(f"{name}: {value.min()}..{value.max()} is outside 0..{num_embeddings}-1")
    return value


def _rewards(name: str, value: np.ndarray) -> np.ndarray:
    value = np.asarray(value)
    if value.ndim != 1 or not np.isfinite(value).all():
        raise ValueError(f"{name}: expected one finite number per step, got shape {value.shape}")
    return value


def _check_equal_lengths(**arrays: np.ndarray) -> int:
    lengths = {name: len(array) for name, array in arrays.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"different lengths: {lengths}")
    return next(iter(lengths.values()))


def _save(path: str | os.PathLike, image: Image.Image) -> None:
    write_atomically(pathlib.Path(path), lambda file: image.save(file, "PNG", optimize=True))
