"""The dream: the learned world model as a TF-Agents environment on codes (section 3.4).

All dreams of a batch run in step with each other, ``horizon`` steps each:

    call            reset()   step(a_0)   step(a_1)   …   step(a_{H-1})   step(·)
    step type       FIRST     MID         MID         …   LAST            FIRST of new dreams
    observation     z_0       ẑ_1         ẑ_2         …   ẑ_H             z_0 of other real steps
    reward          0         r̂_0         r̂_1         …   r̂_{H-1}         0
    discount        1         ĉ_0         ĉ_1         …   0               1

z_0 is the code of a real observation: any one, a new one (``dream.newest_share``), or one with pay
ahead (``dream.paid_share``). ``Dreamer`` draws the rest. A bonus may be added to r̂, for what heads
disagree about (``dream.disagreement_weight``). As in the paper
all dreams go on to the horizon, and ĉ is 1. With ``dream.ends`` = predicted, ĉ is the chance that
no life was lost: what comes behind an end counts for less. The horizon counts as
terminal, so the discount is 0 there; with ``bootstrap_at_horizon`` it counts as a truncation and
the discount is ĉ. The action given to a step that follows LAST is ignored, as everywhere in
TF-Agents. For a policy that sees more than codes an observation is a ``PolicyObservation``, with
the last action, and with h_{t−1}, the recurrent state that goes into the dynamics with the codes.

Shapes: N dreams.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from tf_agents.environments import tf_environment
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import time_step as ts

from smallwm_tf.experiment.config import Config
from smallwm_tf.learning.encoded_replay import EncodedReplay
from smallwm_tf.learning.replay import Replay
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE
from smallwm_tf.models.event_heads import reward_classes
from smallwm_tf.models.imagination import Dreamer, DreamState
from smallwm_tf.models.policy import NO_ACTION, PolicyObservation

_START, _STEP = range(2)  # what a random number is for


def observation_spec(
    config: Config, num_embeddings: int, num_actions: int
) -> tensor_spec.BoundedTensorSpec | PolicyObservation:
    """Spec of what a policy observes: codes int32 [6, 6], alone or in a ``PolicyObservation``."""
    grid = [GRID_SIZE, GRID_SIZE]
    codes = tensor_spec.BoundedTensorSpec(grid, tf.int32, 0, num_embeddings - 1, name="codes")
    further = {}
    if config.ppo.repeat_probability:
        further["last_actions"] = tensor_spec.BoundedTensorSpec(
            [], tf.int32, NO_ACTION, num_actions - 1, name="last_action"
        )
    if config.ppo.sees_recurrent_state:
        shape = [*grid, config.dynamics.channels]
        further["hidden"] = tensor_spec.TensorSpec(shape, tf.float32, name="hidden")
    return PolicyObservation(codes, **further) if further else codes


class DreamEnvironment(tf_environment.TFEnvironment):
    """N simulated episodes side by side; reset and step are graph operations.

    Args:
      dreamer: of a ``WorldModel``.
      replay: where the first observations are drawn from.
      config: the run's; reads ``dream``, and what the policy sees.
      encoded: the replay in codes; observations are encoded at every start if not given.
    """

    def __init__(
        self,
        dreamer: Dreamer,
        replay: Replay,
        config: Config,
        encoded: EncodedReplay | None = None,
    ):
        world_model, num_dreams = dreamer.world_model, config.dream.num_dreams
        action_spec = tensor_spec.BoundedTensorSpec(
            [], tf.int32, 0, world_model.num_actions - 1, name="action"
        )
        counts = world_model.num_embeddings, world_model.num_actions
        observed = observation_spec(config, *counts)
        super().__init__(ts.time_step_spec(observed), action_spec, batch_size=num_dreams)
        self.dreamer = dreamer
        self._replay = replay
        self._encoded = encoded or EncodedReplay(world_model, replay)
        self.horizon = config.dream.horizon
        self._last_discount = 1.0 if config.dream.bootstrap_at_horizon else 0.0
        self._disagreement_weight = config.dream.disagreement_weight
        self._num_newest = round(config.dream.newest_share * num_dreams)
        self._num_paid = min(
            round(config.dream.paid_share * num_dreams), num_dreams - self._num_newest
        )

        def variable(value, **named) -> tf.Variable:
            return tf.Variable(value, trainable=False, **named)

        self._newest = variable(tf.constant(0))  # first step of the newest collection
        self._paid = variable([0], shape=[None], name="paid")  # steps with a reward soon after

        self._seed = variable(tf.zeros([2], tf.int32))
        self._counter = variable(tf.constant(0))  # of steps and resets since ``seed``
        self._steps_taken = variable(tf.constant(self.horizon))  # so that the first step resets
        self._reward = variable(tf.zeros([num_dreams]))
        self._continues = variable(tf.ones([num_dreams]))
        self._last_actions = variable(tf.fill([num_dreams], NO_ACTION))
        # Kernels are kept, too: they change between dreams only, and transforming them at every
        # step would cost more than it saves.
        self._dreams: Any = tf.nest.map_structure(
            variable,
            DreamState(
                codes=tf.zeros([num_dreams, GRID_SIZE, GRID_SIZE], tf.int32),
                recurrent=world_model.initial_state(num_dreams),
                kernels=world_model.prepare(),
            ),
        )

    def seed(self, pair: tf.Tensor) -> None:
        """Restarts the random numbers from an int32 pair; the next ``step`` resets."""
        self._seed.assign(pair)
        self._counter.assign(0)
        self._steps_taken.assign(self.horizon)

    def look_through_replay(self, first_newest: int) -> None:
        """Before a training: codes of all steps, which are new, from a first on, and which paid.

        Paid is what has a reward within the horizon, in its episode; all steps if nothing has.
        """
        replay = self._replay
        self._encoded.encode_all()
        self._newest.assign(first_newest)
        if not self._num_paid:
            return
        size = replay.size
        steps, starts = np.arange(size), replay.episode_starts[:size].numpy()
        has_reward = reward_classes(replay.rewards[:size]).numpy() != 1
        # Behind a last reward there is none: beyond every horizon.
        rewarded = np.append(steps[has_reward], size + self.horizon)
        following = rewarded[np.searchsorted(rewarded, steps)]
        is_soon = following < steps + self.horizon
        same_episode = starts[np.minimum(following, size - 1)] == starts
        paid = steps[is_soon & same_episode]
        self._paid.assign((paid if len(paid) else steps).astype(np.int32))

    @property
    def dreams(self) -> DreamState:
        """Where the dreams are."""
        return tf.nest.map_structure(tf.convert_to_tensor, self._dreams)

    def _random_pair(self, purpose: int) -> tf.Tensor:
        pair = tf.random.experimental.stateless_fold_in(self._seed, self._counter)
        return tf.random.experimental.stateless_fold_in(pair, purpose)

    def _reset(self) -> ts.TimeStep:
        self._start_dreams()
        return self._current_time_step()

    def _step(self, action: tf.Tensor) -> ts.TimeStep:
        # tf.cond, not `if`: this works with and without AutoGraph.
        is_over = tf.greater_equal(self._steps_taken, self.horizon)
        tf.cond(is_over, self._start_dreams, lambda: self._advance(action))
        return self._current_time_step()

    def _start_dreams(self) -> tf.Tensor:
        """Starts new dreams; returns the counter."""
        steps = self._drawn_starts(self._random_pair(_START))
        past = self._encoded.past(steps, self.dreamer.settings.context_steps)
        _assign(self._dreams, self.dreamer.start_from_codes(self._encoded.codes(steps), past))
        self._reward.assign(tf.zeros_like(self._reward))
        self._continues.assign(tf.ones_like(self._continues))
        self._last_actions.assign(self._replay.last_actions(steps))
        self._steps_taken.assign(0)
        return self._counter.assign_add(1)

    def _drawn_starts(self, pair: tf.Tensor) -> tf.Tensor:
        """Real steps to dream from, int32 [N]: new ones, paid ones, and any."""
        size = self._replay.size_variable

        def draw(count: int, first: tf.Tensor | int, behind: tf.Tensor, number: int) -> tf.Tensor:
            seed = tf.random.experimental.stateless_fold_in(pair, number) if number else pair
            return tf.random.stateless_uniform([count], seed, first, behind, tf.int32)

        among_all = draw(self.batch_size - self._num_newest - self._num_paid, 0, size, 0)
        if not self._num_newest + self._num_paid:
            return among_all
        newest = draw(self._num_newest, self._newest, size, 1)
        paid = tf.gather(self._paid, draw(self._num_paid, 0, tf.shape(self._paid)[0], 2))
        return tf.concat([newest, paid, among_all], axis=0)

    def _advance(self, action: tf.Tensor) -> tf.Tensor:
        """Dreams one step of all dreams; returns the counter."""
        step, after = self.dreamer.step(self.dreams, action, self._random_pair(_STEP))
        _assign(self._dreams._replace(kernels=()), after._replace(kernels=()))
        reward = step.rewards
        if self._disagreement_weight:
            reward += self._disagreement_weight * step.disagreement
        self._reward.assign(reward)
        self._continues.assign(step.continues)
        self._last_actions.assign(action)
        self._steps_taken.assign_add(1)
        return self._counter.assign_add(1)

    def _current_time_step(self) -> ts.TimeStep:
        taken = tf.convert_to_tensor(self._steps_taken)
        is_last = tf.greater_equal(taken, self.horizon)
        step_type = tf.where(
            is_last, ts.StepType.LAST, tf.where(taken > 0, ts.StepType.MID, ts.StepType.FIRST)
        )
        discount = tf.where(is_last, self._last_discount, 1.0)
        return ts.TimeStep(
            step_type=tf.fill([self.batch_size], tf.cast(step_type, tf.int32)),
            reward=tf.identity(self._reward),
            discount=discount * self._continues,
            observation=self._observation(),
        )

    def _observation(self) -> tf.Tensor | PolicyObservation:
        spec, codes = self.observation_spec(), tf.identity(self._dreams.codes)
        if not isinstance(spec, PolicyObservation):
            return codes
        last_actions = tf.identity(self._last_actions) if spec.last_actions else ()
        visible = self.dreamer.world_model.visible
        hidden = tf.identity(visible(self._dreams.recurrent)) if spec.hidden else ()
        return PolicyObservation(codes, last_actions, hidden)


def _assign(variables: Any, tensors: Any) -> None:
    tf.nest.map_structure(lambda v, t: v.assign(t), variables, tensors)
