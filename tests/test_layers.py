"""The import rule of docs/architecture.md, read from the imports themselves."""

import ast
from pathlib import Path

import pytest

from smallwm_tf import __main__

PACKAGE = Path(__file__).resolve().parent.parent / "smallwm_tf"
COMMANDS = {"train", "evaluate", "dream", "play", "export", "sweep", "report", "doctor"}
FLOORS = (  # a folder may import from floors above it in this list, and from itself
    {"data"},
    {"experiment"},
    {"games", "models", "runs"},
    {"agents", "learning"},
    {"judging"},
    {"figures"},
    {"training", "deployment", "sweeping"},
    {"viewing", "reporting"},
    {"interface"},
    {"cli"},
)
FLOOR_OF = {folder: number for number, floor in enumerate(FLOORS) for folder in floor}
MODULES = sorted(PACKAGE.rglob("*.py"))


def imported_folders(path: Path) -> set[str]:
    """Names below smallwm_tf that a module imports from, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    parts = [name.split(".") for name in names]
    return {part[1] for part in parts if part[0] == "smallwm_tf" and len(part) > 1}


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_left_only(path):
    folder, *rest = path.relative_to(PACKAGE).parts
    imported = imported_folders(path)
    if rest:
        allowed = {f for f, floor in FLOOR_OF.items() if floor < FLOOR_OF[folder]} | {folder}
        assert imported <= allowed, f"{folder} may not import {sorted(imported - allowed)}"
    elif path.stem in COMMANDS | {"__main__"}:
        assert imported <= set(FLOOR_OF) | {"_environment", "_requirements"}
    else:
        assert imported <= {"_environment", "_requirements", "RequirementsError"}


def test_all_commands_are_listed():
    assert set(__main__.COMMANDS) == COMMANDS


def test_no_module_lies_loose_beside_the_commands():
    loose = {path.stem for path in PACKAGE.glob("*.py")}
    assert loose == COMMANDS | {"__init__", "__main__", "_environment", "_requirements"}
    assert {path.parent.name for path in PACKAGE.glob("*/*.py")} == set(FLOOR_OF)
