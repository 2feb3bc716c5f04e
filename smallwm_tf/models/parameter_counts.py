"""How many parameters each part has (Tables 2 and 3 of the paper)."""

import numpy as np
import tensorflow as tf

from smallwm_tf.models.frame_policy import FramePolicy
from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel


def parameter_counts(world_model: WorldModel, policy: PolicyAndValue) -> dict[str, int]:
    """Counts by part, with the keys of the paper's Table 3.

    Batch norm's moving statistics and the codebook's moving averages are not parameters. Encoder
    and decoder both need the codebook, so their counts add up to more than the VQ-VAE's.
    A policy that sees the recurrent state needs what carries it wherever it acts.
    """
    vqvae = world_model.vqvae
    codebook = int(np.prod(vqvae.quantizer.embeddings.shape))
    encoder, decoder = (_count(part) + codebook for part in (vqvae.encoder, vqvae.decoder))
    dynamics, policy_count = _count(world_model.dynamics), _count(policy)
    carried = _count(world_model.dynamics.stack) if policy.sees_state else 0
    vqvae_count = encoder + decoder - codebook
    return {
        "encoder": encoder,
        "decoder": decoder,
        "vqvae": vqvae_count,
        "dynamics": dynamics,
        "world_model": vqvae_count + dynamics,
        "policy": policy_count,
        "training_total": vqvae_count + dynamics + policy_count,
        "inference_total": encoder + policy_count + carried,
    }


def frame_policy_counts(policy: FramePolicy) -> dict[str, int]:
    """The same for model-free PPO, which has nothing else."""
    return dict.fromkeys(("policy", "training_total", "inference_total"), _count(policy))


def _count(part: tf.Module) -> int:
    return int(sum(np.prod(variable.shape) for variable in part.trainable_variables))
