"""A first look at a real game: two iterations, 12,800 + 6,400 real steps, single frames."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "game": {"num_stacked_frames": 1},
            "collection": {"num_iterations": 2},
            "vqvae": {"warmup_epochs": 2},
            "dynamics": {"epochs": (3, 2)},
            "ppo": {"num_updates": (100, 100)},
        }
    )
