"""What a run is going to be, told before it starts: sizes, memory and time."""

import time
from typing import Any, NamedTuple

import tensorflow as tf

from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import Work, expected_work
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.games.real_game import RealGame
from smallwm_tf.models.build import build_models
from smallwm_tf.models.execution import resolve_convolution
from smallwm_tf.models.parameter_counts import parameter_counts

#: Resident memory of a process that has only imported and compiled everything, in bytes.
BASE_BYTES = 1.6e9

# Seconds of one unit of work where matrix products run at REFERENCE_GEMM: two cores of an AMD EPYC
# with AVX-512 and nothing else to do. The expectation scales with the machine's own rate.
REFERENCE_GEMM = 390.0  # GFLOP/s, float32
SECONDS = {
    "real_step": 0.004,
    "vqvae_frame": 1 / 260,
    "dynamics_update": 0.06,
    "dynamics_transition": 0.0016,
    "dream_step": 1 / 1200,
    "evaluation_episode": 1.2,
    "start": 45.0,
}


class Report(NamedTuple):
    """Sizes and expectations of one run."""

    game: str
    preset: str
    num_actions: int
    num_stacked_frames: int
    convolution: str
    precision: str
    parameters: dict[str, int]
    work: Work
    memory_bytes: float
    seconds: float
    gemm_gflops: float

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
        return [
            f"{self.game}: {self.num_actions} actions, {self.num_stacked_frames} stacked "
            f"frame(s), preset {self.preset}, {self.convolution} convolutions in {self.precision}",
            "parameters (the paper's Table 3):",
            *(f"  {label:<32}{counts[key]:>12,}" for key, label in names.items()),
            f"real steps: {steps.learned_from:,} to learn from, {steps.chosen_by:,} to choose by, "
            f"{steps.only_judged:,} to judge only",
            f"work: {work.vqvae_steps:,} VQ-VAE updates, "
            f"at least {work.dynamics_steps:,} dynamics updates, {work.ppo_updates:,} PPO updates, "
            f"{work.evaluation_episodes:,} evaluation episodes",
            f"memory: about {self.memory_bytes / 1e9:.1f} GB",
            f"time: about {_duration(self.seconds)} at {self.gemm_gflops:.0f} GFLOP/s "
            "(more if evaluated episodes are long, or those to learn from shorter than a window)",
        ]

    def as_json(self) -> dict[str, Any]:
        """For a program: parameter counts at the top level, the rest beside them."""
        return {
            **self.parameters,
            "game": self.game,
            "preset": self.preset,
            "num_actions": self.num_actions,
            "num_stacked_frames": self.num_stacked_frames,
            "precision": self.precision,
            "work": {**self.work._asdict(), "real_steps": self.work.real_steps._asdict()},
            "memory_bytes": int(self.memory_bytes),
            "seconds": round(self.seconds),
        }


def describe(experiment: Experiment) -> Report:
    """Builds the networks once, counts them, and estimates the rest."""
    config = experiment.config
    game = RealGame(experiment.game, config.game.num_stacked_frames, seed=0)
    num_actions = game.num_actions
    game.close()
    parameters = parameter_counts(*build_models(config, num_actions))
    work = expected_work(config)
    gemm = measure_gemm()
    return Report(
        game=experiment.game.name,
        preset=experiment.preset,
        num_actions=num_actions,
        num_stacked_frames=config.game.num_stacked_frames,
        convolution=resolve_convolution(config.dynamics.convolution),
        precision=config.precision,
        parameters=parameters,
        work=work,
        # Weights, their gradients and two moments; transformed kernels are counted in the base.
        memory_bytes=BASE_BYTES
        + 16.0 * parameters["training_total"]
        + float(work.real_steps.learned_from) * FRAME_SIZE**2,
        seconds=_expected_seconds(config, work) * REFERENCE_GEMM / gemm,
        gemm_gflops=gemm,
    )


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


def _expected_seconds(config: Config, work: Work) -> float:
    transitions = config.dynamics.windows_per_batch * (config.dynamics.window_length - 1)
    return (
        SECONDS["start"]
        + SECONDS["real_step"] * sum(work.real_steps)
        + SECONDS["vqvae_frame"] * config.vqvae.batch_size * work.vqvae_steps
        + (SECONDS["dynamics_update"] + SECONDS["dynamics_transition"] * transitions)
        * work.dynamics_steps
        + SECONDS["dream_step"] * config.dream.num_dreams * config.dream.horizon * work.ppo_updates
        + SECONDS["evaluation_episode"] * work.evaluation_episodes
    )


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    if seconds < 5400:
        return f"{seconds / 60:.0f} minutes"
    return f"{seconds / 3600:.1f} hours"
