"""A trained agent to use, out of a run directory or out of an export.

Both kinds offer the same: real observations are encoded and acted on, codes are dreamed on and
decoded. Shapes: B batch, F stacked frames, M actions.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import ml_collections
import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.frame_policy_agent import FramePolicyAgent
from smallwm_tf.agents.policy_agent import PolicyAgent
from smallwm_tf.experiment.config import Config, validate
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.imagination import DreamableModel
from smallwm_tf.models.policy import PolicyAndValue, draw_actions
from smallwm_tf.models.world_model import WorldModel
from smallwm_tf.runs import RunError


class PolicyOutput(NamedTuple):
    """What a policy and its critic say of codes, or of observations."""

    logits: np.ndarray  # float32 [B, M]
    values: np.ndarray  # float32 [B], discounted clipped rewards that the critic expects


class Networks(Protocol):
    """What encodes and acts, and what dreams; without a world model only the last two methods."""

    world_model: DreamableModel | None  # None if it was not exported, or there never was one

    def encode(self, observations: np.ndarray) -> np.ndarray:
        """uint8 [B, 96, 96, F] → codes int32 [B, 6, 6]."""

    def policy_of(self, codes: np.ndarray) -> PolicyOutput:
        """Action logits and values of codes int32 [B, 6, 6]."""

    def policy_on(self, observations: np.ndarray) -> tuple[PolicyOutput, np.ndarray | None]:
        """Logits and values of uint8 [B, 96, 96, F], and the codes in between if there are any."""
        ...

    def agent(self, temperature: float) -> Agent:
        """What acts in the real game, at a temperature; 0 is greedy."""


class TrainedNetworks:
    """The ``Networks`` of a run."""

    def __init__(self, world_model: WorldModel, policy: PolicyAndValue):
        self.world_model, self.policy = world_model, policy
        embeddings = world_model.vqvae.quantizer.embeddings
        self._encode = tf.function(world_model.encode, reduce_retracing=True, autograph=False)
        self._policy = tf.function(
            lambda codes: policy(codes, embeddings), reduce_retracing=True, autograph=False
        )

    def encode(self, observations: np.ndarray) -> np.ndarray:
        return self._encode(tf.constant(observations)).numpy()

    def policy_of(self, codes: np.ndarray) -> PolicyOutput:
        return PolicyOutput(*(output.numpy() for output in self._policy(tf.constant(codes))))

    def policy_on(self, observations: np.ndarray) -> tuple[PolicyOutput, np.ndarray | None]:
        codes = self.encode(observations)
        return self.policy_of(codes), codes

    def agent(self, temperature: float) -> PolicyAgent:
        return PolicyAgent(self.world_model.vqvae, self.policy, temperature)


class TrainedFramePolicy:
    """The network of a model-free run, as ``Networks``; nothing is encoded or dreamed."""

    world_model = None

    def __init__(self, policy: FramePolicy):
        self.policy = policy

    def policy_on(self, observations: np.ndarray) -> tuple[PolicyOutput, np.ndarray | None]:
        return PolicyOutput(*(output.numpy() for output in self.policy(observations))), None

    def agent(self, temperature: float) -> FramePolicyAgent:
        return FramePolicyAgent(self.policy, temperature)


class ExportedNetworks:
    """The SavedModels of an export, as ``Networks``.

    Args:
      saved: a loaded ``SavedPolicy``.
      world_model: around a loaded ``SavedWorldModel``, or None.
    """

    def __init__(self, saved: Any, world_model: DreamableModel | None):
        self._saved, self.world_model = saved, world_model

    def encode(self, observations: np.ndarray) -> np.ndarray:
        return self._saved.encode(tf.constant(observations))["codes"].numpy()

    def policy_of(self, codes: np.ndarray) -> PolicyOutput:
        outputs = self._saved.act_on_codes(tf.constant(codes, tf.int32))
        return PolicyOutput(outputs["logits"].numpy(), outputs["value"].numpy())

    def policy_on(self, observations: np.ndarray) -> tuple[PolicyOutput, np.ndarray | None]:
        outputs = {k: v.numpy() for k, v in self._saved.serve(tf.constant(observations)).items()}
        return PolicyOutput(outputs["logits"], outputs["value"]), outputs.get("codes")

    def agent(self, temperature: float) -> "ExportedAgent":
        return ExportedAgent(self._saved, temperature)


class ExportedAgent:
    """The ``Agent`` of an export; draws what the ``PolicyAgent`` of its run would draw."""

    def __init__(self, saved: Any, temperature: float):
        self._saved, self._temperature = saved, temperature

    def begin(self, num_games: int) -> tuple[()]:
        return ()

    def act(
        self, observations: np.ndarray, state: tuple[()], seed: np.ndarray, step: int
    ) -> tuple[np.ndarray, tuple[()]]:
        logits = self._saved.serve(tf.constant(observations))["logits"]
        return draw_actions(logits, self._temperature, seed, step).numpy(), state


@dataclass(frozen=True)
class TrainedAgent:
    """An agent and how it was made."""

    experiment: Experiment
    action_meanings: tuple[str, ...]  # M names
    networks: Networks
    iteration: int  # trainings of the policy that went into it
    num_interactions: int  # real steps that it has learned from
    parameters: dict[str, int]  # counts by part, as in the paper's Table 3
    scores: dict[str, Any] | None  # newest entry of `scores.json`; None if never evaluated

    @property
    def config(self) -> Config:
        """The run's settings."""
        return self.experiment.config

    @property
    def world_model(self) -> DreamableModel | None:
        """See ``Networks``."""
        return self.networks.world_model

    def encode(self, observations: np.ndarray) -> np.ndarray:
        """See ``Networks``."""
        return self.networks.encode(observations)

    def policy_of(self, codes: np.ndarray) -> PolicyOutput:
        """See ``Networks``."""
        return self.networks.policy_of(codes)

    def policy_on(self, observations: np.ndarray) -> tuple[PolicyOutput, np.ndarray | None]:
        """See ``Networks``."""
        return self.networks.policy_on(observations)

    def agent(self, temperature: float | None = None) -> Agent:
        """What acts in the real game, at a ``temperature``; 0 is greedy, None is the run's."""
        return self.networks.agent(self.temperature(temperature))

    def temperature(self, given: float | None) -> float:
        """The given temperature of actions; the run's ``evaluation.temperature`` for None."""
        return self.config.evaluation.temperature if given is None else given

    def with_settings(self, seed: int | None = None, **changes: Any) -> "TrainedAgent":
        """The same agent with another seed for games and draws, or other settings.

        Changes are by key, with "__" for the dot; None keeps the run's.

        Raises:
          ConfigError: a setting that no run may have.
        """
        config = ml_collections.ConfigDict(self.config.as_configdict())
        given = {key.replace("__", "."): value for key, value in changes.items()}
        config.update_from_flattened_dict({k: v for k, v in given.items() if v is not None})
        validate(config)
        seed = self.experiment.seed if seed is None else seed
        frozen = ml_collections.FrozenConfigDict(config)
        return replace(self, experiment=replace(self.experiment, config=frozen, seed=seed))


def require_world_model(agent: TrainedAgent) -> None:
    """Refuses an agent that cannot dream.

    Raises:
      RunError: one line that says why it cannot.
    """
    where = agent.experiment.run_dir
    if agent.config.algorithm == "ppo":
        raise RunError(
            f"{where}: learned without a world model (algorithm=ppo), so nothing can be dreamed; "
            "name a run of another preset"
        )
    if agent.world_model is None:
        raise RunError(
            f"export={where}: holds no world model, so nothing can be dreamed; export again with "
            "--world_model"
        )
