"""NumPy's random state as plain text, to be stored without pickle."""

import json

import numpy as np


def random_state_to_array(generator: np.random.Generator) -> np.ndarray:
    """A generator's state as JSON in a text array (storable without pickle)."""
    return np.array(json.dumps(generator.bit_generator.state))


def random_state_from_array(saved: np.ndarray) -> np.random.Generator:
    """The generator that `random_state_to_array` described.

    Raises:
        ValueError: Not such a description. One line.
    """
    generator = np.random.Generator(np.random.PCG64())
    try:
        generator.bit_generator.state = json.loads(str(saved))
    except (TypeError, ValueError, KeyError) as error:
        raise ValueError(f"saved game state: 'random_state' is not usable ({error})") from error
    return generator
