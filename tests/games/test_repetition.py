"""Games that do not repeat themselves are found out before a run begins."""

import gymnasium
import numpy as np
import pytest

from smallwm_tf.games.catalogue import resolve_game
from smallwm_tf.games.faults import GameFaultError
from smallwm_tf.games.repetition import check_repeats


class Drifting(gymnasium.Env):
    """Repeats itself but for what `fault` says."""

    observation_space = gymnasium.spaces.Box(0, 255, (20, 20), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)
    generator = np.random.default_rng()
    opened = 0

    def __init__(self, fault):
        self.fault, self.episodes = fault, 0
        Drifting.opened += 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=None if self.fault == "reset" else seed)
        self.episodes += 1
        self.age, self.picture = 0, self.np_random.integers(0, 256, (20, 20), np.uint8)
        if self.fault == "episodes":
            self.picture[:] = self.episodes
        return self.picture, {}

    def step(self, action):
        assert isinstance(action, np.integer)
        self.age += 1
        reward, is_over = 0.0, self.age == 30
        if self.fault == "reward" and self.age == 25:
            reward = float(self.generator.random())
        if self.fault == "end":
            is_over = bool(self.generator.random() < 0.3)
        if self.fault == "late" and self.age > 20:
            self.picture = self.generator.integers(0, 256, (20, 20), np.uint8)
        return self.picture, reward, is_over, False, {}

    def close(self):
        Drifting.opened -= 1


@pytest.fixture
def game():
    def register(fault):
        gymnasium.register("Drifting-v0", Drifting, kwargs={"fault": fault})
        return resolve_game("Drifting-v0")

    yield register
    del gymnasium.registry["Drifting-v0"]


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("reset", "another frame than"),
        ("episodes", "another frame than"),  # what came before is not forgotten
        ("late", "another frame after 21 steps than"),
        ("reward", "another reward after 25 steps than"),
        ("end", "another terminated after "),
    ],
)
def test_a_game_that_does_not_repeat_itself_is_refused_with_the_remedy(game, fault, what):
    with pytest.raises(GameFaultError) as caught:
        check_repeats(game(fault))
    message = str(caught.value)
    assert what in message and "self.np_random" in message and "\n" not in message
    assert Drifting.opened == 0


def test_games_that_repeat_themselves_pass(game):
    check_repeats(game(""))
    check_repeats(resolve_game("Catch"))
    check_repeats(resolve_game("Pong"))
