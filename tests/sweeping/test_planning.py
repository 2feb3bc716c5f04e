"""Which runs a sweep has, and what is refused before it begins."""

import csv
from pathlib import Path

import pytest
from ml_collections import ConfigDict

from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.sweeping import SweepError
from smallwm_tf.sweeping.planning import check_run_directories, plan_runs, read_games

ROOT = Path(__file__).resolve().parents[2]
#: Kaiser et al., "Model-Based Reinforcement Learning for Atari", Table 1.
ATARI_100K = """Alien Amidar Assault Asterix BankHeist BattleZone Boxing Breakout ChopperCommand
CrazyClimber DemonAttack Freeway Frostbite Gopher Hero Jamesbond Kangaroo Krull KungFuMaster
MsPacman Pong PrivateEye Qbert RoadRunner Seaquest UpNDown"""


def test_the_26_games_of_atari_100k():
    assert [game.name for game in read_games("atari26")] == ATARI_100K.split()


def test_the_36_games_of_the_paper():
    with open(ROOT / "smallwm_tf" / "data" / "atari_scores.csv") as file:
        rows = [row["game"] for row in csv.DictReader(file)]
    assert [game.name for game in read_games("atari36")] == rows and len(rows) == 36


def test_names_are_resolved_and_count_once():
    assert [game.name for game in read_games("pong, ms_pacman,ALE/Pong-v5")] == ["Pong", "MsPacman"]
    assert len(read_games("Pong,atari26,Catch")) == 27


@pytest.mark.parametrize(
    ("games", "line"),
    [
        ("Alein", "--games: game='Alein' is not known; did you mean Alien or Galaxian?"),
        ("Pong,,Alien", "--games='Pong,,Alien': a name is empty"),
        ("", "--games='': a name is empty"),
        ("atari27", "lists: atari26, atari36"),
    ],
)
def test_games_that_cannot_be_played(games, line):
    with pytest.raises(SweepError) as caught:
        read_games(games)
    assert line in str(caught.value) and "\n" not in str(caught.value)


def test_every_game_seed_and_preset_once(tmp_path):
    runs = plan_runs(read_games("Pong,Catch"), 3, "smoke,quick", tmp_path)
    expected = {
        tmp_path / preset / f"{game}-seed{seed}"
        for preset in ("smoke", "quick")
        for game in ("Pong", "Catch")
        for seed in (0, 1, 2)
    }
    assert len(runs) == 12 and {run.experiment.run_dir for run in runs} == expected


@pytest.mark.parametrize("config", ["smoke", str(ROOT / "configs" / "quick.py")])
def test_the_arguments_make_train_do_what_was_planned(tmp_path, config):
    for run in plan_runs(read_games("Pong,Catch"), 2, config, tmp_path / "with space"):
        assert read_train_flags(["train", *run.words()]).experiment == run.experiment


def test_a_preset_file_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text("def get_config():\n    return {'ppo.discount': 0.5}\n")
    (run,) = plan_runs(read_games("Catch"), 1, "./mine.py", tmp_path / "out")
    monkeypatch.chdir("/")
    found = read_train_flags(["train", *run.words()]).experiment
    assert found.config.ppo.discount == 0.5
    assert found.run_dir == tmp_path / "out" / "mine" / "Catch-seed0"


def test_two_presets_of_one_name_are_refused(tmp_path):
    file = tmp_path / "quick.py"
    file.write_text("def get_config():\n    return {}\n")
    with pytest.raises(SweepError, match=r"--configs: 'quick' and '.*quick.py' would both"):
        plan_runs(read_games("Pong"), 1, f"quick,{file}", tmp_path)
    assert len(plan_runs(read_games("Pong"), 1, "quick,quick", tmp_path)) == 1


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (None, "no such file; did you mean quick?"),
        ("def get_config():\n    return {'ppo.discuont': 0.5}\n", "ppo.discuont=0.5: no such"),
        ("def get_config():\n    return {'ppo.discount': 5.0}\n", "ppo.discount=5.0: must be"),
    ],
)
def test_presets_that_cannot_be_used(tmp_path, text, line):
    word = "quik"
    if text:
        word = str(tmp_path / "bad.py")
        Path(word).write_text(text)
    with pytest.raises(SweepError) as caught:
        plan_runs(read_games("Pong"), 1, word, tmp_path)
    assert str(caught.value).startswith("--configs='") and line in str(caught.value)


def made(tmp_path, **differences):
    """A plan of one run, and its directory as made with other settings."""
    (run,) = plan_runs(read_games("Catch"), 1, "smoke", tmp_path)
    asked = run.experiment
    config = asked.config.to_dict()
    for key, value in differences.items():
        section, _, name = key.partition("__")
        config[section] = config[section] | {name: value} if name else value
    RunDirectory.open(
        asked.run_dir, asked.game, ConfigDict(config), asked.seed, asked.preset
    ).close()
    return [run]


@pytest.mark.parametrize(
    "differences",
    [
        {},
        {"logging__interval": 7, "checkpoints__keep": 1},
        {"precision": "float32", "deterministic": False},
    ],
)
def test_run_directories_that_fit(tmp_path, differences):
    check_run_directories(made(tmp_path, **differences))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("ppo__learning_rate", 0.5),  # train itself would accept it
        ("collection__num_iterations", 1),
        ("dynamics__channels", 8),
    ],
)
def test_run_directories_of_another_config_are_refused(tmp_path, key, value):
    with pytest.raises(SweepError) as caught:
        check_run_directories(made(tmp_path, **{key: value}))
    message = str(caught.value)
    assert message.startswith("--out: ") and key.replace("__", ".") in message
    assert str(value) in message and "name another --out" in message and "--run_dir" not in message


def test_a_directory_of_something_else_is_refused(tmp_path):
    runs = made(tmp_path / "right")
    other = plan_runs(read_games("Catch"), 1, "smoke", tmp_path / "wrong")
    other[0].experiment.run_dir.mkdir(parents=True)
    (other[0].experiment.run_dir / "letter.txt").touch()
    check_run_directories(runs)
    with pytest.raises(SweepError, match=r"holds 'letter.txt' but no run"):
        check_run_directories(other)


@pytest.mark.parametrize("place", ["quick", "quick/Catch-seed0", "quick/Catch-seed0.log"])
def test_links_that_nobody_has_named_are_refused(tmp_path, place):
    runs = plan_runs(read_games("Catch"), 1, "quick", tmp_path / "out")
    link = tmp_path / "out" / place
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(SweepError, match=f"{place} is a link"):
        check_run_directories(runs)


def test_the_directory_of_a_sweep_may_itself_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    check_run_directories(plan_runs(read_games("Catch"), 1, "quick", tmp_path / "out"))
