"""PPO's update with TF-Agents' clipped agent: for dreams (section 3.4) and for the real game.

Time alignment of one rollout of H steps; one column per transition, which is what PPO trains on:

    observation        o_0      o_1      …   o_{H-1}   o_H
    action             a_0      a_1      …   a_{H-1}   (none: the extra column TF-Agents wants)
    reward             r_0      r_1      …   r_{H-1}
    value              V(o_0)   V(o_1)   …   V(o_{H-1})   V(o_H)

Shapes: N rollouts side by side, H steps, M actions.
"""

import tensorflow as tf
from tf_agents.trajectories import StepType, trajectory
from tf_agents.trajectories import time_step as ts

from smallwm_tf.learning import ppo_networks
from smallwm_tf.learning.adam import BiasCorrectedAdam

#: What ``PolicyLearner.improve`` measures.
METRICS = (
    "policy_loss",
    "value_loss",
    "entropy",  # nats, mean over the rollout, before the update
    "clip_fraction",
    "value_error",  # mean |V − return| of the rollout, before the update
)


def make_agent(
    trunk: ppo_networks.SharedTrunk,
    time_step_spec: ts.TimeStep,
    action_spec,
    optimizer: BiasCorrectedAdam,
    config,
) -> ppo_networks.SharedTrunkAgent:
    """TF-Agents' clipped PPO agent, every argument by name.

    Its defaults switch the algorithm off: no ratio clipping, no GAE, both normalisers on
    (paper_details, section 7).

    Args:
      trunk: around the network to train.
      time_step_spec, action_spec: of the environment.
      optimizer: of the network's variables.
      config: the run's; reads ``ppo``.
    """
    observation_spec = time_step_spec.observation
    return ppo_networks.SharedTrunkAgent(
        time_step_spec=time_step_spec,
        action_spec=action_spec,
        optimizer=optimizer,
        actor_net=ppo_networks.ActorNetwork(observation_spec, action_spec, trunk),
        value_net=ppo_networks.ValueNetwork(observation_spec, trunk),
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
    """Improves a policy on rollouts; whoever makes these inherits from it.

    Args:
      agent: from ``make_agent``.
      optimizer: the agent's.
      config: the run's; reads ``ppo``.

    Attributes:
      num_updates: variable that counts updates since the run began.
    """

    def __init__(self, agent: ppo_networks.SharedTrunkAgent, optimizer: BiasCorrectedAdam, config):
        super().__init__(name="policy_learner")
        self.agent = agent
        self.optimizer = optimizer
        self.num_updates = tf.Variable(0, trainable=False, dtype=tf.int64, name="num_updates")
        self._config = config.ppo

    def improve(
        self, rollout: trajectory.Trajectory, seed: tf.Tensor, learning_rate: tf.Tensor
    ) -> tf.Tensor:
        """One PPO update on a rollout [N, H + 1]; returns scalars in the order of ``METRICS``."""
        self.optimizer.learning_rate.assign(learning_rate)
        self.num_updates.assign_add(1)
        experience = self.with_advantages(rollout)
        info = experience.policy_info
        log_p = tf.nn.log_softmax(info["dist_params"]["logits"])
        entropy = -tf.reduce_mean(tf.reduce_sum(tf.exp(log_p) * log_p, axis=-1))
        value_error = tf.reduce_mean(tf.abs(info["value_prediction"] - info["return"]))
        weights = self.weights(experience)
        policy_loss, value_loss, clip_fraction = self.train_on(experience, seed, weights)
        return tf.stack([policy_loss, value_loss, entropy, clip_fraction, value_error])

    def weights(self, experience: trajectory.Trajectory) -> tf.Tensor | None:
        """Of the losses of transitions, [N, H]; None: all count the same."""
        del experience

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

    def train_on(
        self,
        experience: trajectory.Trajectory,
        seed: tf.Tensor,
        weights: tf.Tensor | None = None,
    ) -> list[tf.Tensor]:
        """Epochs of minibatches over transitions [N, H] with advantages, and perhaps weights.

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
            of_minibatch = None
            if weights is not None:
                of_minibatch = tf.gather(tf.reshape(weights, [-1, 1]), chosen)
            info = self.agent.train(minibatch, weights=of_minibatch).extra
            return step + 1, sums + tf.stack(
                [info.policy_gradient_loss, info.value_estimation_loss, info.clip_fraction]
            )

        _, sums = tf.while_loop(
            lambda step, _: step < num_steps, body, (0, tf.zeros([3])), parallel_iterations=1
        )
        return tf.unstack(sums / tf.cast(num_steps, tf.float32))
