"""The JSON files of a run that say what it is and where it stands: read here, and nowhere else.

    config.json      what was asked for
    versions.json    what it was made with
    progress.json    counters of a checkpoint, inside of it

Whatever they hold, a command that cannot use it says so in one line with the file and the field.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from smallwm_tf.experiment.config import ConfigError, build_config, flatten
from smallwm_tf.experiment.settings import FIELD_OF_KEY
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import read_json
from smallwm_tf.runs.schema import (
    Check,
    any_of,
    anything,
    each,
    fields,
    named,
    number,
    optional,
    text,
    whole,
)

CONFIG, VERSIONS, PROGRESS = "config.json", "versions.json", "progress.json"
_MEND = "mend the file, or bring it back from a copy"
_MOST_PHASES = 10**6

#: What an experiment is, in config.json and in the metadata of an export.
EXPERIMENT = {"game": text(255), "seed": whole(0, 2**31 - 1), "preset": text(255)}
_CHANGE = fields(time=text(), changes=each(text(1000)))
_CONFIG = fields({"changes": each(_CHANGE)}, config=named(anything), **EXPERIMENT)
VERSIONS_OF = {
    "packages": named(optional(text())),
    "python": text(),
    "emulator": text(),
    "machine": named(optional(any_of(text(), number()))),
    "commit": optional(text()),
}
_VERSIONS = fields({**VERSIONS_OF, "since": text(), "earlier": each(fields(VERSIONS_OF))})
_PROGRESS = fields(
    {
        "phases_per_iteration": whole(1, 100),
        "phases": each(text()),
        "metric_lines": whole(),
        "episode_return": number(),
        "replay": each(text()),
        "place": optional(named(anything)),
        "seconds": number(0.0),
    },
    phases_done=whole(0, _MOST_PHASES),
    policies_trained=whole(0, _MOST_PHASES),
)


def read_config(path: Path) -> dict[str, Any]:
    """The config.json of a run directory; empty if there is none.

    Known settings are of their types; ranges are unchecked.

    Raises:
        RunError: It cannot be used.
    """
    record = _read(path / CONFIG, _CONFIG)
    if not record:
        return {}
    try:
        flat = flatten(record["config"])
        build_config({key: value for key, value in flat.items() if key in FIELD_OF_KEY})
    except ConfigError as error:
        raise RunError(f"{path / CONFIG}: {error}; {_MEND}") from error
    return record


def read_versions(path: Path) -> dict[str, Any]:
    """The versions.json of a run directory; empty if there is none.

    Raises:
        RunError: It cannot be used.
    """
    return _read(path / VERSIONS, _VERSIONS)


def progress_problem(progress: Mapping[str, Any]) -> str | None:
    """What is wrong with the progress.json of a checkpoint; None if nothing is."""
    if problem := _PROGRESS(progress, ""):
        return f"{PROGRESS}: {problem}"
    names = progress.get("replay", [])
    if len(set(names)) < len(names):
        return f"{PROGRESS}: replay names a file twice"
    if progress["policies_trained"] > progress["phases_done"]:
        done, trained = progress["phases_done"], progress["policies_trained"]
        return f"{PROGRESS}: policies_trained={trained} is above phases_done={done}"
    return None


def _read(file: Path, wanted: Check) -> dict[str, Any]:
    if not os.path.lexists(file):
        return {}
    try:
        content = read_json(file)
    except RunError as error:
        raise RunError(f"{error}; {_MEND}") from error
    if problem := wanted(content, ""):
        raise RunError(f"{file}: {problem}; {_MEND}")
    return content
