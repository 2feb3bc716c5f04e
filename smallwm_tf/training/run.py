"""One training run: what it plays and keeps on disk, and how far it has come.

Every phase ends with a checkpoint; the long ones also save inside, on a timer and when the run is
asked to stop. The same command goes on from the newest checkpoint and comes to the same result as
a run that was never interrupted.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.messages import one_line
from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.games.opening import open_game
from smallwm_tf.runs.checkpoints import CheckpointError, Checkpoints, Restored
from smallwm_tf.runs.metrics import Metrics
from smallwm_tf.runs.progress import beside, say
from smallwm_tf.runs.records import progress_problem
from smallwm_tf.runs.replay_files import Chunk, read_steps, write_chunk
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.runs.stop_request import StopRequest
from smallwm_tf.training.finite_weights import weight_that_is_not_finite
from smallwm_tf.training.outlook import Outlook
from smallwm_tf.training.places import pack, unpack
from smallwm_tf.training.protocols import Algorithm, Phase

_PLACE = "place__"  # prefix of a place's arrays in a checkpoint


class Run:
    """A run of some algorithm, restored from its newest checkpoint if there is one.

    Args:
      experiment: what is asked for.
      directory: the open run directory.
      make_algorithm: builds what learns, from experiment and number of actions.
      stop: says when to stop; never, if not given.

    Attributes:
      games: the real ones that are learned from, in the middle of their episodes.
      phases_done: number of finished phases over all iterations.
      policies_trained: how often a policy was trained.
      running_return: raw, of the episode in which the collection goes on, so far.
      place: where inside the phase that comes next the checkpoint was written; None at its start.
    """

    def __init__(
        self,
        experiment: Experiment,
        directory: RunDirectory,
        make_algorithm: Callable[[Experiment, int], Algorithm],
        stop: StopRequest | None = None,
    ):
        self.experiment = experiment
        self.directory = directory
        self.stop = stop or StopRequest()
        if experiment.config.deterministic:
            tf.config.experimental.enable_op_determinism()
            # Random ops then need a seed. TF-Agents builds networks on random inputs, which no
            # weight depends on; all other numbers are functions of seed, purpose and counters.
            tf.random.set_seed(experiment.seed)
        self.games = [
            open_game(experiment, "collect", *([number] if number else []))
            for number in range(plan_of(experiment.config).num_games)
        ]
        self.algorithm = make_algorithm(experiment, self.games[0].num_actions)
        self.metrics = Metrics(directory, experiment.config.logging.wandb)
        self.phases_done = self.policies_trained = 0
        self.running_return = 0.0
        self.place: Any = None
        self._replay_files: list[Chunk] = []
        self._phase_start = self._saved_at = time.monotonic()
        keep = experiment.config.checkpoints.keep
        self._checkpoints = Checkpoints(directory.checkpoints, self.algorithm.components, keep=keep)
        self._restore()
        names = [phase.name for phase in self.algorithm.phases]
        self._outlook = Outlook(experiment.config, names, self.metrics.read())
        beside(self._outlook.text)

    # ---- phases -------------------------------------------------------------------------------

    def begin(self, phase: Phase, iteration: int) -> bool:
        """Whether a phase of the algorithm is still to be performed, from ``place`` on."""
        if self._position(phase, iteration) < self.phases_done:
            return False
        self.directory.record()  # not before: a finished run stays what it was made with
        if self.place is None:
            self._phase_start = time.monotonic()
        self._outlook.begin(self._position(phase, iteration), self._phase_seconds())
        say(self._outlook.text())
        return True

    def finish(self, phase: Phase, iteration: int) -> None:
        """Notes that a phase was performed, and saves.

        Raises:
          Stopped: the run is asked to.
        """
        position, seconds = self._position(phase, iteration), self._phase_seconds()
        self.metrics.write("phase", iteration, position, phase=phase.name, seconds=seconds)
        self._outlook.finish(position, seconds)
        self.phases_done = position + 1
        self.policies_trained += phase.trains_policy
        self.place = None
        self.save()
        self.stop.check()

    def is_to_pause(self) -> bool:
        """Whether the last checkpoint is old or the run is to stop."""
        age = time.monotonic() - self._saved_at
        limit = 60.0 * self.experiment.config.checkpoints.interval
        return age >= limit or bool(self.stop.signal_name)

    def pause(self, place: Any) -> None:
        """Saves between two updates or steps, at a ``place_type`` of the phase, if it is time to.

        Raises:
          Stopped: the run is asked to.
        """
        if self.is_to_pause():
            self.place = place
            self.save()
            self.stop.check()

    def check_place(self, done: int, total: int, what: str) -> None:
        """Refuses a place beyond the end of its phase, which would pass for a finished one.

        Raises:
          CheckpointError: more is done than these settings ask for.
        """
        if done > total:
            raise CheckpointError(
                f"{self.directory.checkpoints}: the newest checkpoint has done {done} of {total} "
                f"{what}; give at least as many, or name another --run_dir"
            )

    # ---- what is kept -------------------------------------------------------------------------

    def keep_steps(self, name: str, steps: Mapping[str, np.ndarray]) -> None:
        """Adds real steps to the replay, and to its files under a name."""
        self.algorithm.replay.append(**steps)
        self._replay_files.append(write_chunk(self.directory.replay / name, **steps))

    def log(self, event: str, iteration: int, step: int, named: Mapping[str, float]) -> None:
        """Writes a line of metrics that must be finite.

        Raises:
          FloatingPointError: a value is not; it is named, and the line is written.
        """
        plain = {name: float(value) for name, value in named.items()}
        bad = [name for name, value in plain.items() if not np.isfinite(value)]
        self.metrics.write(event, iteration, step, **plain)
        if bad:
            raise self._not_finite(f"{event}: {', '.join(bad)}", f" in iteration {iteration}")

    def log_updates(
        self, iteration: int, step: int, names: Sequence[str], unlogged: np.ndarray, is_last: bool
    ) -> np.ndarray:
        """Logs means of PPO's updates if they are many enough, the last, or not finite.

        Measures are float32 [n, number of names]; returns those that are still to be logged.
        """
        is_full = len(unlogged) == self.experiment.config.logging.interval
        if not (is_full or is_last or not np.isfinite(unlogged[-1]).all()):
            return unlogged
        self.log("ppo", iteration, step, dict(zip(names, unlogged.mean(axis=0), strict=True)))
        return unlogged[:0]

    def save(self) -> None:
        """Writes a checkpoint of everything that what follows depends on.

        Raises:
          FloatingPointError: a weight is not finite; the last checkpoint stays the newest.
        """
        if bad := weight_that_is_not_finite(self.algorithm.components):
            raise self._not_finite(bad)
        values, arrays, files = pack(self.place) if self.place is not None else (None, {}, [])
        progress = {
            "phases_done": self.phases_done,
            "phases_per_iteration": len(self.algorithm.phases),
            "phases": [phase.name for phase in self.algorithm.phases],
            "policies_trained": self.policies_trained,
            "episode_return": self.running_return,
            "metric_lines": self.metrics.sync(),
            "replay": [chunk.name for chunk in self._replay_files],
            "place": values,
            "seconds": 0.0 if self.place is None else self._phase_seconds(),
        }
        state = {_PLACE + name: array for name, array in arrays.items()}
        for number, game in enumerate(self.games):
            prefix = _game_prefix(number)
            state |= {prefix + k.replace("/", "__"): v for k, v in game.get_state().items()}
        self._checkpoints.save(progress, state, [*self._replay_files, *files])
        self.directory.note_checkpoint()
        self._saved_at = time.monotonic()

    def close(self) -> None:
        """Closes files and games; harmless when repeated."""
        beside(None)
        self.metrics.close()
        for game in self.games:
            game.close()

    def _position(self, phase: Phase, iteration: int) -> int:
        phases = self.algorithm.phases
        return (iteration - 1) * len(phases) + phases.index(phase)

    def _phase_seconds(self) -> float:
        return round(time.monotonic() - self._phase_start, 3)

    def _not_finite(self, what: str, when: str = "") -> FloatingPointError:
        return FloatingPointError(
            f"{what} is not finite{when}; the last checkpoint in {self.directory.checkpoints} is "
            "good; try a smaller learning rate"
        )

    # ---- going on -----------------------------------------------------------------------------

    def _restore(self) -> None:
        restored = self._checkpoints.restore_latest()
        if restored is None:
            self._refuse_lost_checkpoints()
            self.metrics.rewind(0)
            self.metrics.write("networks", 0, 0, **self.algorithm.networks.parameters)
            for game in self.games:
                game.reset()
            return
        try:
            self._take_over(restored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"{self.directory.checkpoints}: the newest checkpoint is not one of this program "
                f"({one_line(error)}); use the version that wrote it (versions.json), or another "
                "--run_dir"
            ) from error
        iteration, number = divmod(self.phases_done, len(self.algorithm.phases))
        if iteration < self.experiment.config.collection.num_iterations:
            place = f", {self.place}" if self.place is not None else ""
            phase = self.algorithm.phases[number].name
            say(f"continuing with {phase} of iteration {iteration + 1}{place}")

    def _refuse_lost_checkpoints(self) -> None:
        """Lets a run begin that has no checkpoint, unless it once had one."""
        sign, events = self.directory.sign_of_progress(), [e["event"] for e in self.metrics.read()]
        if "phase" in events[:-1]:
            sign = "metrics.jsonl goes on after a finished phase"
        if sign:
            raise CheckpointError(
                f"{self.directory.checkpoints}: holds no checkpoint, but the run had begun "
                f"({sign}); bring them back from a copy, or start over with another --run_dir"
            )

    def _take_over(self, restored: Restored) -> None:
        progress, phases = restored.progress, self.algorithm.phases
        if problem := progress_problem(progress):
            raise ValueError(problem)
        self.phases_done = int(progress["phases_done"])
        self.policies_trained = int(progress["policies_trained"])
        finished = (phases[number % len(phases)] for number in range(self.phases_done))
        if self.policies_trained != sum(phase.trains_policy for phase in finished):
            raise ValueError(
                f"progress.json: policies_trained={self.policies_trained} does not belong to "
                f"phases_done={self.phases_done}"
            )
        total = self.experiment.config.collection.num_iterations * len(phases)
        if self.phases_done > total:
            raise ValueError(f"progress.json: phases_done={self.phases_done} is above {total}")
        self.running_return = float(progress["episode_return"])
        self._replay_files = [restored.chunks[name] for name in progress["replay"]]
        for chunk in self._replay_files:
            replay = self.algorithm.replay
            replay.append(**read_steps(self.directory.replay, chunk, replay.capacity - replay.size))
        if progress["place"] is not None:
            phase = phases[self.phases_done % len(phases)]
            arrays = _under(_PLACE, restored.arrays)
            self.place = unpack(phase.place_type, progress["place"], arrays, restored.chunks)
        self._phase_start = time.monotonic() - float(progress["seconds"])
        for number, game in enumerate(self.games):
            state = _under(_game_prefix(number), restored.arrays)
            game.set_state({key.replace("__", "/"): value for key, value in state.items()})
        self.metrics.rewind(int(progress["metric_lines"]))


def _game_prefix(number: int) -> str:
    """Of a game's arrays in a checkpoint."""
    return f"game{number or ''}__"


def _under(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays whose names begin with a prefix, without it."""
    return {k.removeprefix(prefix): array for k, array in arrays.items() if k.startswith(prefix)}
