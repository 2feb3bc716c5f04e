"""Weights & Biases, for those who wish it: the same entries as on TensorBoard's board.

What it keeps offline lies beside the run directory, in `wandb/`, since it works with links, and
nothing in a run directory is one. It never stops a run: what it cannot do is told once.
"""

import contextlib
import hashlib
import importlib.util
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from smallwm_tf.experiment.messages import one_line
from smallwm_tf.runs import RunError
from smallwm_tf.runs.board import Board, Shown, settings_of
from smallwm_tf.runs.progress import warn
from smallwm_tf.runs.records import read_versions

PROJECT = "smallwm_tf"
_KINDS = ("number", "picture")  # settings are its own configuration


def check_installed(mode: str) -> None:
    """Refuses, before any work, what needs a package that is not there.

    Raises:
        RunError: It is not, and the mode is not "off".
    """
    if mode != "off" and importlib.util.find_spec("wandb") is None:
        raise RunError(
            f"logging.wandb={mode}: wandb is not installed; leave the setting out, or run: "
            "python -m pip install -e '.[wandb]'"
        )


class WandbWriter:
    """Sends the record of one run, line by line; each line is one step there.

    An online run goes on where it was, and what was sent once is not sent again. Each offline
    session holds the whole record, so the newest one is to be synchronised.

    Args:
        root: The run directory.
        mode: "offline" or "online".
    """

    def __init__(self, root: Path, mode: str) -> None:
        self._root, self._mode = root, mode
        self._run: Any = None
        self._num_lines = 0

    def begin(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Begins a session with the record so far."""
        self.close()
        self._num_lines, self._board = 0, Board(self._root)
        with self._warning():
            import wandb

            self._run = wandb.init(
                project=PROJECT,
                name=self._root.name,
                id=_identity(self._root),
                dir=str(self._root.absolute().parent),
                config=settings_of(self._root),
                mode=self._mode,
                resume="allow" if self._mode == "online" else None,
                settings=wandb.Settings(console="off"),
            )
            self._run.define_metric("work")
            self._run.define_metric("*", step_metric="work")
        for line in lines:
            self.write(line)

    def write(self, line: Mapping[str, Any]) -> None:
        """Sends the next line."""
        entries = list(self._board.of(line))
        number, self._num_lines = self._num_lines, self._num_lines + 1
        with self._warning():
            if self._run is None or number < self._run.step:
                return
            shown = {entry.tag: _shown(entry) for entry in entries if entry.kind in _KINDS}
            self._run.log(shown | {"work": self._board.work}, step=number)

    def close(self) -> None:
        """Ends the session; harmless when repeated."""
        run, self._run = self._run, None
        if run is not None:
            with self._warning():
                run.finish()

    @contextlib.contextmanager
    def _warning(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._run = None
            warn(f"Weights & Biases get nothing more of this session ({one_line(error)})")


def _identity(root: Path) -> str:
    """The same for all sessions of a run, another one for every other run."""
    versions = read_versions(root)
    begun = [entry.get("since", "") for entry in (*versions.get("earlier", ()), versions)]
    return hashlib.sha256(f"{root.absolute()} {begun[0]}".encode()).hexdigest()[:16]


def _shown(entry: Shown) -> Any:
    if entry.kind == "number":
        return entry.value
    import wandb

    encoded = entry.value[-1]
    if encoded.startswith(b"GIF"):
        return wandb.Video(io.BytesIO(encoded), format="gif")
    from PIL import Image

    return wandb.Image(Image.open(io.BytesIO(encoded)))
