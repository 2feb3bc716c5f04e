"""Model-free PPO on 102,400 real steps: what a world model is to be compared with.

The settings of OpenAI Baselines' ppo2 on Atari (Schulman et al., 2017): eight games of 128 steps
between two updates, four epochs of four minibatches, a learning rate that falls to nothing; rewards
are clipped, a lost life ends an episode. Evaluated after the same interactions as `atari100k`.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "algorithm": "ppo",
            "ppo": {"final_learning_rate_share": 0.0},
            "adam": {"epsilon": 1e-5},
        }
    )
