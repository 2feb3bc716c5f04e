"""The dream: the learned world model as a TF-Agents environment on codes (section 3.4).

All dreams of a batch run in step with each other, ``horizon`` steps each:

    call            reset()   step(a_0)   step(a_1)   …   step(a_{H-1})   step(·)
    step type       FIRST     MID         MID         …   LAST            FIRST of new dreams
    observation     z_0       ẑ_1         ẑ_2         …   ẑ_H             z_0 of other real steps
    reward          0         r̂_0         r̂_1         …   r̂_{H-1}         0
    discount        1         1           1           …   0               1

z_0 is the code of a uniformly drawn real observation, the recurrent state starts at zero, ẑ and r̂
are drawn from the world model's predictions; rewards are −1, 0 or 1. Three switches depart from the
paper: with ``context_steps`` the recurrent state has seen the real codes and actions of that many
steps before z_0, as it has in training; a ``temperature`` below 1 draws likelier codes; with
``rewards="expected"`` r̂ is the mean of the predicted distribution, which spares the policy gradient
the noise of drawing it.

As in the paper the world model never ends an episode: a dream ends at the horizon only. That end
counts as terminal, so the discount is 0 there; with ``bootstrap_at_horizon`` it counts as a
truncation and the discount is 1. The action given to a step that follows LAST is ignored, as
everywhere in TF-Agents.

Shapes: N dreams, T context steps.
"""

from collections.abc import Callable

import tensorflow as tf
from tf_agents.environments import tf_environment
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from smallwm_tf.learning.replay import Replay, Windows
from smallwm_tf.models.dynamics import (
    DynamicsKernels,
    DynamicsState,
    class_rewards,
    expected_rewards,
    latent_distribution,
    reward_distribution,
)
from smallwm_tf.models.grid_convolution import GRID_SIZE
from smallwm_tf.models.world_model import WorldModel

_START, _LATENT, _REWARD = range(3)  # what a random number is for
_FORM = "fewest_products"  # kernels serve for a whole dream


def codes_spec(num_embeddings: int) -> tensor_spec.BoundedTensorSpec:
    """Spec of one observation of the policy: int32 [6, 6]."""
    return tensor_spec.BoundedTensorSpec(
        [GRID_SIZE, GRID_SIZE], tf.int32, 0, num_embeddings - 1, name="codes"
    )


