"""Curves as PNG files: scores, predictions by horizon, what dreams promise.

Shapes: S starts, H steps ahead.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from smallwm_tf.runs.files import write_atomically


def save_curve(
    path: str | os.PathLike,
    points: Sequence[tuple[float, float, float]],
    title: str = "",
    references: Sequence[tuple[str, float]] = (),
) -> None:
    """Scores over interactions as PNG: the mean as a line, one standard deviation as a band.

    Args:
      path: complete or absent.
      points: (interactions with the real game, mean return, standard deviation) per evaluation.
      title: heading, e.g. the name of the game.
      references: (label, return) drawn as dashed lines, e.g. ("random policy", -20.7).

    Raises:
      ValueError: no point, or a point that is not three finite numbers.
    """
    values = np.asarray(points, np.float64)
    if values.ndim != 2 or values.shape[0] == 0 or values.shape[1] != 3:
        raise ValueError(f"points: expected [N, 3] with N > 0, got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("points: not all numbers are finite")
    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    interactions, means, stds = values.T
    axes.fill_between(interactions, means - stds, means + stds, alpha=0.2, linewidth=0)
    axes.plot(interactions, means, marker="o", markersize=4, label="mean ± standard deviation")
    for number, (label, value) in enumerate(references):
        axes.axhline(value, linestyle="--", linewidth=1, color=f"C{number + 1}", label=label)
    axes.set(title=title, xlabel="interactions with the real game", ylabel="episode return")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.set_xlim(left=0)
    _save_figure(path, figure)


def save_horizon_figure(
    path: str | os.PathLike,
    code_accuracy: Mapping[str, np.ndarray],
    pixel_error: Mapping[str, np.ndarray],
    title: str,
    rewards: Mapping[str, np.ndarray] | None = None,
) -> None:
    """Open-loop predictions by horizon as PNG; NaN leaves a gap.

    Args:
      path: complete or absent.
      code_accuracy: label to shares [H] at the horizons 1 ... H.
      pixel_error: label to mean absolute errors [H] in grey levels of 255.
      title: heading.
      rewards: label to precision or recall [H]; a third panel.
    """
    panels = [("share of right codes", code_accuracy), ("pixel error, grey levels", pixel_error)]
    if rewards is not None:
        panels.append(("rewards, precision and recall", rewards))
    figure = new_figure(4.5 * len(panels), 3.4)
    figure.suptitle(title)
    for axes, (label, curves) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for name, values in curves.items():
            is_baseline = name.startswith(("copy", "reconstruction"))
            style = {"linestyle": "--", "linewidth": 1} if is_baseline else {}
            axes.plot(np.arange(1, len(values) + 1), values, label=name, **style)
        axes.set(xlabel="steps ahead", ylabel=label)
        axes.set_ylim(bottom=0, top=1.05 if curves is rewards else None)
    _save_figure(path, figure)


def save_promise_figure(
    path: str | os.PathLike, dreamed: np.ndarray, real: np.ndarray, title: str
) -> None:
    """Rewards [S, H] summed up to each step: means over the starts, bands of two standard errors.

    Both are from the same starts, dreamed and in the real game.
    """
    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    for label, rewards in (("promised by the dream", dreamed), ("paid by the real game", real)):
        sums = np.cumsum(rewards, axis=1)
        steps = np.arange(1, sums.shape[1] + 1)
        mean, error = sums.mean(axis=0), sums.std(axis=0) / np.sqrt(len(sums))
        axes.fill_between(steps, mean - 2 * error, mean + 2 * error, alpha=0.2, linewidth=0)
        axes.plot(steps, mean, label=label)
    axes.set(title=title, xlabel="steps since the start", ylabel="sum of clipped rewards")
    _save_figure(path, figure)


def new_figure(width: float, height: float):
    """A figure of that many inches, to be filled and saved."""
    # Figure and canvas by hand: pyplot would keep every figure of a long run alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save_figure(path: str | os.PathLike, figure) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize="small")
    options = {"format": "png", "metadata": {"Software": None}}
    write_atomically(pathlib.Path(path), lambda file: figure.savefig(file, **options))
