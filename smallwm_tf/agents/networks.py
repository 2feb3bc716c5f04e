"""The networks that an algorithm learns with, put to use on real observations.

Shapes: B batch, F stacked frames, M actions.
"""

from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent, SeeingAgent
from smallwm_tf.agents.policy_agent import PolicyAgent, drawing_graph
from smallwm_tf.experiment.config import Config
from smallwm_tf.models.build import build_frame_policy, build_models
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.imagination import DreamableModel
from smallwm_tf.models.input_checks import check_range
from smallwm_tf.models.parameter_counts import frame_policy_counts, parameter_counts


class PolicyOutput(NamedTuple):
    """What a policy and its critic say of codes, or of observations."""

    logits: np.ndarray  # float32 [B, M]
    values: np.ndarray  # float32 [B], discounted clipped rewards that the critic expects


class Networks(Protocol):
    """What encodes and acts, and what dreams; without a world model only the last two methods."""

    world_model: DreamableModel | None  # None if it was not exported, or there never was one

    def encode(self, observations: np.ndarray) -> np.ndarray:
        """uint8 [B, 96, 96, F] → codes int32 [B, 6, 6]."""

    def policy_of(self, codes: np.ndarray, last_actions: np.ndarray | None = None) -> PolicyOutput:
        """Action logits and values of codes int32 [B, 6, 6]; ``ValueError`` if there is no such.

        A policy that sees its last action takes them int32 [B]; none where an episode begins.
        """
        ...

    def policy_on(
        self, observations: np.ndarray, last_actions: np.ndarray | None = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        """The same of uint8 [B, 96, 96, F], and the codes in between if there are any."""
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
            lambda codes, last_actions: self.policy(
                codes, vqvae.quantizer.embeddings, last_actions=last_actions
            ),
            reduce_retracing=True,
            autograph=False,
        )

    def encode(self, observations: np.ndarray) -> np.ndarray:
        return self._encode(tf.constant(observations)).numpy()

    def policy_of(self, codes: np.ndarray, last_actions: np.ndarray | None = None) -> PolicyOutput:
        check_range("codes", codes, self.world_model.num_embeddings)
        answer = self._policy(tf.constant(codes), last_actions)
        return PolicyOutput(*(output.numpy() for output in answer))

    def policy_on(
        self, observations: np.ndarray, last_actions: np.ndarray | None = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        codes = self.encode(observations)
        return self.policy_of(codes, last_actions), codes

    def agent(self, temperature: float) -> PolicyAgent:
        return PolicyAgent(self.world_model.vqvae, self.policy, temperature)


class FrameNetworks:
    """The policy on frames of model-free PPO, without a world model; see ``CodeNetworks``."""

    world_model = None

    def __init__(self, config: Config, num_actions: int, seed: int = 0):
        self.policy = build_frame_policy(config, num_actions, seed)
        self.components = {"policy": self.policy}
        self.parameters = frame_policy_counts(self.policy)

    def policy_on(
        self, observations: np.ndarray, last_actions: np.ndarray | None = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        return PolicyOutput(*(output.numpy() for output in self.policy(observations))), None

    def agent(self, temperature: float) -> SeeingAgent:
        policy, num_frames = self.policy, self.policy.num_stacked_frames
        snapshot = FramePolicy(policy.num_actions, num_frames, drawn=False)
        snapshot.set_weights(policy.get_weights())
        graph = drawing_graph(snapshot, num_frames, temperature)
        return SeeingAgent(lambda *inputs: graph(*inputs).numpy())


def build_networks(config: Config, *arguments: Any) -> CodeNetworks | FrameNetworks:
    """Fresh networks of the configuration's algorithm; arguments as of ``CodeNetworks``."""
    return {"world_model": CodeNetworks, "ppo": FrameNetworks}[config.algorithm](config, *arguments)
