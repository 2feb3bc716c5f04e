"""Runs of the first format: every command refuses them with the same line, and touches nothing."""

import json
import shutil

import pytest

from smallwm_tf import dream, evaluate, export, train
from tests.commands.conftest import SETTINGS


@pytest.fixture
def old_run(run_dir, tmp_path):
    path = tmp_path / "old"
    shutil.copytree(run_dir, path)
    for manifest in path.glob("checkpoints/*/manifest.json"):
        content = json.loads(manifest.read_text())
        assert content["format"] == 2
        manifest.write_text(json.dumps(content | {"format": 1}))
    return path


def contents(path):
    files = (file for file in path.rglob("*") if file.is_file() and file.name != "lock")
    return {str(file.relative_to(path)): file.read_bytes() for file in files}


@pytest.mark.parametrize("module", [train, evaluate, export, dream])
def test_an_old_run_is_refused_with_one_line(command, old_run, tmp_path, module):
    words = [f"--run_dir={old_run}"]
    if module is train:
        settings = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
        words += ["--game=Catch", "--config=catch", "--seed=5", *settings]
    if module is export:
        words.append(f"--out={tmp_path / 'export'}")
    before = contents(old_run)
    code, _, err = command(module, *words)
    line = err.splitlines()[-1]
    assert code == 2 and "is of format 1, this program reads format 2" in line
    assert "another --run_dir" in line and "versions.json" in line
    assert "damaged" not in err and "Traceback" not in err
    assert contents(old_run) == before
    assert not (tmp_path / "export").exists()
