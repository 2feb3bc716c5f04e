"""What each kind of work takes here, measured with a run's own networks on its own game."""

import contextlib
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent, RandomAgent
from smallwm_tf.agents.collecting import collect
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import Work, total_steps
from smallwm_tf.games.opening import open_game
from smallwm_tf.judging.evaluation import GAMES_AT_ONCE
from smallwm_tf.judging.judge import WorldModelJudge
from smallwm_tf.judging.null_policies import num_null_episodes
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import batches

if TYPE_CHECKING:
    from smallwm_tf.training.world_model_agent import WorldModelAgent

STEPS = 1000  # of the game, uniformly random
OTHER_SECONDS = 12.0  # start of the process, files and figures
PAIR = np.array([0, 1], np.int32)  # seed
MEASUREMENTS = 5  # after the game's
_LEAST_SECONDS = 2.0  # of each measurement


class RandomPlay(NamedTuple):
    """Some steps of uniformly random play."""

    num_actions: int
    replay: Replay  # of these steps
    observations: np.ndarray  # of the first ones
    opening: float  # seconds until a game has begun
    step: float  # seconds of one
    episode_steps: float  # of an episode, or of all steps that were tried

    def acted_step(self, agent: Agent, num_games: int = GAMES_AT_ONCE) -> float:
        """Seconds of one step of one game that an agent plays side by side with others."""
        seen, state = self.observations[:num_games], agent.begin(num_games)
        return self.step + timed(lambda: agent.act(seen, state, PAIR, 0))[0] / num_games

    def scoring(self, experiment: Experiment, work: Work, shared_step: float) -> float:
        """Seconds of all evaluations and of the null policies, in episodes as long as these.

        ``shared_step`` is one of the policy, where many games are played side by side.
        """
        num_episodes = experiment.config.evaluation.num_episodes
        num_nulls = num_null_episodes(experiment)
        num_groups = (work.evaluation_episodes + num_nulls) / num_episodes
        return (
            self.opening * num_groups * min(num_episodes, GAMES_AT_ONCE)
            + shared_step * self.episode_steps * work.evaluation_episodes
            + self.step * (self.episode_steps * num_nulls + work.real_steps.chosen_by)
        )


class Rates(NamedTuple):
    """Seconds of one unit of each kind of work."""

    acted_step: float  # of a real step of one game that the policy chooses
    shared_step: float  # the same where many games are played side by side
    encoded_frame: float
    vqvae_update: float
    dynamics_update: float
    policy_update: float
    judging: float  # of the measures of the world model after an iteration
    start: float  # of everything that is compiled once
    updates_per_step: float  # windows that fit into episodes, per real step and window of a batch

    def seconds(self, experiment: Experiment, work: Work, played: RandomPlay) -> dict[str, float]:
        """What a whole run takes by kind of work, if its episodes are as long as random ones."""
        config = experiment.config
        num_iterations, steps = config.collection.num_iterations, work.real_steps
        held_out, first = config.inspection.held_out_steps, config.collection.first_iteration_steps
        looks = steps.chosen_by + steps.only_judged - num_iterations * held_out
        sizes = [total_steps(config, number + 1) for number in range(num_iterations)]
        dynamics_updates = sum(
            epochs * max(1, size * self.updates_per_step)
            for epochs, size in zip(config.dynamics.epochs, sizes, strict=False)
        )
        formed = sum(sizes) if config.vqvae.later_epochs else sizes[-1]
        encoded = 0 if config.vqvae.update_interval else formed
        later = num_iterations - 1
        return {
            "collecting": played.step * first + self.acted_step * (steps.learned_from - first),
            "VQ-VAE updates": self.vqvae_update * work.vqvae_steps,
            "encoding": self.encoded_frame * encoded,
            "dynamics updates": self.dynamics_update * dynamics_updates,
            "held-out steps and measures": (played.step + self.acted_step * later) * held_out
            + self.judging * num_iterations,
            "policy updates": self.policy_update * work.ppo_updates,
            "what policies earn and are promised": self.shared_step * looks,
            "evaluations and null policies": played.scoring(experiment, work, self.shared_step),
            "start and compiling": OTHER_SECONDS + self.start,
        }


def play_at_random(experiment: Experiment) -> RandomPlay:
    """Plays the experiment's game and watches the clock."""
    begun = time.perf_counter()
    with contextlib.closing(open_game(experiment, "rates")) as game:
        game.reset()
        opening, begun = time.perf_counter() - begun, time.perf_counter()
        played = collect(game, RandomAgent(game.num_actions), STEPS, (0, "rates"))
        step = (time.perf_counter() - begun) / STEPS
    replay = Replay(STEPS)
    replay.append(**played.steps())
    num_frames = experiment.config.game.num_stacked_frames
    observations = replay.observations(tf.range(GAMES_AT_ONCE), num_frames).numpy()
    episode_steps = STEPS / max(1, len(played.episode_returns))
    return RandomPlay(game.num_actions, replay, observations, opening, step, episode_steps)


def measure_rates(
    agent: "WorldModelAgent",
    played: RandomPlay,
    experiment: Experiment,
    on_part: Callable[[], None] = lambda: None,
) -> Rates:
    """Trains an agent of its own on the steps that were played, and watches the clock.

    ``on_part`` is called after each of the ``MEASUREMENTS``; it may raise to stop.
    """
    config, replay, world_model = experiment.config, played.replay, agent.world_model
    generator, seed = np.random.default_rng(0), tf.constant(PAIR)
    length, size = config.dynamics.window_length, config.dynamics.windows_per_batch
    starts = replay.window_starts(generator, length)
    frames = batches(replay.frame_order(generator), config.vqvae.batch_size)[:1]
    windows = batches(starts, size)[:1]
    encode = tf.function(world_model.encode)
    player, learner = agent.networks.agent(1.0), agent.world_model_learner
    vqvae_update, start_vqvae = timed(lambda: learner.warmup_steps(frames).numpy())
    on_part()
    learner.encoded.encode_all()
    # Number 1: beside number 0 the VQ-VAE learns, too.
    dynamics_update, start_dynamics = timed(
        lambda: learner.joint_steps(windows, 1, seed)[2].numpy()
    )
    on_part()
    policy_update, start_policy = timed(
        lambda: agent.policy_learner.update(seed, 0, config.ppo.learning_rate).numpy()
    )
    on_part()
    judge = WorldModelJudge(agent.dream.dreamer, replay, length)
    judging, start_judging = timed(lambda: judge.judge(experiment, 1), repetitions=1)
    on_part()
    rates = Rates(
        acted_step=played.acted_step(player, num_games=1),
        shared_step=played.acted_step(player),
        encoded_frame=timed(lambda: encode(played.observations).numpy())[0] / GAMES_AT_ONCE,
        vqvae_update=vqvae_update,
        dynamics_update=dynamics_update,
        policy_update=policy_update,
        judging=judging * config.inspection.held_out_steps / STEPS,
        start=start_vqvae + start_dynamics + start_policy + start_judging,
        updates_per_step=len(starts) / STEPS / size,
    )
    on_part()
    return rates


def timed(call: Callable[[], object], repetitions: int = 3) -> tuple[float, float]:
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
