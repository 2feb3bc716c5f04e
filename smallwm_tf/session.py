"""One training run: its parts, its phases, and what is kept of it on disk.

Every phase ends with a checkpoint; the long ones, which learn, also save on a timer and when the
run is asked to stop. The same command goes on from the newest checkpoint and comes to the same
result as a run that was never interrupted.
"""

import functools
import time
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from smallwm_tf import pictures
from smallwm_tf.analysis import scores
from smallwm_tf.command_line import TrainArguments
from smallwm_tf.evaluation import evaluate, score_random_policy
from smallwm_tf.judging import RealityCheck, judge_world_model, play_held_out
from smallwm_tf.learning.held_out import OneStep, one_step_measure
from smallwm_tf.learning.ppo import METRICS as PPO_METRICS
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.schedule import PHASES, collection_steps
from smallwm_tf.learning.selection import BestWeights, set_weights, weights_of
from smallwm_tf.learning.world_model_learner import (
    DYNAMICS_METRICS,
    VQVAE_METRICS,
    batches,
    reward_precision_and_recall,
)
from smallwm_tf.progress import Progress, say
from smallwm_tf.randomness import generator, seed_pair
from smallwm_tf.run_state import RunState
from smallwm_tf.runs.files import read_json, write_json
from smallwm_tf.runs.replay_files import Chunk, read_chunk, write_chunk
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.stopping import StopRequest

_COLLAPSED = 2.0  # codebook perplexity below which there is next to nothing to see


def phase(method: Callable) -> Callable:
    """Skips a phase that is done; times one that is not and saves a checkpoint after it."""

    @functools.wraps(method)
    def run_phase(session: "Session", iteration: int) -> None:
        position = (iteration - 1) * len(PHASES) + PHASES.index(method.__name__)
        if position < session.phases_done:
            return
        session.phase_start = time.monotonic() - session.within.get("seconds", 0.0)
        method(session, iteration)
        seconds = time.monotonic() - session.phase_start
        session.metrics.write(
            "phase", iteration, position, phase=method.__name__, seconds=round(seconds, 3)
        )
        session.phases_done = position + 1
        session.within, session.within_arrays = {}, {}
        session.save()
        session.stop.check()

    return run_phase


