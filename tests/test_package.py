"""Installation: the README's commands, the requirements, and the check at import."""

import ast
import importlib.metadata
import os
import pathlib
import re
import subprocess
import sys
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from smallwm_tf import __version__, _requirements

ROOT = pathlib.Path(__file__).resolve().parent.parent
CI_RUN = ROOT / ".ci" / "run"


def _python(*arguments, path=None, **environment):
    """Runs Python in the repository; returns the completed process."""
    variables = {**os.environ, "PYTHONPATH": str(path or ""), **environment}
    variables.pop("TF_USE_LEGACY_KERAS", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)


def _without_module(directory, name):
    """A directory for PYTHONPATH that makes `import name` fail."""
    (directory / "sitecustomize.py").write_text(f"import sys; sys.modules[{name!r}] = None\n")
    return directory


def _with_version(directory, name, version):
    """A directory for PYTHONPATH in which a distribution seems to have another version."""
    metadata = directory / f"{name}-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return directory


# --- README and CI ---------------------------------------------------------------------------


def _first_run_commands():
    section = (ROOT / "README.md").read_text().split("## First run")[1].split("\n## ")[0]
    return re.findall(r"```bash\n(.*?)```", section, re.DOTALL)


def test_readme_has_one_command_to_train_and_one_to_test():
    train, test = _first_run_commands()
    for command in (train, test):
        assert command.count("\n") == 1
        assert "-m venv .venv" in command and ".venv/bin/pip install -e" in command
    assert ".venv/bin/python -m smallwm_tf.train" in train
    assert ".venv/bin/python -m pytest" in test


def test_ci_runs_the_test_command_of_the_readme():
    printed = subprocess.run(["bash", CI_RUN, "--print-command"], capture_output=True, text=True)
    assert printed.returncode == 0
    assert printed.stdout == _first_run_commands()[1]


@pytest.mark.parametrize("code", [0, 3])
def test_ci_runs_in_a_copy_that_it_removes_and_passes_the_code_on(tmp_path, code):
    repository, temporary = tmp_path / "a repository", tmp_path / "temporary"
    (repository / ".ci").mkdir(parents=True)
    temporary.mkdir()
    (repository / ".ci" / "run").write_bytes(CI_RUN.read_bytes())
    (repository / "README.md").write_text(f"cat new; touch made; : -m pytest; exit {code}\n")
    (repository / "new").write_text("not committed yet\n")
    subprocess.run(["git", "init", "-q", repository], check=True)
    run = subprocess.run(
        ["bash", repository / ".ci" / "run"],
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
    )
    assert run.returncode == code
    assert run.stdout == "not committed yet\n"
    assert not (repository / "made").exists()
    assert list(temporary.iterdir()) == []


def test_pyproject_holds_tool_settings_only():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert set(settings) == {"tool"}
    assert set(settings["tool"]) == {"ruff", "pytest"}


# --- requirements ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("python", "agents", "probability"),
    [("3.11", "==0.19.0", "==0.23.0"), ("3.12", None, "==0.25.0"), ("3.13", None, "==0.25.0")],
)
def test_markers_choose_the_versions_that_work_together(python, agents, probability):
    chosen = {}
    for text in _requirements.install_requires():
        requirement = Requirement(text)
        if not requirement.marker or requirement.marker.evaluate({"python_version": python}):
            assert requirement.name not in chosen
            chosen[requirement.name] = str(requirement.specifier)
    assert chosen.get("tf-agents") == agents
    assert chosen["tensorflow-probability"] == probability
    assert "2.4.0" not in SpecifierSet(chosen["numpy"])
    assert chosen["tensorflow"] == chosen["tf-keras"]


