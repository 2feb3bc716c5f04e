"""One training of the world model, continued where it was interrupted.

    held-out steps are played → VQ-VAE alone → dynamics, the VQ-VAE beside them or at rest

``state.within`` says how far it has come.
"""

from collections.abc import Iterator

import numpy as np

from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.judging.held_out import OneStep, one_step_measure
from smallwm_tf.judging.judge import play_held_out
from smallwm_tf.learning.best_weights import BestWeights
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import (
    DYNAMICS_METRICS,
    VQVAE_METRICS,
    batches,
    reward_precision_and_recall,
)
from smallwm_tf.runs.progress import Progress, say
from smallwm_tf.runs.replay_files import read_steps, write_chunk
from smallwm_tf.training.run_state import RunState


def train_world_model(state: RunState, iteration: int) -> Replay:
    """Trains the world model of a run on its replay.

    Args:
      state: of the run.
      iteration: counted from 1.

    Returns:
      Held-out steps, for judging what was learned.
    """
    held_out = _held_out(state, iteration)
    state.learner.find_background()
    if state.within["part"] == "vqvae":
        _train_vqvae_alone(state, iteration)
        state.within = state.within | {"part": "dynamics", "done": 0, "confusion": [[0] * 3] * 3}
    state.learner.encode_replay()
    _train_dynamics(state, iteration, held_out)
    return held_out


def _held_out(state: RunState, iteration: int) -> Replay:
    """Held-out steps, played with the codes and the policy from before this training."""
    if not state.within:
        state.actor.refresh()
        played = play_held_out(state.experiment, state.actor, iteration, state.stop.check)
        chunk = write_chunk(
            state.run.replay / f"held_out_{iteration:06d}.npz", **played.as_arrays()
        )
        state.chunks[chunk.name] = chunk
        state.within = {"part": "vqvae", "done": 0, "held_out": chunk.name}
        # The last iteration's stays: a checkpoint that is fallen back to may need it.
        old = state.run.replay / f"held_out_{iteration - 2:06d}.npz"
        old.unlink(missing_ok=True)
        return played
    arrays = read_steps(state.run.replay, state.chunks[state.within["held_out"]])
    played = Replay(len(arrays["frames"]))
    played.append(**arrays)
    return played


def _train_vqvae_alone(state: RunState, iteration: int) -> None:
    config = state.config.vqvae
    first = iteration == 1
    state.learner.use_warmup_learning_rate(first)
    order = generator(state.seed, "warm_up", *([] if first else [iteration]))
    epochs = [
        batches(state.replay.frame_order(order), config.batch_size)
        for _ in range(config.warmup_epochs if first else config.later_epochs)
    ]
    total, done = sum(len(rows) for rows in epochs), state.within["done"]
    with Progress(total, f"{iteration}: VQ-VAE alone", "update", initial=done) as progress:
        for group, _ in _groups(epochs, state.config.logging.interval, done):
            values = state.learner.warmup_steps(group).numpy()
            _log_vqvae(state, iteration, values)
            progress.update(len(group), elbo=float(values[2]))
            done += len(group)
            state.pause(state.within | {"done": done})
    state.learner.use_warmup_learning_rate(False)


def _train_dynamics(state: RunState, iteration: int, held_out: Replay) -> None:
    """Trains on windows; with ``dynamics.epoch_fallback`` it may end with an earlier epoch.

    Only where the last epoch is behind copying: elsewhere its likelihood is the best, and rewards,
    being rare, gain from every epoch.
    """
    config = state.config.dynamics
    pair = seed_pair(state.seed, "world_model", iteration)
    order = generator(state.seed, "world_model", iteration)
    epochs = [
        batches(state.replay.window_starts(order, config.window_length), config.windows_per_batch)
        for _ in range(config.epochs[iteration - 1])
    ]
    total, done = sum(len(rows) for rows in epochs), state.within["done"]
    confusion = np.array(state.within["confusion"], float)
    _frame_batches(state, order, done)  # those that are used up
    measure = one_step_measure(state.world_model, held_out, config.window_length)
    last, best = state.within.get("last_epoch"), BestWeights(state.world_model)
    best.score, best.weights = state.within.get("best_score"), state.arrays_of("best")
    with Progress(total, f"{iteration}: world model", "update", initial=done) as progress:
        for group, is_last in _groups(epochs, state.config.logging.interval, done):
            vqvae, dynamics, group_confusion = state.learner.joint_steps(
                group, _frame_batches(state, order, len(group)), done, pair
            )
            done += len(group)
            confusion += group_confusion.numpy()
            named = dict(zip(DYNAMICS_METRICS, dynamics.numpy(), strict=True))
            _log_vqvae(state, iteration, vqvae.numpy())
            state.log("dynamics", iteration, state.counters["dynamics_steps"], named)
            progress.update(len(group), latent_loss=float(named["latent_loss"]))
            if is_last:
                state.metrics.write(
                    "reward_prediction",
                    iteration,
                    state.counters["dynamics_steps"],
                    **reward_precision_and_recall(confusion),
                )
                confusion = np.zeros([3, 3])
                if config.epoch_fallback:
                    last = _log_epoch(state, iteration, measure())
                    best.offer(last["code_accuracy"])
            place = {"done": done, "confusion": confusion.tolist()}
            place |= {"last_epoch": last, "best_score": best.score}
            state.pause(state.within | place, best=best.weights)
    if last and last["code_accuracy"] <= last["copy_accuracy"]:
        say("the last epoch predicts no better than copying: back to the best epoch")
        best.restore()


def _log_epoch(state: RunState, iteration: int, found: OneStep) -> dict[str, float]:
    measures = {
        "latent_loss": found.latent_loss,
        "reward_loss": found.reward_loss,
        "code_accuracy": found.code_accuracy,
        "copy_accuracy": found.copy_accuracy,
    }
    state.metrics.write("epoch", iteration, state.counters["dynamics_steps"], **measures)
    return measures


def _groups(
    epochs: list[np.ndarray], interval: int, done: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """Updates in groups of ``interval``, without the first ``done`` of them.

    Yields:
      Rows of one group, and whether its epoch ends with it.
    """
    for rows in epochs:
        skipped = min(done, len(rows))
        done -= skipped
        for start in range(skipped, len(rows), interval):
            yield rows[start : start + interval], start + interval >= len(rows)


def _frame_batches(state: RunState, order: np.random.Generator, count: int) -> np.ndarray:
    shape = [count, state.config.vqvae.batch_size]
    return order.integers(state.replay.size, size=shape).astype(np.int32)


def _log_vqvae(state: RunState, iteration: int, values: np.ndarray) -> None:
    named = dict(zip(VQVAE_METRICS, values, strict=True))
    if named["codebook_perplexity"] > 0:  # a group of few steps may hold no VQ-VAE step
        state.log("vqvae", iteration, state.counters["vqvae_steps"], named)
