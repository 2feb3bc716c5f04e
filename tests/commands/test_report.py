"""Reports from the command line: what is written, byte for byte, and what is refused."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("rliable", reason="the extra [report] is not installed")

from smallwm_tf import report  # noqa: E402
from smallwm_tf.reporting import aggregates  # noqa: E402
from tests.reporting.made_runs import make_pictures, make_run, summaries, write_json  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
FIGURES = {f"{name}.{kind}" for name in ("learning_curves", "aggregates", "performance_profiles")
           for kind in ("png", "pdf")}  # fmt: skip
TEXTS = {"report.md", "report.csv", "scores_rliable.json"}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setattr(aggregates, "_REPETITIONS", 50)
    folder = tmp_path / "runs"
    for game in ("Alien", "Pong"):
        for seed in range(2):
            path = folder / f"{game}-{seed}"
            last = [3.0 + seed, 4.0]
            make_run(path, game, seed, returns=[[1.0], last], nulls={"uniform": [1.0, 2.0]})
    make_run(folder / "ppo" / "Pong-0", "Pong", 0, "ppo_quick", config={"algorithm": "ppo"})
    write_json(folder / "null_policies" / "Pong.json", summaries({"holding": [-20.0, -21.0]}))
    make_pictures(folder / "Alien-0")
    return folder


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_two_calls_write_the_same_bytes(command, runs, tmp_path):
    code, printed, err = command(report, f"--runs={runs}", f"--out={tmp_path / 'one'}")
    assert (code, err) == (0, "")
    assert printed.splitlines()[0] == "5 runs, 3 games of ppo_quick, quick"
    assert f"written: {tmp_path / 'one' / 'report.html'}" in printed
    shutil.copytree(runs, tmp_path / "elsewhere" / "runs")
    out = tmp_path / "elsewhere" / "a report"
    code, _, _ = command(report, f"--runs={tmp_path / 'elsewhere' / 'runs'}", f"--out={out}")
    assert code == 0
    one, other = contents(tmp_path / "one"), contents(out)
    assert set(one) == TEXTS | FIGURES | {"report.html"}
    assert one == other
    assert not any(str(tmp_path).encode() in content for content in one.values())


def test_its_own_process_comes_to_the_same_without_tensorflow(command, runs, tmp_path):
    script = """if True:
        import sys
        from smallwm_tf import report
        from smallwm_tf.reporting import aggregates
        aggregates._REPETITIONS = 50
        sys.argv = ["report", "--runs=runs", "--out=" + sys.argv[1]]
        report.main()
        heavy = {"tensorflow", "tensorflow_probability", "tf_agents"} & set(sys.modules)
        assert not heavy, heavy
    """
    variables = {**os.environ, "PYTHONHASHSEED": "1", "PYTHONPATH": str(ROOT)}
    words = [sys.executable, "-c", script, "there"]
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert command(report, f"--runs={runs}", f"--out={tmp_path / 'here'}")[0] == 0
    there, here = contents(tmp_path / "there"), contents(tmp_path / "here")
    assert {name: there[name] for name in TEXTS} == {name: here[name] for name in TEXTS}


def test_what_the_report_says(command, runs, tmp_path):
    out = tmp_path / "out"
    assert command(report, f"--runs={runs}/Alien-0,{runs}", f"--out={out}")[0] == 0
    text = (out / "report.md").read_text()
    assert "| Alien (iteration 2 of 3) | 3.75 ± 0.25 | " in text
    assert "| Pong | 20 ± 6 (e) | " in text  # PPO, whose run has no nulls of its own
    assert "−20.5 ± 0.5 holding" in text and "1.50 ± 0.35 uniform" in text
    assert "| quick | ppo_quick | 1 | 0.000 [0.000, 0.000] |" in text
    assert "| quick | best null policies | 2 | 1.000 [1.000, 1.000] |" in text
    rows = list(csv.DictReader((out / "report.csv").open()))
    assert [row["run"] for row in rows] == [
        "runs/ppo/Pong-0", "Alien-0", "runs/Alien-1", "runs/Pong-0", "runs/Pong-1",
    ]  # fmt: skip
    scores = json.loads((out / "scores_rliable.json").read_text())
    assert scores["quick"]["raw"]["Pong"] == [3.5, 4.0]


def test_figures_of_an_earlier_report_do_not_stay(command, runs, tmp_path):
    out = tmp_path / "out"
    assert command(report, f"--runs={runs}", f"--out={out}")[0] == 0
    make_run(tmp_path / "catch", "Catch")
    assert command(report, f"--runs={tmp_path / 'catch'}", f"--out={out}")[0] == 0
    assert {"learning_curves.png", "learning_curves.pdf"} == FIGURES & set(contents(out))
    assert "Alien" not in (out / "report.html").read_text()


def break_with(name, text):
    def break_it(runs):
        (runs / "Alien-0" / name).write_text(text)

    return break_it


def config_with(**changes):
    def break_it(runs):
        path = runs / "Alien-0" / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return break_it


DAMAGES = {
    "scores cut": (
        break_with("scores.json", '[{"iteration": 1, "ret'), "scores.json: cannot be read"),
    "scores of nothing": (
        break_with("scores.json", '[{"iteration": 1}]'), "scores.json: entry 0: has no returns"),
    "scores not finite": (
        break_with("scores.json", '[{"iteration": 1, "returns": [NaN]}]'), "returns[0]=nan"),
    "scores of words": (
        break_with("scores.json", '[{"iteration": 1, "returns": ["a"]}]'), "returns[0]='a' must"),
    "scores backwards": (
        break_with("scores.json", '[{"iteration": 0}]'), "entry 0.iteration=0 must be"),
    "config cut": (break_with("config.json", '{"game": "Alien"'), "config.json: cannot be read"),
    "config of a list": (break_with("config.json", "[]"), "config.json: holds no JSON object"),
    "no game": (config_with(game=None), "config.json: game=None"),
    "seed of words": (config_with(seed="0"), "config.json: seed='0'"),
    "bad setting": (config_with(config={"ppo": {"discount": "a"}}), "ppo.discount='a': must be"),
    "nulls cut": (break_with("null_policies.json", "{"), "null_policies.json: cannot be read"),
    "versions cut": (break_with("versions.json", "{"), "versions.json: cannot be read"),
    "metrics cut": (break_with("metrics.jsonl", "{\n"), "metrics.jsonl: line 1 is not JSON"),
    "another setting": (
        config_with(config={"ppo": {"discount": 0.5}}),
        "runs/Alien-0 has collection.first_iteration_steps=12800, runs/Alien-1 has 100"),
    "another version": (
        break_with("versions.json", '{"packages": {"smallwm_tf": "0.0.9"}}'),
        "runs/Alien-0 has smallwm_tf='0.0.9', runs/Alien-1 has '0.1.0'; name folders"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_told_in_one_line_and_nothing_is_written(command, runs, tmp_path, damage):
    break_it, expected = DAMAGES[damage]
    break_it(runs)
    code, printed, err = command(report, f"--runs={runs}", f"--out={tmp_path / 'out'}")
    assert (code, printed, err.count("\n")) == (2, "", 1), err
    assert expected in err and err.startswith("smallwm_tf.report: error: ")
    assert any(word in err for word in ("move", "remove it", "mend", "--mix"))
    assert not (tmp_path / "out").exists()


def test_mixed_runs_are_taken_if_asked_and_told(command, runs, tmp_path):
    DAMAGES["another version"][0](runs)
    code, *_ = command(report, f"--runs={runs}", f"--out={tmp_path / 'out'}", "--mix")
    text = (tmp_path / "out" / "report.md").read_text()
    assert code == 0
    assert "Mixed: smallwm_tf is 0.0.9 in runs/Alien-0; 0.1.0 in runs/Alien-1, " in text


def test_it_refuses_with_one_line(command, runs, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    make_run(tmp_path / "begun" / "run", returns=())
    out, of_runs = f"--out={tmp_path / 'out'}", f"--runs={runs}"
    cases = {
        "no such directory; name one": (f"--runs={runs},{tmp_path / 'none'}", out),
        "file: is not a directory; name one": (f"--runs={tmp_path / 'file'}", out),
        "empty: holds no run (": (f"--runs={tmp_path / 'empty'}", out),
        "begun: holds no evaluated run (": (f"--runs={tmp_path / 'begun'}", out),
        "a name between commas is empty": (f"--runs={runs},", out),
        "required: --runs": (out,),
        "required: --out": (of_runs,),
        "file: is not a directory": (of_runs, f"--out={tmp_path / 'file'}"),
        "file is not a directory": (of_runs, f"--out={tmp_path / 'file' / 'x'}"),
        "no such flag; nearest: --runs": (of_runs, out, "--run=x"),
    }
    for expected, words in cases.items():
        code, printed, err = command(report, *words)
        assert (code, printed, err.count("\n")) == (2, "", 1), (expected, err)
        assert expected in err and err.startswith("smallwm_tf.report: error: ")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("module", ["rliable", "jinja2", "arch"])
def test_without_the_extra_it_says_how_to_install_it(command, runs, tmp_path, monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    for loaded in [name for name in sys.modules if name.startswith(f"{module}.")]:
        monkeypatch.delitem(sys.modules, loaded)
    monkeypatch.delitem(sys.modules, "rliable.library", raising=False)
    code, printed, err = command(report, f"--runs={runs}", f"--out={tmp_path / 'out'}")
    assert (code, printed, err.count("\n")) == (2, "", 1), err
    assert module in err and "pip install -e '.[report]'" in err
    assert not (tmp_path / "out").exists()


def test_a_pandas_that_rliable_cannot_use_is_told(command, runs, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise TypeError("deprecate_kwarg() missing 1 required positional argument")

    monkeypatch.delitem(sys.modules, "rliable.library", raising=False)
    monkeypatch.setattr("builtins.__import__", import_failing_at("rliable.library", fail))
    code, printed, err = command(report, f"--runs={runs}", f"--out={tmp_path / 'out'}")
    assert (code, printed, err.count("\n")) == (2, "", 1)
    assert "'pandas<3'" in err and "deprecate_kwarg" in err


def import_failing_at(name, fail):
    imported = __import__
    return lambda wanted, *rest: fail() if wanted == name else imported(wanted, *rest)


def test_help_is_for_newcomers(command):
    code, printed, _ = command(report, "--help")
    assert code == 0
    assert "Compares runs" in printed and "--mix" in printed and "examples:" in printed