def test_every_imported_package_is_required():
    imported = set()
    for file in ROOT.glob("smallwm_tf/**/*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                imported.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    tables = _requirements._EVERY_PYTHON + _requirements._PYTHON_3_11
    required = {module for _, module in tables}
    required |= {"gym_notices", "google"}  # gym's, and TensorFlow's protobuf
    required |= {"flask", "werkzeug", "ray", "wandb"}  # the extras "play", "sweep" and "wandb"
    required |= {"jinja2", "rliable"}  # the extra "report"
    assert imported - set(sys.stdlib_module_names) - {"smallwm_tf"} <= required


@pytest.mark.parametrize(
    "version", ["0.9", "2.3.5", "2.4.0", "2.4", "2.21.0", "2.22.0", "10.0.0.93"]
)
@pytest.mark.parametrize("bounds", [">=2.21,<2.22", ">=1.26,<2.4", "==2.4.0", ">=2.4", ">=4.10"])
def test_version_bounds_agree_with_packaging(version, bounds):
    assert _requirements._satisfies(version, bounds) == (version in SpecifierSet(bounds))


def test_package_reports_its_version():
    import smallwm_tf

    assert importlib.metadata.version("smallwm_tf") == smallwm_tf.__version__


# --- the wheel -------------------------------------------------------------------------------


def test_a_wheel_holds_every_file_and_every_preset(unpacked):
    found = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    found = {name for name in found if name.startswith("smallwm_tf/")}
    expected = {
        str(path.relative_to(ROOT)) for path in (ROOT / "smallwm_tf").rglob("*") if path.is_file()
    }
    presets = {f"smallwm_tf/configs/{path.name}" for path in (ROOT / "configs").glob("*.py")}
    assert len(presets) >= 9
    assert found == {name for name in expected if "__pycache__" not in name} | presets


def test_presets_are_found_outside_of_any_checkout(unpacked, tmp_path):
    script = """if True:
        import sys
        import smallwm_tf
        from smallwm_tf.cli.train_flags import read_train_flags
        from smallwm_tf.experiment.presets import load_preset, preset_names
        assert smallwm_tf.__file__.startswith(sys.argv[1])
        for name in preset_names():
            assert load_preset(name) == load_preset(f"configs/{name}.py")
        read_train_flags(["train", "--game=Catch", "--config=smoke"])
        print(*preset_names())
    """
    done = subprocess.run(
        [sys.executable, "-c", script, str(unpacked)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(unpacked)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == {path.stem for path in (ROOT / "configs").glob("*.py")}


# --- the check at import ---------------------------------------------------------------------


def test_import_is_light():
    run = _python("-c", "import sys, smallwm_tf; print(*sys.modules)")
    assert run.returncode == 0, run.stderr
    assert not {"tensorflow", "keras", "numpy", "gym"} & set(run.stdout.split())


@pytest.mark.parametrize("module", ["tf_agents", "tf_keras", "tensorflow_probability", "ale_py"])
def test_command_names_a_missing_package_and_the_command_that_mends_it(tmp_path, module):
    path = _without_module(tmp_path, module)
    run = _python("-m", "smallwm_tf.train", "--game=Pong", path=path)
    assert run.returncode == 2
    assert run.stdout == "" and run.stderr.count("\n") == 1
    name = module.replace("_", "-")
    assert run.stderr.startswith(f"smallwm_tf: error: {name} is missing. ")
    assert f"{sys.executable} -m pip install " in run.stderr
    assert f"{name}==" in run.stderr or f"{name}>=" in run.stderr


@pytest.mark.parametrize(
    ("name", "version", "needed"),
    [("numpy", "2.4.1", ">=1.26,<2.4"), ("tf_keras", "2.15.0", ">=2.21,<2.22")],
)
def test_command_names_a_wrong_version(tmp_path, name, version, needed):
    run = _python("-m", "smallwm_tf.train", path=_with_version(tmp_path, name, version))
    assert run.returncode == 2
    assert run.stdout == "" and run.stderr.count("\n") == 1
    name = name.replace("_", "-")
    assert f"{name} {version} is installed but {needed} is needed" in run.stderr
    assert f"-m pip install '{name}{needed}'" in run.stderr


@pytest.mark.parametrize("words", [[], ["--help"]])
def test_the_package_lists_its_commands(words):
    run = _python("-m", "smallwm_tf", *words)
    assert (run.returncode, run.stderr) == (0, "")
    for command in ("train", "evaluate", "doctor"):
        assert f"\n  {command} " in run.stdout


def test_the_package_passes_a_command_on():
    run = _python("-m", "smallwm_tf", "train", "--game=Pomg")
    assert (run.returncode, run.stdout) == (2, "")
    assert run.stderr.startswith("smallwm_tf.train: error: game='Pomg'") and "Pong" in run.stderr
    run = _python("-m", "smallwm_tf", "trian")
    assert (run.returncode, run.stdout) == (2, "") and run.stderr.endswith("try train\n")
    assert _python("-m", "smallwm_tf", "--version").stdout == f"smallwm_tf {__version__}\n"


def test_the_script_of_a_wheel_is_a_command(unpacked, tmp_path):
    """Also where a package is missing: one line."""
    (file,) = unpacked.glob("*.dist-info/entry_points.txt")
    assert "smallwm_tf = smallwm_tf.__main__:main" in file.read_text()
    script = tmp_path / "smallwm_tf"
    script.write_text("import sys\nfrom smallwm_tf.__main__ import main\nsys.exit(main())\n")
    path = f"{unpacked}{os.pathsep}{_without_module(tmp_path, 'ale_py')}"
    run = _python(str(script), "doctor", "--help", path=path)
    assert run.returncode == 0 and "--run_dir" in run.stdout, run.stderr
    run = _python(str(script), "train", path=path)
    assert (run.returncode, run.stdout, run.stderr.count("\n")) == (2, "", 1)
    assert run.stderr.startswith("smallwm_tf: error: ale-py is missing")


def test_library_import_raises_an_import_error(tmp_path):
    script = "try:\n import smallwm_tf\nexcept ImportError as error: print(error)"
    run = _python("-c", script, path=_without_module(tmp_path, "tf_agents"))
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("tf-agents is missing.") and run.stdout.count("\n") == 1


def test_python_3_12_gets_the_second_step(monkeypatch):
    monkeypatch.setattr(_requirements.sys, "version_info", (3, 12, 1, "final", 0))
    missing = {"tf_agents": "tf-agents is missing", "ale_py": "ale-py is missing"}
    monkeypatch.setattr(_requirements, "_problem", lambda _, module: missing.get(module))
    with pytest.raises(_requirements.RequirementsError) as caught:
        _requirements.check()
    assert str(caught.value).startswith("ale-py is missing, tf-agents is missing.")
    first, second = str(caught.value).split("with: ")[1].split(" && ")
    assert "ale-py" in first and "tf-agents" not in first
    assert second.endswith("-m pip install --no-deps tf-agents==0.19.0")


@pytest.mark.parametrize("how", [[], pytest.param(["--ignore-installed"], marks=pytest.mark.slow)])
def test_every_extra_resolves_beside_the_rest(how):
    """If all of them together do, each of them does; slow: in an environment that has nothing."""
    # Of setup.py, since what is installed may be of an older one.
    script = """if True:
        import setuptools
        from distutils.core import run_setup
        print(*run_setup("setup.py", stop_after="init").extras_require, sep=",")
    """
    extras = [name for name in _python("-c", script).stdout.strip().split(",") if ":" not in name]
    assert {"play", "report", "sweep", "test", "wandb"} <= set(extras)
    install = ["install", "--dry-run", "--no-build-isolation", "--quiet", *how]
    done = _python("-m", "pip", *install, f".[{','.join(extras)}]")
    assert done.returncode == 0, done.stderr
