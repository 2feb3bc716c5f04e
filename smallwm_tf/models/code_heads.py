"""Code heads: p(z_{t+1} | y_t), the distribution of the next 36 codes (Eq. 5).

A head's ``distribution`` has one method, ``given``: what it is once the reward is known.

Shapes: B batch, C channels of the cells, M actions, K embeddings.
"""

import tensorflow as tf

from smallwm_tf.models.autoregressive_codes import AutoregressiveCodeHead
from smallwm_tf.models.event_heads import NUM_REWARD_CLASSES
from smallwm_tf.models.independent_codes import CodeLogits, CodesGivenReward, IndependentCodes
from smallwm_tf.models.masked_codes import MaskedCodeHead


class IndependentCodeHead(CodeLogits):
    """f(y) of the paper."""

    def distribution(self, y: tf.Tensor, present_codes: tf.Tensor) -> IndependentCodes:
        """p(z_{t+1} | y_t), of y [36, B, C + M] and the present codes z_t, int [B, 6, 6]."""
        return IndependentCodes(tf.squeeze(self.logits(y, present_codes), axis=1))


class GivenRewardCodeHead(CodeLogits):
    """A distribution for each reward: what a transition paid shows in its next codes.

    In a dream the reward is drawn first and the codes given it: a pill that is eaten is gone.
    """

    num_distributions = NUM_REWARD_CLASSES

    def distribution(self, y: tf.Tensor, present_codes: tf.Tensor) -> CodesGivenReward:
        """See ``IndependentCodeHead.distribution``."""
        return CodesGivenReward(self.logits(y, present_codes))


CODE_HEADS = {
    "independent": IndependentCodeHead,
    "given_reward": GivenRewardCodeHead,
    "autoregressive": AutoregressiveCodeHead,
    "masked": MaskedCodeHead,
}
