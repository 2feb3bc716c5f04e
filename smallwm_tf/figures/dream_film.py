"""A dream beside what really happened, as a film."""

from pathlib import Path

from smallwm_tf.experiment.numbers import percent
from smallwm_tf.figures import videos
from smallwm_tf.figures.strips import absolute_difference
from smallwm_tf.judging.open_loop import OpenLoop

_FRAMES_PER_SECOND = 6.0  # slow enough to compare by eye


def save_film(path: Path, loop: OpenLoop) -> None:
    """The dream of `strips.draw_dream` as a GIF or MP4."""
    real = loop.real
    shown = {
        "real": real.frames,
        "reconstruction": real.reconstructions,
        "dream": loop.dreamed,
        "difference": absolute_difference(real.frames, loop.dreamed),
        "real codes": real.codes,
        "dream codes": loop.dreamed_codes,
    }
    drawn = []
    for step in range(len(loop.dreamed)):
        pictures = [picture[step] for picture in shown.values()]
        drawn.append(videos.draw_comparison(tuple(shown), pictures, caption(loop, step), scale=1))
    videos.save_video(path, drawn, _FRAMES_PER_SECOND)


def caption(loop: OpenLoop, step: int) -> str:
    """What stands below a step of the film; an expected reward has decimals, a drawn one none."""
    agreement = (loop.real.codes[step] == loop.dreamed_codes[step]).mean()
    dreamed = loop.dreamed_rewards[step]
    return (
        f"step {step}    codes that agree {percent(agreement)}    reward: real "
        f"{loop.real_rewards[step]:+.0f}, dream {dreamed:+.{0 if dreamed.is_integer() else 2}f}"
    )
