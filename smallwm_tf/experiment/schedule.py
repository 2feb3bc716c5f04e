"""How much of everything a run will do, from its configuration alone."""

from typing import NamedTuple

from smallwm_tf.experiment.settings import Config

#: Real steps from one moment from which policies are compared to the next.
STEPS_BETWEEN_STARTS = 20


class RealSteps(NamedTuple):
    """Steps of the real game that a run plays, by what they are for; the last two at most.

    Whole episodes are counted as such, since nobody knows their length before: those of the
    evaluations (``Work.evaluation_episodes``), and as many of the random policy, once. Not counted
    is what a resumed run plays again.

    Attributes:
      learned_from: the collections; the paper's interactions.
      chosen_by: decide which weights are kept. With ``ppo.check_interval`` the looks at policies
        and the way to the moments from which they play, with ``dynamics.epoch_fallback`` the
        held-out steps.
      only_judged: change nothing. What a policy earns beside its promise, and the held-out steps
        and the way to the moments where these do not choose.
    """

    learned_from: int
    chosen_by: int
    only_judged: int


class Work(NamedTuple):
    """Amounts of work of a whole run."""

    real_steps: RealSteps
    vqvae_steps: int
    dynamics_steps: int
    ppo_updates: int
    evaluation_episodes: int


def collection_steps(config: Config, iteration: int) -> int:
    """Real steps of an iteration's collection; iterations are counted from 1."""
    collection = config.collection
    return collection.first_iteration_steps if iteration == 1 else collection.steps_per_iteration


def total_steps(config: Config, num_iterations: int | None = None) -> int:
    """Collected steps of the first iterations; without a number of the whole run."""
    iterations = range(1, (num_iterations or config.collection.num_iterations) + 1)
    return sum(collection_steps(config, iteration) for iteration in iterations)


def first_newest_step(config: Config, iteration: int) -> int:
    """Number of the first step that an iteration collects."""
    return total_steps(config, iteration) - collection_steps(config, iteration)


def steps_to_starts(config: Config) -> int:
    """Real steps of an iteration that find the moments from which policies are compared."""
    return (config.inspection.num_starts - 1) * STEPS_BETWEEN_STARTS + 1


class WorldModelPlan:
    """What a run of the paper's algorithm needs, from its configuration alone; see ``plan_of``."""

    num_games = 1  #: real ones that it learns from side by side
    has_bfloat16 = True  #: whether ``precision`` may be that
    rollout_sizes = ("dream.num_dreams", "dream.horizon")  #: settings; steps of a policy update

    def __init__(self, config: Config):
        self._config = config

    def work(self) -> Work:
        """Dynamics updates at least, as each episode ends with a part of a window."""
        config, num_iterations = self._config, self._config.collection.num_iterations
        size = vqvae_steps = dynamics_steps = 0
        for iteration in range(1, num_iterations + 1):
            size += collection_steps(config, iteration)
            windows = size // (config.dynamics.window_length - 1)
            steps_per_epoch = max(1, windows // config.dynamics.windows_per_batch)
            dynamics_steps += config.dynamics.epochs[iteration - 1] * steps_per_epoch
            epochs = config.vqvae.warmup_epochs if iteration == 1 else config.vqvae.later_epochs
            vqvae_steps += epochs * max(1, size // config.vqvae.batch_size)
        if config.vqvae.update_interval:
            vqvae_steps += dynamics_steps // config.vqvae.update_interval
        ppo_updates = sum(config.ppo.num_updates[:num_iterations])
        episodes = _evaluation_episodes(config)
        return Work(self.real_steps(), vqvae_steps, dynamics_steps, ppo_updates, episodes)

    def real_steps(self) -> RealSteps:
        """By what they are for."""
        config, inspection = self._config, self._config.inspection
        interval, num_iterations = config.ppo.check_interval, config.collection.num_iterations
        held_out = num_iterations * inspection.held_out_steps
        to_starts = num_iterations * steps_to_starts(config)
        from_starts = inspection.num_starts * inspection.horizon  # each time that a policy plays
        num_looks, choosing = 0, held_out if config.dynamics.epoch_fallback else 0
        if interval:  # before the first update of an iteration, after each interval, after the last
            updates = config.ppo.num_updates[:num_iterations]
            num_looks = sum(1 + -(-count // interval) for count in updates)
            choosing += to_starts
        return RealSteps(
            learned_from=total_steps(config),
            chosen_by=choosing + num_looks * from_starts,
            only_judged=held_out + to_starts - choosing + num_iterations * from_starts,
        )


class ModelFreePlan:
    """The same for model-free PPO."""

    has_bfloat16 = False
    rollout_sizes = ("ppo.num_actors", "ppo.steps_per_rollout")

    def __init__(self, config: Config):
        self._config = config
        self.num_games = config.ppo.num_actors

    def work(self) -> Work:
        """One update of the policy after each rollout."""
        iterations = range(1, self._config.collection.num_iterations + 1)
        ppo_updates = sum(len(self.rollout_lengths(iteration)) for iteration in iterations)
        return Work(self.real_steps(), 0, 0, ppo_updates, _evaluation_episodes(self._config))

    def real_steps(self) -> RealSteps:
        """Nothing chooses or judges but the evaluation."""
        return RealSteps(total_steps(self._config), chosen_by=0, only_judged=0)

    def rollout_lengths(self, iteration: int) -> list[int]:
        """Steps per game of each rollout; an iteration's last may be shorter."""
        steps = collection_steps(self._config, iteration) // self.num_games
        most = self._config.ppo.steps_per_rollout
        return [min(most, steps - begun) for begun in range(0, steps, most)]


def plan_of(config: Config) -> WorldModelPlan | ModelFreePlan:
    """The plan of a run with this configuration."""
    return {"world_model": WorldModelPlan, "ppo": ModelFreePlan}[config.algorithm](config)


def _evaluation_episodes(config: Config) -> int:
    num_evaluations = -(-config.collection.num_iterations // config.evaluation.interval)
    return config.evaluation.num_episodes * num_evaluations


def share_left(final_share: float, number: int, count: int) -> float:
    """What is left, at one of so many steps counted from 0, of what falls in a line to a share."""
    return 1.0 - (1.0 - final_share) * number / max(1, count - 1)


def collecting_temperature(config: Config, iteration: int) -> float:
    """Of the policy's actions in a collection: it falls in a line from the second to the last."""
    collection = config.collection
    final_share, count = collection.final_temperature_share, collection.num_iterations - 1
    return collection.temperature * share_left(final_share, iteration - 2, count)


def policy_repeat_probability(config: Config, iteration: int) -> float:
    """The chance to hold an action in a collection with the policy: it falls in a line."""
    collection = config.collection
    passed = (iteration - 2) / (collection.num_iterations - 1)
    return collection.policy_repeat_probability * (1.0 - passed)


def policy_learning_rate(config: Config, number: int, num_updates: int) -> float:
    """Learning rate of one policy update: it falls in a line.

    Args:
      config: the run's configuration; reads ``ppo``.
      number: of the update, counted from 0: within the iteration, or the run if it is model-free.
      num_updates: of the iteration, or the run.
    """
    share = share_left(config.ppo.final_learning_rate_share, number, num_updates)
    return config.ppo.learning_rate * share
