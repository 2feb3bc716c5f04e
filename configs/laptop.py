"""The paper's 102,400 interactions in one night on two cores, with all that `quick` has found.

The schedule has the paper's shape: most of the world model's training in the first iteration, less
in each later one, as the replay grows. No policy and no epoch is chosen by playing. `--dry_run`
says what it takes on the machine at hand.
"""

import ml_collections

from smallwm_tf.experiment.config import default_config
from smallwm_tf.experiment.presets import load_preset


def get_config() -> ml_collections.ConfigDict:
    _, config = load_preset("quick")
    defaults = default_config()
    config.update(
        {
            "collection": {
                "num_iterations": defaults.collection.num_iterations,
                "steps_per_iteration": defaults.collection.steps_per_iteration,
            },
            "vqvae": {"warmup_epochs": 12},
            "dynamics": {"epochs": (20, 6, 5, 5, 4, 4, 3, 3, 3, 2, 2, 2, 2, 2, 2)},
            "ppo": {"num_updates": (300,) * 15},
            "evaluation": {"interval": 1},
        }
    )
    return config
