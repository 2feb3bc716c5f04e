"""The command: what it refuses, its plan, and two real runs on a real Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from smallwm_tf import sweep
from smallwm_tf.experiment.messages import show
from smallwm_tf.experiment.presets import load_preset
from smallwm_tf.runs.run_directory import RunDirectory
from smallwm_tf.runs.scores import read_scores
from smallwm_tf.sweeping.estimate import RunEstimate
from smallwm_tf.sweeping.progress import newest_checkpoint

ROOT = Path(__file__).resolve().parents[2]
#: As small as a run can be; compiling is most of it.
TINY = {
    "deterministic": True,
    "precision": "float32",
    "game.num_stacked_frames": 1,
    "collection.num_iterations": 1,
    "collection.first_iteration_steps": 40,
    "vqvae.warmup_epochs": 1,
    "vqvae.batch_size": 40,
    "vqvae.update_interval": 0,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",
    "dynamics.window_length": 2,
    "dynamics.context_steps": 1,
    "dynamics.windows_per_batch": 20,
    "dynamics.epochs": (1,),
    "dream.num_dreams": 4,
    "dream.horizon": 2,
    "dream.context_steps": 0,
    "ppo.num_updates": (1,),
    "ppo.num_epochs": 1,
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 4,
    "inspection.held_out_steps": 20,
    "inspection.num_starts": 2,
    "inspection.horizon": 2,
}


def preset(folder: Path, settings: dict) -> Path:
    file = folder / "tiny.py"
    file.write_text(f"def get_config():\n    return {settings!r}\n")
    return file


def run_command(*words) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "smallwm_tf.sweep", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--games=Alein"], "--games: game='Alein' is not known; did you mean Alien or Galaxian?"),
        (["--games=Pong", "--configs=quik"], "--configs='quik': config='quik': no such file; did"),
        (["--games=Pong", "--seeds=0"], "--seeds: '0' must be a whole number in [1, 10000]"),
        (["--games=Pong", "--seeds=1.5"], "--seeds: '1.5' must be a whole number"),
        (["--games=Pong", "--cpus_per_run=0"], "--cpus_per_run: '0' must be a number in (0"),
        (["--games=Pong", "--cpus_per_run=4000"], "--cpus_per_run=4000: this machine has"),
        (["--games=Pong", "--gpus_per_run=2"], "--gpus_per_run: '2' must be a number in [0, 1]"),
        (["--games=Pong", "--retries=-1"], "--retries: '-1' must be a whole number"),
        (["--games=Pong", "--ray_address=127.0.0.1:9"], "'127.0.0.1:9': nobody answers"),
        (["--games=Pong", "--sedes=3"], "--sedes: no such flag; nearest: --seeds"),
        ([], "required: --games"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(command, tmp_path, words, line):
    code, out, err = command(sweep, *words, f"--out={tmp_path}/out")
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("smallwm_tf.sweep: error: ") and line in err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written(command, tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        code, _, err = command(sweep, "--games=Pong", f"--out={place}")
        assert code == 2 and err.count("\n") == 1
        assert (
            f"--out={show(str(place))}: " in err and "is not a directory; name another one" in err
        )
    if os.geteuid():
        (tmp_path / "closed").mkdir(mode=0o500)
        code, _, err = command(sweep, "--games=Pong", f"--out={tmp_path}/closed/out")
        assert code == 2 and "cannot be written to (" in err and "make it writable" in err


def test_a_run_of_another_config_is_refused(command, tmp_path):
    out, file = tmp_path / "out", preset(tmp_path, TINY)
    words = ["--games=Catch", "--seeds=1", f"--configs={file}", f"--out={out}"]
    name, config = load_preset(str(file))
    RunDirectory.open(out / "tiny" / "Catch-seed0", "Catch", config, 0, name).close()
    preset(tmp_path, TINY | {"ppo.learning_rate": 0.125})
    before = sorted(out.rglob("*"))
    code, _, err = command(sweep, *words)
    assert code == 2 and err.count("\n") == 1
    assert "ppo.learning_rate: 0.00025 -> 0.125" in err and "name another --out" in err
    assert sorted(out.rglob("*")) == before


def test_the_plan_as_json_and_as_text(command, tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "measure", lambda *_: RunEstimate(3600.0, 2e9, 1e9))
    words = ["--games=Pong,Catch", "--seeds=3", "--configs=smoke,quick", f"--out={tmp_path}/out"]
    monkeypatch.setattr(sweep.cluster, "cores_here", lambda: 4)
    code, out, err = command(sweep, *words, "--cpus_per_run=2", "--dry_run", "--json")
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan["hours"] == 12 / 2 and plan["runs_at_once"] == 2 and plan["memory_bytes"] == 4e9
    assert len(plan["runs"]) == 12 and {run["state"] for run in plan["runs"]} == {"waiting"}
    assert plan["runs"][0]["run_dir"] == f"{tmp_path}/out/smoke/Pong-seed0"
    code, out, _ = command(sweep, *words, "--cpus_per_run=2", "--dry_run")
    assert code == 0 and out.count("\n") == 3
    assert "smoke: 6 runs of about 60 min" in out
    assert "12 runs, 12 to do, 2 at a time: about 6.0 hours, 4.0 GB of memory, 12.0 GB" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_two_real_runs_and_then_nothing_to_do(tmp_path):
    """The second command asks for no Ray, starts no run and changes no file."""
    out, file = tmp_path / "out", preset(tmp_path, TINY)
    words = ["--games=Catch", "--seeds=2", f"--configs={file}", f"--out={out}", "--json"]
    done = run_command(*words, "--cpus_per_run=0.5", "--threads_per_run=1")  # side by side
    assert done.returncode == 0, done.stderr
    outcome = json.loads(done.stdout)
    assert [run["state"] for run in outcome["runs"]] == ["done", "done"]
    names = {f"Catch-seed{seed}{end}" for seed in (0, 1) for end in ("", ".log")}
    assert {path.name for path in (out / "tiny").iterdir()} == names
    for run in outcome["runs"]:
        (entry,) = read_scores(Path(run["run_dir"]) / "scores.json")
        assert entry["mean"] == run["score"] and len(entry["returns"]) == 4
        newest = newest_checkpoint(Path(run["run_dir"]))
        assert newest.phases == ["collect", "learn_world_model", "learn_policy", "evaluate"]
        record = json.loads((Path(run["run_dir"]) / "config.json").read_text())
        assert (record["game"], record["seed"]) == ("Catch", run["seed"])
    files = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = run_command(*words, "--ray_address=127.0.0.1:9")  # where nobody answers
    assert again.returncode == 0 and json.loads(again.stdout) == outcome
    assert again.stderr == "all 2 runs are done; nothing to do\n"
    assert files == {path: path.stat().st_mtime_ns for path in out.rglob("*")}
