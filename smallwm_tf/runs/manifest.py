"""The manifest of a checkpoint: what belongs to it, and whether that is as it was written."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from smallwm_tf.experiment.messages import one_line, show
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import describe_file, read_json, what_differs, write_json
from smallwm_tf.runs.replay_files import Chunk
from smallwm_tf.runs.schema import fields, named, text, whole

FORMAT = 2  # 1 threw true ends and time limits together
_NAME = "manifest.json"
_NUMBER = re.compile(r"[0-9]{6,9}")
MOST_NUMBER = 10**9 - 1
_FILE = re.compile(r"progress\.json|arrays\.npz|variables\.(index|data-[0-9]{5}-of-[0-9]{5})")
_CHUNK = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_NEEDED = {"progress.json", "arrays.npz", "variables.index"}
#: What `describe_file` says of a file.
DESCRIBED = fields(bytes=whole(), sha256=text())
_MANIFEST = fields(files=named(DESCRIBED), chunks=named(DESCRIBED))


def number_of(name: str) -> int | None:
    """The number of a checkpoint by the name of its directory; None of any other name."""
    return int(name) if _NUMBER.fullmatch(name) else None


def numbered(directory: Path) -> list[Path]:
    """Finished checkpoints in a `checkpoints/`, the newest first; there need not be any.

    Raises:
        OSError: It cannot be read.
    """
    found = [path for path in directory.glob("[0-9]*") if number_of(path.name) is not None]
    return sorted(found, key=lambda path: number_of(path.name), reverse=True)


def write_manifest(directory: Path, chunks: Iterable[Chunk]) -> None:
    """Describes all files of a checkpoint's directory, and the replay chunks that it refers to.

    Raises:
        ValueError: A chunk's name leads out of the replay's directory.
    """
    described = {}
    for chunk in chunks:
        if not _CHUNK.fullmatch(chunk.name):
            raise ValueError(f"{chunk.name!r} cannot be the name of a replay chunk")
        described[chunk.name] = {"bytes": chunk.num_bytes, "sha256": chunk.sha256}
    files = {file.name: describe_file(file) for file in sorted(directory.iterdir())}
    write_json(directory / _NAME, {"format": FORMAT, "files": files, "chunks": described})


def read_format(directory: Path) -> int | None:
    """The number of the format that a checkpoint says it has; None if it says none."""
    try:
        found = read_json(directory / _NAME).get("format")
    except RunError:
        return None
    return found if isinstance(found, int) else None


def find_problem(directory: Path, replay: Path | None) -> str | None:
    """What is wrong with a checkpoint, and its chunks if `replay` is given; None if nothing is."""
    try:
        if directory.is_symlink() or not directory.is_dir():
            return "is not a directory"
        manifest = read_json(directory / _NAME)
        if manifest.get("format") != FORMAT:
            return f"{_NAME}: format={show(manifest.get('format'))} is not {FORMAT}"
        if problem := _MANIFEST(manifest, ""):
            return f"{_NAME}: {problem}"
        files, chunks = manifest["files"], manifest["chunks"]
        if _NEEDED - set(files):
            return f"{_NAME} lists too few files"
        problem = _first_problem(directory, files, _FILE)
        return problem or (_first_problem(replay, chunks, _CHUNK) if replay else None)
    except RunError as error:
        return str(error).replace(f"{directory}/", "")
    except OSError as error:
        return one_line(error)


def read_chunks(directory: Path) -> dict[str, Chunk]:
    """The replay chunks of a checkpoint, by name."""
    return {
        name: Chunk(name, described["bytes"], described["sha256"])
        for name, described in read_json(directory / _NAME)["chunks"].items()
    }


def _first_problem(folder: Path, described: dict[str, Any], allowed: re.Pattern) -> str | None:
    for name, entry in described.items():
        if not allowed.fullmatch(name):
            return f"{_NAME} lists {ascii(name)[:80]}"
        if problem := what_differs(folder / name, entry):
            return f"{name} {problem}"
    return None