class DreamEnvironment(tf_environment.TFEnvironment):
    """``num_dreams`` simulated episodes side by side; reset and step are graph operations.

    Args:
      world_model: what predicts.
      replay: where the first observations are drawn from.
      num_dreams: N.
      horizon: steps until a dream ends.
      bootstrap_at_horizon: whether the end is a truncation (discount 1) instead of terminal (0).
      context_steps: T, real steps before a dream that the recurrent state has seen; fewer where
        the episode is younger.
      temperature: divides the logits of the codes that are drawn.
      rewards: "sampled" or "expected".
    """

    def __init__(
        self,
        world_model: WorldModel,
        replay: Replay,
        num_dreams: int,
        horizon: int,
        bootstrap_at_horizon: bool = False,
        context_steps: int = 0,
        temperature: float = 1.0,
        rewards: str = "sampled",
    ):
        vqvae, dynamics = world_model.vqvae, world_model.dynamics
        action_spec = tensor_spec.BoundedTensorSpec(
            [], tf.int32, 0, dynamics.num_actions - 1, name="action"
        )
        time_step_spec = ts.time_step_spec(codes_spec(vqvae.quantizer.num_embeddings))
        super().__init__(time_step_spec, action_spec, batch_size=num_dreams)
        self._world_model = world_model
        self._replay = replay
        self._num_dreams = num_dreams
        self.horizon = horizon
        self._context_steps = context_steps
        self._temperature = temperature
        self._rewards_are_sampled = rewards == "sampled"
        self._last_discount = 1.0 if bootstrap_at_horizon else 0.0
        # With fast convolutions a whole step is compiled: on small batches XLA's products take
        # two thirds of the time of TensorFlow's, and everything between them becomes one pass.
        self._predict = tf.function(
            lambda *inputs: world_model.step(*inputs),
            jit_compile=dynamics.convolution == "fast",
            autograph=False,
        )

        def variable(value) -> tf.Variable:
            return tf.Variable(value, trainable=False)

        self._seed = variable(tf.zeros([2], tf.int32))
        #: Number of steps and resets since ``seed``: the counter behind all random numbers.
        self._counter = variable(tf.constant(0))
        self._steps_taken = variable(tf.constant(horizon))  # so that the first step resets
        self._codes = variable(tf.zeros([num_dreams, GRID_SIZE, GRID_SIZE], tf.int32))
        self._reward = variable(tf.zeros([num_dreams]))
        self._state = tf.nest.map_structure(variable, dynamics.initial_state(num_dreams))
        self._kernels = tf.nest.map_structure(variable, dynamics.prepare(_FORM))

    def seed(self, pair: tf.Tensor) -> None:
        """Restarts the random numbers from an int32 pair; the next ``step`` resets."""
        self._seed.assign(pair)
        self._counter.assign(0)
        self._steps_taken.assign(self.horizon)

    @property
    def recurrent_state(self) -> DynamicsState:
        """h_t of the world model, [36, N, C] each."""
        return tf.nest.map_structure(tf.convert_to_tensor, self._state)

    def random_pair(self, purpose: int, counter: tf.Tensor) -> tf.Tensor:
        """The int32 pair for one purpose at one count of resets and steps."""
        pair = tf.random.experimental.stateless_fold_in(self._seed, counter)
        return tf.random.experimental.stateless_fold_in(pair, purpose)

    def _current_time_step(self) -> ts.TimeStep:
        return self._time_step()

    def _reset(self) -> ts.TimeStep:
        self._start_dreams()
        return self._time_step()

    def _step(self, action: tf.Tensor) -> ts.TimeStep:
        # tf.cond, not `if`: this works with and without AutoGraph.
        is_over = tf.greater_equal(self._steps_taken, self.horizon)
        tf.cond(is_over, self._start_dreams, lambda: self._advance(action))
        return self._time_step()

    def _start_dreams(self) -> tf.Tensor:
        """Starts new dreams; returns the counter."""
        pair = self.random_pair(_START, self._counter)
        steps = tf.random.stateless_uniform(
            [self._num_dreams], pair, 0, self._replay.size_variable, tf.int32
        )
        vqvae, dynamics = self._world_model.vqvae, self._world_model.dynamics
        observations = self._replay.observations(steps, vqvae.num_stacked_frames)
        self._codes.assign(vqvae.encode(observations))
        self._reward.assign(tf.zeros_like(self._reward))
        # Kernels change between dreams only; transforming them at every step would cost more
        # than it saves.
        _assign(self._kernels, dynamics.prepare(_FORM))
        kernels = tf.nest.map_structure(tf.convert_to_tensor, self._kernels)
        past = self._replay.past(steps, self._context_steps, vqvae.num_stacked_frames)
        state = warm_state(self._world_model, past, kernels, self._predict)
        _assign(self._state, state)
        self._steps_taken.assign(0)
        return self._counter.assign_add(1)

    def _advance(self, action: tf.Tensor) -> tf.Tensor:
        """Predicts one step of all dreams; returns the counter."""
        kernels = tf.nest.map_structure(tf.convert_to_tensor, self._kernels)
        latent_logits, reward_logits, state = self._predict(
            tf.convert_to_tensor(self._codes), action, self.recurrent_state, kernels
        )
        latent = latent_distribution(latent_logits / self._temperature)
        reward = reward_distribution(reward_logits)
        codes = latent.sample(seed=self.random_pair(_LATENT, self._counter))
        if self._rewards_are_sampled:
            pair = self.random_pair(_REWARD, self._counter)
            rewards = class_rewards(reward.sample(seed=pair))
        else:
            rewards = expected_rewards(reward_logits)
        self._codes.assign(codes)
        self._reward.assign(rewards)
        _assign(self._state, state)
        self._steps_taken.assign_add(1)
        return self._counter.assign_add(1)

    def _time_step(self) -> ts.TimeStep:
        taken = tf.convert_to_tensor(self._steps_taken)
        is_last = tf.greater_equal(taken, self.horizon)
        step_type = tf.where(
            is_last, ts.StepType.LAST, tf.where(taken > 0, ts.StepType.MID, ts.StepType.FIRST)
        )
        discount = tf.where(is_last, self._last_discount, 1.0)
        return ts.TimeStep(
            step_type=tf.fill([self._num_dreams], tf.cast(step_type, tf.int32)),
            reward=tf.identity(self._reward),
            discount=tf.fill([self._num_dreams], discount),
            observation=tf.identity(self._codes),
        )


def warm_state(
    world_model: WorldModel,
    past: Windows,
    kernels: DynamicsKernels,
    predict: Callable | None = None,
) -> DynamicsState:
    """The recurrent state after the real codes and actions of ``past``, zeros before them.

    Args:
      world_model: what has seen them.
      past: from ``Replay.past``; steps that are not valid leave the state at zero.
      kernels: from ``Dynamics.prepare``.
      predict: ``WorldModel.step`` as a graph function; itself if not given.
    """
    batch_size, num_steps = past.actions.shape
    state = world_model.dynamics.initial_state(batch_size or tf.shape(past.actions)[0])
    if not num_steps:
        return state
    predict = predict or world_model.step
    observations = past.observations
    flat = tf.reshape(observations, [-1, *observations.shape[2:]])
    codes = tf.reshape(world_model.vqvae.encode(flat), [-1, num_steps, GRID_SIZE, GRID_SIZE])
    for t in range(num_steps):
        _, _, following = predict(codes[:, t], past.actions[:, t], state, kernels)
        is_valid = tf.cast(past.valid[:, t], tf.float32)[tf.newaxis, :, tf.newaxis]
        state = tf.nest.map_structure(lambda tensor: is_valid * tensor, following)  # noqa: B023
    return state


def _assign(variables, tensors) -> None:
    tf.nest.map_structure(lambda v, t: v.assign(t), variables, tensors)
