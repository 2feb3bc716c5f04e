"""Catch, the project's own tiny game: the whole system learns within minutes.

Dreams are as long as an episode; more of them and larger window batches keep two cores busy.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "game": {"num_stacked_frames": 1},
            "collection": {"num_iterations": 1, "first_iteration_steps": 3000},
            "vqvae": {"warmup_epochs": 5, "update_interval": 4},
            "dynamics": {"windows_per_batch": 16, "epochs": (8,)},
            "dream": {"num_dreams": 64, "horizon": 12},
            "ppo": {"num_updates": (100,)},
            "logging": {"interval": 25},
        }
    )
