"""Q-learning's targets, against the forward view of λ-returns."""

import numpy as np
import tensorflow as tf

from benchmarks import q_learning
from benchmarks.q_learning import Windows

DISCOUNT = 0.9


def forward_view(rewards, continues, counts, values, decay) -> list[float]:
    """Mixtures of n-step returns of one window, n up to its last step that counts."""
    horizon, results = len(rewards), []
    for t in range(horizon):
        n_step, chance, total, weight_left, result = 0, 1.0, 0.0, 1.0, 0.0
        while True:
            total += chance * rewards[t + n_step]
            chance *= DISCOUNT * continues[t + n_step]
            n_step += 1
            behind = t + n_step
            is_last = behind == horizon or not counts[behind]
            weight = weight_left if is_last else weight_left * (1.0 - decay)
            result += weight * (total + chance * values[behind])
            weight_left -= weight
            if is_last:
                break
        results.append(result)
    return results


def test_targets_are_mixtures_of_n_step_returns():
    draw = np.random.default_rng(0)
    shape = [6, 5]
    rewards = draw.integers(-1, 2, size=shape).astype(np.float32)
    continues = draw.choice([0.0, 0.7, 1.0], size=shape).astype(np.float32)
    lengths = [5, 5, 4, 3, 2, 1]  # what comes behind is padding
    counts = (np.arange(5) < np.array(lengths)[:, np.newaxis]).astype(np.float32)
    values = draw.normal(size=[6, 6]).astype(np.float32)
    parts = map(tf.constant, (rewards, continues, counts))
    windows = Windows((), (), *parts)
    found = q_learning._returns(windows, tf.constant(values), DISCOUNT).numpy()
    for n, length in enumerate(lengths):
        given = (part[n, :length] for part in (rewards, continues, counts))
        expected = forward_view(*given, values[n], q_learning._DECAY)
        np.testing.assert_allclose(found[n, :length], expected, rtol=1e-5, atol=1e-6)
