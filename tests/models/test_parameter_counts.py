"""Parameter counts against the paper's Tables 2 and 3 and the formulas that follow from them."""

import numpy as np
import pytest

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.dynamics import Dynamics
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.parameter_counts import parameter_counts

# F=1 and F=4, M=6: the paper's Table 3 and its counterpart for stacked frames.
PONG = {
    1: {
        "encoder": 2_014_720,
        "decoder": 2_078_689,
        "vqvae": 4_089_313,
        "dynamics": 6_243_427,
        "world_model": 10_332_740,
        "policy": 1_297_415,
        "training_total": 11_630_155,
        "inference_total": 3_312_135,
    },
    4: {
        "encoder": 2_016_256,
        "decoder": 2_080_228,
        "vqvae": 4_092_388,
        "dynamics": 6_243_427,
        "world_model": 10_335_815,
        "policy": 1_297_415,
        "training_total": 11_633_230,
        "inference_total": 3_313_671,
    },
}


@pytest.fixture(scope="module")
def built():
    models = {}

    def build(num_stacked_frames: int, num_actions: int):
        key = num_stacked_frames, num_actions
        if key not in models:
            config = build_config(
                {
                    "game.num_stacked_frames": num_stacked_frames,
                    "dynamics.convolution": "direct",
                }
            )
            models[key] = build_models(config, num_actions)
        return models[key]

    return build


@pytest.mark.parametrize("num_stacked_frames", [1, 4])
def test_pong_has_the_counts_of_table_3(built, num_stacked_frames):
    assert parameter_counts(*built(num_stacked_frames, 6)) == PONG[num_stacked_frames]


@pytest.mark.parametrize("num_stacked_frames", [1, 4])
@pytest.mark.parametrize("num_actions", [3, 6, 18])
def test_counts_follow_the_formulas_for_other_games(built, num_stacked_frames, num_actions):
    counts = parameter_counts(*built(num_stacked_frames, num_actions))
    dynamics = 6_088_867 + 25_760 * num_actions
    policy = 1_294_337 + 513 * num_actions
    pong = PONG[num_stacked_frames]
    assert counts["dynamics"] == dynamics
    assert counts["policy"] == policy
    assert counts["vqvae"] == pong["vqvae"]
    assert counts["world_model"] == pong["vqvae"] + dynamics
    assert counts["training_total"] == pong["vqvae"] + dynamics + policy
    assert counts["inference_total"] == pong["encoder"] + policy


def test_the_fast_convolutions_have_the_same_parameters():
    config = build_config({"game.num_stacked_frames": 1, "dynamics.convolution": "fast"})
    assert parameter_counts(*build_models(config, 6)) == PONG[1]


def dynamics_count(cell: str, channels: int, num_actions: int) -> int:
    """Written out from the equations: 5×5 kernels, layer norms, biases of gates, 1×1 kernel."""
    below = [32 + num_actions, channels + num_actions]

    def norms(num_maps):
        return 2 * 36 * num_maps * channels

    def conv_lstm(inputs):
        return 25 * channels * 4 * (inputs + channels) + norms(4 + 4) + (4 + 3) * channels

    def st_lstm(inputs):
        kernels = 25 * channels * (7 * inputs + (4 + 3 + 2) * channels)
        return kernels + norms(7 + 4 + 3 + 1) + 7 * channels + 2 * channels**2

    def causal_lstm(inputs):
        kernels = 25 * channels * (7 * inputs + (3 + 3 + 4 + 4 + 1) * channels)
        return kernels + norms(7 + 3 + 3 + 4 + 4 + 1) + 7 * channels + 2 * channels**2

    counts = {"conv_lstm": conv_lstm, "st_lstm": st_lstm, "causal_lstm": causal_lstm}
    stack = sum(counts[cell](inputs) for inputs in below)
    if cell == "causal_lstm":
        stack += 25 * channels * 2 * (below[1] + channels) + norms(2 + 2) + 2 * channels
    y = channels + num_actions
    code_head = (y + 1) * 128
    reward_head = (y + 1) * 32 + 2 * 36 * 32 + (36 * 32 + 1) * 512 + (512 + 1) * 3
    return stack + code_head + reward_head


@pytest.mark.parametrize(
    ("cell", "channels", "count"),
    [
        ("conv_lstm", 128, 6_243_427),
        ("conv_lstm", 64, 2_190_563),
        ("st_lstm", 128, 12_185_187),
        ("st_lstm", 64, 3_813_859),
        ("causal_lstm", 128, 18_943_331),
        ("causal_lstm", 64, 5_554_531),
    ],
)
def test_counts_of_other_cells(cell, channels, count):
    assert dynamics_count(cell, channels, 6) == count
    settings = {"dynamics.cell": cell, "dynamics.channels": channels}
    dynamics = Dynamics(build_config(settings), 6, DIRECT)
    assert sum(np.prod(v.shape) for v in dynamics.trainable_variables) == count
