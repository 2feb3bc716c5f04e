"""How many parameters each part has (Tables 2 and 3 of the paper)."""

import numpy as np

from smallwm_tf.models.policy import PolicyAndValue
from smallwm_tf.models.world_model import WorldModel


def _count(variables) -> int:
    return int(sum(np.prod(v.shape) for v in variables))


def parameter_counts(world_model: WorldModel, policy: PolicyAndValue) -> dict[str, int]:
    """Counts by part, with the keys of the paper's Table 3.

    Batch norm's moving statistics and the codebook's moving averages are not parameters. Encoder
    and decoder both need the codebook, so their counts add up to more than the VQ-VAE's.
    """
    vqvae = world_model.vqvae
    codebook = _count([vqvae.quantizer.embeddings])
    encoder = _count(vqvae.encoder.trainable_variables) + codebook
    decoder = _count(vqvae.decoder.trainable_variables) + codebook
    dynamics = _count(world_model.dynamics.trainable_variables)
    policy_count = _count(policy.trainable_variables)
    vqvae_count = encoder + decoder - codebook
    return {
        "encoder": encoder,
        "decoder": decoder,
        "vqvae": vqvae_count,
        "dynamics": dynamics,
        "world_model": vqvae_count + dynamics,
        "policy": policy_count,
        "training_total": vqvae_count + dynamics + policy_count,
        "inference_total": encoder + policy_count,
    }
