"""A report as one page that opens from disk: tables to sort, curves to point at, dreams to see."""

import base64
import importlib.resources
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from smallwm_tf.experiment.messages import one_line
from smallwm_tf.experiment.numbers import counted
from smallwm_tf.reporting import pictures, tables
from smallwm_tf.reporting.comparison import GameResult
from smallwm_tf.reporting.contents import Contents
from smallwm_tf.reporting.found_runs import FoundRun
from smallwm_tf.runs import RunError
from smallwm_tf.runs.plain_files import open_plain

KINDS = {
    "dream": "A dream beside reality, from the same start with the same actions",
    "codes": "Frames, their codes in colour, reconstructions",
    "horizon": "Predictions by horizon",
    "promise": "What the dream promised and the game paid",
}
"""Titles of a run's pictures, by the beginning of their names."""

_LARGEST_PICTURE = 32 * 2**20
_LARGEST_FILM = 8 * 2**20
_FILM_TYPES = {".gif": "image/gif", ".mp4": "video/mp4"}


def render(contents: Contents, drawn: Mapping[str, bytes]) -> str:
    """The page as HTML; drawn are the files of the report's own figures."""
    import jinja2

    source = importlib.resources.files("smallwm_tf.reporting").joinpath("page.html").read_text()
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    runs = contents.found.runs
    return environment.from_string(source).render(
        contents=contents,
        tables=tables,
        colours={each.preset: pictures.colour_of(contents, each.preset)
                 for each in contents.presets},
        run_numbers={run.path: number for number, run in enumerate(runs)},
        shown=[(run, list(_shown(run))) for run in runs],
        figures=[
            (caption, _data_uri("image/png", drawn[f"{name}.png"]))
            for name, caption in pictures.CAPTIONS.items()
            if name != "learning_curves" and f"{name}.png" in drawn
        ],
        panels=[_panel(game, results) for game, results in contents.panels().items()],
    )  # fmt: skip


def _panel(game: str, results: list[tuple[str, GameResult]]) -> dict[str, Any]:
    """What the page's script draws: curves and references of one game."""
    curves, references = [], {}
    for preset, result in results:
        points = [
            {"x": sum(point.real_steps), "y": point.mean, "error": point.error,
             "text": f"{preset}: {_value(point)}\n{tables.steps_text(point.real_steps)} steps"}
            for point in result.curve()
        ]  # fmt: skip
        collecting = [
            {"x": x, "y": y, "text": f"{preset}, while collecting: {tables.number(y)}"}
            for x, y in result.curve_while_collecting()
        ]
        curves.append({"preset": preset, "points": points, "collecting": collecting})
        for label, value in pictures.references(result).items():
            references[f"{label}: {tables.number(value)}"] = value
    return {"game": game, "curves": curves, "references": list(references.items())}


def _value(point: Any) -> str:
    text = tables.with_error({"mean": point.mean, "standard_error": point.error})
    return f"{text}, {counted(point.num_runs, 'run')}"


def _shown(run: FoundRun):
    """(title, kind of element, data URI or None where a file is too large) of a run's pictures."""
    for kind, path in run.figures().items():
        if path.suffix == ".png":
            yield f"{KINDS[kind]} ({path.name})", "image", _picture(path)
        elif path.stat().st_size > _LARGEST_FILM:
            yield f"{path.name} is too large for this page", "none", None
        else:
            element = "image" if path.suffix == ".gif" else "video"
            uri = _data_uri(_FILM_TYPES[path.suffix], _read(path))
            yield f"Film ({path.name})", element, uri


def _picture(path: Path) -> str:
    """A picture as WebP without loss, which takes two thirds of the room of PNG."""
    file = io.BytesIO()
    try:
        with open_plain(path, _LARGEST_PICTURE) as source, Image.open(source) as image:
            image.convert("RGB").save(file, "WEBP", lossless=True, quality=0)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise RunError(f"{path}: is no picture ({one_line(error)}); move it away") from error
    return _data_uri("image/webp", file.getvalue())


def _read(path: Path) -> bytes:
    with open_plain(path, _LARGEST_FILM) as file:
        return file.read()


def _data_uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
