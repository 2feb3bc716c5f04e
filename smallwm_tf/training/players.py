"""The agents that play the real game for a run."""

from smallwm_tf.agents.agent import Agent, RandomAgent
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.experiment.config import Config
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vqvae import VQVAE


class Players:
    """Makes agents out of the networks' weights of the moment."""

    def __init__(self, config: Config, vqvae: VQVAE, policy: PolicyAndValue):
        self._config, self._vqvae, self._policy = config, vqvae, policy

    def collecting(self, iteration: int) -> Agent:
        """Who collects real steps: nobody knows anything in the first iteration."""
        collection = self._config.collection
        if iteration == 1:
            return RandomAgent(self._policy.num_actions, collection.repeat_probability)
        return PolicyAgent(self._vqvae, self._policy, collection.temperature)

    def evaluated(self) -> Agent:
        """The policy as it is scored."""
        return PolicyAgent(self._vqvae, self._policy, self._config.evaluation.temperature)
