"""A trained agent to use, out of a run directory or out of an export.

Both kinds offer the same: real observations are encoded and acted on, codes are dreamed on and
decoded. Shapes: B batch, F stacked frames, M actions.
"""

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import ml_collections
import numpy as np
import tensorflow as tf

from smallwm_tf.agents.agent import Agent, SeeingAgent
from smallwm_tf.agents.networks import Networks, PolicyOutput
from smallwm_tf.experiment.config import Config, editable, validate
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.games.frame_stack import push_frame, start_stack
from smallwm_tf.models.imagination import DreamableModel
from smallwm_tf.models.input_checks import check_range, check_temperature
from smallwm_tf.models.policy import NO_ACTION, draw_actions
from smallwm_tf.runs import RunError


class ExportedNetworks:
    """The SavedModels of an export, as ``Networks``.

    Args:
      saved: a loaded ``SavedPolicy``.
      world_model: around a loaded ``SavedWorldModel``, or None.
      num_embeddings: K; unchecked if not given.
      sees_last_action: whether the policy does.
    """

    def __init__(
        self,
        saved: Any,
        world_model: DreamableModel | None,
        num_embeddings: int | None = None,
        sees_last_action: bool = False,
    ):
        self._saved, self.world_model = saved, world_model
        self._num_embeddings = num_embeddings
        self._sees_last_action = sees_last_action

    def encode(self, observations: np.ndarray) -> np.ndarray:
        return self._saved.encode(tf.constant(observations))["codes"].numpy()

    def policy_of(self, codes: np.ndarray, last_actions: np.ndarray | None = None) -> PolicyOutput:
        check_range("codes", codes, self._num_embeddings)
        seen = self._seen(np.asarray(codes, np.int32), last_actions)
        outputs = self._saved.act_on_codes(*seen)
        return PolicyOutput(outputs["logits"].numpy(), outputs["value"].numpy())

    def policy_on(
        self, observations: np.ndarray, last_actions: np.ndarray | None = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        outputs = self._saved.serve(*self._seen(observations, last_actions))
        outputs = {name: output.numpy() for name, output in outputs.items()}
        return PolicyOutput(outputs["logits"], outputs["value"]), outputs.get("codes")

    def agent(self, temperature: float) -> SeeingAgent:
        """Draws what the agent of its run would draw."""

        def draw(
            observations: np.ndarray, seed: np.ndarray, step: int, *last_actions: np.ndarray
        ) -> np.ndarray:
            logits = self.policy_on(observations, *last_actions)[0].logits
            return draw_actions(logits, temperature, seed, step).numpy()

        return SeeingAgent(draw, self._sees_last_action)

    def _seen(self, shown: np.ndarray, last_actions: np.ndarray | None) -> list[tf.Tensor]:
        """What the policy's functions take before a seed."""
        if not self._sees_last_action:
            return [tf.constant(shown)]
        if last_actions is None:
            last_actions = np.full([len(shown)], NO_ACTION, np.int32)
        return [tf.constant(shown), tf.constant(last_actions, tf.int32)]


class Memory(NamedTuple):
    """What an agent keeps of its episodes from one call to the next."""

    stacks: np.ndarray  # uint8 [B, 96, 96, F]
    last_actions: np.ndarray  # int32 [B]; a policy may see them


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

    def policy_of(self, codes: np.ndarray, last_actions: np.ndarray | None = None) -> PolicyOutput:
        """See ``Networks``."""
        return self.networks.policy_of(codes, last_actions)

    def policy_on(
        self, observations: np.ndarray, last_actions: np.ndarray | None = None
    ) -> tuple[PolicyOutput, np.ndarray | None]:
        """See ``Networks``."""
        return self.networks.policy_on(observations, last_actions)

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
            stacks = start_stack(frames, self.config.game.num_stacked_frames)
            last_actions = None
        else:
            stacks, last_actions = push_frame(memory.stacks, frames), memory.last_actions
        divisor = self.temperature(temperature)
        logits = self.policy_on(stacks, last_actions)[0].logits
        actions = draw_actions(logits, divisor, np.asarray(seed, np.int32), step).numpy()
        return actions, Memory(stacks, actions)

    def agent(self, temperature: float | None = None) -> Agent:
        """What acts in the real game, at a ``temperature``; 0 is greedy, None is the run's."""
        return self.networks.agent(self.temperature(temperature))

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
