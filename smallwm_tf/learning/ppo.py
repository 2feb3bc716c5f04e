"""PPO in the dream, with TF-Agents' clipped agent (section 3.4).

Time alignment of one rollout of H steps; one column per transition, which is what PPO trains on:

    observation        z_0      ẑ_1      …   ẑ_{H-1}   ẑ_H
    action             a_0      a_1      …   a_{H-1}   (none: the extra column TF-Agents wants)
    reward             r̂_0      r̂_1      …   r̂_{H-1}
    next discount      1        1        …   0
    value              V(z_0)   V(ẑ_1)   …   V(ẑ_{H-1})   V(ẑ_H)

Shapes: N dreams, H horizon, M actions.
"""

import tensorflow as tf
from tf_agents.trajectories import StepType, trajectory
from tf_agents.trajectories import time_step as ts

from smallwm_tf.learning import ppo_networks
from smallwm_tf.learning.adam import BiasCorrectedAdam
from smallwm_tf.learning.dream_environment import DreamEnvironment
from smallwm_tf.models.policy import PolicyAndValue

METRICS = (
    "dream_return",  # mean sum of simulated rewards of a dream
    "policy_loss",
    "value_loss",
    "entropy",  # nats, mean over the rollout, before the update
    "clip_fraction",
    "value_error",  # mean |V − return| of the rollout, before the update
)


def make_agent(
    environment: DreamEnvironment,
    policy: PolicyAndValue,
    embeddings: tf.Variable,
    optimizer: BiasCorrectedAdam,
    config,
) -> ppo_networks.SharedTrunkAgent:
    """TF-Agents' clipped PPO agent, every argument by name.

    Its defaults switch the algorithm off: no ratio clipping, no GAE, both normalisers on
    (paper_details, section 7).

    Args:
      environment: gives the specs.
      policy: the network to train.
      embeddings: the codebook [K, D], which the policy reads.
      optimizer: of the policy's variables.
      config: the run's; reads ``ppo``.
    """
    trunk = ppo_networks.SharedTrunk(policy, embeddings)
    spec = environment.observation_spec()
    return ppo_networks.SharedTrunkAgent(
        time_step_spec=environment.time_step_spec(),
        action_spec=environment.action_spec(),
        optimizer=optimizer,
        actor_net=ppo_networks.ActorNetwork(spec, environment.action_spec(), trunk),
        value_net=ppo_networks.ValueNetwork(spec, trunk),
        greedy_eval=False,
        importance_ratio_clipping=config.ppo.ratio_clip,
        lambda_value=config.ppo.gae_lambda,
        discount_factor=config.ppo.discount,
        entropy_regularization=config.ppo.entropy_weight,
        policy_l2_reg=0.0,
        value_function_l2_reg=0.0,
        shared_vars_l2_reg=0.0,
        value_pred_loss_coef=config.ppo.value_loss_weight,
        num_epochs=1,  # epochs and minibatches are ours, see PolicyLearner
        use_gae=True,
        use_td_lambda_return=True,
        normalize_rewards=False,
        reward_norm_clipping=0.0,
        normalize_observations=False,
        log_prob_clipping=0.0,
        gradient_clipping=config.ppo.max_gradient_norm,
        value_clipping=config.ppo.value_clip,
        check_numerics=False,
        compute_value_and_advantage_in_train=False,
        update_normalizers_in_train=False,
        aggregate_losses_across_replicas=False,
        debug_summaries=False,
        summarize_grads_and_vars=False,
        train_step_counter=tf.Variable(0, dtype=tf.int64, trainable=False),
        name="ppo",
    )


