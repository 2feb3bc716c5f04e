"""Seeds as functions of a path."""

import itertools

import numpy as np
import tensorflow as tf

from smallwm_tf.experiment.randomness import generator, seed_pair

PATHS = [(), (0,), (1,), ("0",), ("ppo",), ("ppo", 1), ("ppo", "1"), ("ppo", 1, 1), ("ppo", 11)]


def test_the_same_path_gives_the_same_pair_and_other_paths_others():
    pairs = {
        (seed, path): tuple(seed_pair(seed, *path))
        for seed, path in itertools.product([0, 1, 2**31 - 1], PATHS)
    }
    for (seed, path), pair in pairs.items():
        assert tuple(seed_pair(seed, *path)) == pair
    assert len(set(pairs.values())) == len(pairs)
    # A seed is not a part of the path that could trade places with it.
    assert tuple(seed_pair(0, 1)) != tuple(seed_pair(1, 0))


def test_pairs_fit_tensorflows_stateless_operations():
    pair = seed_pair(7, "dream", 3)
    assert pair.dtype == np.int32 and pair.shape == (2,) and pair.flags.writeable
    draws = [tf.random.stateless_uniform([4], pair).numpy() for _ in range(2)]
    np.testing.assert_array_equal(*draws)


def test_pairs_are_those_of_earlier_versions():
    """Changing them would change every run; sha256 of the path's repr, worked out apart."""
    # printf "(0, 'ppo', 3)" | sha256sum, first eight bytes, little-endian int32
    assert seed_pair(0, "ppo", 3).tolist() == [1588133410, -1019880230]


def test_generators_repeat_and_differ_by_path():
    one, again = (generator(5, "collect", 2).integers(1000, size=50) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    other = generator(5, "collect", 3).integers(1000, size=50)
    assert not np.array_equal(one, other)
    draws = generator(0, "x").random(20_000)
    assert abs(draws.mean() - 0.5) < 0.01 and abs(draws.var() - 1 / 12) < 0.005
