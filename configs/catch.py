"""Catch, the project's own tiny game: the whole system learns within minutes.

Real steps are cheap here, and enough of them are played at random for every column to see a catch:
with half as many, one seed of three never saw the ball caught in the last column, so its world
model knew no such thing and its policy never tried. The reward loss counts in full: a few minutes
must suffice to learn it, and beside the 36 cross-entropies of the codes it stays small. Small
batches give the VQ-VAE enough updates in one pass, and then it rests: random play has shown it
everything. Dreams are as long as a ball falls; what follows pays nothing. The policy's learning
rate falls, since noise would move a policy about that already catches almost every ball.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "game": {"num_stacked_frames": 1},
            "collection": {
                "num_iterations": 2,
                "first_iteration_steps": 4000,
                "steps_per_iteration": 1000,
            },
            "vqvae": {"warmup_epochs": 1, "batch_size": 20, "update_interval": 0},
            "dynamics": {
                "temperature": 0.5,
                "windows_per_batch": 8,
                "epochs": (4, 1),
                "reward_loss_weight": 1.0,
            },
            "dream": {"num_dreams": 64, "horizon": 8},
            "ppo": {
                "num_updates": (40, 120),
                "minibatch_size": 128,
                "entropy_weight": 0.003,
                "learning_rate": 5e-4,
                "final_learning_rate_share": 0.05,
            },
            "inspection": {"held_out_steps": 500, "horizon": 12},
            "logging": {"interval": 20},
        }
    )
