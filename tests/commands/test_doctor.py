"""What the doctor finds, on this machine and where something is wrong."""

import json
import os
import subprocess
import sys

from smallwm_tf import doctor


def test_everything_runs_here(command, tmp_path):
    code, printed, _ = command(doctor, "--game=Catch", f"--run_dir={tmp_path / 'runs'}", "--json")
    findings = {f["topic"]: f for f in json.loads(printed)}
    assert {"python", "packages", "keras", "devices", "speed", "memory", "game", "disk"} <= set(
        findings
    )
    wrong = [f for f in findings.values() if f["state"] == "wrong"]
    assert code == bool(wrong)
    assert findings["keras"]["state"] == findings["game"]["state"] == "ok"
    assert (
        f"tensorflow {doctor.importlib.metadata.version('tensorflow')}"
        in (findings["packages"]["text"])
    )
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_comes_with_its_remedy(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, printed, _ = command(doctor, "--game=Pomg", f"--run_dir={tmp_path / 'file' / 'x'}")
    assert code == 1
    lines = printed.splitlines()
    game = next(i for i, line in enumerate(lines) if "game" in line and "wrong" in line)
    assert "'Pomg' is not known" in lines[game] and "Pong" in lines[game + 1]
    disk = next(i for i, line in enumerate(lines) if "disk" in line and "wrong" in line)
    assert "cannot be written" in lines[disk] and "--run_dir" in lines[disk + 1]
    assert lines[-1] == "2 thing(s) to mend"


def test_a_missing_package_does_not_stop_the_other_checks(tmp_path):
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['tf_agents'] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "smallwm_tf.doctor", "--game=Catch", f"--run_dir={tmp_path}"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    lines = done.stdout.splitlines()
    packages = next(i for i, line in enumerate(lines) if line.startswith("wrong  packages"))
    assert "tf-agents is missing" in lines[packages]
    assert "-m pip install" in lines[packages + 1] and "tf-agents==" in lines[packages + 1]
    assert any(line.startswith("ok     keras") for line in lines)


def test_a_check_that_fails_does_not_hide_the_others(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("libcuda.so is\nbroken")
        yield

    monkeypatch.setattr(doctor, "_examine_tensorflow", broken)
    findings = {finding.topic: finding for finding in doctor.examine("Catch", tmp_path)}
    assert findings["tensorflow"].state == doctor.WRONG and findings["tensorflow"].remedy
    assert findings["tensorflow"].text == "RuntimeError: libcuda.so is broken"
    assert {"python", "packages", "memory", "game", "disk"} < set(findings)


def test_little_memory_is_told(monkeypatch):
    monkeypatch.setattr(doctor, "_available_memory", lambda: 1e9)
    (finding,) = doctor._examine_memory()
    assert finding.state == doctor.WRONG and "1.0 GB free" in finding.text and finding.remedy
