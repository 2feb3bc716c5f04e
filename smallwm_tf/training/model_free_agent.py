"""Model-free PPO: what the paper compares itself with (section 4), without a world model."""

import contextlib
from collections.abc import Callable

import tensorflow as tf

from smallwm_tf.agents.networks import FrameNetworks
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import Work
from smallwm_tf.games.opening import open_game
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.game_policy_learner import GamePolicyLearner, play_rollout
from smallwm_tf.training.evaluation_phase import EvaluationPhase
from smallwm_tf.training.game_policy_phase import GamePolicyPhase
from smallwm_tf.training.rates import OTHER_SECONDS, PAIR, STEPS, play_at_random, timed


class ModelFreeAgent:
    """A policy on frames and what trains it in the real game; an ``Algorithm``.

    Args:
      experiment: what is asked for.
      num_actions: M of the game.
    """

    replay = None
    num_measurements = 3

    def __init__(self, experiment: Experiment, num_actions: int):
        config = experiment.config
        self.networks = FrameNetworks(config, num_actions, experiment.seed)
        policy = self.networks.policy
        optimizer = built_adam(config, config.ppo.learning_rate, policy.trainable_variables)
        self.learner = GamePolicyLearner(policy, optimizer, config)
        num_games = config.ppo.num_actors
        running_returns = tf.Variable(tf.zeros([num_games], tf.float64), trainable=False)
        self.components = {
            **self.networks.components,
            "policy_optimizer": optimizer,
            "policy_updates": self.learner.num_updates,
            "running_returns": running_returns,
        }
        self.phases = (
            GamePolicyPhase(self.learner, running_returns),
            EvaluationPhase(self.networks),
        )

    @classmethod
    def seconds(
        cls, experiment: Experiment, work: Work, on_part: Callable[[], None]
    ) -> dict[str, float]:
        """See ``Algorithm.seconds``."""
        config, played = experiment.config, play_at_random(experiment)
        on_part()
        agent = cls(experiment, played.num_actions)
        num_games, rate = config.ppo.num_actors, config.ppo.learning_rate
        num_steps = min(STEPS, config.ppo.steps_per_rollout)
        with contextlib.ExitStack() as opened:
            games = [open_game(experiment, "rates", number) for number in range(num_games)]
            for game in games:
                opened.callback(game.close)
                game.reset()

            def play_and_learn() -> None:
                rollout = play_rollout(agent.learner, games, num_steps, PAIR)
                agent.learner.update(rollout, PAIR, rate)

            update, start = timed(play_and_learn)
        on_part()
        updates = work.real_steps.learned_from / (num_games * num_steps)
        acted_step = played.acted_step(agent.networks.agent(1.0))
        on_part()
        return {
            "playing and policy updates": update * updates,
            "evaluations and null policies": played.scoring(experiment, work, acted_step),
            "start and compiling": OTHER_SECONDS + start,
        }
