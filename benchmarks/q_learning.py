"""Q-learning on codes, from windows of real steps and of dreams; see ``dreamed_and_real``.

Double Q-learning towards λ-returns that are not corrected for the policy that played (Peng's Q(λ)).
The network is the policy's: its logits are advantages, its value that of the state. It sees the
recurrent state if the run's policy does.

Shapes: N windows, H steps, M actions.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from smallwm_tf.experiment.config import Config
from smallwm_tf.learning.adam import built_adam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.encoded_replay import EncodedReplay
from smallwm_tf.learning.ppo_networks import CodeTrunk
from smallwm_tf.models.policy import PolicyAndValue, PolicyObservation

_LEARNING_RATE, _MINIBATCH, _LARGEST_GRADIENT = 2.5e-4, 128, 10.0
_TARGET_KEEPS = 0.9  # of the target's weights, per update
_DECAY = 0.8  # λ of the returns
_fold_in = tf.random.experimental.stateless_fold_in


class Windows(NamedTuple):
    """Steps to learn from, with what came behind the last one."""

    observations: Any  # codes int32 [N, H + 1, 6, 6], or a ``PolicyObservation``
    actions: tf.Tensor  # int32 [N, H]
    rewards: tf.Tensor  # in [−1, 1], [N, H]
    continues: tf.Tensor  # chance that what follows counts, [N, H]
    counts: tf.Tensor  # 1, or 0 for padding, [N, H]


class QLearner:
    """Learns Q on windows of the replay and of dreams.

    Args:
      policy: network to train.
      target: another one like it, which follows.
      environment: dreams, as many as there are to be of them in an update.
      encoded: the replay.
      config: of the run.
      num_real, num_dreams: windows of an update; one of them may be 0.
      temperature: divides the advantages by which actions are drawn in dreams.
    """

    def __init__(
        self,
        policy: PolicyAndValue,
        target: PolicyAndValue,
        environment: DreamEnvironment,
        encoded: EncodedReplay,
        config: Config,
        num_real: int,
        num_dreams: int,
        temperature: float,
    ):
        self._policy, self._target, self._environment = policy, target, environment
        self._encoded, self._config = encoded, config
        self._num_real, self._num_dreams = num_real, num_dreams
        self._temperature = temperature
        self._dreamer = environment.dreamer
        embeddings = self._dreamer.world_model.vqvae.quantizer.embeddings
        self._trunk, self._target_trunk = (
            CodeTrunk(network, embeddings) for network in (policy, target)
        )
        self._optimizer = built_adam(config, _LEARNING_RATE, policy.trainable_variables)

    @tf.function(autograph=False)
    def update(self, seed: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        """Learns from fresh windows; the mean squared error, the mean Q and mean return."""
        pair = _fold_in(seed, number)
        kinds = [self._real(_fold_in(pair, 0))] if self._num_real else []
        kinds += [self._dreamed(_fold_in(pair, 1))] if self._num_dreams else []
        windows = tf.nest.map_structure(lambda *parts: tf.concat(parts, axis=0), *kinds)
        best = tf.argmax(_q(self._trunk, windows.observations), axis=-1)
        values = tf.gather(
            _q(self._target_trunk, windows.observations), best, axis=-1, batch_dims=2
        )
        targets = _returns(windows, values, self._config.ppo.discount)
        seen = tf.nest.map_structure(lambda part: part[:, :-1], windows.observations)
        flat = tf.nest.map_structure(
            lambda part: tf.reshape(part, [-1, *part.shape[2:]]),
            (seen, windows.actions, targets, windows.counts),
        )
        count = flat[1].shape[0]
        order = tf.random.experimental.stateless_shuffle(tf.range(count), pair)
        losses = [
            self._step(
                *tf.nest.map_structure(
                    lambda part, f=first: tf.gather(part, order[f : f + _MINIBATCH]), flat
                )
            )
            for first in range(0, count, _MINIBATCH)
        ]
        for kept, new in zip(self._target.variables, self._policy.variables, strict=True):
            kept.assign(_TARGET_KEEPS * kept + (1.0 - _TARGET_KEEPS) * new)
        return tf.stack([tf.reduce_mean(x) for x in (losses, values, targets)])

    def _step(self, observations, actions, targets, counts):
        variables = self._policy.trainable_variables
        with tf.GradientTape() as tape:
            told = tf.gather(_q(self._trunk, observations), actions, batch_dims=1)
            errors = counts * tf.square(told - targets)
            loss = tf.math.divide_no_nan(tf.reduce_sum(errors), tf.reduce_sum(counts))
        gradients, _ = tf.clip_by_global_norm(tape.gradient(loss, variables), _LARGEST_GRADIENT)
        self._optimizer.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    def _real(self, pair):
        encoded, shape = self._encoded, [self._num_real]
        size = encoded.replay.size_variable
        starts = tf.random.stateless_uniform(shape, pair, 0, size, tf.int32)
        windows = encoded.windows(starts, self._environment.horizon + 1)
        codes, actions, rewards, ends, valid = windows
        ends = ends[:, :-1]
        past = encoded.past(starts, self._dreamer.settings.context_steps)
        state = self._dreamer.start_from_codes(codes[:, 0], past)
        hidden = self._hidden(codes, actions, state) if self._policy.sees_state else ()
        return Windows(
            self._seen(codes, hidden),
            actions[:, :-1],
            tf.sign(rewards)[:, :-1],
            1.0 - tf.cast(ends, tf.float32),
            tf.cast(valid[:, :-1] & (valid[:, 1:] | ends), tf.float32),
        )

    def _hidden(self, codes, actions, state):
        """What the policy sees of the recurrent state at codes [N, T, 6, 6]."""
        dreamer, num_steps = self._dreamer, codes.shape[1]

        def body(t, recurrent, seen):
            seen = seen.write(t, dreamer.world_model.visible(recurrent))
            given = codes[:, t], actions[:, t], recurrent, state.kernels
            return t + 1, dreamer.predict(*given).state, seen

        seen = tf.TensorArray(tf.float32, num_steps)
        begun = (0, state.recurrent, seen)
        *_, seen = tf.while_loop(lambda t, *_: t < num_steps, body, begun)
        hidden = tf.transpose(seen.stack(), [1, 0, 2, 3, 4])
        return tf.ensure_shape(hidden, [*codes.shape, self._config.dynamics.channels])

    def _dreamed(self, pair):
        environment, horizon = self._environment, self._environment.horizon
        environment.seed(pair)

        def act(step, t):
            advantages, _ = self._trunk(step.observation)
            logits = advantages / self._temperature
            seed = _fold_in(pair, 1 + t)
            return tf.random.stateless_categorical(logits, 1, seed, tf.int32)[:, 0]

        def body(t, step, arrays):
            action = act(step, t)
            after = environment.step(action)
            brought = (step.observation, action, after.reward, after.discount)
            arrays = tf.nest.map_structure(lambda a, v: a.write(t, v), arrays, brought)
            return t + 1, after, arrays

        begun = environment.reset()
        dtypes = tf.nest.map_structure(lambda part: part.dtype, begun.observation)
        arrays = tf.nest.map_structure(
            lambda dtype: tf.TensorArray(dtype, horizon),
            (dtypes, tf.int32, tf.float32, tf.float32),
        )
        _, last, arrays = tf.while_loop(lambda t, *_: t < horizon, body, (0, begun, arrays))
        observations, *rest = tf.nest.map_structure(lambda array: array.stack(), arrays)
        observations = tf.nest.map_structure(
            lambda steps, end: tf.concat([steps, end[tf.newaxis]], axis=0),
            observations,
            last.observation,
        )

        def batch_major(part):
            moved = tf.transpose(part, [1, 0, *range(2, part.shape.rank)])
            num_steps = part.shape[0] or horizon
            return tf.ensure_shape(moved, [self._num_dreams, num_steps, *moved.shape[2:]])

        parts = tf.nest.map_structure(batch_major, (observations, *rest))
        return Windows(*parts, tf.ones_like(parts[-1]))

    def _seen(self, codes, hidden):
        return PolicyObservation(codes, (), hidden) if self._policy.sees_state else codes


def _q(trunk: CodeTrunk, observations: Any) -> tf.Tensor:
    advantages, values = trunk(observations)
    mean = tf.reduce_mean(advantages, axis=-1, keepdims=True)
    return values[..., tf.newaxis] + advantages - mean


def _returns(windows: Windows, values: tf.Tensor, discount: float) -> tf.Tensor:
    """λ-returns [N, H]; behind the last step that counts the value stands for the rest."""
    following, returns = values[:, -1], []
    horizon = windows.counts.shape[1]
    for t in reversed(range(horizon)):
        goes_on = _DECAY * windows.counts[:, t + 1] if t + 1 < horizon else 0.0
        beyond = (1.0 - goes_on) * values[:, t + 1] + goes_on * following
        following = windows.rewards[:, t] + discount * windows.continues[:, t] * beyond
        returns.append(following)
    return tf.stack(returns[::-1], axis=1)
