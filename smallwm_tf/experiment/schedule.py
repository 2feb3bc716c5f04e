"""How much of everything a run will do, from its configuration alone."""

from typing import NamedTuple

#: What an iteration consists of, in the order in which it runs.
PHASES = ("collect", "learn_world_model", "learn_policy", "evaluate")


#: TEMPORARY
STEPS_BETWEEN_STARTS = 20


class Work(NamedTuple):
    """Amounts of work of a whole run."""

    real_steps: int
    vqvae_steps: int
    dynamics_steps: int
    ppo_updates: int
    evaluation_episodes: int
    choosing_steps: int  # most real steps that policies are looked at for, see ppo.check_interval


def collection_steps(config, iteration: int) -> int:
    """Real steps of an iteration, counted from 1."""
    collection = config.collection
    return collection.first_iteration_steps if iteration == 1 else collection.steps_per_iteration


def total_steps(config, num_iterations: int | None = None) -> int:
    """Real steps of the first iterations; without a number of the whole run, the replay's size."""
    iterations = range(1, (num_iterations or config.collection.num_iterations) + 1)
    return sum(collection_steps(config, iteration) for iteration in iterations)


def expected_work(config) -> Work:
    """Amounts of work; dynamics updates at least, as each episode ends with a part of a window."""
    iterations = range(1, config.collection.num_iterations + 1)
    size = vqvae_steps = dynamics_steps = 0
    for iteration in iterations:
        size += collection_steps(config, iteration)
        windows = size // (config.dynamics.window_length - 1)
        steps_per_epoch = max(1, windows // config.dynamics.windows_per_batch)
        dynamics_steps += config.dynamics.epochs[iteration - 1] * steps_per_epoch
        epochs = config.vqvae.warmup_epochs if iteration == 1 else config.vqvae.later_epochs
        vqvae_steps += epochs * max(1, size // config.vqvae.batch_size)
    if config.vqvae.update_interval:
        vqvae_steps += dynamics_steps // config.vqvae.update_interval
    return Work(
        real_steps=size,
        vqvae_steps=vqvae_steps,
        dynamics_steps=dynamics_steps,
        ppo_updates=sum(config.ppo.num_updates[: config.collection.num_iterations]),
        evaluation_episodes=config.evaluation.num_episodes
        * -(-config.collection.num_iterations // config.evaluation.interval),
        choosing_steps=_choosing_steps(config),
    )


def policy_learning_rate(config, number: int, num_updates: int) -> float:
    """Learning rate of one policy update: falls in a line, starts anew with every iteration.

    Args:
      config: the run's configuration; reads ``ppo``.
      number: of the update within the iteration, counted from 0.
      num_updates: of the iteration.
    """
    final = config.ppo.final_learning_rate_share
    share = 1.0 - (1.0 - final) * number / max(1, num_updates - 1)
    return config.ppo.learning_rate * share


def _choosing_steps(config) -> int:
    """A policy plays to be chosen before each policy phase and after every interval of it."""
    interval = config.ppo.check_interval
    if not interval:
        return 0
    updates = config.ppo.num_updates[: config.collection.num_iterations]
    num_looks = sum(1 + -(-count // interval) for count in updates)
    return num_looks * config.inspection.num_starts * config.inspection.horizon
