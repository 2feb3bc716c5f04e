"""The paper's experiment: 102,400 real steps, 4 stacked frames. The defaults, unchanged."""

import ml_collections


def get_config() -> ml_collections.ConfigDict:
    return ml_collections.ConfigDict()