class PolicyLearner(tf.Module):
    """Rolls the policy out in the dream and improves it; one compiled call per update.

    Args:
      environment: the dream.
      agent: from ``make_agent``.
      optimizer: the agent's.
      config: the run's; reads ``ppo`` and ``dream.horizon``.

    Attributes:
      num_updates: variable that counts updates since the run began.
    """

    def __init__(
        self,
        environment: DreamEnvironment,
        agent: ppo_networks.SharedTrunkAgent,
        optimizer: BiasCorrectedAdam,
        config,
    ):
        super().__init__(name="policy_learner")
        self._environment = environment
        self.agent = agent
        self.optimizer = optimizer
        self.num_updates = tf.Variable(0, trainable=False, dtype=tf.int64, name="num_updates")
        self._config = config.ppo
        self._horizon = config.dream.horizon

    def rollout(self, seed: tf.Tensor) -> trajectory.Trajectory:
        """All dreams of the environment from reset to horizon, for a seed int32 [2]: [N, H + 1].

        The last column is the end of the dream, on which nothing is trained.
        """
        environment, policy = self._environment, self.agent.collect_policy
        horizon = self._horizon
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

    def with_advantages(self, experience: trajectory.Trajectory) -> trajectory.Trajectory:
        """Adds GAE advantages and λ-returns, [N, H + 1] → [N, H]."""
        # TF-Agents treats every LAST step as terminal. Where the environment says otherwise, by a
        # discount above 0, the value there enters as part of the last reward: r + γ·d·V.
        values = experience.policy_info["value_prediction"]
        is_end = tf.equal(experience.next_step_type[:, :-1], StepType.LAST)
        beyond = self._config.discount * experience.discount[:, :-1] * values[:, 1:]
        bonus = tf.pad(tf.where(is_end, beyond, 0.0), [[0, 0], [0, 1]])
        experience = experience.replace(reward=experience.reward + bonus)
        experience = self.agent.preprocess_sequence(experience)
        return tf.nest.map_structure(lambda tensor: tensor[:, :-1], experience)

    def train_on(self, experience: trajectory.Trajectory, seed: tf.Tensor) -> list[tf.Tensor]:
        """Epochs of minibatches over transitions [N, H] with advantages.

        The last minibatch of an epoch holds the remainder. Returns means over all gradient steps:
        policy loss, value loss, clip fraction.
        """
        # TF-Agents wants [batch, time]: each transition becomes a sequence of length one.
        flat = tf.nest.map_structure(lambda t: tf.reshape(t, [-1, 1, *t.shape[2:]]), experience)
        count = tf.shape(tf.nest.flatten(flat)[0])[0]
        size = self._config.minibatch_size
        num_minibatches = -(-count // size)
        num_steps = self._config.num_epochs * num_minibatches

        def body(step, sums):
            epoch, part = step // num_minibatches, step % num_minibatches
            pair = tf.random.experimental.stateless_fold_in(seed, epoch)
            order = tf.random.experimental.stateless_shuffle(tf.range(count), pair)
            chosen = order[part * size : tf.minimum((part + 1) * size, count)]
            minibatch = tf.nest.map_structure(lambda t: tf.gather(t, chosen), flat)
            info = self.agent.train(minibatch).extra
            return step + 1, sums + tf.stack(
                [info.policy_gradient_loss, info.value_estimation_loss, info.clip_fraction]
            )

        _, sums = tf.while_loop(
            lambda step, _: step < num_steps, body, (0, tf.zeros([3])), parallel_iterations=1
        )
        return tf.unstack(sums / tf.cast(num_steps, tf.float32))

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
        self.optimizer.learning_rate.assign(learning_rate)
        self.num_updates.assign_add(1)
        pair = tf.random.experimental.stateless_fold_in(seed, number)
        rollout = self.rollout(pair)
        experience = self.with_advantages(rollout)
        info = experience.policy_info
        log_p = tf.nn.log_softmax(info["dist_params"]["logits"])
        entropy = -tf.reduce_mean(tf.reduce_sum(tf.exp(log_p) * log_p, axis=-1))
        value_error = tf.reduce_mean(tf.abs(info["value_prediction"] - info["return"]))
        shuffle = tf.random.experimental.stateless_fold_in(pair, 2)
        policy_loss, value_loss, clip_fraction = self.train_on(experience, shuffle)
        dream_return = tf.reduce_mean(tf.reduce_sum(rollout.reward[:, :-1], axis=1))
        return tf.stack(
            [dream_return, policy_loss, value_loss, entropy, clip_fraction, value_error]
        )
