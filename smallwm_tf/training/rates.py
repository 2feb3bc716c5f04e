"""What each kind of work takes here, measured with a run's own networks on its own game."""

import contextlib
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import RandomAgent
from smallwm_tf.agents.collecting import Collector
from smallwm_tf.agents.frame_policy_agent import FramePolicyAgent
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import Work, total_steps
from smallwm_tf.games.opening import open_game
from smallwm_tf.judging.judge import judge_world_model
from smallwm_tf.learning.game_policy_learner import Rollout, play_rollout
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import batches
from smallwm_tf.training.model_free_agent import ModelFreeAgent
from smallwm_tf.training.world_model_agent import WorldModelAgent

_STEPS = 1000  # of the game, uniformly random
_LEAST_SECONDS = 2.0  # of each measurement
_GAMES = 32  # observations that an evaluation asks about at once
_OTHER_SECONDS = 12.0  # start of the process, files and figures


class Rates(NamedTuple):
    """Seconds of one unit of each kind of work.

    Attributes:
      random_step: of a real step that the random policy chooses.
      acted_step: of a real step of one game that the policy chooses.
      shared_step: the same where many games are played side by side.
      encoded_frame: of encoding one observation.
      vqvae_update, dynamics_update, policy_update: of one each.
      judging: of the measures of the world model after an iteration.
      start: of everything that is compiled once.
      updates_per_step: windows per real step over the windows of a batch, which fit into episodes.
      episode_steps: of an episode of random play, or of all steps that were tried.
    """

    random_step: float
    acted_step: float
    shared_step: float
    encoded_frame: float
    vqvae_update: float
    dynamics_update: float
    policy_update: float
    judging: float
    start: float
    updates_per_step: float
    episode_steps: float

    def seconds(self, experiment: Experiment, work: Work) -> float:
        """What a whole run takes, if its episodes are as long as random ones."""
        config = experiment.config
        num_iterations, steps = config.collection.num_iterations, work.real_steps
        held_out = config.inspection.held_out_steps
        looks = steps.chosen_by + steps.only_judged - num_iterations * held_out
        random_steps = config.collection.first_iteration_steps + held_out
        alone = steps.learned_from + num_iterations * held_out
        sizes = [total_steps(config, number + 1) for number in range(num_iterations)]
        dynamics_updates = sum(
            epochs * max(1, size * self.updates_per_step)
            for epochs, size in zip(config.dynamics.epochs, sizes, strict=False)
        )
        encoded = 0 if config.vqvae.update_interval else num_iterations * sizes[-1]
        return (
            _OTHER_SECONDS
            + self.start
            + self.random_step * random_steps
            + self.acted_step * (alone - random_steps)
            + self.shared_step * looks
            + self.encoded_frame * encoded
            + self.vqvae_update * work.vqvae_steps
            + self.dynamics_update * dynamics_updates
            + self.policy_update * work.ppo_updates
            + self.judging * num_iterations
            + self.shared_step * self.episode_steps * work.evaluation_episodes
        )


