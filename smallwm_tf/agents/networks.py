"""The networks that an algorithm learns with, put to use on real observations.

Shapes: B batch, F stacked frames, M actions.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent, SeeingAgent
from smallwm_tf.agents.episode_memory import MemoryKeeper
from smallwm_tf.agents.policy_agent import PolicyAgent, acting_graph
from smallwm_tf.experiment.config import Config
from smallwm_tf.models.build import build_frame_policy, build_models
from smallwm_tf.models.carried_state import StateCarrier
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.imagination import DreamableModel, Past
from smallwm_tf.models.input_checks import check_range
from smallwm_tf.models.parameter_counts import frame_policy_counts, parameter_counts
from smallwm_tf.models.policy import PolicyObservation, draw_actions


class PolicyOutput(NamedTuple):
    """What a policy and its critic say of codes, or of observations."""

    logits: np.ndarray  # float32 [B, M]
    values: np.ndarray  # float32 [B], discounted clipped rewards that the critic expects


class Networks(Protocol):
    """What encodes and acts, and what dreams; without a world model only the last two methods."""

    world_model: DreamableModel | None  # None if it was not exported, or there never was one
    memory: MemoryKeeper  # of the policy

    def encode(self, observations: np.ndarray) -> np.ndarray:
        """uint8 [B, 96, 96, F] → codes int32 [B, 6, 6]."""

    def policy_of(self, observation: np.ndarray | PolicyObservation) -> PolicyOutput:
        """Action logits and values of codes int32 [B, 6, 6]; ``ValueError`` if there is no such.

        What the policy sees beside them may be given; else it is that of an episode's beginning.
        """
        ...

    def policy_in_graph(
        self, observation: tf.Tensor | PolicyObservation
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The same inside graphs, unchecked, of all that the policy sees."""
        ...

    def policy_on(
        self, observations: np.ndarray, memory: Any = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        """The same of uint8 [B, 96, 96, F], and the codes in between if there are any.

        The ``memory`` is the policy's; None where episodes begin.
        """
        ...

    def agent(self, temperature: float) -> Agent:
        """What acts in the real game with the weights of the moment; 0 is greedy."""


class CodeNetworks:
    """World model, and policy on its codes: the ``Networks`` of the paper's algorithm.

    Args:
      config: the run's.
      num_actions: M of the game.
      seed: of the initial weights.

    Attributes:
      components: networks by the names under which a checkpoint holds them.
      parameters: counts by part, as in the paper's Table 3.
    """

    def __init__(self, config: Config, num_actions: int, seed: int = 0):
        self.world_model, self.policy = build_models(config, num_actions, seed)
        vqvae, dynamics = self.world_model.vqvae, self.world_model.dynamics
        self.components = {"vqvae": vqvae, "dynamics": dynamics, "policy": self.policy}
        self.parameters = parameter_counts(self.world_model, self.policy)
        self._encode = tf.function(self.world_model.encode, reduce_retracing=True, autograph=False)
        self._policy = tf.function(
            lambda observation: self.policy(observation, vqvae.quantizer.embeddings),
            reduce_retracing=True,
            autograph=False,
        )
        carrier = StateCarrier(dynamics.stack, vqvae.quantizer.embeddings)
        self.memory = MemoryKeeper(
            self.policy.sees_last_action, carrier if self.policy.sees_state else None
        )

    def encode(self, observations: np.ndarray) -> np.ndarray:
        return self._encode(tf.constant(observations)).numpy()

    def policy_of(self, observation: np.ndarray | PolicyObservation) -> PolicyOutput:
        observation = tf.nest.map_structure(tf.convert_to_tensor, observation)
        check_range("codes", tf.nest.flatten(observation)[0], self.world_model.num_embeddings)
        return PolicyOutput(*(output.numpy() for output in self._policy(observation)))

    def policy_in_graph(
        self, observation: tf.Tensor | PolicyObservation
    ) -> tuple[tf.Tensor, tf.Tensor]:
        return self._policy(observation)

    def policy_on(
        self, observations: np.ndarray, memory: Any = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        codes = self.encode(observations)
        memory = self.memory.begin(len(codes)) if memory is None else memory
        return self.policy_of(self.memory.observation(codes, memory)), codes

    def agent(self, temperature: float) -> PolicyAgent:
        return PolicyAgent(self.world_model, self.policy, temperature)


class FrameNetworks:
    """The policy on frames of model-free PPO, without a world model; see ``CodeNetworks``."""

    world_model, memory = None, MemoryKeeper()

    def __init__(self, config: Config, num_actions: int, seed: int = 0):
        self.policy = build_frame_policy(config, num_actions, seed)
        self.components = {"policy": self.policy}
        self.parameters = frame_policy_counts(self.policy)

    def policy_on(
        self, observations: np.ndarray, memory: Any = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        return PolicyOutput(*(output.numpy() for output in self.policy(observations))), None

    def agent(self, temperature: float) -> SeeingAgent:
        policy, num_frames = self.policy, self.policy.num_stacked_frames
        snapshot = FramePolicy(policy.num_actions, num_frames, drawn=False)
        snapshot.set_weights(policy.get_weights())

        def act(observations, seed, step):
            return draw_actions(snapshot(observations)[0], temperature, seed, step)

        graph = acting_graph(act, num_frames)
        return SeeingAgent(lambda *inputs: graph(*inputs).numpy())


class NetworksAgent:
    """Acts by networks that do not change; 0 is the greedy temperature."""

    def __init__(self, networks: Networks, temperature: float):
        self._networks, self._temperature = networks, temperature

    def begin(self, num_games: int, past: Past | None = None) -> Any:
        """See ``Agent.begin``."""
        keeper = self._networks.memory
        if past is None:
            return _in_numpy(keeper.begin(num_games))
        return _in_numpy(keeper.begin_after(past, self._networks.encode))

    def act(
        self, observations: np.ndarray, state: Any, seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, Any]:
        """See ``Agent.act``; the state is the policy's memory, or None where episodes begin."""
        keeper = self._networks.memory
        state = keeper.begin(len(observations)) if state is None else state
        (logits, _), codes = self._networks.policy_on(observations, state)
        actions = draw_actions(logits, self._temperature, seed, step)
        return actions.numpy(), _in_numpy(keeper.after(codes, actions, state))


def _in_numpy(memory: Any) -> Any:
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), memory)


def build_networks(config: Config, *arguments: Any) -> CodeNetworks | FrameNetworks:
    """Fresh networks of the configuration's algorithm; arguments as of ``CodeNetworks``."""
    return {"world_model": CodeNetworks, "ppo": FrameNetworks}[config.algorithm](config, *arguments)
