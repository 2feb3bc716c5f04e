"""The dynamics network: a recurrent stack with two heads (section 3.3, Fig. 3).

One step, from z_t and a_t to the next code and the reward:

    z_t ──embed──┐
    a_t ──planes─┴─ cell 1 ── h1 ⊕ a_t ── cell 2 ── h2 ⊕ a_t = y_t ──┬── code head ─── p(z_{t+1})
                                                                     └── event head ── p(r_t)

Shapes: K embeddings, D embedding size, C channels, M actions.
"""

import tf_keras

from smallwm_tf.models.code_heads import CODE_HEADS
from smallwm_tf.models.event_heads import RewardHead
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.recurrent_stack import RecurrentStack


class Dynamics(tf_keras.Model):
    """The parts of the dynamics; ``WorldModel`` puts them to work.

    Args:
      num_actions: M.
      num_embeddings: K.
      embedding_dim: D.
      channels: C of the cells.
      execution: how it is computed.
      cell: name in ``recurrent_stack.CELLS``.
      code_head: name in ``code_heads.CODE_HEADS``.
      present_code_logit: see ``IndependentCodeHead``.
      reward_head_dropout: see ``RewardHead``.
    """

    def __init__(
        self,
        num_actions: int,
        num_embeddings: int,
        embedding_dim: int,
        channels: int,
        execution: Execution,
        cell: str = "conv_lstm",
        code_head: str = "independent",
        present_code_logit: float = 0.0,
        reward_head_dropout: float = 0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.num_actions = num_actions
        self.execution = execution
        self.stack = RecurrentStack(
            cell, num_actions, embedding_dim, channels, execution, name="stack"
        )
        y_channels = self.stack.num_channels
        self.code_head = CODE_HEADS[code_head](
            num_embeddings, y_channels, present_code_logit, name="code_head"
        )
        self.event_head = RewardHead(
            y_channels, execution.compiled, reward_head_dropout, name="event_head"
        )
        self.built = True
