"""Learning the policy in the real game: rollouts of several games, an update after each."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from smallwm_tf.experiment.numbers import counted
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.experiment.schedule import (
    ModelFreePlan,
    collection_steps,
    policy_learning_rate,
    total_steps,
)
from smallwm_tf.learning.game_policy_learner import GamePolicyLearner, Rollout, play_rollout
from smallwm_tf.learning.ppo import METRICS
from smallwm_tf.runs.progress import Progress
from smallwm_tf.training.run import Run


@dataclass(frozen=True)
class GamePolicyPlace:
    """Between two updates of the policy."""

    done: int  # updates of the iteration so far
    unlogged: np.ndarray  # of the updates since the last line, float32 [n, number of ``METRICS``]
    finished: np.ndarray  # raw returns of the iteration's episodes so far

    def __str__(self) -> str:
        return f"{counted(self.done, 'update')} on"


class GamePolicyPhase:
    """Plays and trains the policy; what was played is forgotten after its update.

    Args:
      learner: of the policy.
      running_returns: variable [N], raw returns of the running episodes of N games so far.
    """

    name = "learn_policy"
    place_type = GamePolicyPlace
    trains_policy = True

    def __init__(self, learner: GamePolicyLearner, running_returns: tf.Variable):
        self._learner, self._running_returns = learner, running_returns

    def perform(self, run: Run, iteration: int) -> None:
        config = run.experiment.config
        plan = ModelFreePlan(config)
        lengths, num_updates = plan.rollout_lengths(iteration), plan.work().ppo_updates
        none = np.zeros([0, len(METRICS)], np.float32)
        place = run.place or GamePolicyPlace(0, none, np.zeros([0]))
        run.check_place(place.done, len(lengths), "updates of the policy")
        unlogged, finished = place.unlogged, list(place.finished)
        played = len(run.games) * sum(lengths[: place.done])
        total = collection_steps(config, iteration)
        with Progress(total, f"{iteration}: PPO", "step", played, "compiling") as progress:
            for number in range(place.done, len(lengths)):
                path = (run.experiment.seed, "ppo", iteration, number)
                seed = seed_pair(*path, "act")
                rollout = play_rollout(self._learner, run.games, lengths[number], seed)
                finished += self._count_returns(rollout)
                rate = policy_learning_rate(config, self._num_updates, num_updates)
                values = self._learner.update(rollout, seed_pair(*path, "shuffle"), rate)
                progress.update(rollout.rewards.size)
                unlogged, is_last = np.vstack([unlogged, values]), number + 1 == len(lengths)
                given = (iteration, self._num_updates, METRICS)
                unlogged = run.log_updates(*given, unlogged, is_last)
                run.pause(GamePolicyPlace(number + 1, unlogged, np.array(finished)))
        mean = float(np.mean(finished)) if finished else None
        num_steps = total_steps(config, iteration)
        run.metrics.write("collect", iteration, num_steps, episodes=len(finished), mean_return=mean)

    def _count_returns(self, rollout: Rollout) -> list[float]:
        """Adds a rollout to the running returns; those of the episodes that ended in it."""
        running, finished = self._running_returns.numpy(), []
        for rewards, over in zip(rollout.rewards.T, rollout.episode_over.T, strict=True):
            running += rewards
            finished += running[over].tolist()
            running[over] = 0.0
        self._running_returns.assign(running)
        return finished

    @property
    def _num_updates(self) -> int:
        return int(self._learner.num_updates)
