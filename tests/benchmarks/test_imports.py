"""What scripts outside the package take from it is there; they import inside functions, unseen."""

import ast
import importlib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PATHS = [*ROOT.glob("benchmarks/*.py"), *ROOT.glob("colab/*.py")]
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in PATHS)


def taken_from_the_package(script: str) -> set[tuple[str, str]]:
    """Pairs of module and name."""
    tree = ast.parse((ROOT / script).read_text(encoding="utf-8"))
    return {
        (node.module, alias.name)
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "smallwm_tf"
        for alias in node.names
    }


@pytest.mark.parametrize("script", SCRIPTS)
def test_every_name_is_there(script):
    for module, name in sorted(taken_from_the_package(script)):
        if not hasattr(importlib.import_module(module), name):
            importlib.import_module(f"{module}.{name}")  # else it is a module


def test_imports_inside_functions_are_seen():
    wanted = ("smallwm_tf.runs.scores", "best_null_policy")
    assert wanted in taken_from_the_package("benchmarks/null_policies.py")
