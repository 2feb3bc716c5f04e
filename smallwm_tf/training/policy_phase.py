"""One training of the policy inside the dream, continued where it was interrupted.

``state.within`` says how far it has come.
"""

import numpy as np

from smallwm_tf.experiment.randomness import seed_pair
from smallwm_tf.experiment.schedule import policy_learning_rate
from smallwm_tf.judging.judge import RealityCheck
from smallwm_tf.judging.promise import Promise
from smallwm_tf.learning.best_weights import BestWeights, set_weights, weights_of
from smallwm_tf.learning.ppo import METRICS
from smallwm_tf.runs.progress import Progress
from smallwm_tf.training.run_state import RunState


def train_policy(state: RunState, iteration: int) -> Promise:
    """Trains the policy of a run in its world model's dreams.

    With ``ppo.check_interval`` it plays the real game now and then, and is in the end the one that
    was paid best.

    Args:
      state: of the run.
      iteration: counted from 1.

    Returns:
      What the dream promises the policy, beside what the real game pays it.
    """
    num_updates = state.config.ppo.num_updates[iteration - 1]
    interval = state.config.ppo.check_interval
    pair = seed_pair(state.seed, "ppo", iteration)
    begun = weights_of(state.policy)
    done, collected, best = 0, [], BestWeights(state.policy)
    if state.within:
        done = state.within["done"]
        collected = [np.array(values, np.float32) for values in state.within["collected"]]
        begun = state.arrays_of("begun")
        best.score, best.weights = state.within["best_score"], state.arrays_of("best")
    check = _open_check(state, iteration, begun) if interval else None
    if check and not state.within:
        _look(state, check, best, iteration)
    with Progress(num_updates, f"{iteration}: policy", "update", initial=done) as progress:
        for number in range(done, num_updates):
            rate = policy_learning_rate(state.config, number, num_updates)
            state.ppo_optimizer.learning_rate.assign(rate)
            values = state.ppo.update(pair, number).numpy()
            if not np.isfinite(values).all():  # at once: a look would play with such weights
                named = dict(zip(METRICS, values, strict=True))
                state.log("ppo", iteration, state.ppo_updates + 1, named)
            collected.append(values)
            state.ppo_updates += 1
            progress.update(1, dream_return=float(values[0]))
            last = number + 1 == num_updates
            if last or len(collected) == state.config.logging.interval:
                named = dict(zip(METRICS, np.mean(collected, axis=0), strict=True))
                state.log("ppo", iteration, state.ppo_updates, named)
                collected = []
            if check and (last or (number + 1) % interval == 0):
                _look(state, check, best, iteration)
            state.pause(
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
        state.actor.refresh()
    else:
        check = _open_check(state, iteration, weights_of(state.policy))
    promise = check.promise(state.world_model, state.policy)
    check.close()
    return promise


def _open_check(state: RunState, iteration: int, weights: list[np.ndarray]) -> RealityCheck:
    """Finds the moments of the real game that a policy with these weights comes to.

    The actor is left with these weights.
    """
    present = weights_of(state.policy)
    set_weights(state.policy, weights)
    state.actor.refresh()
    check = RealityCheck(state.experiment, state.actor, iteration)
    set_weights(state.policy, present)
    return check


def _look(state: RunState, check: RealityCheck, best: BestWeights, iteration: int) -> None:
    """Lets the present policy play the real game; the best one so far is kept."""
    state.actor.refresh()
    pay = float(check.real_rewards(state.ppo_updates).sum(axis=1).mean())
    kept = best.offer(pay)
    state.metrics.write("check", iteration, state.ppo_updates, real=pay, kept=kept)
