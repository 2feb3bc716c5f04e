"""Games of one's own that are at fault: one line says what, where, and what mends it."""

import re
import sys

import gymnasium
import numpy as np
import pytest

from smallwm_tf import doctor
from smallwm_tf.games.catalogue import MissingGameError, resolve_game
from smallwm_tf.games.faults import GameFaultError, UnsuitableGameError
from smallwm_tf.games.repetition import check_repeats

GAME = """
import gymnasium
import numpy as np
{top}

class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(0, 255, (20, 20), np.uint8)
    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self):
        {init}

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        {reset}

    def step(self, action):
        {step}

    def get_action_meanings(self):
        return {meanings}


gymnasium.register("{name}-v0", Own)
"""
SOUND = {
    "top": "",
    "init": "pass",
    "reset": "return np.zeros((20, 20), np.uint8), {}",
    "step": "return np.zeros((20, 20), np.uint8), 0.0, False, False, {}",
    "meanings": "['A', 'B']",
}
FAULTS = {  # what is wrong: its code, part of the message, the remedy
    "syntax": ({"top": "def f(:"}, "SyntaxError", r"mend it \(own_syntax.py, line 4\)"),
    "import": ({"top": "undefined_name"}, "NameError", r"mend it \(own_import.py, line 4\)"),
    "exits": ({"top": "raise SystemExit('usage: x')"}, "SystemExit", r"mend it .*line 4\)"),
    "lacks": ({"top": "import no_such_module.x"}, "no_such_module", "pip install no_such_module$"),
    "init": ({"init": "1 / 0"}, "ZeroDivisionError", r"environment \(own_init.py, line 11\)"),
    "needs": ({"init": "import no_such"}, "no_such", "pip install no_such$"),
    "space": ({"init": "self.action_space = None"}, "must be Discrete, not None", "docs/own_game"),
    "reset": ({"reset": "self.x"}, "reset.. raised AttributeError", r"\(own_reset.py, line 15\)"),
    "old_reset": ({"reset": "return np.zeros((20, 20), np.uint8)"},
                  "reset.. returned ndarray, not observation, info", "mend the environment"),
    "nothing": ({"step": "pass"}, "step.. returned NoneType, not observation, reward", "mend the"),
    "old_step": ({"step": "return np.zeros((20, 20), np.uint8), 0.0, False, {}"},
                 "step.. returned 4 values, not observation, reward, terminated", "mend the"),
    "reward": ({"step": "return np.zeros((20, 20), np.uint8), None, False, False, {}"},
               "reward=None after step 1 of the episode must be a number", "mend the environment"),
    "text": ({"step": "return np.zeros((20, 20), np.uint8), 'one; two', False, False, {}"},
             "reward='one; two' after step 1", "mend the environment"),
    "flag": ({"step": "return np.zeros((20, 20), np.uint8), 0, np.zeros(2), False, {}"},
             "terminated=array.* must be true or false", "mend the environment"),
    "ragged": ({"reset": "return [[1], [2, 3]], {}"}, "observation", "mend the environment"),
    "names": ({"meanings": "self.x"}, "get_action_meanings.. raised", r"own_names.py, line 21\)"),
}  # fmt: skip


@pytest.fixture
def own_game(tmp_path, monkeypatch):
    """Writes a module with a game; returns what --game is given."""
    monkeypatch.syspath_prepend(tmp_path)
    made = []

    def write(name, code):
        made.append(name)
        (tmp_path / f"own_{name}.py").write_text(GAME.format(**SOUND | code, name=f"Own{name}"))
        return f"own_{name}:Own{name}-v0"

    yield write
    for name in made:
        gymnasium.registry.pop(f"Own{name}-v0", None)
        sys.modules.pop(f"own_{name}", None)


@pytest.mark.parametrize("fault", FAULTS)
def test_the_game_is_blamed_and_not_the_installation(own_game, fault):
    """By training, which tries a game before anything is written, and by the doctor."""
    code, problem, remedy = FAULTS[fault]
    game = own_game(fault, code)
    with pytest.raises((GameFaultError, MissingGameError, UnsuitableGameError)) as caught:
        check_repeats(resolve_game(game))
    message = str(caught.value)
    assert "\n" not in message and "install it" not in message
    assert re.search(problem, message), message
    assert re.search(remedy, message), message
    (found,) = doctor._examine_game(game)
    assert (found.state, found.text, found.remedy) == ("wrong", *message.rsplit("; ", 1))


def test_a_module_that_is_not_there(own_game):
    with pytest.raises(MissingGameError, match="install it or put it on PYTHONPATH"):
        resolve_game("no_such_module.games:Own-v0")


def test_a_sound_game_passes(own_game):
    game = own_game("sound", {})
    check_repeats(resolve_game(game))


@pytest.mark.parametrize(("level", "state"), [(40, "note"), (60, "ok"), (255, "ok")])
def test_the_doctor_sees_pictures_that_are_too_dark(own_game, level, state):
    picture = f"np.full((20, 20), {level}, np.uint8) * (np.arange(20) > 9).astype(np.uint8)"
    game = own_game(f"dark{level}", {"reset": f"return {picture}, {{}}"})
    (found,) = doctor._examine_game(game)
    assert found.state == state, found
    assert (f"greys 0 to {level} of 0 to 255" in found.text) == (state == "note")


BOX = gymnasium.spaces.Box
SPACES = {
    "Dict": (gymnasium.spaces.Dict(pixels=BOX(0, 255, (20, 20), np.uint8)), "the entry with"),
    "numbers": (BOX(-1, 1, (4,), np.float32), "AddRenderObservation"),
    "discrete": (gymnasium.spaces.Discrete(16), "AddRenderObservation"),
    "none": (None, "AddRenderObservation"),
    "empty": (BOX(0, 255, (0, 20), np.uint8), "AddRenderObservation"),
    "float": (BOX(0, 1, (20, 20, 3), np.float32), "scales them to whole numbers from 0 to 255"),
    "int": (BOX(0, 255, (20, 20), np.int64), "scales them"),
    "channel first": (BOX(0, 255, (3, 20, 20), np.uint8), "moves the channels last"),
    "alpha": (BOX(0, 255, (20, 20, 4), np.uint8), "one grey or RGB picture"),
    "stack": (BOX(0, 255, (4, 20, 20, 3), np.uint8), "one grey or RGB picture"),
}


@pytest.mark.parametrize("name", SPACES)
def test_observations_that_do_not_fit_come_with_the_wrapper(own_game, name):
    space, wrapper = SPACES[name]
    game = resolve_game(own_game("space", {}))
    sys.modules["own_space"].Own.observation_space = space
    with pytest.raises(UnsuitableGameError, match=wrapper) as caught:
        check_repeats(game)
    assert "\n" not in str(caught.value) and "docs/own_game.md" in str(caught.value)


@pytest.mark.parametrize(
    "space", [gymnasium.spaces.MultiDiscrete([2, 3]), BOX(-1, 1, (1,)), gymnasium.spaces.Text(3)]
)
def test_actions_that_do_not_fit_come_with_the_wrapper(own_game, space):
    game = resolve_game(own_game("actions", {}))
    sys.modules["own_actions"].Own.action_space = space
    with pytest.raises(UnsuitableGameError, match="Discrete, not .*TransformAction"):
        check_repeats(game)
