"""Every mistake on the command line: one line, exit code 2, nothing on disk, no TensorFlow."""

import contextlib
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from smallwm_tf import train
from smallwm_tf.cli import train_flags as command_line
from smallwm_tf.cli.train_flags import parse_train_flags
from smallwm_tf.experiment.settings import FIELDS

ROOT = Path(command_line.__file__).parents[2]
KEYS = [field.key for field in FIELDS]


def parse(*arguments):
    experiment, dry_run, as_json = parse_train_flags(["train", *arguments])
    return SimpleNamespace(**vars(experiment), dry_run=dry_run, json=as_json)


def refused(*arguments):
    """Returns the one line printed while the command ends with code 2, before any TensorFlow."""
    printed, others = io.StringIO(), io.StringIO()
    with (
        contextlib.redirect_stderr(printed),
        contextlib.redirect_stdout(others),
        mock.patch.object(sys, "argv", ["train", *arguments]),
        mock.patch.object(train, "load_tensorflow", side_effect=AssertionError("was loaded")),
        pytest.raises(SystemExit) as caught,
    ):
        train.main()
    line = printed.getvalue()
    assert caught.value.code == 2
    assert line.startswith("smallwm_tf.train: error: ")
    assert line.count("\n") == 1 and line.endswith("\n") and line.isascii() and len(line) < 700
    assert others.getvalue() == ""
    return line


@pytest.fixture(autouse=True)
def empty_directory(tmp_path, monkeypatch):
    """Works in an empty directory that must stay empty."""
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert list(tmp_path.iterdir()) == []


def test_defaults():
    arguments = parse("--game=Pong")
    assert arguments.game.name == "Pong" and arguments.preset == "atari100k"
    assert arguments.run_dir == Path("runs/Pong-atari100k-seed0") and arguments.seed == 0
    assert not arguments.dry_run and not arguments.json
    with pytest.raises(AttributeError):
        arguments.config.ppo.discount = 0.5


def test_overrides_of_every_type():
    config = parse(
        "--game=catch",
        "--config=smoke",
        "--config.ppo.learning_rate=1e-4",
        "--config.ppo.num_epochs",
        "3",
        "--config.evaluation.temperature=2",
        "--config.dynamics.epochs=(5, 6)",
        "--config.dynamics.convolution=direct",
        "--config.deterministic",
        "--config.dream.bootstrap_at_horizon=true",
    ).config
    assert config.ppo.learning_rate == 0.0001 and config.ppo.num_epochs == 3
    assert config.evaluation.temperature == 2.0 and config.dynamics.epochs == (5, 6)
    assert config.dynamics.convolution == "direct"
    assert config.deterministic is True and config.dream.bootstrap_at_horizon is True
    assert config.collection.num_iterations == 2  # the preset's


@pytest.mark.parametrize("text", ["5,6", "(5,6)", "[5, 6]", "5, 6,"])
def test_forms_of_a_tuple(text):
    arguments = parse("--game=Pong", "--config=smoke", f"--config.ppo.num_updates={text}")
    assert arguments.config.ppo.num_updates == (5, 6)


def test_order_does_not_matter_and_the_last_one_counts():
    first = parse("--config.ppo.num_epochs=9", "--config=smoke", "--seed=1", "--game=Pong")
    last = parse("--game", "Pong", "--seed", "7", "--seed=1", "-config", "smoke")
    assert first.config.ppo.num_epochs == 9 and first.config.collection.num_iterations == 2
    assert first.run_dir == last.run_dir == Path("runs/Pong-smoke-seed1")


def test_switches():
    arguments = parse("--game=Pong", "--dry_run", "--json", "--noconfig.deterministic")
    assert arguments.dry_run and arguments.json and arguments.config.deterministic is False
    assert not parse("--game=Pong", "--nodry_run").dry_run
    assert parse("--game=Pong", "--deterministic").config.deterministic is True
    assert parse("--game=Pong", "--config=smoke").config.deterministic is True
    switched_off = parse("--game=Pong", "--config=smoke", "--nodeterministic")
    assert switched_off.config.deterministic is False


