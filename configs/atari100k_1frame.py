"""The paper's second variant: 102,400 real steps, single frames ("no frame stacking")."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict({"game": {"num_stacked_frames": 1}})
