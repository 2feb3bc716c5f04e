"""Builds the networks that a configuration describes."""

from smallwm_tf.experiment.config import Config
from smallwm_tf.models.dynamics import Dynamics
from smallwm_tf.models.event_heads import RecognitionHead
from smallwm_tf.models.execution import execution_of
from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.initializers import build_seeded
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.vqvae import VQVAE
from smallwm_tf.models.world_model import WorldModel


def build_frame_policy(config: Config, num_actions: int, seed: int = 0) -> FramePolicy:
    """The policy of model-free PPO with fresh weights; arguments as of ``build_models``."""
    num_frames = config.game.num_stacked_frames
    return build_seeded(
        FramePolicy, seed, num_actions=num_actions, num_stacked_frames=num_frames, name="policy"
    )


def build_models(
    config: Config, num_actions: int, seed: int = 0
) -> tuple[WorldModel, PolicyAndValue]:
    """World model and policy with fresh weights.

    Args:
      config: the run's configuration; reads ``game``, ``vqvae``, ``dynamics``,
        ``ppo.repeat_probability`` and ``ppo.sees_recurrent_state``.
      num_actions: M of the game.
      seed: of the run; each weight is drawn by its own name, whatever is built beside it.
    """
    execution, embedding_dim = execution_of(config), config.vqvae.embedding_dim
    vqvae = build_seeded(VQVAE, seed, config=config, execution=execution, name="vqvae")
    vqvae.quantizer.reset_averages()
    given = {"seed": seed, "num_actions": num_actions}
    dynamics = build_seeded(Dynamics, **given, config=config, execution=execution, name="dynamics")
    policy = build_seeded(
        PolicyAndValue,
        **given,
        embedding_dim=embedding_dim,
        execution=execution,
        repeat_probability=config.ppo.repeat_probability,
        state_channels=config.dynamics.channels * config.ppo.sees_recurrent_state,
        name="policy",
    )
    recognition_head = None
    if config.vqvae.event_loss_weight:
        recognition_head = build_seeded(
            RecognitionHead, **given, embedding_dim=embedding_dim, name="recognition_head"
        )
    return WorldModel(vqvae, dynamics, recognition_head), policy