def test_presets_are_found_from_anywhere():
    for name in ("quick", "configs/quick.py", str(ROOT / "configs" / "quick.py")):
        assert parse("--game=Pong", f"--config={name}").preset == "quick"


def test_run_dir_with_spaces_and_letters():
    assert parse("--game=Pong", "--run_dir=my runs/été").run_dir == Path("my runs/été")


def test_parsing_twice_does_not_leak():
    parse("--game=Pong", "--config.ppo.num_epochs=9")
    assert parse("--game=Pong").config.ppo.num_epochs == 4


@pytest.mark.parametrize("flag", ["--help", "-h", "--helpfull"])
def test_help_names_every_setting(flag, capsys):
    with pytest.raises(SystemExit) as caught:
        parse(flag)
    text = capsys.readouterr().out
    assert caught.value.code == 0 and text.isascii()
    assert all(f"--config.{key}=" in text for key in KEYS)
    assert all(field.meaning.split()[0] in text for field in FIELDS)


BAD = [
    (["--gmae=Pong"], "--game"),
    (["--game"], "--game"),
    (["--game", "--seed=1"], "--game"),
    ([], "--game"),
    (["--game="], "game"),
    (["--game=Pongg"], "Pong"),
    (["--game=Jamesbnd"], "Jamesbond"),
    (["--game=Pong", "--ppo.discount=1"], "--config.ppo.discount"),
    (["--game=Pong", "--config=smok"], "smoke"),
    (["--game=Pong", "--config=/nowhere.py"], "/nowhere.py"),
    (["--game=Pong", "--config="], "config"),
    (["--game=Pong", "--config"], "--config"),
    (["--game=Pong", "--seed=-1"], "--seed"),
    (["--game=Pong", "--seed", "-1"], "--seed"),
    (["--game=Pong", "--seed=1.0"], "--seed"),
    (["--game=Pong", "--seed="], "--seed"),
    (["--game=Pong", "--seed=2147483648"], "--seed"),
    (["--game=Pong", "--seed=\u0661"], "--seed"),
    (["--game=Pong", "--dry_run=maybe"], "--dry_run"),
    (["--game=Pong", "--nodry_run=1"], "dry_run"),
    (["--game=Pong", "--json"], "--json"),
    (["--game=Pong", "--nohelp"], "help"),
    (["--game=Pong", "--flagfile=/etc/passwd"], "--flagfile"),
    (["--game=Pong", "--undefok=foo", "--foo=1"], "--undefok"),
    (["--game=Pong", "extra"], "extra"),
    (["--game=Pong", "--"], "'--'"),
    (["--game=--"], "--game=--"),
    (["--game=Pong", "--run_dir", "--", "x"], "'--'"),
    (["--game=Pong", "--config.ppo.discount=--"], "ppo.discount"),
    (["--game=Pong", "--nodry_run=\u00df"], "--nodry_run"),
    (["--g\u00e4me=Pong"], "--game"),
    (["--game=Pong", "--config.\u00e4=1"], "no such setting"),
    (["-hx"], "--hx"),
    (["--game=Pong", "--dry_run", "maybe"], "--dry_run"),
    (["--game=Pong", "--conf=smoke"], "--config"),
    (["--game=Pong", "-"], "-"),
    (["--game=Pong", "--seed=\udcff"], "UTF-8"),
    (["--game=Pong", "--seed", "\udcff"], "UTF-8"),
    (["--game=Pong", "--run_dir=a\0b"], "run_dir"),
    (["--game=Pong", "--run_dir="], "--run_dir"),
    (["--game=Pong", f"--run_dir={__file__}"], "--run_dir"),
    (["--game=Pong", f"--run_dir={__file__}/x/y"], "--run_dir"),
    (["--game=Pong", "--run_dir=" + "x" * 300], "--run_dir"),
    (["--game=Pong", "--run_dir=~nobody_of_this_name/x"], "--run_dir"),
    (["--game=Pong", "--config.=1"], "no such setting"),
    (["--game=Pong", "--config.ppo=1"], "ppo.discount"),
    (["--game=Pong", "--config.ppo={}"], "ppo.discount"),
    (["--game=Pong", "--config.ppo.discount.x=1"], "ppo.discount"),
    (["--game=Pong", "--config.epochs=1"], "dynamics.epochs"),
    (["--game=Pong", "--config.ppo.\ndiscount=1"], "no such setting"),
    (["--game=Pong", "--noconfig.ppo.discount"], "ppo.discount"),
    (["--game=Pong", "--noconfig.deterministc"], "deterministic"),
    (["--game=Pong", "--config.deterministic=maybe"], "deterministic"),
    (["--game=Pong", "--config.ppo.discount"], "ppo.discount"),
    (["--game=Pong", "--config.ppo.discount="], "ppo.discount"),
    (["--game=Pong", "--config.ppo.discount=nan"], "ppo.discount"),
    (["--game=Pong", "--config.ppo.discount=1e999"], "ppo.discount"),
    (["--game=Pong", "--config.ppo.discount=0,9"], "ppo.discount"),
    (["--game=Pong", "--config.ppo.num_epochs=1.5"], "ppo.num_epochs"),
    (["--game=Pong", "--config.ppo.num_epochs=1e3"], "ppo.num_epochs"),
    (["--game=Pong", "--config.ppo.num_epochs=" + "9" * 9999], "ppo.num_epochs"),
    (["--game=Pong", "--config.dynamics.epochs=1"], "dynamics.epochs"),
    (["--game=Pong", "--config.dynamics.epochs=(1,"], "dynamics.epochs"),
    (["--game=Pong", "--config.dynamics.epochs=1 2"], "dynamics.epochs"),
    (["--game=Pong", "--config.dynamics.epochs=" + "(" * 5000], "dynamics.epochs"),
    (["--game=Pong", "--config.dynamics.epochs=" + "1.5," * 15], "dynamics.epochs"),
    (["--game=Pong", "--config.dynamics.epochs={1: 2}"], "dynamics.epochs"),
    (["--game=Pong", "--config.dynamics.convolution=fats"], "dynamics.convolution"),
    (["--game=Pong", "--config.ppo.minibatch_size=801"], "ppo.minibatch_size"),
    (["--game=Pong", "--config.dream.horizon=1"], "ppo.minibatch_size"),
]


