"""Model-free PPO: what the paper compares itself with (section 4), without a world model."""

import tensorflow as tf

from smallwm_tf.agents.frame_policy_agent import FramePolicyAgent
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.learning.adam import BiasCorrectedAdam
from smallwm_tf.learning.game_policy_learner import GamePolicyLearner
from smallwm_tf.models.build import build_frame_policy
from smallwm_tf.training.evaluation_phase import EvaluationPhase
from smallwm_tf.training.game_policy_phase import GamePolicyPhase


class ModelFreeAgent:
    """A policy on frames and what trains it in the real game; an ``Algorithm``.

    Args:
      experiment: what is asked for.
      num_actions: M of the game.
    """

    replay = None

    def __init__(self, experiment: Experiment, num_actions: int):
        config = experiment.config
        self.policy = policy = build_frame_policy(config, num_actions, experiment.seed)
        optimizer = BiasCorrectedAdam(config.ppo.learning_rate, **dict(config.adam))
        optimizer.build(policy.trainable_variables)
        self.learner = GamePolicyLearner(policy, optimizer, config)
        num_games = config.ppo.num_actors
        running_returns = tf.Variable(tf.zeros([num_games], tf.float64), trainable=False)
        self.components = {
            "policy": policy,
            "policy_optimizer": optimizer,
            "policy_updates": self.learner.num_updates,
            "running_returns": running_returns,
        }
        temperature = config.evaluation.temperature
        self.phases = (
            GamePolicyPhase(self.learner, running_returns),
            EvaluationPhase(lambda: FramePolicyAgent(policy, temperature)),
        )
