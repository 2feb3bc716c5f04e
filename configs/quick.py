"""A first result on a real game within the hour on two cores: 12,800 + 6,400 real steps."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "game": {"num_stacked_frames": 1},
            "collection": {
                "num_iterations": 3,
                "steps_per_iteration": 3200,
                "repeat_probability": 0.7,
            },
            "vqvae": {
                "pixel_margin": 0.05,
                "foreground_weight": 5.0,
                "warmup_epochs": 3,
                "later_epochs": 1,
                "learning_rate": 3e-4,
                "update_interval": 0,
            },
            "dynamics": {
                "present_code_logit": 7.0,
                "temperature": 0.5,
                "windows_per_batch": 16,
                "epochs": (8, 2, 2),
                "learning_rate": 1e-3,
                "reward_loss_weight": 10.0,
            },
            "dream": {
                "num_dreams": 64,
                "horizon": 16,
                "context_steps": 4,
                "bootstrap_at_horizon": True,
                "rewards": "expected",
            },
            "ppo": {"num_updates": (100, 100, 100), "num_epochs": 1, "check_interval": 50},
            "evaluation": {"interval": 3},
            "inspection": {"num_starts": 96},
            "logging": {"interval": 25},
        }
    )
