"""One training run: its parts, its phases, and what is kept of it on disk.

Every phase ends with a checkpoint; the long ones, which learn or evaluate, also save on a timer and
when the run is asked to stop. The same command goes on from the newest checkpoint and comes to the
same result as a run that was never interrupted.
"""

import functools
import time
from collections.abc import Callable

import numpy as np

from smallwm_tf.agents.collecting import Episodes
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import PHASES, collection_steps
from smallwm_tf.figures import run_figures as pictures
from smallwm_tf.judging.evaluation import evaluate, game_settings, score_random_policy
from smallwm_tf.judging.judge import judge_world_model
from smallwm_tf.runs import scores
from smallwm_tf.runs.files import write_json
from smallwm_tf.runs.progress import Progress, say
from smallwm_tf.runs.replay_files import write_chunk
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.runs.stop_request import StopRequest
from smallwm_tf.training.policy_phase import train_policy
from smallwm_tf.training.run_state import RunState
from smallwm_tf.training.world_model_phase import train_world_model

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
        session.chunks.pop(session.within.get("held_out"), None)
        session.within, session.within_arrays = {}, {}
        session.save()
        session.stop.check()

    return run_phase


class Session(RunState):
    """A run and its phases, each of which is skipped if it is done and continued if it was begun.

    Args:
      experiment: what the command line asked for.
      run: the open run directory.
      stop: says when to stop; never, if not given.
    """

    def __init__(self, experiment: Experiment, run: RunDirectory, stop: StopRequest | None = None):
        super().__init__(experiment, run, stop)
        iteration, number = divmod(self.phases_done, len(PHASES))
        if self.is_restored and iteration < self.config.collection.num_iterations:
            unit = "steps" if PHASES[number] == "evaluate" else "updates"
            place = f", {self.within['done']} {unit} on" if self.within else ""
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

            def check_and_update(count: int) -> None:
                self.stop.check()  # what was collected so far is lost
                progress.update(count)

            collected = self.collector.collect(
                num_steps,
                temperature,
                self.seed,
                iteration,
                check_and_update,
                repeat_probability=config.repeat_probability,
            )
        arrays = {
            "frames": collected.frames,
            "actions": collected.actions,
            "rewards": collected.rewards,
            "ended": collected.ended,
        }
        self.replay.append(**arrays)
        chunk = write_chunk(self.run.replay / f"{iteration:06d}.npz", **arrays)
        self.chunks[chunk.name] = chunk
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
        """Trains the world model, and judges it by steps that it was not trained on."""
        held_out = train_world_model(self, iteration)
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
        """Trains the policy in the dream, and compares what it promises with the real game."""
        promise = train_policy(self, iteration)
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
        name = self.experiment.game.name
        random_policy = self.run.path / "random_policy.json"
        if not random_policy.exists():
            write_json(random_policy, score_random_policy(self.experiment))
        episodes = self._play_episodes(iteration)
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
        random_mean = scores.read_mean(random_policy)
        pictures.draw_scores(self.run.figures, name, entries, random_mean)
        say(
            f"{name}, iteration {iteration}: {entry['mean']:.1f} ± {entry['std']:.1f} over "
            f"{entry['num_episodes']} episodes (random policy {random_mean:.1f})"
        )

    def _play_episodes(self, iteration: int) -> Episodes:
        """Evaluation episodes, continued where they were interrupted."""
        config = self.config.evaluation
        # Actions belong to the games that they were taken in.
        played_with = {**config.to_dict(), **game_settings(self.config)}
        goes_on = self.within.get("played_with") == played_with
        taken = list(self.arrays_of("taken")[0]) if goes_on else []
        with Progress(config.num_episodes, f"{iteration}: evaluate", "episode") as progress:

            def update_and_pause(num_finished: int) -> None:
                progress.update(num_finished)
                if self.is_to_pause():
                    place = {"done": len(taken), "played_with": played_with}
                    self.pause(place, taken=[np.array(taken)])

            return evaluate(self.experiment, self.actor, iteration, update_and_pause, taken)
