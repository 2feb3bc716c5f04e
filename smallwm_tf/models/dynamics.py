"""The dynamics network: a recurrent stack and its heads (section 3.3, Fig. 3).

One step, from z_t and a_t to the next code, the reward and, where dreams end by it, the end:

    z_t ──embed──┐
    a_t ──planes─┴─ cell 1 ── h1 ⊕ a_t ── cell 2 ── h2 ⊕ a_t = y_t ──┬── code head ─── p(z_{t+1})
                                                                     ├── event head ── p(r_t)
                                                                     └── end head ──── p(end_t)

Shapes: K embeddings, D embedding size, C channels, M actions.
"""

import tf_keras

from smallwm_tf.experiment.config import Config
from smallwm_tf.models.code_heads import CODE_HEADS
from smallwm_tf.models.disagreement import DisagreementHeads
from smallwm_tf.models.event_heads import EndHead, RewardHead
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.recurrent_stack import RecurrentStack


class Dynamics(tf_keras.Model):
    """The parts of the dynamics; ``WorldModel`` puts them to work.

    Args:
      config: the run's; reads ``dynamics``, ``dream`` and the sizes of ``vqvae``'s codebook.
      num_actions: M.
      execution: how it is computed.
    """

    def __init__(self, config: Config, num_actions: int, execution: Execution, **kwargs):
        super().__init__(**kwargs)
        self.num_actions = num_actions
        self.execution = execution
        settings, codebook = config.dynamics, config.vqvae
        self.stack = RecurrentStack(
            settings.cell,
            num_actions,
            codebook.embedding_dim,
            settings.channels,
            execution,
            settings.past_codes,
            name="stack",
        )
        y_channels = self.stack.num_channels
        self.code_head = CODE_HEADS[settings.code_head](
            codebook.num_embeddings,
            y_channels,
            settings.present_code_logit,
            execution,
            name="code_head",
        )
        sizes = (y_channels, execution.compiled, settings.reward_head_dropout)
        self.event_head = RewardHead(*sizes, name="event_head")
        self.end_head = EndHead(*sizes, name="end_head") if config.dream.ends != "horizon" else None
        self.disagreement_heads = None
        if config.dream.disagreement_weight:
            self.disagreement_heads = DisagreementHeads(
                codebook.num_embeddings, y_channels, name="disagreement_heads"
            )
        self.built = True
