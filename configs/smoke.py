"""The whole loop in minutes, too short to learn anything: two iterations, single frames."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "game": {"num_stacked_frames": 1},
            "collection": {
                "num_iterations": 2,
                "first_iteration_steps": 400,
                "steps_per_iteration": 200,
            },
            "vqvae": {"warmup_epochs": 1},
            "dynamics": {"epochs": (1, 1)},
            "ppo": {"num_updates": (2, 2)},
            "evaluation": {"num_episodes": 2},
            "inspection": {"held_out_steps": 100, "num_starts": 4},
            "logging": {"interval": 5},
            "deterministic": True,
        }
    )