class Session(RunState):
    """A run and its phases, each of which is skipped if it is done and continued if it was begun.

    Args:
      arguments: what the command line asked for.
      run: the open run directory.
      stop: says when to stop; never, if not given.
    """

    def __init__(
        self, arguments: TrainArguments, run: RunDirectory, stop: StopRequest | None = None
    ):
        super().__init__(arguments, run, stop)
        iteration, number = divmod(self.phases_done, len(PHASES))
        if self.is_restored and iteration < self.config.collection.num_iterations:
            place = f", {self.within['done']} updates on" if self.within else ""
            say(f"continuing with {PHASES[number]} of iteration {iteration + 1}{place}")

    # ---- phases, in the order in which they run -----------------------------------------------

    @phase
    def collect(self, iteration: int) -> None:
        """Plays the real game: at random in the first iteration, then with the policy."""
        config = self.config.collection
        num_steps = collection_steps(self.config, iteration)
        temperature = None if iteration == 1 else config.temperature
        self.actor.refresh()
        with Progress(num_steps, f"{iteration}: collect", "step") as progress:
            collected = self.collector.collect(
                num_steps,
                temperature,
                self.seed,
                iteration,
                self._unless_stopped(progress.update),
                repeat_probability=config.repeat_probability,
            )
        arrays = {
            "frames": collected.frames,
            "actions": collected.actions,
            "rewards": collected.rewards,
            "ended": collected.ended,
        }
        self.replay.append(**arrays)
        self.chunks.append(write_chunk(self.run.replay / f"{iteration:06d}.npz", **arrays))
        returns = collected.episode_returns
        self.metrics.write(
            "collect",
            iteration,
            self.replay.size,
            episodes=len(returns),
            mean_return=float(np.mean(returns)) if returns else None,
            percent_steps_positive=100.0 * float(np.mean(collected.rewards > 0)),
            percent_steps_negative=100.0 * float(np.mean(collected.rewards < 0)),
        )

    @phase
    def learn_world_model(self, iteration: int) -> None:
        """Trains the VQ-VAE alone, then jointly with the dynamics."""
        held_out = self._held_out(iteration)
        self.learner.find_background()
        if self.within["part"] == "vqvae":
            self._train_vqvae_alone(iteration)
            self.within = self.within | {"part": "dynamics", "done": 0, "confusion": [[0] * 3] * 3}
        self.learner.encode_replay()
        self._train_dynamics(iteration, held_out)
        measures, curves = judge_world_model(
            self.world_model, held_out, self.config, self.seed, iteration
        )
        self.metrics.write("held_out", iteration, self.counters["dynamics_steps"], **measures)
        if measures["codebook_perplexity"] < _COLLAPSED:
            say(
                f"warning: the codebook has collapsed, its perplexity is "
                f"{measures['codebook_perplexity']:.2f} of {self.config.vqvae.num_embeddings}: the "
                "world model can hardly tell frames apart; try a smaller vqvae.learning_rate"
            )
        pictures.draw_horizons(
            self.run.figures / f"horizon_{iteration:03d}.png",
            curves,
            f"Open-loop predictions on held-out steps, iteration {iteration}",
        )
        pictures.draw_world_model(
            self.run.figures, self.world_model, self.replay, self.config, self.seed, iteration
        )

    @phase
    def learn_policy(self, iteration: int) -> None:
        """Improves the policy inside the dream."""
        num_updates = self.config.ppo.num_updates[iteration - 1]
        interval = self.config.ppo.check_interval
        pair = seed_pair(self.seed, "ppo", iteration)
        begun = weights_of(self.policy)
        done, collected, best = 0, [], BestWeights(self.policy)
        if self.within:
            done = self.within["done"]
            collected = [np.array(values, np.float32) for values in self.within["collected"]]
            begun = self.within_weights("begun")
            best.score, best.weights = self.within["best_score"], self.within_weights("best")
        check = self._open_check(iteration, begun) if interval else None
        if check and not self.within:
            self._look(check, best, iteration)
        with Progress(num_updates, f"{iteration}: policy", "update", initial=done) as progress:
            for number in range(done, num_updates):
                values = self.ppo.update(pair, number).numpy()
                if not np.isfinite(values).all():  # at once: a look would play with such weights
                    named = dict(zip(PPO_METRICS, values, strict=True))
                    self._log("ppo", iteration, self.ppo_updates + 1, named)
                collected.append(values)
                self.ppo_updates += 1
                progress.update(1, dream_return=float(values[0]))
                last = number + 1 == num_updates
                if last or len(collected) == self.config.logging.interval:
                    named = dict(zip(PPO_METRICS, np.mean(collected, axis=0), strict=True))
                    self._log("ppo", iteration, self.ppo_updates, named)
                    collected = []
                if check and (last or (number + 1) % interval == 0):
                    self._look(check, best, iteration)
                self.pause(
                    {
                        "done": number + 1,
                        "collected": [values.tolist() for values in collected],
                        "best_score": best.score,
                    },
                    begun=begun,
                    best=best.weights,
                )
        if check:
            best.restore()
            self.actor.refresh()
        else:
            check = self._open_check(iteration, weights_of(self.policy))
        promise = check.promise(self.world_model, self.policy)
        check.close()
        self.metrics.write(
            "promise",
            iteration,
            self.ppo_updates,
            dreamed=float(promise.dreamed.sum(axis=1).mean()),
            real=float(promise.real.sum(axis=1).mean()),
            gap=promise.gap,
            gap_error=promise.gap_error,
        )
        pictures.draw_promise(self.run.figures, promise, iteration)

    @phase
    def evaluate(self, iteration: int) -> None:
        """Plays whole episodes of the real game with the latest policy."""
        config = self.config.evaluation
        is_last = iteration == self.config.collection.num_iterations
        if iteration % config.interval and not is_last:
            return
        name = self.arguments.game.name
        random_policy = self.run.path / "random_policy.json"
        if not random_policy.exists():
            write_json(random_policy, score_random_policy(self.arguments))
        with Progress(config.num_episodes, f"{iteration}: evaluate", "episode") as progress:
            episodes = evaluate(
                self.arguments, self.actor, iteration, self._unless_stopped(progress.update)
            )
        entry = scores.evaluation_entry(name, iteration, self.replay.size, episodes.returns)
        entries = [e for e in scores.read_scores(self.run.scores) if e["iteration"] < iteration]
        entries.append(entry | {"lengths": episodes.lengths})
        scores.write_scores(self.run.scores, entries)
        self.metrics.write(
            "evaluate",
            iteration,
            self.replay.size,
            mean_return=entry["mean"],
            std_return=entry["std"],
            mean_length=float(np.mean(episodes.lengths)),
        )
        random_mean = read_json(random_policy)["mean"]
        pictures.draw_scores(self.run.figures, name, entries, random_mean)
        say(
            f"{name}, iteration {iteration}: {entry['mean']:.1f} ± {entry['std']:.1f} over "
            f"{entry['num_episodes']} episodes (random policy {random_mean:.1f})"
        )

    # ---- parts of phases ----------------------------------------------------------------------

    def _unless_stopped(self, update: Callable[[int], None]) -> Callable[[int], None]:
        """The same, but it looks for a signal first: for phases that start again if stopped."""

        def check_and_update(count: int) -> None:
            self.stop.check()
            update(count)

        return check_and_update

    def _held_out(self, iteration: int) -> Replay:
        """Held-out steps, played with the codes and the policy from before this training."""
        if not self.within:
            self.actor.refresh()
            played = play_held_out(self.arguments, self.actor, iteration, self.stop.check)
            chunk = write_chunk(
                self.run.replay / f"held_out_{iteration:06d}.npz", **played.as_arrays()
            )
            self.within = {"part": "vqvae", "done": 0, "held_out": chunk._asdict()}
            # The last iteration's stays: a checkpoint that is fallen back to may need it.
            old = self.run.replay / f"held_out_{iteration - 2:06d}.npz"
            old.unlink(missing_ok=True)
            return played
        chunk = Chunk(**self.within["held_out"])
        arrays = read_chunk(self.run.replay / chunk.name, sha256=chunk.sha256)
        played = Replay(len(arrays["frames"]))
        played.append(**arrays)
        return played

    def _open_check(self, iteration: int, weights: list[np.ndarray]) -> RealityCheck:
        """Finds the moments of the real game that a policy with these weights comes to.

        The actor is left with these weights.
        """
        present = weights_of(self.policy)
        set_weights(self.policy, weights)
        self.actor.refresh()
        check = RealityCheck(self.arguments, self.actor, iteration)
        set_weights(self.policy, present)
        return check

    def _look(self, check: RealityCheck, best: BestWeights, iteration: int) -> None:
        """Lets the present policy play the real game; the best one so far is kept."""
        self.actor.refresh()
        pay = float(check.real_rewards(self.ppo_updates).sum(axis=1).mean())
        kept = best.offer(pay)
        self.metrics.write("check", iteration, self.ppo_updates, real=pay, kept=kept)

    def _train_vqvae_alone(self, iteration: int) -> None:
        config = self.config.vqvae
        first = iteration == 1
        self.learner.use_warmup_learning_rate(first)
        order = generator(self.seed, "warm_up", *([] if first else [iteration]))
        epochs = [
            batches(self.replay.frame_order(order), config.batch_size)
            for _ in range(config.warmup_epochs if first else config.later_epochs)
        ]
        total, done = sum(len(rows) for rows in epochs), self.within["done"]
        with Progress(total, f"{iteration}: VQ-VAE alone", "update", initial=done) as progress:
            for group, _ in self._groups(epochs, done):
                values = self.learner.warmup_steps(group).numpy()
                self._log_vqvae(iteration, values)
                progress.update(len(group), elbo=float(values[2]))
                done += len(group)
                self.pause(self.within | {"done": done})
        self.learner.use_warmup_learning_rate(False)

    def _train_dynamics(self, iteration: int, held_out: Replay) -> None:
        config = self.config.dynamics
        pair = seed_pair(self.seed, "world_model", iteration)
        order = generator(self.seed, "world_model", iteration)
        epochs = [
            batches(
                self.replay.window_starts(order, config.window_length), config.windows_per_batch
            )
            for _ in range(config.epochs[iteration - 1])
        ]
        total, done = sum(len(rows) for rows in epochs), self.within["done"]
        confusion = np.array(self.within["confusion"], float)
        self._frame_batches(order, done)  # those that are used up
        measure = one_step_measure(self.world_model, held_out, config.window_length)
        last, best = self.within.get("last_epoch"), BestWeights(self.world_model)
        best.score, best.weights = self.within.get("best_score"), self.within_weights("best")
        with Progress(total, f"{iteration}: world model", "update", initial=done) as progress:
            for group, is_last in self._groups(epochs, done):
                vqvae, dynamics, group_confusion = self.learner.joint_steps(
                    group, self._frame_batches(order, len(group)), done, pair
                )
                done += len(group)
                confusion += group_confusion.numpy()
                named = dict(zip(DYNAMICS_METRICS, dynamics.numpy(), strict=True))
                self._log_vqvae(iteration, vqvae.numpy())
                self._log("dynamics", iteration, self.counters["dynamics_steps"], named)
                progress.update(len(group), latent_loss=float(named["latent_loss"]))
                if is_last:
                    self.metrics.write(
                        "reward_prediction",
                        iteration,
                        self.counters["dynamics_steps"],
                        **reward_precision_and_recall(confusion),
                    )
                    confusion = np.zeros([3, 3])
                    if config.epoch_fallback:
                        last = self._log_epoch(iteration, measure())
                        best.offer(last["code_accuracy"])
                place = {"done": done, "confusion": confusion.tolist()}
                place |= {"last_epoch": last, "best_score": best.score}
                self.pause(self.within | place, best=best.weights)
        if last and last["code_accuracy"] <= last["copy_accuracy"]:
            say("the last epoch predicts no better than copying: back to the best epoch")
            best.restore()

    def _log_epoch(self, iteration: int, found: OneStep) -> dict[str, float]:
        measures = {
            "latent_loss": found.latent_loss,
            "reward_loss": found.reward_loss,
            "code_accuracy": found.code_accuracy,
            "copy_accuracy": found.copy_accuracy,
        }
        self.metrics.write("epoch", iteration, self.counters["dynamics_steps"], **measures)
        return measures

    def _groups(self, epochs: list[np.ndarray], done: int) -> Iterator[tuple[np.ndarray, bool]]:
        """Updates in groups of ``logging.interval``, without the first ``done`` of them.

        Yields:
          Rows of one group, and whether its epoch ends with it.
        """
        interval = self.config.logging.interval
        for rows in epochs:
            skipped = min(done, len(rows))
            done -= skipped
            for start in range(skipped, len(rows), interval):
                yield rows[start : start + interval], start + interval >= len(rows)

    def _frame_batches(self, order: np.random.Generator, count: int) -> np.ndarray:
        shape = [count, self.config.vqvae.batch_size]
        return order.integers(self.replay.size, size=shape).astype(np.int32)

    def _log_vqvae(self, iteration: int, values: np.ndarray) -> None:
        named = dict(zip(VQVAE_METRICS, values, strict=True))
        if named["codebook_perplexity"] > 0:  # a group of few steps may hold no VQ-VAE step
            self._log("vqvae", iteration, self.counters["vqvae_steps"], named)

    def _log(self, event: str, iteration: int, step: int, named: Mapping[str, float]) -> None:
        plain = {name: float(value) for name, value in named.items()}
        bad = [name for name, value in plain.items() if not np.isfinite(value)]
        self.metrics.write(event, iteration, step, **plain)
        if bad:
            raise FloatingPointError(
                f"{event}: {', '.join(bad)} is not finite in iteration {iteration}; the last "
                f"checkpoint in {self.run.checkpoints} is good; try a smaller learning rate"
            )
