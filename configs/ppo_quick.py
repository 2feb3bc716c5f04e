"""Model-free PPO beside `quick`, which learns from 32,000 real steps and plays 43,505 in all:
evaluated after 19,200 and after 53,248.

Otherwise as `ppo100k`.
"""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict(
        {
            "algorithm": "ppo",
            "collection": {
                "num_iterations": 2,
                "first_iteration_steps": 19200,
                "steps_per_iteration": 34048,
            },
            "ppo": {"final_learning_rate_share": 0.0},
            "adam": {"epsilon": 1e-5},
        }
    )
