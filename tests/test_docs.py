"""What the documents name exists: files, modules, tests, links and their headings."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()} - {"runs", "exports"}
CODE = re.compile(r"```.*?```|`([^`\n]+)`", re.DOTALL)
TESTS = {path: path.read_text("utf-8") for path in ROOT.glob("tests/**/*.py")}
pytestmark = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def code_of(page: Path) -> list[str]:
    """All code in a page: blocks, and words between backticks."""
    return [match[0].strip("`") for match in CODE.finditer(page.read_text("utf-8"))]


def paths_in(code: str) -> set[str]:
    """Words that begin with a folder of the repository, without what may follow a file's name."""
    words = re.findall(r"[\w./<>*-]+", code)
    return {
        word.rstrip(".")
        for word in words
        if word.split("/")[0] in FOLDERS and "/" in word and not re.search(r"[<>*]", word)
    }


def test_paths_exist(page):
    missing = {
        path for code in code_of(page) for path in paths_in(code) if not (ROOT / path).exists()
    }
    assert not missing


def test_named_tests_exist(page):
    for code in code_of(page):
        for file, name in re.findall(r"([\w./-]*test_\w+\.py)(?:::(\w+))?", code):
            assert (ROOT / file).is_file(), f"{file}: paths begin at the repository's root"
            assert not name or f"def {name}(" in TESTS[ROOT / file], f"{file}::{name}"
        if re.fullmatch(r"test_\w+", code):
            assert any(f"def {code}(" in text for text in TESTS.values()), code


def test_modules_exist(page):
    for code in code_of(page):
        for module in re.findall(r"-m ((?:smallwm_tf|benchmarks|tests)[\w.]*\w)", code):
            assert importlib.util.find_spec(module), module


def test_links_lead_somewhere(page):
    text = CODE.sub("", page.read_text("utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if heading:
            assert heading in anchors(linked), target


def anchors(page: Path) -> set[str]:
    """Headings as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in headings}
