"""One training run: its parts, its phases, and what is kept of it on disk.

Every phase ends with a checkpoint, so a killed run loses at most the phase it was in: the same
command skips what is done and repeats what was begun.
"""

import functools
import time
from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf

from smallwm_tf import pictures
from smallwm_tf.analysis import scores
from smallwm_tf.command_line import TrainArguments
from smallwm_tf.envs.dream import DreamEnvironment
from smallwm_tf.envs.real_game import RealGame
from smallwm_tf.evaluation import evaluate, game_seed, game_settings, score_random_policy
from smallwm_tf.judging import RealityCheck, judge_world_model, play_held_out
from smallwm_tf.learning.acting import Actor
from smallwm_tf.learning.adam import Adam
from smallwm_tf.learning.collection import Collector
from smallwm_tf.learning.ppo import METRICS as PPO_METRICS
from smallwm_tf.learning.ppo import PPOLearner, make_agent
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.schedule import collection_steps, total_steps
from smallwm_tf.learning.selection import BestPolicy
from smallwm_tf.learning.world_model_learner import (
    DYNAMICS_METRICS,
    VQVAE_METRICS,
    WorldModelLearner,
    batches,
    reward_precision_and_recall,
)
from smallwm_tf.models.build import build_models
from smallwm_tf.progress import Progress, say
from smallwm_tf.randomness import generator, seed_pair
from smallwm_tf.runs.checkpoints import Checkpoints
from smallwm_tf.runs.files import read_json, write_json
from smallwm_tf.runs.metrics import Metrics
from smallwm_tf.runs.replay_files import Chunk, read_chunk, write_chunk
from smallwm_tf.runs.run_directory import RunDirectory

PHASES = ("collect", "learn_world_model", "learn_policy", "evaluate")


def phase(method: Callable) -> Callable:
    """Skips a phase that is done; times one that is not and saves a checkpoint after it."""

    @functools.wraps(method)
    def run_phase(session: "Session", iteration: int) -> None:
        position = (iteration - 1) * len(PHASES) + PHASES.index(method.__name__)
        if position < session.phases_done:
            return
        start = time.monotonic()
        method(session, iteration)
        seconds = time.monotonic() - start
        session.metrics.write(
            "phase", iteration, position, phase=method.__name__, seconds=round(seconds, 3)
        )
        session.phases_done = position + 1
        session.save()

    return run_phase


