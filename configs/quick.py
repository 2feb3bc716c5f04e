"""A first result on a real game in half an hour on two cores: 12,800 + 6,400 real steps.

Single frames and larger window batches make the most of little computing time. The reward loss
counts in full: with the paper's 1e-6 the cells would have to learn from rewards for much longer
than this preset lasts. The warm-up takes a third of the paper's learning rate: at 1e-3 the VQ-VAE
of MsPacman fell back to four codes after a spike of its loss. The present code is favoured, so that
a young model need only learn which codes change: with it the model of Pong predicts the next code
better than copying after one iteration, without it worse (results/README.md, ablations).
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "game": {"num_stacked_frames": 1},
            "collection": {"num_iterations": 2},
            "vqvae": {
                "warmup_epochs": 2,
                "warmup_learning_rate": 3e-4,
                "update_interval": 4,
            },
            "dynamics": {
                "present_code_logit": 7.0,
                "windows_per_batch": 16,
                "epochs": (8, 4),
                "reward_loss_weight": 1.0,
            },
            "ppo": {"num_updates": (100, 200)},
            "logging": {"interval": 25},
        }
    )
