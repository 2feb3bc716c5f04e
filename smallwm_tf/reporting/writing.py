"""Writes a report: everything is made in memory first, then each file complete or not at all."""

from pathlib import Path

from smallwm_tf.reporting import data_files, page, pictures, tables
from smallwm_tf.reporting.contents import Contents
from smallwm_tf.runs.files import write_atomically


def write_report(contents: Contents, out: Path) -> list[Path]:
    """Writes Markdown, CSV, JSON, figures and the page; returns their paths.

    Figures of an earlier report in the same place that this one does not have are removed.

    Raises:
        OSError: A file cannot be written.
    """
    drawn = pictures.draw(contents)
    figures = {pictures.CAPTIONS[name.removesuffix(".png")]: name
               for name in drawn if name.endswith(".png")}  # fmt: skip
    files = {
        "report.md": tables.markdown(contents, figures).encode(),
        "report.csv": data_files.csv_text(contents.found).encode(),
        "scores_rliable.json": data_files.rliable_json(contents.presets).encode(),
        **drawn,
        "report.html": page.render(contents, drawn).encode(),
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(out / name, lambda file, content=content: file.write(content))
    for name in pictures.CAPTIONS:
        for old in (out / f"{name}.png", out / f"{name}.pdf"):
            if old.name not in files:
                old.unlink(missing_ok=True)
    return [out / name for name in files]
