"""What a training run consists of, and how it is saved and restored."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.actor import Actor
from smallwm_tf.agents.collecting import Collector
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.judging.evaluation import open_game
from smallwm_tf.learning.adam import Adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.ppo import PPOLearner, make_agent
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import WorldModelLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.runs.checkpoints import CheckpointError, Checkpoints, Restored
from smallwm_tf.runs.metrics import Metrics
from smallwm_tf.runs.replay_files import Chunk, read_steps
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.runs.stop_request import StopRequest

_WITHIN = "within_"


class RunState:
    """Everything a run consists of, restored from its newest checkpoint if there is one.

    Args:
      experiment: what the command line asked for.
      run: the open run directory.
      stop: says when to stop; never, if not given.

    Attributes:
      phases_done: number of finished phases over all iterations.
      within: where inside the phase that comes next the checkpoint was written; empty at its start.
      within_arrays: what belongs to that.
      is_restored: whether there was a checkpoint.
      ppo_updates: number of policy updates over all iterations.
      chunks: the replay's files; one more with held-out steps, where ``within`` names it.
      phase_start: when the running phase began, in seconds of a monotonic clock.
    """

    def __init__(self, experiment: Experiment, run: RunDirectory, stop: StopRequest | None = None):
        self.experiment = experiment
        self.stop = stop or StopRequest()
        self.config = config = experiment.config
        self.seed = experiment.seed
        self.run = run
        tf.keras.utils.set_random_seed(self.seed)  # weights; all other numbers are counter-based
        if config.deterministic:
            tf.config.experimental.enable_op_determinism()
        self.game = open_game(experiment, "collect")
        self.world_model, self.policy = build_models(config, self.game.num_actions, self.seed)
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
        self.ppo_optimizer = Adam(config.ppo.learning_rate, **dict(config.adam))
        self.ppo_optimizer.build(self.policy.trainable_variables)
        agent = make_agent(self.dream, self.policy, lookup, self.ppo_optimizer, config)
        self.ppo = PPOLearner(self.dream, agent, config)
        self.actor = Actor(self.world_model.vqvae, self.policy)
        self.collector = Collector(self.game, self.actor)

        self.phases_done = 0
        self.within: dict[str, Any] = {}
        self.within_arrays: dict[str, np.ndarray] = {}
        self.phase_start = self._saved_at = time.monotonic()
        self.ppo_updates = 0
        self.chunks: dict[str, Chunk] = {}
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
                "ppo_optimizer": self.ppo_optimizer,
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
            "ppo_updates": self.ppo_updates,
        }

    def save(self) -> None:
        """Writes a checkpoint of everything that what follows depends on.

        Raises:
          FloatingPointError: a weight is not finite; the last checkpoint stays the newest.
        """
        self._check_weights()
        progress = {
            "phases_done": self.phases_done,
            "ppo_updates": self.ppo_updates,
            "episode_return": self.collector.episode_return,
            "metric_lines": self.metrics.sync(),
            "replay": [name for name in self.chunks if name != self.within.get("held_out")],
            "within": self.within,
        }
        state = {key.replace("/", "__"): value for key, value in self.game.get_state().items()}
        within = {f"{_WITHIN}{name}": value for name, value in self.within_arrays.items()}
        self._checkpoints.save(progress, state | within, self.chunks.values())
        self._saved_at = time.monotonic()

    def log(self, event: str, iteration: int, step: int, named: Mapping[str, float]) -> None:
        """Writes a line of metrics.

        Raises:
          FloatingPointError: a value is not finite; it is named, and the line is written.
        """
        plain = {name: float(value) for name, value in named.items()}
        bad = [name for name, value in plain.items() if not np.isfinite(value)]
        self.metrics.write(event, iteration, step, **plain)
        if bad:
            raise FloatingPointError(
                f"{event}: {', '.join(bad)} is not finite in iteration {iteration}; the last "
                f"checkpoint in {self.run.checkpoints} is good; try a smaller learning rate"
            )

    def _check_weights(self) -> None:
        modules = {
            "vqvae": self.world_model.vqvae,
            "dynamics": self.world_model.dynamics,
            "policy": self.policy,
        }
        for name, module in modules.items():
            for variable in module.variables:
                if not bool(tf.reduce_all(tf.math.is_finite(variable))):
                    raise FloatingPointError(
                        f"{name}: {variable.name} is not finite; the last checkpoint in "
                        f"{self.run.checkpoints} is good; try a smaller learning rate"
                    )

    def is_to_pause(self) -> bool:
        """Whether the last checkpoint is old or the run is to stop."""
        age = time.monotonic() - self._saved_at
        return age >= 60.0 * self.config.checkpoints.interval or bool(self.stop.signal_name)

    def pause(self, within: dict[str, Any], **arrays_within: list[np.ndarray]) -> None:
        """Between two updates or steps: saves, if it ``is_to_pause``.

        Args:
          within: the place inside the phase.
          **arrays_within: arrays that belong to it.
        """
        if not self.is_to_pause():
            return
        seconds = time.monotonic() - self.phase_start
        self.within = within | {"seconds": round(seconds, 3)}
        self.within_arrays = {
            f"{name}_{number:03d}": array
            for name, arrays in arrays_within.items()
            for number, array in enumerate(arrays)
        }
        self.save()
        self.stop.check()

    def arrays_of(self, name: str) -> list[np.ndarray]:
        """The arrays within the phase that were given to ``pause`` under this name."""
        arrays = self.within_arrays
        return [arrays[key] for key in sorted(arrays) if key.startswith(f"{name}_")]

    def close(self) -> None:
        """Closes files and games; harmless when repeated."""
        self.metrics.close()
        self.game.close()

    def _restore(self) -> None:
        restored = self._checkpoints.restore_latest()
        self.is_restored = restored is not None
        if restored is None:
            self.metrics.rewind(0)
            self.game.reset()
            return
        try:
            self._take_over(restored)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
            raise CheckpointError(
                f"{self.run.checkpoints}: the newest checkpoint is not one of this program "
                f"({reason}); use the version that wrote it (versions.json), or another --run_dir"
            ) from error

    def _take_over(self, restored: Restored) -> None:
        progress, arrays = restored.progress, restored.arrays
        self.phases_done = int(progress["phases_done"])
        self.ppo_updates = int(progress["ppo_updates"])
        self.collector.episode_return = float(progress["episode_return"])
        self.chunks = restored.chunks
        for name in progress["replay"]:
            self.replay.append(**read_steps(self.run.replay, self.chunks[name]))
        self.within = dict(progress["within"])
        self.within_arrays = {
            key.removeprefix(_WITHIN): array
            for key, array in arrays.items()
            if key.startswith(_WITHIN)
        }
        self.game.set_state(
            {
                key.replace("__", "/"): array
                for key, array in arrays.items()
                if not key.startswith(_WITHIN)
            }
        )
        self.metrics.rewind(int(progress["metric_lines"]))