@pytest.mark.parametrize(("arguments", "named"), BAD, ids=lambda value: ascii(value)[:60])
def test_mistakes(arguments, named):
    assert named in refused(*arguments)


def test_a_directory_that_cannot_be_written_is_refused(monkeypatch):
    def read_only(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    assert "--run_dir" in refused("--game=Pong")
    assert parse("--game=Pong", "--dry_run").dry_run  # writes nothing, so needs no permission


def test_a_closed_stderr_changes_nothing(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with pytest.raises(SystemExit) as caught:
        parse("--gmae=Pong")
    assert caught.value.code == 2


def bad_values(field):
    """Strings that are no value of the field."""
    kind = type(field.default)
    anything = st.text(st.characters(codec="utf-8"), max_size=30)
    if kind is bool:
        good = {"true", "t", "1", "false", "f", "0"}
        return anything.filter(lambda text: text.lower() not in good)
    if kind is str:
        return anything.filter(lambda text: text not in field.allowed)
    low, high = float(field.allowed.low), float(field.allowed.high)
    special = st.sampled_from(
        ["nan", "NaN", "inf", "-inf", "1e999", "-1e999", "", " ", "None", "[]", "{}", "1;2", "0x"]
    )
    outside = st.one_of(
        st.floats(max_value=low, exclude_max=True, allow_infinity=False),
        st.floats(min_value=high, exclude_min=True, allow_infinity=False),
        st.integers(max_value=int(low) - 1),
        st.integers(min_value=int(high) + 1),
    )
    if kind is tuple:
        entries = st.lists(outside, min_size=15, max_size=15).map(repr)
        return st.one_of(special, entries, anything.filter(lambda text: not re.search(r"\d", text)))
    words = anything.filter(lambda text: not re.match(r"\s*[-+.\d]|.*(nan|inf)", text, re.S | re.I))
    bad = st.one_of(special, outside.map(str), words)
    if kind is int:
        bad = bad | st.floats(low + 0.25, high).map(lambda value: f"{value:.9f}")
    return bad


@pytest.mark.parametrize("joint", [True, False])
@pytest.mark.parametrize(
    ("character", "reason"), [("\0", "holds a null character"), ("\udc80", "is not valid UTF-8")]
)
def test_text_that_is_no_text_is_told_with_its_key(character, reason, joint):
    key, value = "config.collection.first_iteration_steps", "1" * 100 + character + "1" * 20
    words = [f"--{key}={value}"] if joint else [f"--{key}", value]
    error = refused("--game=Catch", *words)
    assert f" --{key}='111" in error and reason in error and error.count("\n") == 1
    assert reason in refused("--game=Catch", f"--con{character}fig=1")


@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzz_of_bad_values(data):
    field = data.draw(st.sampled_from(FIELDS))
    value = data.draw(bad_values(field))
    assert field.key in refused("--game=Catch", f"--config.{field.key}={value}")


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_fuzz_of_misspelt_keys(data):
    key = data.draw(st.sampled_from(KEYS))
    place = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcxyz_.-0 "))
    edit = data.draw(st.sampled_from(["drop", "insert", "replace", "swap"]))
    misspelt = {
        "drop": key[:place] + key[place + 1 :],
        "insert": key[:place] + letter + key[place:],
        "replace": key[:place] + letter + key[place + 1 :],
        "swap": key[:place] + key[place : place + 2][::-1] + key[place + 2 :],
    }[edit]
    if misspelt not in KEYS:
        line = refused("--game=Catch", f"--config.{misspelt}=1")
        assert "no such setting" in line or "is a section" in line
        assert misspelt in line
        section, _, name = key.rpartition(".")
        if len(name) > 6 and place > len(section) + 1:  # one slip in the name: it is found
            assert key in line


_WRONG = [True, -1, 10**400, "x", (), (0.5,), None, float("nan"), [[1]], b"1"]


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(field=st.sampled_from(FIELDS), value=st.sampled_from(_WRONG))
def test_fuzz_of_bad_presets(field, value, tmp_path_factory):
    assume(not (value is True and type(field.default) is bool))
    path = tmp_path_factory.getbasetemp() / "bad_preset.py"
    section, _, name = field.key.rpartition(".")
    content = {section: {name: value}} if section else {name: value}
    path.write_text(f"nan = float('nan')\ndef get_config(): return {content!r}\n")
    line = refused("--game=Catch", f"--config={path}")
    assert field.key in line


_WORDS = st.text(max_size=12) | st.sampled_from(
    ["--game", "--game=Pong", "--seed=", "--seed", "-1", "--config", "smoke", "--config.ppo", "="]
)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(_WORDS.filter(lambda word: not word.lstrip("-").startswith("h"))))
def test_fuzz_of_whole_command_lines(words):
    refused(*words, "--gmae=Pong")


def in_subprocess(command, arguments, directory):
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LC_ALL": "C"}
    return subprocess.run(
        [sys.executable, *command, *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        timeout=120,
    )


NO_TENSORFLOW = """
import sys
from smallwm_tf.cli.train_flags import parse_train_flags
try:
    parse_train_flags(sys.argv)
finally:
    assert not {"tensorflow", "tf_keras", "tf_agents"} & set(sys.modules)
"""
SEVERAL = [
    ["--game=Pongg"],
    ["--game=Pong", "--config.ppo.learnig_rate=1"],
    ["--game=Pong", "--config.ppo.learning_rate=nan"],
    ["--game=Pong", "--config=nowhere.py"],
    ["--game=Pong", b"--run_dir=\xff\xfe"],
]


def check_refused(done):
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith(b"smallwm_tf.train: error: ") and done.stderr.count(b"\n") == 1
    assert done.stdout == b""


@pytest.mark.parametrize("arguments", SEVERAL, ids=ascii)
def test_refused_before_tensorflow_is_loaded(arguments, empty_directory):
    check_refused(in_subprocess(["-c", NO_TENSORFLOW], arguments, empty_directory))


@pytest.mark.parametrize("arguments", SEVERAL, ids=ascii)
def test_refused_by_the_command_itself(arguments, empty_directory):
    check_refused(in_subprocess(["-m", "smallwm_tf.train"], arguments, empty_directory))
