"""Curves that a run draws of itself, as PNG: scores, predictions by horizon, what dreams promise.

Shapes: S starts, H steps ahead. No TensorFlow: reports draw with it, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from smallwm_tf.runs.files import write_atomically

if TYPE_CHECKING:
    from smallwm_tf.judging.held_out import OpenLoopCurves
    from smallwm_tf.judging.promise import Promise


def draw_scores(
    folder: Path,
    name: str,
    entries: Sequence[Mapping[str, Any]],
    nulls: Mapping[str, Mapping[str, Any]],
) -> None:
    """Entries of ``scores.json`` over interactions, and the null policies: ``scores.png``.

    The mean is a line, one standard deviation a band, which ends where the returns do; null
    policies are dashed lines.
    """
    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    interactions, means, stds = (
        np.array([entry[key] for entry in entries]) for key in ("num_interactions", "mean", "std")
    )
    lowest, highest = (
        np.array([entry.get(key, end) for entry in entries])
        for key, end in (("min", -np.inf), ("max", np.inf))
    )
    band = np.maximum(means - stds, lowest), np.minimum(means + stds, highest)
    axes.fill_between(interactions, *band, alpha=0.2, linewidth=0)
    axes.plot(interactions, means, marker="o", markersize=4, label="mean ± standard deviation")
    for number, (label, summary) in enumerate(nulls.items()):
        style = {"linestyle": dashes(number, len(nulls)), "linewidth": 1.2}
        axes.axhline(summary["mean"], label=label, color=f"C{number + 1}", **style)
    axes.set(title=name, xlabel="interactions with the real game", ylabel="episode return")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.10g}")
    axes.set_xlim(left=0)
    _save_figure(folder / "scores.png", figure)


def draw_horizons(
    path: Path, curves: OpenLoopCurves, title: str, rewards: Mapping[str, np.ndarray] | None = None
) -> None:
    """Open-loop predictions of real steps by horizon; NaN leaves a gap.

    Rewards are precision or recall [H] by label, for a third panel.
    """
    code_accuracy = {
        "most probable codes": curves.code_accuracy,
        "sampled codes, as in dreams": curves.sampled_accuracy,
        "copy of the first code": curves.copy_accuracy,
    }
    pixel_error = {
        "most probable codes": curves.pixel_error,
        "copy of the first code": curves.copy_pixel_error,
        "reconstruction of the true code": curves.reconstruction_pixel_error,
    }
    panels = [("share of right codes", code_accuracy), ("pixel error, grey levels", pixel_error)]
    if rewards is not None:
        panels.append(("rewards, precision and recall", rewards))
    figure = new_figure(4.5 * len(panels), 3.4)
    figure.suptitle(title)
    for axes, (label, lines) in zip(figure.subplots(1, len(panels)), panels, strict=True):
        for number, (name, values) in enumerate(lines.items()):
            is_baseline = name.startswith(("copy", "reconstruction"))
            style = {"linestyle": "--"} if is_baseline else {}
            width = line_width(number, len(lines))
            axes.plot(np.arange(1, len(values) + 1), values, label=name, linewidth=width, **style)
        axes.set(xlabel="steps ahead", ylabel=label)
        axes.set_ylim(bottom=0, top=1.05 if lines is rewards else None)
    _save_figure(path, figure)


def draw_promise(folder: Path, promise: Promise, iteration: int) -> None:
    """What the dream promised and what the real game paid, ``promise_<iteration>.png``.

    Rewards [S, H] are summed up to each step: means over the starts, bands of two standard errors
    that end where the sums do.
    """
    figure = new_figure(6, 3.6)
    axes = figure.add_subplot()
    paid = {"promised by the dream": promise.dreamed, "paid by the real game": promise.real}
    for number, (label, rewards) in enumerate(paid.items()):
        sums = np.cumsum(rewards, axis=1)
        steps = np.arange(1, sums.shape[1] + 1)
        mean, error = sums.mean(axis=0), sums.std(axis=0) / np.sqrt(len(sums))
        low = np.maximum(mean - 2 * error, sums.min(axis=0))
        high = np.minimum(mean + 2 * error, sums.max(axis=0))
        axes.fill_between(steps, low, high, alpha=0.2, linewidth=0)
        axes.plot(steps, mean, label=label, linewidth=line_width(number, len(paid)))
    title = f"Rewards from the same {len(promise.real)} starts, iteration {iteration}"
    axes.set(title=title, xlabel="steps since the start", ylabel="sum of clipped rewards, ± 2 s.e.")
    _save_figure(folder / f"promise_{iteration:03d}.png", figure)


def line_width(number: int, count: int) -> float:
    """Width of the n-th of some lines, the first the widest: none hides one that it lies upon."""
    return 1.3 + min(1.4, 3.0 / max(1, count - 1)) * (count - 1 - number)


def dashes(
    number: int, count: int, dotted: bool = False
) -> str | tuple[float, tuple[float, float]]:
    """A style for the n-th of some broken lines, which show in turn where they coincide."""
    length = 1.5 if dotted else 4.0
    if count < 2:
        return ":" if dotted else "--"
    return ((count - number) * length, (length, (count - 1) * length))


def new_figure(width: float, height: float):
    """A figure of that many inches, to be filled and saved."""
    # Figure and canvas by hand: pyplot would keep every figure of a long run alive.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _save_figure(path: Path, figure) -> None:
    for axes in figure.axes:
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize="small")
    options = {"format": "png", "metadata": {"Software": None}}
    write_atomically(path, lambda file: figure.savefig(file, **options))
