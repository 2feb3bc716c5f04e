"""Runs notebooks and keeps what they show in them, small enough for a repository.

    python colab/store_outputs.py colab/2_look_inside.ipynb

Needs the extra `[test]`. What goes to standard error is dropped, pictures get fewer colours.
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image, ImageSequence

_COLOURS = 48


def shrink(kind: str, picture: bytes) -> bytes:
    """A PNG or GIF with a palette; the smaller of both."""
    file, small = io.BytesIO(picture), io.BytesIO()
    with Image.open(file) as image:
        if kind == "image/png":
            image.convert("RGB").quantize(_COLOURS).save(small, "PNG", optimize=True)
        else:
            pages = [page.convert("RGB") for page in ImageSequence.Iterator(image)]
            palette = pages[0].quantize(_COLOURS)
            few = [page.quantize(palette=palette, dither=Image.Dither.NONE) for page in pages]
            duration = image.info.get("duration", 100)
            few[0].save(small, "GIF", save_all=True, append_images=few[1:], loop=0,
                        duration=duration)  # fmt: skip
    return min(picture, small.getvalue(), key=len)


def clean(notebook: nbformat.NotebookNode) -> None:
    """Drops standard error and times, shrinks pictures."""
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        outputs = [output for output in cell.get("outputs", ()) if output.get("name") != "stderr"]
        for output in outputs:
            for kind in {"image/png", "image/gif"} & set(output.get("data", ())):
                picture = shrink(kind, base64.b64decode(output["data"][kind]))
                output["data"][kind] = base64.b64encode(picture).decode("ascii")
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
            NotebookClient(notebook, timeout=3600, resources=place).execute()
        clean(notebook)
        nbformat.write(notebook, name)


if __name__ == "__main__":
    main()
