"""The algorithms, by what the setting ``algorithm`` calls them."""

from smallwm_tf.training.model_free_agent import ModelFreeAgent
from smallwm_tf.training.protocols import Algorithm
from smallwm_tf.training.world_model_agent import WorldModelAgent

ALGORITHMS: dict[str, type[Algorithm]] = {"world_model": WorldModelAgent, "ppo": ModelFreeAgent}
