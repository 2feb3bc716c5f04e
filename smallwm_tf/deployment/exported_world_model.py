"""The world model of an export, to dream with as with that of a run.

Shapes: B batch, F stacked frames.
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from smallwm_tf.deployment.exported_codes import ExportedCodes
from smallwm_tf.models.event_heads import (
    NUM_REWARD_CLASSES,
    EndDistribution,
    Events,
    RewardDistribution,
    Transition,
)
from smallwm_tf.models.independent_codes import CodesGivenReward, IndependentCodes
from smallwm_tf.models.input_checks import check_range, check_step
from smallwm_tf.models.recurrent_stack import CELLS, VISIBLE_PART
from smallwm_tf.models.world_model import Prediction

State = dict[str, tf.Tensor]  # by the names that the export gives to its parts


class ExportedWorldModel:
    """A ``DreamableModel`` around two loaded SavedModels; see ``WorldModel`` for its methods.

    Args:
      agent: encodes.
      world_model: a loaded ``SavedWorldModel``, whose states may also be [36, B, C] as in older
        exports.
      num_stacked_frames: F.
      num_embeddings: K; unchecked if not given.
      num_actions: M; unchecked if not given.
      state_names: of the parts of a state, see ``StackKind``.
    """

    compiled = False

    def __init__(
        self,
        agent: Any,
        world_model: Any,
        num_stacked_frames: int,
        num_embeddings: int | None = None,
        num_actions: int | None = None,
        state_names: Sequence[str] = CELLS["conv_lstm"].state_names,
    ):
        self._agent, self._world_model = agent, world_model
        self._state_names = state_names
        self._joint_codes = ExportedCodes.drawn_by(world_model)
        self.num_stacked_frames = num_stacked_frames
        self.num_embeddings, self.num_actions = num_embeddings, num_actions

    def encode(self, observations: tf.Tensor) -> tf.Tensor:
        return self._agent.encode(observations)["codes"]

    def decode(self, codes: tf.Tensor) -> tf.Tensor:
        if tf.executing_eagerly():  # exports of before check nothing
            check_range("codes", codes, self.num_embeddings)
        return tf.cast(self._world_model.decode(codes)["frames"], tf.float32) / 255.0

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        return self._world_model.initial_state(tf.constant(batch_size))

    def masked(self, state: State, keep: tf.Tensor) -> State:
        grid_major = next(iter(state.values())).shape.rank == 3
        shape = [1, -1, 1] if grid_major else [-1, 1, 1, 1]
        factor = tf.reshape(tf.cast(keep, tf.float32), shape)
        return {name: factor * tensor for name, tensor in state.items()}

    def visible(self, state: State) -> tf.Tensor:
        return state[VISIBLE_PART]

    def state_to_images(self, state: State) -> tuple[tf.Tensor, ...]:
        """They are images, but for older exports."""
        return tuple(state[name] for name in self._state_names)

    def state_from_images(self, images: Sequence[tf.Tensor]) -> State:
        return dict(zip(self._state_names, images, strict=True))

    def prepare(self) -> tuple[()]:
        """Nothing: kernels are part of the graph."""
        return ()

    def predict(
        self, codes: tf.Tensor, actions: tf.Tensor, state: State, kernels: tuple[()]
    ) -> Prediction:
        """See ``WorldModel.predict``; ``y`` holds the logits of the reward, then that of an end."""
        if tf.executing_eagerly():
            check_step(codes, actions, self.num_embeddings, self.num_actions)
        outputs = self._world_model.predict(codes, actions, *self.state_to_images(state))
        logits = outputs["latent_logits"]
        if "code_conditions" in outputs:
            not_given = tf.zeros_like(actions, tf.float32)
            next_codes = self._joint_codes(logits, outputs["code_conditions"], not_given)
        else:
            next_codes = (IndependentCodes if logits.shape.rank == 4 else CodesGivenReward)(logits)
        ends = [outputs["end_logits"][:, tf.newaxis]] if "end_logits" in outputs else []
        y = tf.concat([outputs["reward_logits"], *ends], axis=1)
        return Prediction(y, next_codes, {name: outputs[name] for name in state})

    def events(self, transition: Transition) -> Events:
        rewards, ends = tf.split(transition.y, [NUM_REWARD_CLASSES, -1], axis=1)
        predicts_ends = transition.y.shape[1] > NUM_REWARD_CLASSES
        return Events(
            RewardDistribution(rewards), EndDistribution(ends[:, 0]) if predicts_ends else None
        )
