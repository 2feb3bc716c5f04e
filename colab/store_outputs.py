"""Runs notebooks and keeps what they show in them, small enough for a repository.

    python colab/store_outputs.py colab/2_look_inside.ipynb

Needs the extra `[test]`. What goes to standard error is dropped, charts get fewer colours.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

_COLOURS = 128  # enough to tell the codes apart


def shrink(picture: bytes) -> bytes:
    """A PNG with a palette, if that is smaller."""
    small = io.BytesIO()
    with Image.open(io.BytesIO(picture)) as image:
        few = image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
        few.save(small, "PNG", optimize=True)
    return min(picture, small.getvalue(), key=len)


def clean(notebook: nbformat.NotebookNode) -> None:
    """Drops standard error and times, shrinks pictures."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        outputs = [output for output in cell.get("outputs", ()) if output.get("name") != "stderr"]
        for output in outputs:
            if "image/png" in output.get("data", ()):
                picture = shrink(base64.b64decode(output["data"]["image/png"]))
                output["data"]["image/png"] = base64.b64encode(picture).decode("ascii")
        if cell.cell_type == "code":
            cell.outputs = outputs
    notebook.metadata.pop("widgets", None)
    notebook.metadata.language_info = {"name": "python"}


def main() -> None:
    """Runs every notebook that is named, in a folder that goes again."""
    for name in map(Path, sys.argv[1:]):
        notebook = nbformat.read(name, as_version=4)
        with tempfile.TemporaryDirectory(dir=Path(__file__).resolve().parent.parent) as folder:
            place = {"metadata": {"path": folder}}
            given = {"timeout": 3600, "coalesce_streams": True, "resources": place}
            NotebookClient(notebook, **given).execute()
        clean(notebook)
        nbformat.write(notebook, name)


if __name__ == "__main__":
    main()
