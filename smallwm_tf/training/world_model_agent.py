"""The paper's agent: a policy that learns in the dreams of a world model (section 3)."""

from collections.abc import Callable

from smallwm_tf.agents.networks import CodeNetworks
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import Work, total_steps
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.dream_policy_learner import DreamPolicyLearner
from smallwm_tf.learning.replay import Replay
from smallwm_tf.learning.world_model_learner import WorldModelLearner
from smallwm_tf.models.imagination import Dreamer, DreamSettings
from smallwm_tf.training.collect_phase import CollectPhase
from smallwm_tf.training.evaluation_phase import EvaluationPhase
from smallwm_tf.training.policy_phase import PolicyPhase
from smallwm_tf.training.rates import MEASUREMENTS, measure_rates, play_at_random
from smallwm_tf.training.world_model_phase import WorldModelPhase


class WorldModelAgent:
    """World model, policy, and what trains them on the replay and in dreams; an ``Algorithm``.

    Args:
      experiment: what is asked for.
      num_actions: M of the game.
      replay: of all steps that are to come; one as large as the run needs if not given.
    """

    num_measurements = 1 + MEASUREMENTS

    def __init__(self, experiment: Experiment, num_actions: int, replay: Replay | None = None):
        config = experiment.config
        self.replay = replay = Replay(total_steps(config)) if replay is None else replay
        self.networks = networks = CodeNetworks(config, num_actions, experiment.seed)
        self.world_model, self.policy = networks.world_model, networks.policy
        self.world_model_learner = WorldModelLearner(
            self.world_model, replay, config, experiment.seed
        )
        dreamer = Dreamer(self.world_model, DreamSettings.of(config))
        self.dream = DreamEnvironment(dreamer, replay, config, self.world_model_learner.encoded)
        optimizer = built_adam(config, config.ppo.learning_rate, self.policy.trainable_variables)
        self.policy_learner = DreamPolicyLearner(self.dream, self.policy, optimizer, config)
        self.components = {
            **networks.components,
            "vqvae_optimizer": self.world_model_learner.vqvae_optimizer,
            "dynamics_optimizer": self.world_model_learner.dynamics_optimizer,
            "reward_optimizer": self.world_model_learner.reward_optimizer,
            "policy_optimizer": optimizer,
            "vqvae_updates": self.world_model_learner.vqvae_updates,
            "dynamics_updates": self.world_model_learner.dynamics_updates,
            "policy_updates": self.policy_learner.num_updates,
        }
        if recognition := self.world_model_learner.recognition:
            self.components["recognition_head"] = recognition.head
            self.components["recognition_optimizer"] = recognition.optimizer
        self.phases = (
            CollectPhase(networks),
            WorldModelPhase(networks, self.world_model_learner, dreamer),
            PolicyPhase(networks, self.policy_learner, dreamer),
            EvaluationPhase(networks),
        )

    @classmethod
    def seconds(
        cls, experiment: Experiment, work: Work, on_part: Callable[[], None]
    ) -> dict[str, float]:
        """See ``Algorithm.seconds``."""
        played = play_at_random(experiment)
        on_part()
        agent = cls(experiment, played.num_actions, played.replay)
        rates = measure_rates(agent, played, experiment, on_part)
        return rates.seconds(experiment, work, played)
