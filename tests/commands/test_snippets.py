"""The code in the how-tos of docs/ runs, from top to bottom of each page."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

import smallwm_tf
from smallwm_tf import doctor
from tests.commands.conftest import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


def blocks(page: str) -> list[str]:
    """Python in a page, without what a list indents it by."""
    text = (DOCS / page).read_text("utf-8")
    found = re.findall(r"^( *)```python\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(f"^{indent}", "", code, flags=re.MULTILINE) for indent, code in found]


def run(code: str, names: dict, page: str) -> None:
    """Executes a block; what it says to be a file is written, what needs more is left out."""
    if file := re.match(r"# (\w+\.py)\n", code):
        Path(file[1]).write_text(code)
    elif (needed := re.match(r"# needs (\w+)\n", code)) and not importlib.util.find_spec(needed[1]):
        return
    else:
        exec(compile(code, page, "exec"), names)


def test_every_page_with_code_is_run():
    with_code = {path.name for path in DOCS.glob("*.md") if blocks(path.name)}
    assert with_code == {
        "exports.md",  # tests/commands/test_export.py calls each signature
        "own_game.md",
        "own_parts.md",
        "python.md",
        "using_an_export.md",
    }


def test_python(run_dir, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "Catch-catch-seed5").symlink_to(run_dir)
    preset = (ROOT / "configs" / "catch.py").read_text("utf-8")
    (tmp_path / "catch.py").write_text(
        f"{preset}\n_catch = get_config\n\n\ndef get_config():\n"
        f"    differences = dict(_catch())\n    return differences | {SETTINGS!r}\n"
    )
    names = {}
    for code in blocks("python.md"):
        run(code.replace('"Catch", "catch"', '"Catch", "./catch.py"'), names, "python.md")
    assert names["run_dir"] == Path("runs/Catch-catch-seed5")
    assert names["result"]["agent"]["num_episodes"] == 4
    assert "ppo.learning_rat=0.0001: no such setting" in capsys.readouterr().out
    assert len(names["rewards"]) >= 2


def test_own_games(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for code in blocks("own_game.md"):
        run(code, {}, "own_game.md")
    names = set(re.findall(r"--game=(\w+:[\w-]+)", (DOCS / "own_game.md").read_text("utf-8")))
    assert len(names) == 3
    try:
        for name in names:
            (found,) = doctor._examine_game(name)
            assert found.state == "ok", found
    finally:
        for name in names:
            module, _, identity = name.partition(":")
            gymnasium.registry.pop(identity, None)
            sys.modules.pop(module, None)


def test_own_parts(monkeypatch):
    from smallwm_tf.models.code_heads import CODE_HEADS
    from smallwm_tf.models.recurrent_stack import CELLS

    for table in (CODE_HEADS, CELLS):
        for name in table:
            monkeypatch.setitem(table, name, table[name])
    names = {}
    try:
        for code in blocks("own_parts.md"):
            run(code, names, "own_parts.md")
        assert tuple(names["prediction"].y.shape) == (36, 2, 11)
    finally:
        CODE_HEADS.pop("smoothed", None)
        CELLS.pop("gated", None)


@pytest.mark.slow  # a process of its own loads TensorFlow and converts a model
def test_using_an_export(tmp_path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    unwanted = "import sys\nassert not {'smallwm_tf', 'tf_agents'} & set(sys.modules)\n"
    (tmp_path / "page.py").write_text("\n".join([*blocks("using_an_export.md"), unwanted]))
    variables = {k: v for k, v in os.environ.items() if k != "TF_USE_LEGACY_KERAS"}
    words = [sys.executable, "page.py"]
    done = subprocess.run(words, cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_reference_is_made_from_docstrings(tmp_path):
    """By the command of docs/python.md; every public name has its page and what it says."""
    import pdoc

    text = (DOCS / "python.md").read_text("utf-8")
    modules = re.search(r"-m pdoc -d google (.*)", text)[1].split()
    pdoc.render.configure(docformat="google")
    pdoc.pdoc(*modules, output_directory=tmp_path)
    pages = {p.stem: p.read_text("utf-8") for p in tmp_path.rglob("*.html") if p.stem != "index"}
    for name, place in smallwm_tf._PLACES.items():
        page = pages[place.rpartition(".")[2]]
        assert f'id="{name}"' in page, name
    assert "K embeddings" in pages["dreams"] and "2**31" in pages["experiments"]
