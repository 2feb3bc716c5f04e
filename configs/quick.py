"""A real game learned within the hour on two cores: 12,800 + 2 × 3,200 interactions.

What departs from the paper, and why (docs/details.md has what each change bought):

- The codes see the figures: pixels keep a margin from black and white, and those that differ from
  the median frame weigh more. Without, most of the loss is about black pixels.
- The VQ-VAE rests while the dynamics learn: targets stand still, and each frame is encoded once.
- The random collection holds its actions for some steps, so that the model learns what that does.
- A young model draws too wild codes: it learns from eight true ones of eleven instead of four, the
  drawn ones are tempered, in training and in dreams, and a dream starts with four real steps of
  context and lasts 16 instead of 50 steps, with a bootstrap.
- Where the last epoch of the dynamics predicts held-out codes no better than copying them does, the
  best epoch is kept: some games are learned by heart in eight.
- Rewards count in full in the model's loss, and dreams pay their mean instead of a draw.
- PPO passes over each batch once: four passes learn the noise of a batch by heart.
- Of three policies per iteration the one is kept that the real game paid best from 48 moments, over
  50 steps each.

The two choices, of epochs and of policies, take up to 34,023 real steps from which nothing learns.
"""

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
                "likelihood": "exact",
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
                "context_steps": 8,
                "epochs": (8, 2, 2),
                "learning_rate": 1e-3,
                "reward_loss_weight": 10.0,
                "epoch_fallback": True,
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
            "inspection": {"num_starts": 48},
            "logging": {"interval": 25},
        }
    )
