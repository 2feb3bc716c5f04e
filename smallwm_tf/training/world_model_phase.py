"""Learning the world model, and judging it by steps that it was not trained on."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.experiment.randomness import generator, seed_pair
from smallwm_tf.experiment.schedule import share_left
from smallwm_tf.figures.curves import draw_horizons
from smallwm_tf.figures.dream_film import save_film
from smallwm_tf.figures.strips import draw_world_model
from smallwm_tf.judging.held_out import HeldOutMeasures
from smallwm_tf.judging.judge import JUDGED_PARTS, WorldModelJudge, play_held_out
from smallwm_tf.learning import world_model_learner as learning
from smallwm_tf.learning.best_weights import BestWeights
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import WorldModelLearner, batches
from smallwm_tf.models.imagination import Dreamer
from smallwm_tf.runs.board import FILMS
from smallwm_tf.runs.lock import check_held
from smallwm_tf.runs.progress import Progress, say
from smallwm_tf.runs.replay_files import MOST_STEPS, Chunk, read_steps, write_chunk
from smallwm_tf.training.collect_phase import collecting_agent
from smallwm_tf.training.places import Arrays
from smallwm_tf.training.run import Run

_COLLAPSED = 2.0  # codebook perplexity below which there is next to nothing to see


@dataclass(frozen=True)
class WorldModelPlace:
    """Between two updates of the world model."""

    held_out: Chunk  # file of the held-out steps, which are played first
    part: str  # "vqvae" or "dynamics": what learns
    done: int  # updates of this part
    confusion: np.ndarray  # of rewards since the epoch began, [3, 3]
    is_behind: bool  # whether the last epoch predicts held-out codes no better than copying does
    best_score: float | None  # code accuracy; None without ``dynamics.epoch_fallback``
    best_values: Arrays  # variables after that epoch

    def __post_init__(self):
        if self.part not in ("vqvae", "dynamics"):
            raise ValueError(f"part={show(self.part)} is none that learns")

    def __str__(self) -> str:
        return f"{counted(self.done, 'update')} on"


class WorldModelPhase:
    """Held-out steps are played; the VQ-VAE learns alone; then the dynamics learn.

    Beside the dynamics the VQ-VAE goes on learning or rests.
    """

    name = "learn_world_model"
    place_type = WorldModelPlace
    trains_policy = False

    def __init__(self, networks: CodeNetworks, learner: WorldModelLearner, dreamer: Dreamer):
        self._networks, self._learner, self._dreamer = networks, learner, dreamer
        self._last_judge: WorldModelJudge | None = None

    def perform(self, run: Run, iteration: int) -> None:
        self._judge(run, iteration, self.learn(run, iteration))

    def learn(self, run: Run, iteration: int) -> WorldModelJudge:
        """Trains the world model on the replay; returns who judges it by held-out steps."""
        place = run.place or self._begin(run, iteration)
        judge = self._judge_by(run, place.held_out)
        self._learner.look_through_replay()
        if place.part == "vqvae":
            self._learner.use_learning_rates(warmup=iteration == 1)
            self._learn_vqvae_alone(run, iteration, place)
            place = replace(place, part="dynamics", done=0)
        self._learner.encoded.encode_all()
        self._learn_dynamics(run, iteration, place, judge.measures)
        return judge

    def _judge_by(self, run: Run, held_out: Chunk) -> WorldModelJudge:
        """One who has the held-out steps of a file; the same as before where they fit."""
        config = run.experiment.config
        most_steps = max(MOST_STEPS, config.inspection.held_out_steps)
        steps = read_steps(run.directory.replay, held_out, most_steps)
        judge, count = self._last_judge, len(steps["frames"])
        if judge is None or judge.replay.capacity != count:
            judge = WorldModelJudge(self._dreamer, Replay(count), config.dynamics.window_length)
            self._last_judge = judge
        judge.replay.clear()
        judge.replay.append(**steps)
        return judge

    def _begin(self, run: Run, iteration: int) -> WorldModelPlace:
        """Plays the held-out steps, with codes and policy from before this training."""
        agent = collecting_agent(run.experiment.config, self._networks, iteration)
        num_steps = run.experiment.config.inspection.held_out_steps
        with Progress(num_steps, f"{iteration}: held-out steps", "step") as progress:

            def check_and_update() -> None:
                run.stop.check()
                progress.update()

            played = play_held_out(run.experiment, agent, iteration, check_and_update)
        folder = run.directory.replay
        chunk = write_chunk(folder / f"held_out_{iteration:06d}.npz", **played.as_arrays())
        check_held(folder)
        # The last iteration's stays: a checkpoint that is fallen back to may need it.
        (folder / f"held_out_{iteration - 2:06d}.npz").unlink(missing_ok=True)
        return WorldModelPlace(chunk, "vqvae", 0, np.zeros([3, 3]), False, None, ())

    def _learn_vqvae_alone(self, run: Run, iteration: int, place: WorldModelPlace) -> None:
        config, first = run.experiment.config, iteration == 1
        order = generator(run.experiment.seed, "warm_up", iteration)
        epochs = [
            batches(run.algorithm.replay.frame_order(order), config.vqvae.batch_size)
            for _ in range(config.vqvae.warmup_epochs if first else config.vqvae.later_epochs)
        ]
        total, done = sum(map(len, epochs)), place.done
        run.check_place(done, total, "updates of the VQ-VAE alone (vqvae.warmup_epochs)")
        title = f"{iteration}: VQ-VAE alone"
        with Progress(total, title, "update", done, "compiling") as progress:
            for group, _ in _groups(epochs, config.logging.interval, done):
                values = self._learner.warmup_steps(group).numpy()
                self._log_vqvae(run, iteration, values)
                progress.update(len(group), elbo=float(values[2]))
                done += len(group)
                run.pause(replace(place, done=done))

    def _learn_dynamics(
        self, run: Run, iteration: int, place: WorldModelPlace, measures: HeldOutMeasures
    ) -> None:
        """Trains on windows; with ``dynamics.epoch_fallback`` it may end with an earlier epoch.

        Only where the last epoch is behind copying: elsewhere its likelihood is the best, and
        rewards, being rare, gain from every epoch.
        """
        config, seed, learner = run.experiment.config, run.experiment.seed, self._learner
        length, size = config.dynamics.window_length, config.dynamics.windows_per_batch
        order, pair = (make(seed, "world_model", iteration) for make in (generator, seed_pair))
        epochs = [
            batches(run.algorithm.replay.window_starts(order, length), size)
            for _ in range(config.dynamics.epochs[iteration - 1])
        ]
        best = BestWeights(learner.dynamics_variables, place.best_score, place.best_values)
        total, done = sum(map(len, epochs)), place.done
        run.check_place(done, total, "updates of the world model (dynamics.epochs)")
        confusion, is_behind = place.confusion, place.is_behind
        title = f"{iteration}: world model"
        with Progress(total, title, "update", done, "compiling") as progress:
            for group, is_last in _groups(epochs, config.logging.interval, done):
                share = share_left(config.dynamics.final_learning_rate_share, done, total)
                learner.use_learning_rates(dynamics_share=share)
                vqvae, dynamics, of_group = learner.joint_steps(group, done, pair)
                done += len(group)
                confusion = confusion + of_group.numpy()
                named = dict(zip(learner.dynamics_metrics, dynamics.numpy(), strict=True))
                self._log_vqvae(run, iteration, vqvae.numpy())
                run.log("dynamics", iteration, self._num_updates, named)
                progress.update(len(group), latent_loss=float(named["latent_loss"]))
                if is_last:
                    rewards = learning.reward_precision_and_recall(confusion)
                    run.metrics.write("reward_prediction", iteration, self._num_updates, **rewards)
                    confusion = np.zeros([3, 3])
                if is_last and config.dynamics.epoch_fallback:
                    progress.doing("held-out measures")
                    found = measures.one_step()
                    progress.doing("")
                    named = {name: getattr(found, name) for name in learning.DYNAMICS_METRICS}
                    run.metrics.write("epoch", iteration, self._num_updates, **named)
                    is_behind = found.code_accuracy <= found.copy_accuracy
                    best.offer(found.code_accuracy)
                now = {"done": done, "confusion": confusion, "is_behind": is_behind}
                run.pause(replace(place, **now, best_score=best.score, best_values=best.values))
        if is_behind:
            say("the last epoch predicts no better than copying: back to the best epoch")
            best.restore()

    def _judge(self, run: Run, iteration: int, judge: WorldModelJudge) -> None:
        experiment, figures = run.experiment, run.directory.figures
        with Progress(JUDGED_PARTS, f"{iteration}: held-out measures", "part") as progress:
            measures, curves = judge.judge(experiment, iteration, progress.update)
        with Progress(3, f"{iteration}: figures", "part") as progress:
            title = f"Open-loop predictions on held-out steps, iteration {iteration}"
            draw_horizons(figures / f"horizon_{iteration:03d}.png", curves, title)
            progress.update()
            given = (self._dreamer, run.algorithm.replay, experiment, iteration)
            dream = draw_world_model(figures, *given)
            progress.update()
            films = run.directory.path / FILMS
            films.mkdir(exist_ok=True)
            save_film(films / f"dream_{iteration:03d}.gif", dream)
            progress.update()
        run.metrics.write("held_out", iteration, self._num_updates, **measures)
        used = measures["codebook_perplexity"]
        if used < _COLLAPSED:
            say(
                f"warning: the codebook has collapsed, its perplexity is {used:.2f} of "
                f"{experiment.config.vqvae.num_embeddings}: the world model can hardly tell frames "
                "apart; try a smaller vqvae.learning_rate"
            )

    @property
    def _num_updates(self) -> int:
        return int(self._learner.dynamics_updates)

    def _log_vqvae(self, run: Run, iteration: int, values: np.ndarray) -> None:
        named = dict(zip(self._learner.vqvae_metrics, values, strict=True))
        if named["codebook_perplexity"] > 0:  # a group of few steps may hold no VQ-VAE step
            run.log("vqvae", iteration, int(self._learner.vqvae_updates), named)


def _groups(
    epochs: list[np.ndarray], interval: int, done: int
) -> Iterator[tuple[np.ndarray, bool]]:
    """Rows in groups of ``interval``, the ``done`` first left out; whether an epoch ends there."""
    for rows in epochs:
        skipped = min(done, len(rows))
        done -= skipped
        for start in range(skipped, len(rows), interval):
            yield rows[start : start + interval], start + interval >= len(rows)
