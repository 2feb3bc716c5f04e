"""The pictures that a run draws of itself."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.figures.curves import save_curve, save_horizon_figure, save_promise_figure
from smallwm_tf.figures.strips import save_codes_figure, save_dream_strip
from smallwm_tf.judging import open_loop
from smallwm_tf.judging.held_out import OpenLoopCurves
from smallwm_tf.judging.promise import Promise
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.imagination import Dreamer

_NUM_FRAMES = 8


def draw_world_model(
    folder: Path, dreamer: Dreamer, replay: Replay, experiment: Experiment, iteration: int
) -> None:
    """Codes and reconstructions of random observations (Fig. 5), and a dream beside reality.

    They go to ``codes_<iteration>.png`` and ``dream_<iteration>.png``.
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


def draw_dream(path: Path, loop: open_loop.OpenLoop) -> None:
    """Real, reconstruction, dream, difference, codes and rewards, step by step, as PNG."""
    frames = (loop.real.frames, loop.real.reconstructions, loop.dreamed)
    codes = (loop.real.codes, loop.dreamed_codes)
    save_dream_strip(path, *frames, *codes, loop.real_rewards, loop.dreamed_rewards)


def draw_horizons(
    path: Path, curves: OpenLoopCurves, title: str, rewards: Mapping[str, np.ndarray] | None = None
) -> None:
    """Open-loop predictions of real steps by horizon, rewards as in ``save_horizon_figure``."""
    save_horizon_figure(
        path,
        code_accuracy={
            "most probable codes": curves.code_accuracy,
            "sampled codes, as in dreams": curves.sampled_accuracy,
            "copy of the first code": curves.copy_accuracy,
        },
        pixel_error={
            "most probable codes": curves.pixel_error,
            "copy of the first code": curves.copy_pixel_error,
            "reconstruction of the true code": curves.reconstruction_pixel_error,
        },
        title=title,
        rewards=rewards,
    )


def draw_promise(folder: Path, promise: Promise, iteration: int) -> None:
    """What the dream promised and what the real game paid, ``promise_<iteration>.png``."""
    save_promise_figure(
        folder / f"promise_{iteration:03d}.png",
        promise.dreamed,
        promise.real,
        title=f"Rewards from the same {len(promise.real)} starts, iteration {iteration}",
    )


def draw_scores(
    folder: Path,
    name: str,
    entries: Sequence[Mapping[str, Any]],
    nulls: Mapping[str, Mapping[str, Any]],
) -> None:
    """Entries of ``scores.json`` over interactions, and the null policies: ``scores.png``."""
    save_curve(
        folder / "scores.png",
        [(entry["num_interactions"], entry["mean"], entry["std"]) for entry in entries],
        title=name,
        references=[(name, summary["mean"]) for name, summary in nulls.items()],
    )
