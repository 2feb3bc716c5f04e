"""Mistakes in paths are told at once, before TensorFlow is loaded."""

import shlex

import pytest

from smallwm_tf import dream, evaluate, export, play, report, train

COMMANDS = [dream, evaluate, export, play]


@pytest.fixture(autouse=True)
def without_tensorflow(monkeypatch):
    """Loading it is a failure."""
    for module in (*COMMANDS, train):
        monkeypatch.setattr(module, "load_tensorflow", lambda: pytest.fail("it was loaded"))


def words_for(module, place, out):
    return [f"--out={out}"] * (module in (dream, export)) + [f"--run_dir={place}"]


@pytest.mark.parametrize("module", COMMANDS, ids=lambda module: module.__name__)
def test_a_wrong_run_is_told_at_once(command, module, tmp_path, unfinished_run_dir, export_dir):
    (tmp_path / "empty").mkdir()
    cases = {
        tmp_path / "none": "no such directory; train first, or name a run",
        tmp_path / "empty": "holds no run (config.json is missing)",
        export_dir: f"holds an export, no run; write --export={export_dir}",
        unfinished_run_dir: "the run is unfinished (2 of 8 phases are done); continue it",
    }
    for place, expected in cases.items():
        code, out, err = command(module, *words_for(module, place, tmp_path / "out"))
        assert (code, out, err.count("\n")) == (2, "", 1) and expected in err
    words = words_for(module, unfinished_run_dir, tmp_path / "out")
    code, _, err = command(module, *words, "--game=Pomg")
    assert code == 2 and "game='Pomg' is not known" in err


@pytest.mark.parametrize("module", [dream, evaluate, play], ids=lambda module: module.__name__)
def test_a_wrong_export_is_told_at_once(command, module, tmp_path, run_dir):
    out = [f"--out={tmp_path / 'out'}"] * (module is dream)
    cases = {
        tmp_path / "none": "no such directory; write one with smallwm_tf.export",
        tmp_path: "holds no export (metadata.json is missing)",
        run_dir: "holds a run, no export; write --run_dir=",
    }
    for place, expected in cases.items():
        code, _, err = command(module, f"--export={place}", *out)
        assert code == 2 and expected in err and err.count("\n") == 1
    written = err.partition("write ")[2]  # a name with a space: a shell has to keep it whole
    assert shlex.split(written) == [f"--run_dir={run_dir}"]


def test_a_place_that_is_taken_is_told_at_once(command, run_dir, tmp_path):
    (tmp_path / "file").write_text("")
    code, _, err = command(export, f"--run_dir={run_dir}", f"--out={tmp_path}")
    assert code == 2 and "is not empty; name a new directory" in err


def test_a_right_path_goes_on(command, run_dir):
    with pytest.raises(pytest.fail.Exception, match="it was loaded"):
        command(evaluate, f"--run_dir={run_dir}")


def test_a_report_looks_before_it_loads(command, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "load_matplotlib", lambda: pytest.fail("it was loaded"))
    for place in (tmp_path / "none", __file__):
        code, _, err = command(report, f"--runs={tmp_path},{place}", f"--out={tmp_path / 'r'}")
        assert code == 2 and "name one that holds run directories" in err


def test_wandb_that_is_not_there_is_told_at_once(command, tmp_path, monkeypatch):
    from smallwm_tf.runs import wandb_writer

    monkeypatch.setattr(wandb_writer.importlib.util, "find_spec", lambda name: None)
    words = ("--game=Catch", f"--run_dir={tmp_path / 'run'}", "--config.logging.wandb=offline")
    code, _, err = command(train, *words)
    assert code == 2 and "wandb is not installed" in err and ".[wandb]" in err
    assert not (tmp_path / "run").exists()
