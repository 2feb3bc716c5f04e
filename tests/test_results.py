"""`results/report` and the README's tables are what one command makes of `results/` today."""

import sys
from pathlib import Path

from matplotlib.figure import Figure

from smallwm_tf import report
from smallwm_tf.reporting import page

ROOT = Path(__file__).resolve().parent.parent
TEXTS = ("report.md", "report.csv", "scores_rliable.json")
COMMAND = "-m smallwm_tf.report --runs=results --mix --out=results/report"


def tables_of(text: str) -> list[str]:
    """Tables in Markdown, without what aligns their columns."""
    lines, tables = text.splitlines(), [[]]
    for line in lines:
        if line.startswith("| "):
            tables[-1].append(line)
        elif tables[-1]:
            tables.append([])
    return ["\n".join(table) for table in tables if table]


def test_one_command_makes_the_report_again_to_the_byte(tmp_path, monkeypatch):
    """Its texts; pictures and page are compared with nothing, and take longer."""
    words = COMMAND.replace("results/report", str(tmp_path / "report")).split()
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", words[1:])
    monkeypatch.setattr(Figure, "savefig", lambda *_, **__: None)
    monkeypatch.setattr(page, "render", lambda *_: "")
    report.main()
    for name in TEXTS:
        made, kept = tmp_path / "report" / name, ROOT / "results" / "report" / name
        assert made.read_bytes() == kept.read_bytes(), f"make it again: python {COMMAND}"


def test_the_readme_shows_the_tables_of_the_report():
    report = (ROOT / "results" / "report" / "report.md").read_text("utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    results = readme[readme.index("\n## Results") :]
    results = results[: results.index("\n## ", 1)]
    shown = tables_of(results)
    assert len(shown) >= 2 and set(shown) <= set(tables_of(report))
    assert COMMAND in results
