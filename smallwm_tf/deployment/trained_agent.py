"""A trained agent to use, out of a run directory or out of an export.

Both kinds offer the same: real observations are encoded and acted on, codes are dreamed on and
decoded. Shapes: B batch, F stacked frames, M actions.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent
from smallwm_tf.agents.episode_memory import MemoryKeeper
from smallwm_tf.agents.look_ahead import scored_agent
from smallwm_tf.agents.networks import Networks, NetworksAgent, PolicyOutput
from smallwm_tf.experiment.config import Config, editable, validate
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.games.frame_stack import push_frame, start_stack
from smallwm_tf.models.imagination import DreamableModel
from smallwm_tf.models.input_checks import check_range, check_temperature
from smallwm_tf.models.policy import PolicyObservation
from smallwm_tf.runs import RunError


class ExportedNetworks:
    """The SavedModels of an export, as ``Networks``.

    Args:
      saved: a loaded ``SavedPolicy``.
      world_model: around a loaded ``SavedWorldModel``, or None.
      num_embeddings: K; unchecked if not given.
      memory: of the policy; it sees codes alone if not given.
    """

    def __init__(
        self,
        saved: Any,
        world_model: DreamableModel | None,
        num_embeddings: int | None = None,
        memory: MemoryKeeper | None = None,
    ):
        self._saved, self.world_model = saved, world_model
        self._num_embeddings = num_embeddings
        self.memory = memory or MemoryKeeper()

    def encode(self, observations: np.ndarray) -> np.ndarray:
        return self._saved.encode(tf.constant(observations))["codes"].numpy()

    def policy_of(self, observation: np.ndarray | PolicyObservation) -> PolicyOutput:
        codes, *further = tf.nest.flatten(self.memory.completed(observation))
        check_range("codes", codes, self._num_embeddings)
        outputs = self._saved.act_on_codes(tf.cast(codes, tf.int32), *further)
        return PolicyOutput(outputs["logits"].numpy(), outputs["value"].numpy())

    def policy_in_graph(
        self, observation: tf.Tensor | PolicyObservation
    ) -> tuple[tf.Tensor, tf.Tensor]:
        outputs = self._saved.act_on_codes(*tf.nest.flatten(observation))
        return outputs["logits"], outputs["value"]

    def policy_on(
        self, observations: np.ndarray, memory: Any = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        memory = self.memory.begin(len(observations)) if memory is None else memory
        seen = self.memory.observation(observations, memory)
        outputs = self._saved.serve(*map(tf.convert_to_tensor, tf.nest.flatten(seen)))
        outputs = {name: output.numpy() for name, output in outputs.items()}
        return PolicyOutput(outputs["logits"], outputs["value"]), outputs.get("codes")

    def agent(self, temperature: float) -> NetworksAgent:
        """Draws what the agent of its run would draw."""
        return NetworksAgent(self, temperature)


class Memory(NamedTuple):
    """What an agent keeps of its episodes from one call to the next."""

    stacks: np.ndarray  # uint8 [B, 96, 96, F]
    of_policy: Any  # see ``MemoryKeeper``


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

    def policy_of(self, observation: np.ndarray | PolicyObservation) -> PolicyOutput:
        """See ``Networks``."""
        return self.networks.policy_of(observation)

    def policy_on(
        self, observations: np.ndarray, memory: Any = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        """See ``Networks``."""
        return self.networks.policy_on(observations, memory)

    def act(
        self,
        frames: np.ndarray,
        memory: Memory | None,
        seed: np.ndarray,
        step: int = 0,
        temperature: float | None = None,
    ) -> tuple[np.ndarray, Memory]:
        """Actions int32 [B] for the newest frames alone, and the memory to hand on.

        Nothing is kept between calls: any number of threads and episodes may share an agent.

        Args:
          frames: uint8 [B, 96, 96].
          memory: of the last call; None where episodes begin.
          seed: an int32 pair; the step is folded into it.
          step: of the episodes.
          temperature: divides the logits; 0 is greedy, None is the run's.
        """
        frames = np.asarray(frames)
        if memory is None:
            stacks, remembered = start_stack(frames, self.config.game.num_stacked_frames), None
        else:
            stacks, remembered = push_frame(memory.stacks, frames), memory.of_policy
        player = NetworksAgent(self.networks, self.temperature(temperature))
        seed = np.asarray(seed, np.int32)
        actions, remembered = player.act(stacks, remembered, seed, step)
        return actions, Memory(stacks, remembered)

    def agent(self, temperature: float | None = None) -> Agent:
        """What acts in the real game, at a ``temperature``; 0 is greedy, None is the run's.

        With ``evaluation.look_ahead_dreams`` it looks ahead, which ``act`` never does.

        Raises:
          RunError: it is to look ahead and has no world model.
        """
        if self.config.evaluation.look_ahead_dreams:
            require_world_model(self)
        return scored_agent(self.networks, self.config, self.temperature(temperature))

    def temperature(self, given: float | None) -> float:
        """The given temperature of actions; the run's ``evaluation.temperature`` for None.

        Raises:
          ValueError: it is negative, infinite or no number.
        """
        if given is None:
            return self.config.evaluation.temperature
        check_temperature(given)
        return given

    def with_settings(self, seed: int | None = None, **changes: Any) -> "TrainedAgent":
        """The same agent with another seed for games and draws, or other settings.

        Changes are by key, with "__" for the dot; None keeps the run's.

        Raises:
          ConfigError: a setting that no run may have.
        """
        config = editable(self.config)
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
    if "world_model" not in agent.parameters:
        raise RunError(
            f"{where}: learned without a world model (algorithm={agent.config.algorithm}), so "
            "nothing can be dreamed; name a run of another preset"
        )
    if agent.world_model is None:
        raise RunError(
            f"export={where}: holds no world model, so nothing can be dreamed; export again with "
            "--world_model"
        )
