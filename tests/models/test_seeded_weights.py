"""Initial weights depend on the seed and their names, not on what else is built or when."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.dynamics import Dynamics
from smallwm_tf.models.execution import DIRECT
from smallwm_tf.models.initializers import build_seeded
from smallwm_tf.models.policy import PolicyAndValue

SETTINGS = {"dynamics.channels": 4, "dynamics.convolution": "direct"}


def weights(seed=0, **differences):
    """All weights of all components by their paths, each a list of arrays."""
    settings = {key.replace("__", "."): value for key, value in differences.items()}
    world_model, policy = build_models(build_config(SETTINGS | settings), 3, seed)
    components = {"vqvae": world_model.vqvae, "dynamics": world_model.dynamics, "policy": policy}
    return {name: model.get_weights() for name, model in components.items()}


def are_equal(one, other):
    return [np.array_equal(a, b) for a, b in zip(one, other, strict=True)]


@pytest.fixture(scope="module")
def built():
    tf.keras.utils.set_random_seed(1)
    return weights()


def test_the_global_seed_plays_no_part_and_the_runs_seed_does(built):
    tf.keras.utils.set_random_seed(2)
    again, other = weights(), weights(seed=1)
    for name, arrays in built.items():
        assert all(are_equal(arrays, again[name])), name
        for array, different in zip(arrays, other[name], strict=True):
            is_constant = np.all(array == array.flat[0]) and array.size > 1  # ones, zeros
            assert is_constant or not np.array_equal(array, different), name


def test_a_larger_head_changes_no_other_weight(built):
    """256 codes instead of 128: another codebook and another code head."""
    larger = weights(vqvae__num_embeddings=256)
    assert all(are_equal(built["policy"], larger["policy"]))
    # Embeddings, sizes and sums of the codebook; kernel and bias of the head.
    for name, num_resized in (("vqvae", 3), ("dynamics", 2)):
        pairs = list(zip(built[name], larger[name], strict=True))
        resized = sum(one.shape != other.shape for one, other in pairs)
        assert resized == num_resized, name
        assert sum(np.array_equal(*pair) for pair in pairs) == len(pairs) - resized, name


def test_the_order_of_building_plays_no_part(built):
    def policy():
        return build_seeded(
            PolicyAndValue, 0, num_actions=3, embedding_dim=32, execution=DIRECT, name="policy"
        )

    alone = policy()
    other = build_config({"vqvae.num_embeddings": 9, "dynamics.channels": 2})
    build_seeded(Dynamics, 0, config=other, num_actions=5, execution=DIRECT, name="dynamics")
    after = policy()
    assert all(are_equal(alone.get_weights(), after.get_weights()))
    assert all(are_equal(alone.get_weights(), built["policy"]))


def test_weights_of_one_shape_differ(built):
    """Also the codebook, its averages in step, and the peepholes of both cells."""
    drawn = [
        array
        for arrays in built.values()
        for array in arrays
        if array.size > 1 and not np.all(array == array.flat[0])
    ]
    same = [
        (i, j)
        for i, one in enumerate(drawn)
        for j, other in enumerate(drawn[:i])
        if one.shape == other.shape and np.array_equal(one, other)
    ]
    assert len(same) == 1 and drawn[same[0][0]].shape == (128, 32)  # embeddings and their sums
