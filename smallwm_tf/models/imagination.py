"""A step of a dream, the only place where dreams draw codes and rewards (section 3.4).

    step              0           1           2      …
    codes             z_0    ─►   ẑ_1    ─►   ẑ_2         z_0 encodes a real observation
    actions               a_0         a_1
    rewards               r̂_0         r̂_1                 of the transitions
    continues             ĉ_0         ĉ_1                 chance that no life is lost, or 1

Shapes: B dreams, T context steps, F stacked frames.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import tensorflow as tf

from smallwm_tf.experiment.config import Config
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.event_heads import Events, RewardDistribution, Transition
from smallwm_tf.models.independent_codes import IndependentCodes
from smallwm_tf.models.input_checks import check_step, check_temperature
from smallwm_tf.models.joint_codes import JointCodes
from smallwm_tf.models.recurrent_stack import Kernels, State
from smallwm_tf.models.world_model import Prediction

_CODES, _REWARD = range(2)  # what a random number is for
_COUNTS = ("num_embeddings", "num_actions")


class DreamSettings(NamedTuple):
    """How dreams are drawn.

    Rewards are "sampled", or "expected": the mean, which spares the policy gradient a draw's noise.
    """

    temperature: float | tf.Tensor = 1.0  # of codes; the number 0 takes the most probable ones
    context_steps: int = 0  # T, real steps before a dream that the recurrent state has seen
    rewards: str = "sampled"

    @classmethod
    def of(cls, config: Config) -> "DreamSettings":
        """Those that a run trains its policies with."""
        return cls(config.dynamics.temperature, config.dream.context_steps, config.dream.rewards)


class Past(NamedTuple):
    """Real steps before dreams, oldest first; ``valid`` is false where an episode is younger."""

    observations: tf.Tensor  # uint8 [B, T, 96, 96, F]
    actions: tf.Tensor  # int32 [B, T]
    valid: tf.Tensor  # bool [B, T]

    def encoded(self, encode: Callable) -> "EncodedPast":
        """The same in codes; ``encode`` turns uint8 [·, 96, 96, F] into codes [·, 6, 6]."""
        num_steps, grid = self.actions.shape[1], [GRID_SIZE, GRID_SIZE]
        if not num_steps:
            codes = tf.zeros(tf.concat([tf.shape(self.actions), grid], axis=0), tf.int32)
        else:
            flat = tf.reshape(self.observations, [-1, *self.observations.shape[2:]])
            codes = tf.reshape(encode(flat), [-1, num_steps, *grid])
        return EncodedPast(codes, self.actions, self.valid)


class EncodedPast(NamedTuple):
    """``Past`` in codes, int32 [B, T, 6, 6]."""

    codes: tf.Tensor
    actions: tf.Tensor
    valid: tf.Tensor


def state_after(past: EncodedPast, state: State, advance: Callable) -> State:
    """The recurrent state after real steps.

    Args:
      past: the steps.
      state: before them.
      advance: codes, actions and validity of a step, and a state → the next one.
    """
    for t in range(past.actions.shape[1]):
        state = advance(past.codes[:, t], past.actions[:, t], past.valid[:, t], state)
    return state


class DreamState(NamedTuple):
    """Where dreams are."""

    codes: tf.Tensor  # int32 [B, 6, 6]
    recurrent: State
    kernels: Kernels


class DreamStep(NamedTuple):
    """What one step brought, and the distributions behind it."""

    codes: tf.Tensor  # ẑ_{t+1}, int32 [B, 6, 6]
    rewards: tf.Tensor  # r̂_t, [B]
    continues: tf.Tensor  # ĉ_t, [B]: 1 where the world model predicts no ends
    code_distribution: IndependentCodes | JointCodes
    reward_distribution: RewardDistribution
    disagreement: tf.Tensor | float = 0.0  # of heads about ẑ_{t+1}, nats [B]; 0 without them


class DreamableModel(Protocol):
    """What dreams need of a world model; see ``WorldModel`` for the shapes.

    One that has ``num_embeddings`` and ``num_actions``, too, is held to them.
    """

    num_stacked_frames: int
    num_embeddings: int
    num_actions: int
    compiled: bool

    def encode(self, observations: tf.Tensor) -> tf.Tensor: ...

    def decode(self, codes: tf.Tensor) -> tf.Tensor: ...

    def initial_state(self, batch_size: int | tf.Tensor) -> Any: ...

    def masked(self, state: Any, keep: tf.Tensor) -> Any: ...

    def visible(self, state: Any) -> tf.Tensor: ...

    def state_to_images(self, state: Any) -> tuple[tf.Tensor, ...]: ...

    def state_from_images(self, images: Any) -> Any: ...

    def prepare(self) -> Any: ...

    def predict(self, codes: Any, actions: Any, state: Any, kernels: Any) -> Prediction: ...

    def events(self, transition: Transition) -> Events: ...


class Dreamer:
    """Dreams of a world model at its weights of the moment; inside graphs and outside."""

    def __init__(self, world_model: DreamableModel, settings: DreamSettings):
        check_temperature(settings.temperature)
        self.world_model = world_model
        self.settings = settings
        # Compiled as a whole: on small batches XLA's products take two thirds of the time of
        # TensorFlow's, and everything between them becomes one pass.
        self.predict, self._events = (
            tf.function(
                lambda *inputs, call=call: call(*inputs),
                jit_compile=world_model.compiled,
                autograph=False,
                reduce_retracing=not world_model.compiled,
            )
            for call in (world_model.predict, world_model.events)
        )
        self.compiled_step = tf.function(self.step, autograph=False)  #: for whoever steps outside

    def start(self, observations: tf.Tensor, past: Past) -> DreamState:
        """Dreams from observations uint8 [B, 96, 96, F]; ``settings.context_steps`` are past."""
        encode = self.world_model.encode
        return self.start_from_codes(encode(observations), past.encoded(encode))

    def start_from_codes(self, codes: tf.Tensor, past: EncodedPast) -> DreamState:
        """The same from codes int32 [B, 6, 6] of real observations."""
        kernels = self.world_model.prepare()
        return DreamState(codes, self._warm_state(past, kernels), kernels)

    def step(
        self, state: DreamState, actions: tf.Tensor, seed: tf.Tensor | None
    ) -> tuple[DreamStep, DreamState]:
        """Dreams on with actions a_t, int32 [B].

        The seed is an int32 pair of this step; None takes the most probable codes and rewards.

        Raises:
          ValueError: outside of graphs, a code or an action that there is not.
        """
        if tf.executing_eagerly():
            counts = (getattr(self.world_model, name, None) for name in _COUNTS)
            check_step(state.codes, actions, *counts)
        prediction = self.predict(state.codes, actions, state.recurrent, state.kernels)
        events = self._events(Transition(prediction.y, state.codes, actions))
        if seed is None:
            rewards = events.rewards.mode()
        else:
            rewards = events.rewards.sample(tf.random.experimental.stateless_fold_in(seed, _REWARD))
        next_codes = prediction.next_codes.given(rewards)
        if seed is None:
            codes = next_codes.mode()
        else:
            pair = tf.random.experimental.stateless_fold_in(seed, _CODES)
            codes = next_codes.sample(pair, self.settings.temperature)
        if self.settings.rewards == "expected" and seed is not None:
            rewards = events.rewards.mean()
        continues = 1.0 - events.ends.probability() if events.ends else tf.ones_like(rewards)
        found = (codes, rewards, continues, next_codes, events.rewards)
        step = DreamStep(*found, 0.0 if events.disagreement is None else events.disagreement)
        return step, DreamState(codes, prediction.state, state.kernels)

    def _warm_state(self, past: EncodedPast, kernels: Kernels) -> State:
        """The recurrent state after the real codes and actions of ``past``, zeros before them."""
        model = self.world_model

        def advance(codes: tf.Tensor, actions: tf.Tensor, valid: tf.Tensor, state: State) -> State:
            return model.masked(self.predict(codes, actions, state, kernels).state, valid)

        batch_size = past.actions.shape[0] or tf.shape(past.actions)[0]
        return state_after(past, model.initial_state(batch_size), advance)
