"""What a run is going to be, told before it starts: sizes, memory and time."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import tensorflow as tf

from smallwm_tf.agents.networks import build_networks
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import duration
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.experiment.schedule import Work, plan_of, total_steps
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.models.execution import resolve_convolution
from smallwm_tf.runs.progress import Progress
from smallwm_tf.training.algorithms import ALGORITHMS

#: Resident memory of a process that has only imported and compiled everything, in bytes.
BASE_BYTES = 1.6e9


class Report(NamedTuple):
    """Sizes and expectations of one run."""

    game: str
    preset: str
    num_actions: int
    num_stacked_frames: int
    convolution: str | None  # on the grid of codes; None without a world model
    precision: str
    parameters: dict[str, int]
    work: Work
    memory_bytes: float
    seconds_by_work: dict[str, float] | None  # that the run will take, by kind of work

    def lines(self) -> list[str]:
        """For a person."""
        counts = self.parameters
        names = {
            "encoder": "encoder + codebook",
            "decoder": "decoder + codebook",
            "vqvae": "VQ-VAE",
            "dynamics": "dynamics",
            "world_model": "world model",
            "policy": "policy and value",
            "training_total": "in training",
            "inference_total": "for acting (encoder + policy)",
        }
        work = self.work
        steps = work.real_steps
        world_model = (
            f"{counted(work.vqvae_steps, 'VQ-VAE update')}, at least "
            f"{counted(work.dynamics_steps, 'dynamics update')}, "
            if self.convolution
            else ""
        )
        convolution = f"{self.convolution} convolutions in " if self.convolution else ""
        lines = [
            f"{self.game}: {counted(self.num_actions, 'action')}, "
            f"{counted(self.num_stacked_frames, 'stacked frame')}, preset {self.preset}, "
            f"{convolution}{self.precision}",
            "parameters (the paper's Table 3):" if self.convolution else "parameters:",
            *(f"  {names[key]:<32}{count:>12,}" for key, count in counts.items()),
            f"real steps: {steps.learned_from:,} to learn from, {steps.chosen_by:,} to choose by, "
            f"{steps.only_judged:,} to judge only",
            f"work: {world_model}{counted(work.ppo_updates, 'PPO update')}, "
            f"{counted(work.evaluation_episodes, 'evaluation episode')}",
            f"memory: about {self.memory_bytes / 1e9:.1f} GB",
        ]
        if self.seconds is not None:
            lines.append(
                f"time: about {duration(self.seconds)} as things are (more if the policy's "
                "episodes become longer than random ones)"
            )
            parts = sorted(self.seconds_by_work.items(), key=lambda part: -part[1])
            lines += [f"  {name:<36}{duration(of):>12}" for name, of in parts if of >= 1.0]
        return lines

    @property
    def seconds(self) -> float | None:
        """That the run will take; None if that was not measured."""
        return sum(self.seconds_by_work.values()) if self.seconds_by_work else None

    def as_json(self) -> dict[str, Any]:
        """For a program: parameter counts at the top level, the rest beside them."""
        named = self._asdict()
        counts, _ = named.pop("parameters"), named.pop("convolution")
        return {
            **counts,
            **named,
            "work": {**self.work._asdict(), "real_steps": self.work.real_steps._asdict()},
            "memory_bytes": int(self.memory_bytes),
            "seconds": None if self.seconds is None else round(self.seconds),
            "seconds_by_work": {k: round(v, 1) for k, v in (self.seconds_by_work or {}).items()},
        }


def describe(
    experiment: Experiment, timed: bool = False, on_part: Callable[[], None] = lambda: None
) -> Report:
    """Builds the networks once, counts them, and estimates the rest.

    Args:
      experiment: what is asked for.
      timed: whether to measure for a minute how long it takes.
      on_part: called between these measurements; may raise to stop.
    """
    config = experiment.config
    game = RealGame(experiment.game, config.game.num_stacked_frames, seed=0)
    num_actions = game.num_actions
    game.close()
    networks, work = build_networks(config, num_actions), plan_of(config).work()
    dreams = networks.world_model is not None  # from steps that are kept
    return Report(
        game=experiment.game.name,
        preset=experiment.preset,
        num_actions=num_actions,
        num_stacked_frames=config.game.num_stacked_frames,
        convolution=resolve_convolution(config.dynamics.convolution) if dreams else None,
        precision=config.precision,
        parameters=networks.parameters,
        work=work,
        # Weights, their gradients and two moments; transformed kernels are counted in the base.
        memory_bytes=BASE_BYTES
        + 16.0 * networks.parameters["training_total"]
        + float(dreams * total_steps(config)) * FRAME_SIZE**2,
        seconds_by_work=_measure(experiment, work, on_part) if timed else None,
    )


def _measure(experiment: Experiment, work: Work, on_part: Callable[[], None]) -> dict[str, float]:
    """Seconds that the run will take; whoever waits sees that they are measured."""
    measured = ALGORITHMS[experiment.config.algorithm]
    total, shown = measured.num_measurements, {"first": "compiling", "in_logs": False}
    with Progress(total, "measuring", "part", **shown) as progress:

        def count() -> None:
            progress.update()
            on_part()

        return measured.seconds(experiment, work, count)


def measure_gemm(precision: str = "float32", size: int = 1536, repetitions: int = 5) -> float:
    """The machine's matrix product rate in GFLOP/s, the best of a few."""
    matrix = tf.cast(tf.random.stateless_normal([size, size], [0, 0]), precision)
    product = tf.function(lambda: tf.reduce_sum(tf.matmul(matrix, matrix)))
    product()
    best = float("inf")
    for _ in range(repetitions):
        start = time.perf_counter()
        product().numpy()
        best = min(best, time.perf_counter() - start)
    return 2.0 * size**3 / best / 1e9
