"""What the doctor finds, on this machine and where something is wrong."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from types import SimpleNamespace

import pytest

from smallwm_tf import RequirementsError, _environment, doctor
from smallwm_tf.models.execution import resolve_precision


@pytest.fixture(autouse=True)
def healthy(monkeypatch):
    """A machine with enough of everything, whatever this one has."""
    from smallwm_tf.training import estimate

    monkeypatch.setattr(doctor, "_available_memory", lambda: 8e9)
    monkeypatch.setattr(estimate, "measure_gemm", lambda *_: 200.0)
    _set_free_disk(monkeypatch, 123e9)


def _set_free_disk(monkeypatch, free):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free))


def _examine(folder, game="Catch"):
    return {finding.topic: finding for finding in doctor.examine(game, folder)}


def test_everything_runs_here(command, tmp_path):
    code, printed, _ = command(doctor, "--game=Catch", f"--run_dir={tmp_path / 'runs'}", "--json")
    findings = {f["topic"]: f for f in json.loads(printed)}
    assert code == 0 and list(tmp_path.iterdir()) == []
    findings.pop("extras", None)  # a note where flask is not installed
    findings.pop("environment", None)  # what is set here
    assert {topic: f["state"] for topic, f in findings.items()} == dict.fromkeys(
        ("python", "packages", "keras", "devices", "speed", "precision", "memory", "game", "disk"),
        "ok",
    )
    for name in ("tensorflow", "tf-agents", "numpy", "gymnasium"):
        assert f"{name} {version(name)}" in findings["packages"]["text"]
    assert version("tf-keras") in findings["keras"]["text"]
    assert "200 GFLOP/s" in findings["speed"]["text"]
    assert resolve_precision("auto") in findings["precision"]["text"]
    assert findings["memory"]["text"].startswith("8.0 GB free of ")
    assert findings["game"]["text"] == "Catch: works, frames [96, 96, 1]"
    assert findings["disk"]["text"].endswith("can be written, 123 GB free")
    code, printed, _ = command(doctor, "--game=Catch", f"--run_dir={tmp_path}")
    assert code == 0 and printed.splitlines()[-1] == "everything runs here"


def _lack_keras_2(monkeypatch):
    import tensorflow as tf

    monkeypatch.setattr(tf.keras.Model, "__module__", "keras.src.models.model")


def _lack_packages(monkeypatch):
    def check():
        raise RequirementsError("tf-agents is missing. Mend it with: pip install tf-agents")

    monkeypatch.setattr(doctor._requirements, "check", check)


FAULTS = {  # what is broken: topic, state, part of the text, part of the remedy
    "no memory": (
        lambda m: m.setattr(doctor, "_available_memory", lambda: 2.9e9),
        ("memory", "wrong", "2.9 GB free", "close other programs"),
    ),
    "little memory": (
        lambda m: m.setattr(doctor, "_available_memory", lambda: 4.4e9),
        ("memory", "note", "atari100k wants 4.5 GB", ""),
    ),
    "full disk": (
        lambda m: _set_free_disk(m, 0.9e9),
        ("disk", "wrong", "1 GB free", "make room"),
    ),
    "slow": (
        lambda m: m.setattr("smallwm_tf.training.estimate.measure_gemm", lambda *_: 50.0),
        ("speed", "note", "50 GFLOP/s", ""),
    ),
    "Keras 3": (_lack_keras_2, ("keras", "wrong", "Keras 3", "export TF_USE_LEGACY_KERAS=1")),
    "packages": (
        _lack_packages,
        ("packages", "wrong", "tf-agents is missing", "pip install tf-agents"),
    ),
    "new Python": (
        lambda m: m.setattr(doctor, "sys", SimpleNamespace(version_info=(3, 14, 0))),
        ("python", "note", "3.11 to 3.13", ""),
    ),
    "flask": (
        lambda m: m.setattr(doctor._requirements, "is_importable", lambda name: name != "flask"),
        ("extras", "note", "flask is missing", "pip install -e '.[play]'"),
    ),
    "rliable": (
        lambda m: m.setattr(doctor._requirements, "is_importable", lambda name: name != "rliable"),
        ("extras", "note", "rliable is missing", "pip install -e '.[report]'"),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_fault_is_told_and_nothing_else(fault, monkeypatch, tmp_path):
    sound = _examine(tmp_path)
    break_it, (topic, state, text, remedy) = FAULTS[fault]
    break_it(monkeypatch)
    found = _examine(tmp_path)
    assert found[topic].state == state and text in found[topic].text
    assert remedy in found[topic].remedy and bool(remedy) == bool(found[topic].remedy)
    others = {name: finding for name, finding in found.items() if name != topic}
    assert others == {name: finding for name, finding in sound.items() if name != topic}


def test_what_is_wrong_comes_with_its_remedy(command, tmp_path):
    (tmp_path / "file").write_text("")
    code, printed, _ = command(doctor, "--game=Pomg", f"--run_dir={tmp_path / 'file' / 'x'}")
    assert code == 1
    lines = printed.splitlines()
    game = next(i for i, line in enumerate(lines) if "game" in line and "wrong" in line)
    assert "'Pomg' is not known" in lines[game] and "Pong" in lines[game + 1]
    disk = next(i for i, line in enumerate(lines) if "disk" in line and "wrong" in line)
    assert "cannot be written" in lines[disk] and "--run_dir" in lines[disk + 1]
    assert lines[-1] == "2 things to mend"


def test_systems_that_do_not_tell_free_memory(monkeypatch, tmp_path):
    """macOS knows no SC_AVPHYS_PAGES, and some systems have no sysconf at all."""
    known = {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": 4 * 10**6}

    def sysconf(name):
        if name not in known:
            raise ValueError("unrecognized configuration name")
        return known[name]

    monkeypatch.setattr(doctor, "_available_memory", lambda: None)
    monkeypatch.setattr(os, "sysconf", sysconf)
    (found,) = doctor._examine_memory()
    assert found.state == "note" and found.text.startswith("16.4 GB in all; this system does not")
    known["SC_PHYS_PAGES"] = 500_000
    (found,) = doctor._examine_memory()
    assert found.state == "wrong" and found.text.startswith("2.0 GB") and "3 GB" in found.remedy
    monkeypatch.delattr(os, "sysconf")
    (found,) = doctor._examine_memory()
    assert found.state == "note" and "not known" in found.text


@pytest.mark.parametrize("words", [["doctor"], ["train", "--game=Catch"], ["evaluate"], []])
def test_windows_is_told_what_works(tmp_path, words):
    """No command shows a traceback where there is no fcntl."""
    script = (
        "import sys, platform; sys.modules['fcntl'] = None; platform.system = lambda: 'Windows'"
    )
    (tmp_path / "sitecustomize.py").write_text(script + "\n")
    done = subprocess.run(
        [sys.executable, "-m", ".".join(["smallwm_tf", *words[:1]]), *words[1:]],
        env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True,
    )  # fmt: skip
    text = done.stdout + done.stderr
    assert done.returncode == (1 if words == ["doctor"] else 2)
    assert "Windows has no file locks" in text and "WSL" in text and "wsl --install" in text
    assert "Traceback" not in text and text.count("\n") <= 3


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


def test_what_the_environment_has_is_told(monkeypatch, tmp_path):
    for name in _environment._LEFT:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(_environment, "_replaced", {})
    monkeypatch.setenv("HOME", str(tmp_path))
    assert list(doctor._examine_environment()) == []
    (tmp_path / ".keras").mkdir()
    (tmp_path / ".keras" / "keras.json").write_text("{")
    monkeypatch.setenv("XLA_FLAGS", "--xla_x=1")
    monkeypatch.setenv("TF_DETERMINISTIC_OPS", "1")
    _environment.pin()
    assert "TF_DETERMINISTIC_OPS" not in os.environ
    assert [(finding.state, finding.text) for finding in doctor._examine_environment()] == [
        ("note", "TF_DETERMINISTIC_OPS=1 is not used: --deterministic decides"),
        ("note", "XLA_FLAGS=--xla_x=1 is set"),
        ("note", f"{tmp_path}/.keras/keras.json is not read"),
    ]


def test_long_lists_fit_a_terminal():
    """What is wrong or noted stays in one line, to be searched for."""
    names = [f"package-{number} 1.{number}.0" for number in range(20)]
    text = ", ".join(names)
    lines = doctor.Finding(doctor.OK, "packages", text).lines()
    assert lines[0].startswith("ok     packages   package-0 1.0.0, ")
    assert max(map(len, lines)) <= 80 and len(lines) > 2
    assert " ".join(line[18:] for line in lines) == text
    wrong = doctor.Finding(doctor.WRONG, "packages", text, "mend it").lines()
    assert wrong == [f"wrong  packages   {text}", f"{'':18}-> mend it"]


def test_a_check_that_fails_does_not_hide_the_others(tmp_path, monkeypatch):
    def broken():
        raise RuntimeError("libcuda.so is\nbroken")
        yield

    monkeypatch.setattr(doctor, "_examine_tensorflow", broken)
    findings = _examine(tmp_path)
    assert findings["tensorflow"].state == doctor.WRONG and findings["tensorflow"].remedy
    assert findings["tensorflow"].text == "RuntimeError: libcuda.so is broken"
    assert {"python", "packages", "memory", "game", "disk"} < set(findings)
