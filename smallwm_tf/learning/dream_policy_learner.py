"""PPO in the dream (section 3.4): rollouts of the world model, then the update of ``ppo``.

A rollout's observations are codes: z_0 of a real observation, then ẑ_1 … ẑ_H; its rewards are r̂.
The discount behind the last step is 0, or 1 where the dream's end counts as a time limit.
"""

import tensorflow as tf
from tf_agents.trajectories import time_step as ts
from tf_agents.trajectories import trajectory

from smallwm_tf.learning import ppo
from smallwm_tf.learning.adam import BiasCorrectedAdam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.learning.ppo_networks import CodeTrunk
from smallwm_tf.models.policy import PolicyAndValue

METRICS = (
    "dream_return",  # mean sum of simulated rewards of a dream, with the bonus if there is one
    *ppo.METRICS,
)


class DreamPolicyLearner(ppo.PolicyLearner):
    """Rolls the policy out in the dream and improves it; one compiled call per update.

    Args:
      environment: the dream.
      policy: the network to train.
      optimizer: of the policy's variables.
      config: the run's; reads ``ppo`` and ``dream.ends``.
    """

    def __init__(
        self,
        environment: DreamEnvironment,
        policy: PolicyAndValue,
        optimizer: BiasCorrectedAdam,
        config,
    ):
        specs = environment.time_step_spec(), environment.action_spec()
        vqvae = environment.dreamer.world_model.vqvae
        trunk = CodeTrunk(policy, vqvae.quantizer.embeddings)
        super().__init__(ppo.make_agent(trunk, *specs, optimizer, config), optimizer, config)
        self._environment = environment
        self._ends_are_predicted = config.dream.ends == "predicted"

    def look_through_replay(self, first_newest: int) -> None:
        """Before a training; see ``DreamEnvironment.look_through_replay``."""
        self._environment.look_through_replay(first_newest)

    def rollout(self, seed: tf.Tensor) -> trajectory.Trajectory:
        """All dreams of the environment from reset to horizon, for a seed int32 [2]: [N, H + 1].

        The last column is the end of the dream, on which nothing is trained.
        """
        environment, policy = self._environment, self.agent.collect_policy
        horizon = environment.horizon
        environment.seed(tf.random.experimental.stateless_fold_in(seed, 0))
        action_seed = tf.random.experimental.stateless_fold_in(seed, 1)
        time_step = environment.reset()
        arrays = tf.nest.map_structure(
            lambda spec: tf.TensorArray(
                spec.dtype, horizon + 1, element_shape=[environment.batch_size, *spec.shape]
            ),
            self.agent.collect_data_spec,
        )

        def act(time_step: ts.TimeStep, t: tf.Tensor):
            with self.agent.trunk.once():
                step = policy.distribution(time_step)
            pair = tf.random.experimental.stateless_fold_in(action_seed, t)
            return step.replace(action=step.action.sample(seed=pair))

        def write(arrays, t: tf.Tensor, values: trajectory.Trajectory):
            return tf.nest.map_structure(lambda a, v: a.write(t, v), arrays, values)

        def body(t, time_step, arrays):
            action = act(time_step, t)
            following = environment.step(action.action)
            transition = trajectory.from_transition(time_step, action, following)
            return t + 1, following, write(arrays, t, transition)

        with self.agent.trunk.prepared():
            _, last, arrays = tf.while_loop(
                lambda t, *_: t < horizon, body, (0, time_step, arrays), parallel_iterations=1
            )
            ending = trajectory.from_transition(last, act(last, horizon), last)
        arrays = write(arrays, horizon, ending)

        def batch_major(array: tf.TensorArray) -> tf.Tensor:
            stacked = array.stack()
            return tf.transpose(stacked, [1, 0, *range(2, stacked.shape.rank)])

        return tf.nest.map_structure(batch_major, arrays)

    def weights(self, experience: trajectory.Trajectory) -> tf.Tensor | None:
        """The chance that a dream has come to each transition without an end, [N, H]."""
        if self._ends_are_predicted:
            return tf.math.cumprod(experience.discount, axis=1, exclusive=True)
        return None

    # Without AutoGraph: nothing here needs it, and it would rewrite all of TF-Agents.
    @tf.function(
        input_signature=[
            tf.TensorSpec([2], tf.int32),
            tf.TensorSpec([], tf.int32),
            tf.TensorSpec([], tf.float32),
        ],
        autograph=False,
    )
    def update(self, seed: tf.Tensor, number: tf.Tensor, learning_rate: tf.Tensor) -> tf.Tensor:
        """One PPO update, rollout included; returns scalars in the order of ``METRICS``.

        Args:
          seed: of the phase, int32 [2].
          number: of the update within the phase; it is folded into the seed.
          learning_rate: of its gradient steps.
        """
        pair = tf.random.experimental.stateless_fold_in(seed, number)
        rollout = self.rollout(pair)
        dream_return = tf.reduce_mean(tf.reduce_sum(rollout.reward[:, :-1], axis=1))
        shuffle = tf.random.experimental.stateless_fold_in(pair, 2)
        measures = self.improve(rollout, shuffle, learning_rate)
        return tf.concat([[dream_return], measures], axis=0)
