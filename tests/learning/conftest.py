"""A policy in a tiny dream, shared by the tests of PPO."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from tests.made_replays import made_replay

PPO_DIFFERENCES = {
    "game.num_stacked_frames": 1,
    "vqvae.num_embeddings": 16,
    "dynamics.channels": 4,
    "dynamics.convolution": "direct",
    "dream.num_dreams": 2,
    "dream.horizon": 3,
    "ppo.minibatch_size": 4,
    "ppo.num_epochs": 2,
}


class PolicyParts:
    """A world model, its dream and a policy; agents and learners on top are cheap."""

    def __init__(self):
        tf.keras.utils.set_random_seed(3)
        self.world_model, self.policy = build_models(build_config(PPO_DIFFERENCES), num_actions=3)
        self.replay = made_replay(5, actions=np.zeros(5))
        self.initial = [variable.numpy() for variable in self.policy.variables]

    def learner(self, optimizer=None, **differences) -> DreamPolicyLearner:
        config = build_config(PPO_DIFFERENCES | differences)
        dreamer = Dreamer(self.world_model, DreamSettings.of(config))
        environment = DreamEnvironment(dreamer, self.replay, config)
        if optimizer is None:
            variables = self.policy.trainable_variables
            optimizer = built_adam(config, config.ppo.learning_rate, variables)
        return DreamPolicyLearner(environment, self.policy, optimizer, config)

    def be_constant(self, logits: list[float], value: float) -> None:
        """Lets the policy answer every observation alike."""
        for layer in (self.policy.logits, self.policy.value):
            layer.kernel.assign(tf.zeros_like(layer.kernel))
        self.policy.logits.bias.assign(logits)
        self.policy.value.bias.assign([value])


@pytest.fixture(scope="module")
def shared_parts():
    return PolicyParts()


@pytest.fixture
def parts(shared_parts):
    for variable, value in zip(shared_parts.policy.variables, shared_parts.initial, strict=True):
        variable.assign(value)
    return shared_parts
