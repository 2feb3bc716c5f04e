"""Moving pictures of an agent: the game beside what the agent makes of it.

Shapes: T steps, M actions; frames are [96, 96] grey, codes [6, 6] embedding indices.
"""

import errno
import fractions
import io
import os
import pathlib
from collections.abc import Iterable, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.figures.code_colours import colours_of_codes
from smallwm_tf.runs.files import temporary_name, write_atomically
from smallwm_tf.runs.plain_files import open_plain

VIDEO_SUFFIXES = (".gif", ".mp4")
_FRAME, _CODES, _MARGIN, _LINE = 384, 192, 10, 16
_WIDTH = _FRAME + _CODES + 3 * _MARGIN
_HEIGHT = _FRAME + 2 * _MARGIN
_PAPER, _INK, _BAR, _TAKEN = (255, 255, 255), (20, 20, 20), (150, 175, 215), (0, 110, 200)


class PlayedStep(NamedTuple):
    """One step of an episode as the agent sees it."""

    frame: np.ndarray  # uint8 [96, 96]
    codes: np.ndarray | None  # int [6, 6]; None of a policy that sees frames
    probabilities: np.ndarray  # [M]
    action: int
    value: float
    reward: float  # that the action earned
    episode_return: float  # up to and with that reward


def draw_played_step(step: PlayedStep, number: int, action_meanings: Sequence[str]) -> np.ndarray:
    """Frame, codes in colour, value, return and a bar for the probability of each of M actions.

    The number of the step counts from 0. Returns uint8 [404, 606, 3].
    """
    canvas = Image.new("RGB", (_WIDTH, _HEIGHT), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(12)
    canvas.paste(_enlarged(step.frame, _FRAME), (_MARGIN, _MARGIN))
    left, top = _FRAME + 2 * _MARGIN, _MARGIN
    if step.codes is not None:
        canvas.paste(_enlarged(colours_of_codes(step.codes), _CODES), (left, top))
        top += _CODES + _MARGIN
    reward = f" ({step.reward:+g})" if step.reward else ""
    draw.text(
        (left, top), f"step {number}   return {step.episode_return:,.10g}{reward}", _INK, font
    )
    draw.text((left, top + _LINE), f"value {step.value:.2f}", _INK, font)
    top += 2 * _LINE + 4
    line = min(_LINE, (_HEIGHT - _MARGIN - top) // len(action_meanings))
    small = ImageFont.load_default(min(11, max(6, line - 1)))
    name_width = 78
    for number_of_action, name in enumerate(action_meanings):
        y = top + number_of_action * line
        width = (_CODES - name_width) * float(step.probabilities[number_of_action])
        taken = number_of_action == step.action
        draw.rectangle(
            (left + name_width, y + 1, left + name_width + width, y + line - 2),
            fill=_TAKEN if taken else _BAR,
        )
        draw.text((left, y), name.lower(), _TAKEN if taken else _INK, small)
    return np.asarray(canvas)


def draw_comparison(
    labels: Sequence[str], pictures: Sequence[np.ndarray], caption: str, scale: int = 2
) -> np.ndarray:
    """Pictures of one moment side by side, with a label above each and a line below.

    They are uint8 [96, 96], or codes int [6, 6] to be coloured; the scale is pixels of the result
    per pixel of a frame. Returns uint8 [height, width, 3].
    """
    side = FRAME_SIZE * scale
    width = len(pictures) * (side + _MARGIN) + _MARGIN
    canvas = Image.new("RGB", (width + width % 2, side + 2 * _LINE + 2 * _MARGIN), _PAPER)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(12)
    for column, (label, picture) in enumerate(zip(labels, pictures, strict=True)):
        left = _MARGIN + column * (side + _MARGIN)
        is_codes = picture.shape[0] != FRAME_SIZE
        shown = colours_of_codes(picture) if is_codes else picture
        draw.text((left, _MARGIN // 2), label, _INK, font)
        canvas.paste(_enlarged(shown, side), (left, _LINE + _MARGIN // 2))
    draw.text((_MARGIN, _LINE + side + _MARGIN), caption, _INK, font)
    return np.asarray(canvas)


def save_video(
    path: str | os.PathLike, pictures: Iterable[np.ndarray], frames_per_second: float
) -> None:
    """Writes a GIF or MP4 (H.264, which browsers play), complete or not at all.

    What is on disk is read back before it takes its name. Pictures are uint8 [height, width, 3],
    RGB, all of one size.

    Raises:
      ValueError: another suffix, or no picture.
      OSError: it cannot be written, or not be read back.
    """
    path = pathlib.Path(path)
    pictures = list(pictures)
    if path.suffix not in VIDEO_SUFFIXES or not pictures:
        raise ValueError(f"{path}: need pictures and a name that ends with .gif or .mp4")
    film = io.BytesIO()
    encode = _encode_gif if path.suffix == ".gif" else _encode_mp4
    encode(film, pictures, frames_per_second)

    def write(file: BinaryIO) -> None:
        file.write(film.getbuffer())
        file.flush()
        with open_plain(temporary_name(path)) as written:
            if written.read() != film.getbuffer():
                raise OSError(errno.EIO, "what was written cannot be read back")

    write_atomically(path, write)


def _encode_gif(film: BinaryIO, pictures: list[np.ndarray], frames_per_second: float) -> None:
    # One palette for all: GIF then stores what changes from picture to picture only.
    sample = np.concatenate(pictures[:: max(1, len(pictures) // 8)])
    palette = Image.fromarray(sample).quantize(128, Image.Quantize.MEDIANCUT)
    images = [
        Image.fromarray(picture).quantize(palette=palette, dither=Image.Dither.NONE)
        for picture in pictures
    ]
    duration = round(1000 / frames_per_second)
    options = {"save_all": True, "append_images": images[1:], "duration": duration, "loop": 0}
    images[0].save(film, "GIF", **options)


def _encode_mp4(film: BinaryIO, pictures: list[np.ndarray], frames_per_second: float) -> None:
    import av

    height, width = pictures[0].shape[:2]
    odd = ((0, height % 2), (0, width % 2), (0, 0))  # colours are stored for 2 x 2 pixels
    with av.open(film, "w", format="mp4") as container:
        rate = fractions.Fraction(frames_per_second).limit_denominator(1000)
        stream = container.add_stream("libx264", rate=rate, options={"crf": "18"})
        stream.pix_fmt = "yuv420p"  # the form that every browser plays
        stream.height, stream.width = height + odd[0][1], width + odd[1][1]
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.pad(picture, odd, mode="edge"), "rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _enlarged(picture: np.ndarray, side: int) -> Image.Image:
    """uint8 [n, n] or [n, n, 3] → RGB of the given side; sharp squares."""
    return Image.fromarray(picture).convert("RGB").resize((side, side), Image.Resampling.NEAREST)
