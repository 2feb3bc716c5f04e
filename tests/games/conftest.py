"""A toy pixel game that any test can play under the name "ToyPixels-v0"."""

import gymnasium
import numpy as np
import pytest

import smallwm_tf  # noqa: F401  chooses Keras 2 before any test imports TF-Agents


class ToyPixels(gymnasium.Env):
    """Random RGB pixels, 30 x 40, actions 5 and 6; episodes of seven steps; faults on demand."""

    def __init__(self, fault: str = "", num_actions: int = 2):
        self.fault = fault
        self.observation_space = gymnasium.spaces.Box(0, 255, (30, 40, 3), np.uint8)
        self.action_space = gymnasium.spaces.Discrete(num_actions, start=5)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.fault == "unrepeatable" else seed)
        self.age = 0
        return self._observe(), {}

    def step(self, action):
        assert self.action_space.contains(int(action))
        self.age += 1
        if self.fault == "raises":
            raise RuntimeError("boiler\nexploded")
        reward = float("nan") if self.fault == "nan" else float(action)
        return self._observe(), reward, self.age == 7 and self.fault != "endless", False, {}

    def _observe(self):
        shape = (31, 40, 3) if self.fault == "shape" and self.age else (30, 40, 3)
        observation = self.np_random.integers(0, 256, shape, dtype=np.uint8)
        return observation.astype(np.float32) if self.fault == "dtype" else observation


@pytest.fixture(scope="session", autouse=True)
def toy_games():
    for fault in ("", "nan", "shape", "dtype", "raises", "endless", "unrepeatable"):
        identity = f"Toy{fault.title()}Pixels-v0"
        gymnasium.register(id=identity, entry_point=ToyPixels, kwargs={"fault": fault})
    gymnasium.register(id="OneAction-v0", entry_point=ToyPixels, kwargs={"num_actions": 1})
    yield
    for identity in [name for name in gymnasium.registry if "Pixels-v0" in name]:
        del gymnasium.registry[identity]
    del gymnasium.registry["OneAction-v0"]