class Session:
    """Everything a run consists of, restored from its newest checkpoint if there is one.

    Args:
      arguments: what the command line asked for.
      run: the open run directory.

    Attributes:
      phases_done: number of finished phases over all iterations.
    """

    def __init__(self, arguments: TrainArguments, run: RunDirectory):
        self.arguments = arguments
        self.config = config = arguments.config
        self.seed = arguments.seed
        self._run = run
        tf.keras.utils.set_random_seed(self.seed)  # weights; all other numbers are counter-based
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.game = RealGame(
            arguments.game,
            config.game.num_stacked_frames,
            seed=game_seed(self.seed, "collect"),
            **game_settings(config),
        )
        self.world_model, self.policy = build_models(config, self.game.num_actions)
        self.replay = Replay(total_steps(config))
        self.learner = WorldModelLearner(self.world_model, self.replay, config)
        self.dream = DreamEnvironment(
            self.world_model,
            self.replay,
            num_dreams=config.dream.num_dreams,
            horizon=config.dream.horizon,
            bootstrap_at_horizon=config.dream.bootstrap_at_horizon,
            context_steps=config.dream.context_steps,
            temperature=config.dynamics.temperature,
            rewards=config.dream.rewards,
        )
        lookup = self.world_model.vqvae.quantizer.lookup
        ppo_optimizer = Adam(config.ppo.learning_rate, **dict(config.adam))
        ppo_optimizer.build(self.policy.trainable_variables)
        agent = make_agent(self.dream, self.policy, lookup, ppo_optimizer, config)
        self.ppo = PPOLearner(self.dream, agent, config)
        self.actor = Actor(self.world_model.vqvae, self.policy)
        self.collector = Collector(self.game, self.actor)

        self.phases_done = 0
        self._ppo_updates = 0
        self._chunks: list[Chunk] = []
        self.metrics = Metrics(run)
        self._checkpoints = Checkpoints(
            run.checkpoints,
            {
                "vqvae": self.world_model.vqvae,
                "dynamics": self.world_model.dynamics,
                "policy": self.policy,
                "vqvae_optimizer": self.learner.vqvae_optimizer,
                "dynamics_optimizer": self.learner.dynamics_optimizer,
                "reward_optimizer": self.learner.reward_optimizer,
                "ppo_optimizer": ppo_optimizer,
            },
            keep=config.checkpoints.keep,
        )
        self._restore()

    @property
    def counters(self) -> dict[str, int]:
        """Updates since the run began: the x axes of the curves."""
        return {
            "vqvae_steps": int(self.learner.vqvae_optimizer.iterations),
            "dynamics_steps": int(self.learner.dynamics_optimizer.iterations),
            "ppo_updates": self._ppo_updates,
        }

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
                progress.update,
                repeat_probability=config.repeat_probability,
            )
        arrays = {
            "frames": collected.frames,
            "actions": collected.actions,
            "rewards": collected.rewards,
            "ended": collected.ended,
        }
        self.replay.append(**arrays)
        self._chunks.append(write_chunk(self._run.replay / f"{iteration:06d}.npz", **arrays))
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
        """Warms the VQ-VAE up (first iteration), then trains it jointly with the dynamics."""
        self.actor.refresh()
        held_out = play_held_out(self.arguments, self.actor, iteration)
        self.learner.find_background()
        self._train_vqvae_alone(iteration)
        self.learner.encode_replay()
        config = self.config
        pair = seed_pair(self.seed, "world_model", iteration)
        order = generator(self.seed, "world_model", iteration)
        steps_taken = 0
        window_batches = [
            batches(
                self.replay.window_starts(order, config.dynamics.window_length),
                config.dynamics.windows_per_batch,
            )
            for _ in range(config.dynamics.epochs[iteration - 1])
        ]
        total = sum(len(rows) for rows in window_batches)
        with Progress(total, f"{iteration}: world model", "update") as progress:
            for rows in window_batches:
                confusion = np.zeros([3, 3])
                for start in range(0, len(rows), config.logging.interval):
                    group = rows[start : start + config.logging.interval]
                    vqvae, dynamics, group_confusion = self.learner.joint_steps(
                        group, self._frame_batches(order, len(group)), steps_taken, pair
                    )
                    steps_taken += len(group)
                    confusion += group_confusion.numpy()
                    named = dict(zip(DYNAMICS_METRICS, dynamics.numpy(), strict=True))
                    self._log_vqvae(iteration, vqvae.numpy())
                    self._log("dynamics", iteration, self.counters["dynamics_steps"], named)
                    progress.update(len(group), latent_loss=float(named["latent_loss"]))
                self.metrics.write(
                    "reward_prediction",
                    iteration,
                    self.counters["dynamics_steps"],
                    **reward_precision_and_recall(confusion),
                )
        measures, curves = judge_world_model(
            self.world_model, held_out, config, self.seed, iteration
        )
        self.metrics.write("held_out", iteration, self.counters["dynamics_steps"], **measures)
        pictures.draw_horizons(self._run.figures, curves, iteration)
        pictures.draw_world_model(
            self._run.figures, self.world_model, self.replay, self.config, self.seed, iteration
        )

    @phase
    def learn_policy(self, iteration: int) -> None:
        """Improves the policy inside the dream."""
        num_updates = self.config.ppo.num_updates[iteration - 1]
        interval = self.config.ppo.check_interval
        pair = seed_pair(self.seed, "ppo", iteration)
        collected = []
        check, best = None, BestPolicy(self.policy)
        if interval:
            check = self._open_check(iteration)
            self._look(check, best, iteration)
        with Progress(num_updates, f"{iteration}: policy", "update") as progress:
            for number in range(num_updates):
                values = self.ppo.update(pair, number).numpy()
                collected.append(values)
                self._ppo_updates += 1
                progress.update(1, dream_return=float(values[0]))
                last = number + 1 == num_updates
                if last or len(collected) == self.config.logging.interval:
                    named = dict(zip(PPO_METRICS, np.mean(collected, axis=0), strict=True))
                    self._log("ppo", iteration, self._ppo_updates, named)
                    collected = []
                if check and (last or (number + 1) % interval == 0):
                    self._look(check, best, iteration)
        if check:
            best.restore()
            self.actor.refresh()
        else:
            check = self._open_check(iteration)
        promise = check.promise(self.world_model, self.policy)
        check.close()
        self.metrics.write(
            "promise",
            iteration,
            self._ppo_updates,
            dreamed=float(promise.dreamed.sum(axis=1).mean()),
            real=float(promise.real.sum(axis=1).mean()),
            gap=promise.gap,
            gap_error=promise.gap_error,
        )
        pictures.draw_promise(self._run.figures, promise, iteration)

    @phase
    def evaluate(self, iteration: int) -> None:
        """Plays whole episodes of the real game with the latest policy."""
        config = self.config.evaluation
        is_last = iteration == self.config.collection.num_iterations
        if iteration % config.interval and not is_last:
            return
        name = self.arguments.game.name
        random_policy = self._run.path / "random_policy.json"
        if not random_policy.exists():
            write_json(random_policy, score_random_policy(self.arguments))
        with Progress(config.num_episodes, f"{iteration}: evaluate", "episode") as progress:
            episodes = evaluate(self.arguments, self.actor, iteration, progress.update)
        entry = scores.evaluation_entry(name, iteration, self.replay.size, episodes.returns)
        entries = [e for e in scores.read_scores(self._run.scores) if e["iteration"] < iteration]
        entries.append(entry | {"lengths": episodes.lengths})
        scores.write_scores(self._run.scores, entries)
        self.metrics.write(
            "evaluate",
            iteration,
            self.replay.size,
            mean_return=entry["mean"],
            std_return=entry["std"],
            mean_length=float(np.mean(episodes.lengths)),
        )
        random_mean = read_json(random_policy)["mean"]
        pictures.draw_scores(self._run.figures, name, entries, random_mean)
        say(
            f"{name}, iteration {iteration}: {entry['mean']:.1f} ± {entry['std']:.1f} over "
            f"{entry['num_episodes']} episodes (random policy {random_mean:.1f})"
        )

    # ---- parts of phases ----------------------------------------------------------------------

    def _open_check(self, iteration: int) -> RealityCheck:
        self.actor.refresh()
        return RealityCheck(self.arguments, self.actor, iteration)

    def _look(self, check: RealityCheck, best: BestPolicy, iteration: int) -> None:
        """Lets the present policy play the real game; the best one so far is kept."""
        self.actor.refresh()
        pay = float(check.real_rewards(self._ppo_updates).sum(axis=1).mean())
        kept = best.offer(pay)
        self.metrics.write("check", iteration, self._ppo_updates, real=pay, kept=kept)

    def _train_vqvae_alone(self, iteration: int) -> None:
        config = self.config.vqvae
        first = iteration == 1
        self.learner.use_warmup_learning_rate(first)
        order = generator(self.seed, "warm_up", *([] if first else [iteration]))
        epochs = [
            batches(self.replay.frame_order(order), config.batch_size)
            for _ in range(config.warmup_epochs if first else config.later_epochs)
        ]
        total = sum(len(rows) for rows in epochs)
        interval = self.config.logging.interval
        with Progress(total, f"{iteration}: VQ-VAE alone", "update") as progress:
            for rows in epochs:
                for start in range(0, len(rows), interval):
                    group = rows[start : start + interval]
                    values = self.learner.warmup_steps(group).numpy()
                    self._log_vqvae(iteration, values)
                    progress.update(len(group), elbo=float(values[2]))
        self.learner.use_warmup_learning_rate(False)

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
                f"checkpoint in {self._run.checkpoints} is good; try a smaller learning rate"
            )

    # ---- checkpoints --------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint of everything that later phases depend on."""
        progress = {
            "phases_done": self.phases_done,
            "ppo_updates": self._ppo_updates,
            "episode_return": self.collector.episode_return,
            "metric_lines": self.metrics.sync(),
            "chunks": [chunk._asdict() for chunk in self._chunks],
        }
        state = {key.replace("/", "__"): value for key, value in self.game.get_state().items()}
        self._checkpoints.save(progress, state, self._chunks)

    def close(self) -> None:
        """Closes files and games; harmless when repeated."""
        self.metrics.close()
        self.game.close()

    def _restore(self) -> None:
        restored = self._checkpoints.restore_latest()
        if restored is None:
            self.metrics.rewind(0)
            self.game.reset()
            return
        progress = restored.progress
        self.phases_done = progress["phases_done"]
        self._ppo_updates = progress["ppo_updates"]
        self.collector.episode_return = progress["episode_return"]
        self._chunks = [Chunk(**chunk) for chunk in progress["chunks"]]
        for chunk in self._chunks:
            self.replay.append(**read_chunk(self._run.replay / chunk.name, sha256=chunk.sha256))
        state = {key.replace("__", "/"): value for key, value in restored.arrays.items()}
        self.game.set_state(state)
        self.metrics.rewind(progress["metric_lines"])
        iteration, number = divmod(self.phases_done, len(PHASES))
        if iteration < self.config.collection.num_iterations:
            say(f"continuing with {PHASES[number]} of iteration {iteration + 1}")