def measure_rates(experiment: Experiment) -> Rates:
    """Plays some steps, trains networks of its own on them, and watches the clock."""
    config, seed = experiment.config, tf.constant([0, 1])
    generator = np.random.default_rng(0)
    with contextlib.closing(open_game(experiment, "rates")) as game:
        game.reset()
        begun = time.perf_counter()
        played = Collector(game).collect(RandomAgent(game.num_actions), _STEPS, (0, "rates"))
        random_step = (time.perf_counter() - begun) / _STEPS
        replay = Replay(_STEPS)
        replay.append(**played.steps())
        algorithm = WorldModelAgent(experiment, game.num_actions, replay)
    learner, world_model = algorithm.world_model_learner, algorithm.world_model
    length, size = config.dynamics.window_length, config.dynamics.windows_per_batch
    starts = replay.window_starts(generator, length)
    frames = batches(replay.frame_order(generator), config.vqvae.batch_size)[:1]
    windows = batches(starts, size)[:1]
    num_frames = config.game.num_stacked_frames
    observations = replay.observations(tf.range(_GAMES), num_frames).numpy()
    agent = PolicyAgent(world_model.vqvae, algorithm.policy)
    encode = tf.function(world_model.encode)
    rate, pair = config.ppo.learning_rate, seed.numpy()
    vqvae_update, start_vqvae = _time(lambda: learner.warmup_steps(frames).numpy())
    learner.encode_replay()
    # Number 1: beside number 0 the VQ-VAE learns, too.
    dynamics_update, start_dynamics = _time(
        lambda: learner.joint_steps(windows, 1, seed)[2].numpy()
    )
    policy_update, start_policy = _time(
        lambda: algorithm.policy_learner.update(seed, 0, rate).numpy()
    )
    judging, start_judging = _time(
        lambda: judge_world_model(world_model, replay, experiment, 1), repetitions=1
    )
    act_alone, _ = _time(lambda: agent.act(observations[:1], (), pair, 0))
    act_together, _ = _time(lambda: agent.act(observations, (), pair, 0))
    encoding, _ = _time(lambda: encode(observations).numpy())
    return Rates(
        random_step=random_step,
        acted_step=random_step + act_alone,
        shared_step=random_step + act_together / _GAMES,
        encoded_frame=encoding / _GAMES,
        vqvae_update=vqvae_update,
        dynamics_update=dynamics_update,
        policy_update=policy_update,
        judging=judging * config.inspection.held_out_steps / _STEPS,
        start=start_vqvae + start_dynamics + start_policy + start_judging,
        updates_per_step=len(starts) / _STEPS / size,
        episode_steps=_STEPS / max(1, len(played.episode_returns)),
    )


def estimate_seconds(experiment: Experiment, work: Work) -> float:
    """What a whole run takes, if its episodes are as long as random ones; measures for a minute."""
    if experiment.config.algorithm == "ppo":
        return _model_free_seconds(experiment, work)
    return measure_rates(experiment).seconds(experiment, work)


def _model_free_seconds(experiment: Experiment, work: Work) -> float:
    config, pair = experiment.config, np.array([0, 1], np.int32)
    with contextlib.ExitStack() as opened:
        games = [
            opened.enter_context(contextlib.closing(open_game(experiment, "rates", number)))
            for number in range(config.ppo.num_actors)
        ]
        for game in games:
            game.reset()
        algorithm = ModelFreeAgent(experiment, games[0].num_actions)
        num_steps, rate = min(_STEPS, config.ppo.steps_per_rollout), config.ppo.learning_rate
        rollouts: list[Rollout] = []

        def play_and_learn() -> None:
            rollouts.append(play_rollout(algorithm.learner, games, num_steps, pair))
            algorithm.learner.update(rollouts[-1], pair, rate)

        update, start = _time(play_and_learn)
        observations = rollouts[-1].frames[:, :_GAMES].reshape([-1, *rollouts[-1].frames.shape[2:]])
        agent = FramePolicyAgent(algorithm.policy)
        act_together, _ = _time(lambda: agent.act(observations[:_GAMES], (), pair, 0))
        begun = time.perf_counter()
        played = Collector(games[0]).collect(
            RandomAgent(games[0].num_actions), _STEPS, (0, "rates")
        )
        random_step = (time.perf_counter() - begun) / _STEPS
    episode_steps = _STEPS / max(1, len(played.episode_returns))
    evaluated_steps = episode_steps * work.evaluation_episodes
    updates = work.real_steps.learned_from / (config.ppo.num_actors * num_steps)
    acted_step = random_step + act_together / _GAMES
    return _OTHER_SECONDS + start + update * updates + acted_step * evaluated_steps


def _time(call: Callable[[], object], repetitions: int = 3) -> tuple[float, float]:
    """Median seconds of a call, and what its first one took more."""
    begun = time.perf_counter()
    call()
    first = time.perf_counter() - begun
    times: list[float] = []
    while len(times) < repetitions or (repetitions > 1 and sum(times) < _LEAST_SECONDS):
        begun = time.perf_counter()
        call()
        times.append(time.perf_counter() - begun)
    median = float(np.median(times))
    return median, max(0.0, first - median)
