"""The paper's interactions in two thirds of the time: larger batches, otherwise its schedule.

Four times as many windows per update, at twice the learning rates, give as many window visits; four
times as many dreams in a quarter of the PPO updates give as many dream steps and gradient steps.
The VQ-VAE trains at every dynamics update, which is half as often per window as in the paper.
docs/performance.md has the rates behind these sizes, results/ what they do on Catch.
"""

import ml_collections

from smallwm_tf.experiment.config import default_config


def get_config() -> ml_collections.ConfigDict:
    updates = default_config().ppo.num_updates
    return ml_collections.ConfigDict(
        {
            "vqvae": {"update_interval": 1},
            "dynamics": {
                "windows_per_batch": 16,
                "learning_rate": 1e-3,
                "reward_head_learning_rate": 2e-3,
            },
            "dream": {"num_dreams": 64},
            "ppo": {"num_updates": tuple(count // 4 for count in updates)},
        }
    )
