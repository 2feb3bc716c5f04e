"""Learning the policy in the dream, and comparing what it promises with the real game."""

import contextlib
from dataclasses import dataclass

import numpy as np

from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.experiment.schedule import (
    first_newest_step,
    policy_learning_rate,
    steps_to_starts,
)
from smallwm_tf.figures.curves import draw_promise
from smallwm_tf.judging.judge import RealityCheck
from smallwm_tf.learning.best_weights import BestWeights, assign, values_of
from smallwm_tf.learning.dream_policy_learner import METRICS, DreamPolicyLearner
from smallwm_tf.models.imagination import Dreamer
from smallwm_tf.runs.progress import Progress
from smallwm_tf.training.places import Arrays
from smallwm_tf.training.run import Run


@dataclass(frozen=True)
class PolicyPlace:
    """Between two updates of the policy."""

    done: int  # updates so far
    unlogged: np.ndarray  # of the updates since the last line, float32 [n, number of ``METRICS``]
    begun: Arrays  # weights of the policy from before the phase
    best_score: float | None  # what the game paid the best; None without ``ppo.check_interval``
    best_values: Arrays  # its variables

    def __str__(self) -> str:
        return f"{counted(self.done, 'update')} on"


class PolicyPhase:
    """Trains the policy in the world model's dreams.

    With ``ppo.check_interval`` it plays the real game now and then, and the policy with the highest
    real return is kept.
    """

    name = "learn_policy"
    place_type = PolicyPlace
    trains_policy = True

    def __init__(self, networks: CodeNetworks, learner: DreamPolicyLearner, dreamer: Dreamer):
        self._networks, self._learner, self._dreamer = networks, learner, dreamer
        self._policy = networks.policy

    def perform(self, run: Run, iteration: int) -> None:
        place = run.place or PolicyPlace(
            0, np.zeros([0, len(METRICS)], np.float32), values_of(self._policy.variables), None, ()
        )
        with contextlib.closing(self._open_check(run, iteration, place)) as check:
            self._learn(run, iteration, place, check)
            with Progress(2, f"{iteration}: promise and pay", "part") as progress:
                given = (self._dreamer, self._policy, self._player(run), progress.update)
                promise = check.promise(*given)
        dreamed, real = (float(rewards.sum(axis=1).mean()) for rewards in promise)
        measures = {"gap": promise.gap, "gap_error": promise.gap_error}
        draw_promise(run.directory.figures, promise, iteration)
        run.metrics.write(
            "promise", iteration, self._num_updates, dreamed=dreamed, real=real, **measures
        )

    def _learn(self, run: Run, iteration: int, place: PolicyPlace, check: RealityCheck) -> None:
        self._learner.look_through_replay(first_newest_step(run.experiment.config, iteration))
        config, interval = run.experiment.config, run.experiment.config.ppo.check_interval
        num_updates = config.ppo.num_updates[iteration - 1]
        run.check_place(place.done, num_updates, "updates of the policy (ppo.num_updates)")
        pair = seed_pair(run.experiment.seed, "ppo", iteration)
        variables = [*self._policy.variables, *self._learner.optimizer.variables]
        best = BestWeights(variables, place.best_score, place.best_values)
        done, unlogged, title = place.done, place.unlogged, f"{iteration}: policy"
        with Progress(num_updates, title, "update", done, "compiling") as progress:
            if interval and not place.done:
                self._look(run, iteration, check, best)
            for number in range(done, num_updates):
                rate = policy_learning_rate(config, number, num_updates)
                values = self._learner.update(pair, number, rate).numpy()
                progress.update(1, dream_return=float(values[0]))
                unlogged, is_last = np.vstack([unlogged, values]), number + 1 == num_updates
                # Before a look, which would play with weights that are not finite.
                given = (iteration, self._num_updates, METRICS)
                unlogged = run.log_updates(*given, unlogged, is_last)
                if interval and (is_last or (number + 1) % interval == 0):
                    progress.doing("playing the real game")
                    self._look(run, iteration, check, best)
                    progress.doing("")
                run.pause(PolicyPlace(number + 1, unlogged, place.begun, best.score, best.values))
        if interval:
            best.restore()

    def _open_check(self, run: Run, iteration: int, place: PolicyPlace) -> RealityCheck:
        """Finds the moments of the real game that the policy from before the phase comes to."""
        present = values_of(self._policy.variables)
        assign(self._policy.variables, place.begun)
        total = steps_to_starts(run.experiment.config)
        with Progress(total, f"{iteration}: moments of the real game", "step") as progress:

            def check_and_update() -> None:
                run.stop.check()
                progress.update()

            check = RealityCheck(run.experiment, self._player(run), iteration, check_and_update)
        assign(self._policy.variables, present)
        return check

    def _look(self, run: Run, iteration: int, check: RealityCheck, best: BestWeights) -> None:
        """Lets the present policy play the real game; the best one so far is kept."""
        rewards = check.real_rewards(self._player(run), self._num_updates)
        pay = float(rewards.sum(axis=1).mean())
        kept = best.offer(pay)
        run.metrics.write("check", iteration, self._num_updates, real=pay, kept=kept)

    def _player(self, run: Run) -> PolicyAgent:
        """The present policy as it is scored."""
        return self._networks.agent(run.experiment.config.evaluation.temperature)

    @property
    def _num_updates(self) -> int:
        return int(self._learner.num_updates)
