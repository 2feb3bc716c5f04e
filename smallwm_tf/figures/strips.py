"""Strips of small pictures as PNG files: codes in colour, dreams beside reality.

Shapes: N frames, T steps; frames are [96, 96] grey, codes [6, 6] embedding indices.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.figures.code_colours import colours_of_codes
from smallwm_tf.judging import open_loop
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.imagination import Dreamer
from smallwm_tf.runs.files import write_atomically

_NUM_FRAMES = 8  # in a figure of codes
_MOST_COLUMNS = 10  # of a dream
_MARGIN = 6  # pixels between pictures
_FONT_SIZE = 13
_INK = (20, 20, 20)
_POSITIVE, _NEGATIVE, _NO_REWARD = (0, 140, 60), (205, 40, 40), (222, 222, 222)


def save_codes_figure(
    path: Path | str,
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
    codes = np.asarray(codes)
    if codes.shape[1:] != (GRID_SIZE, GRID_SIZE) or codes.dtype.kind not in "iu":
        raise ValueError(f"codes: {codes.dtype} {codes.shape} is not whole numbers [N, 6, 6]")
    if codes.min() < 0 or codes.max() >= num_embeddings:
        raise ValueError(f"codes: {codes.min()}..{codes.max()} is outside 0..{num_embeddings}-1")
    lengths = {"frames": len(frames), "codes": len(codes), "reconstructions": len(reconstructions)}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"different lengths: {lengths}")
    pictures = {
        "frame": _grey(frames, scale=2),
        "codes": _squares(codes, scale=2),
        "reconstruction": _grey(reconstructions, scale=2),
    }
    _save(path, _draw_rows(pictures))


def draw_dream(path: Path, loop: open_loop.OpenLoop) -> None:
    """What happened beside what the world model dreamed from the same start and actions, as PNG.

    Shows a few steps, evenly spaced from the first to the last; the two reward rows show every
    step: from grey for none to green for +1 and red for -1, so that a dream that pays the mean of
    what it expects is not shown as one that pays at every step.
    """
    num_steps, real = len(loop.dreamed), loop.real
    shown = np.linspace(0, num_steps - 1, min(num_steps, _MOST_COLUMNS)).round().astype(int)
    pictures = {
        "real": _grey(real.frames[shown], scale=1),
        "real codes": _squares(real.codes[shown], scale=1),
        "reconstruction": _grey(real.reconstructions[shown], scale=1),
        "dream": _grey(loop.dreamed[shown], scale=1),
        "difference": _grey(absolute_difference(real.frames, loop.dreamed)[shown], scale=1),
        "dream codes": _squares(loop.dreamed_codes[shown], scale=1),
    }
    rewards = {"real reward": loop.real_rewards, "dream reward": loop.dreamed_rewards}
    _save(path, _draw_rows(pictures, [f"t={step}" for step in shown], rewards))


def draw_world_model(
    folder: Path, dreamer: Dreamer, replay: Replay, experiment: Experiment, iteration: int
) -> open_loop.OpenLoop:
    """Codes and reconstructions of random observations (Fig. 5), and a dream beside reality.

    They go to ``codes_<iteration>.png`` and ``dream_<iteration>.png``. Returns the dream.
    """
    config, path = experiment.config, (experiment.seed, "figures", iteration)
    order = generator(*path)
    steps = np.sort(order.integers(replay.size, size=_NUM_FRAMES))
    shown = open_loop.reconstruct(dreamer.world_model, replay, steps)
    codes_path = folder / f"codes_{iteration:03d}.png"
    save_codes_figure(codes_path, *shown, config.vqvae.num_embeddings)
    start, length = open_loop.longest_start(replay, config.dream.horizon, order)
    loop = open_loop.open_loop(dreamer, replay, start, length, seed_pair(*path))
    draw_dream(folder / f"dream_{iteration:03d}.png", loop)
    return loop


def absolute_difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """|one − other| of uint8 pictures of one shape; black where they agree."""
    return np.abs(one.astype(np.int16) - other).astype(np.uint8)


def _draw_rows(
    pictures: Mapping[str, np.ndarray],
    column_labels: Sequence[str] = (),
    rewards: Mapping[str, np.ndarray] | None = None,
) -> Image.Image:
    """Draws rows of pictures uint8 [N, S, S, 3] by label and, below, rows of reward cells."""
    font, rewards = ImageFont.load_default(_FONT_SIZE), rewards or {}
    left = 2 * _MARGIN + int(max(font.getlength(label) for label in [*pictures, *rewards]))
    count, side = next(iter(pictures.values())).shape[:2]
    top = _MARGIN + (_FONT_SIZE + _MARGIN if column_labels else 0)
    width = left + count * (side + _MARGIN)
    line = _FONT_SIZE + 2 + _MARGIN
    height = top + len(pictures) * (side + _MARGIN) + len(rewards) * line
    canvas = Image.new("RGB", (width, height), (255, 255, 255))
    draw = ImageDraw.Draw(canvas)
    for column, label in enumerate(column_labels):
        centre = left + column * (side + _MARGIN) + side / 2
        draw.text((centre, _MARGIN), label, _INK, font, anchor="ma")
    for row, (label, columns) in enumerate(pictures.items()):
        y = top + row * (side + _MARGIN)
        draw.text((left - _MARGIN, y + side / 2), label, _INK, font, anchor="rm")
        for column, picture in enumerate(columns):
            canvas.paste(Image.fromarray(picture), (left + column * (side + _MARGIN), y))
    y = top + len(pictures) * (side + _MARGIN)
    for label, of_steps in rewards.items():
        draw.text((left - _MARGIN, y + _FONT_SIZE / 2), label, _INK, font, anchor="rm")
        _draw_rewards(draw, of_steps, left, width - _MARGIN, y)
        y += line
    return canvas


def _draw_rewards(
    draw: ImageDraw.ImageDraw, rewards: np.ndarray, left: int, right: int, y: int
) -> None:
    edges = np.linspace(left, right, len(rewards) + 1).round().astype(int)
    for reward, start, end in zip(rewards, edges[:-1], edges[1:], strict=True):
        share = min(abs(float(reward)), 1.0)
        full = zip(_NO_REWARD, _POSITIVE if reward > 0 else _NEGATIVE, strict=True)
        colour = tuple(round((1.0 - share) * none + share * whole) for none, whole in full)
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


def _save(path: Path | str, image: Image.Image) -> None:
    write_atomically(Path(path), lambda file: image.save(file, "PNG", optimize=True))
