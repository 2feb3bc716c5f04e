"""Names of games: every spelling that should work does, every other gets one helpful line."""

import csv
import subprocess
import sys
from pathlib import Path

import pytest

from smallwm_tf.games.catalogue import (
    TABLE_4_GAMES,
    MissingGameError,
    UnknownGameError,
    list_games,
    resolve_game,
)

ROM_SPELLINGS = {"MsPacman": "ms_pacman", "UpNDown": "up_n_down", "BankHeist": "bank_heist"}


def test_table_4_has_the_36_games_of_the_paper():
    import smallwm_tf

    scores = Path(smallwm_tf.__file__).parent / "data" / "atari_scores.csv"
    with scores.open() as lines:
        in_paper = sorted(row["game"] for row in csv.DictReader(lines))
    assert sorted(TABLE_4_GAMES) == in_paper
    assert len(set(TABLE_4_GAMES)) == 36


@pytest.mark.parametrize("name", TABLE_4_GAMES)
def test_every_table_4_name_resolves_to_an_installed_rom(name):
    import gymnasium
    from ale_py import roms

    game = resolve_game(name)
    assert (game.name, game.is_atari) == (name, True)
    assert roms.get_rom_path(gymnasium.spec(game.gymnasium_id).kwargs["game"]).is_file()


@pytest.mark.parametrize("name", TABLE_4_GAMES)
def test_case_and_snake_case_do_not_matter(name):
    snake = "".join("_" + letter.lower() if letter.isupper() else letter for letter in name)[1:]
    for spelling in (name.lower(), name.upper(), snake, snake.replace("_", " "), f"ALE/{name}-v5"):
        assert resolve_game(spelling) == resolve_game(name), spelling


@pytest.mark.parametrize(("name", "rom"), ROM_SPELLINGS.items())
def test_rom_spelling(name, rom):
    assert resolve_game(rom).name == name


def test_other_games():
    catch = resolve_game("catch")
    assert (catch.name, catch.gymnasium_id, catch.is_atari) == ("Catch", "SmallWM/Catch-v0", False)
    assert resolve_game("SmallWM/Catch-v0") == catch
    tetris = resolve_game("ALE/Tetris-v5")
    assert (tetris.name, tetris.is_atari) == ("Tetris", True)
    assert resolve_game("PongNoFrameskip-v4") == resolve_game("Pong")
    cart_pole = resolve_game("cartpole-v1")
    assert (cart_pole.gymnasium_id, cart_pole.is_atari) == ("CartPole-v1", False)
    with_module = resolve_game("smallwm_tf.games:CartPole-v1")
    assert with_module.gymnasium_id == "smallwm_tf.games:CartPole-v1"
    assert "/" not in with_module.name


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("Jamesbnd", "Jamesbond"),
        ("alein", "Alien"),
        ("mspacmen", "MsPacman"),
        ("ALE/Pon-v5", "Pong"),
        ("Cach", "Catch"),
        ("CartPol-v1", "CartPole-v1"),
        ("Tetriss", "Tetris"),
        ("PongDeterministic-v4", "Pong"),
        ("MsPacmanNoFrameskip-v4000", "MsPacman"),
        ("smallwm_tf.games:SmalWM/Catch-v0", "Catch"),
        ("smallwm_tf.games:CartPol-v1", "smallwm_tf.games:CartPole-v1"),
    ],
)
def test_a_misspelt_name_gives_the_nearest(name, nearest):
    with pytest.raises(UnknownGameError) as caught:
        resolve_game(name)
    message = str(caught.value)
    problem, _, hint = message.partition("; did you mean ")
    assert repr(name) in problem
    assert nearest in hint
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize("name", ["", "  ", "\n\x00", "zzzzqqqq", "ä" * 5000, "\udcff", None, 3])
def test_hopeless_names_get_one_short_line(name):
    with pytest.raises(UnknownGameError) as caught:
        resolve_game(name)
    message = str(caught.value)
    assert "Table 4" in message
    assert len(message.splitlines()) == 1 and len(message) < 300
    message.encode("utf-8")


@pytest.fixture
def register():
    """Registers an Atari game under a name of one's own."""
    import ale_py  # noqa: F401, registers its own
    import gymnasium

    before = dict(gymnasium.registry)

    def make(identity="Mine/Pong-v0", options=None, **settings):
        gymnasium.registry.pop(identity, None)
        gymnasium.register(
            identity, "ale_py.env:AtariEnv", kwargs={"game": "pong", **settings}, **(options or {})
        )
        return identity

    yield make
    gymnasium.registry.clear()
    gymnasium.registry.update(before)


@pytest.mark.parametrize(
    "setting",
    [
        {"difficulty": 1},
        {"mode": 1},
        {"full_action_space": True},
        {"repeat_action_probability": 0.25},
        {"frameskip": 1},
        {"max_num_frames_per_episode": 1000},
        {"continuous": True},
        {"obs_type": "ram"},
    ],
)
def test_modes_of_an_atari_game_are_not_dropped_in_silence(register, setting):
    identity = register(**setting)
    with pytest.raises(UnknownGameError) as caught:
        resolve_game(identity)
    (key, value), message = setting.popitem(), str(caught.value)
    assert f"{key}={value!r}" in message and "--game=Pong" in message and "\n" not in message


def test_what_surrounds_an_atari_game_is_not_dropped_either(register):
    with pytest.raises(UnknownGameError, match=r"max_episode_steps=7.*config\.game\.max_episode"):
        resolve_game(register(options={"max_episode_steps": 7}))


def test_plain_atari_games_have_any_name(register):
    plain = register("My/Pong-v3", repeat_action_probability=0.0, frameskip=4, obs_type="rgb")
    assert resolve_game(plain) == resolve_game("Pong")
    assert resolve_game("Pong-v0") == resolve_game("Pong")  # sticky by ale-py, as documented
    register("ALE/Tetris-v5", game="tetris", difficulty=1)
    with pytest.raises(UnknownGameError, match="difficulty=1"):
        resolve_game("Tetris")


def test_the_list_has_every_game():
    text = "\n".join(list_games())
    for name in (*TABLE_4_GAMES, "Catch", "Tetris", "CartPole-v1", "module:Id-v0"):
        assert name in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_missing_module_is_named():
    with pytest.raises(MissingGameError, match="no_such_module"):
        resolve_game("no_such_module:Env-v0")


def test_ale_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "ale_py", None)  # makes its import fail
    with pytest.raises(MissingGameError, match="pip install 'ale-py") as caught:
        resolve_game("Alien")
    assert len(str(caught.value).splitlines()) == 1
    assert resolve_game("Catch").name == "Catch"


def test_rom_missing(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(MissingGameError, match="ROM is missing") as caught:
        resolve_game("Alien")
    assert len(str(caught.value).splitlines()) == 1
    assert capsys.readouterr().out == ""


def test_names_and_simple_games_need_no_tensorflow():
    code = (
        "import sys, smallwm_tf.games.catalogue, smallwm_tf.games.catch;"
        "import smallwm_tf.games.game_batch;"
        "smallwm_tf.games.catalogue.resolve_game('Alien');"
        "sys.exit('tensorflow' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
