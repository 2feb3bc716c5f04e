"""A first look at what a command is to open: mistakes are told before TensorFlow is loaded."""

from pathlib import Path
from typing import Any

from smallwm_tf.experiment.messages import flag
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import read_json
from smallwm_tf.runs.manifest import numbered
from smallwm_tf.runs.plain_files import refuse_links
from smallwm_tf.runs.records import CONFIG, PROGRESS, progress_problem, read_config
from smallwm_tf.runs.tensorflow_paths import is_pattern

METADATA = "metadata.json"


def look_at_agent(
    run_dir: Path | None, export: Path | None, unfinished: bool = False, game: str | None = None
) -> None:
    """Refuses what `opening.open_agent` would, as far as the names of files tell.

    Raises:
      RunError: there is no run, no export, or the run is not finished.
      UnknownGameError: no game has the name that is given.
    """
    if game:
        from smallwm_tf.games.catalogue import resolve_game

        resolve_game(game)
    if run_dir is None:
        check_is_export(export)
        return
    record = check_is_run(run_dir)
    newest = next(iter(numbered(run_dir / "checkpoints")), None)
    if newest is None:
        refuse_unfinished(run_dir, 0, 0, 0, unfinished)
    progress = read_json(newest / PROGRESS)
    total = record["config"].get("collection", {}).get("num_iterations", 0)
    if not progress_problem(progress):  # else the full look says what is wrong
        total *= progress.get("phases_per_iteration", 1)
        done = progress["phases_done"]
        refuse_unfinished(run_dir, progress["policies_trained"], done, total, unfinished)


def check_is_run(path: Path) -> dict[str, Any]:
    """The `config.json` of a run directory.

    Raises:
      RunError: there is no run, or something in it is a link.
    """
    if not path.is_dir():
        raise RunError(f"run_dir={path}: no such directory; train first, or name a run")
    if (path / METADATA).exists() and not (path / CONFIG).exists():
        raise RunError(f"run_dir={path}: holds an export, no run; write {flag('export', path)}")
    if not (record := read_config(path)):
        raise RunError(f"run_dir={path}: holds no run (config.json is missing); name a run")
    refuse_links(path)
    return record


def check_is_export(path: Path) -> None:
    """Sees that a directory may be an export.

    Raises:
      RunError: there is none, or something in it is a link.
    """
    if not path.is_dir():
        raise RunError(f"export={path}: no such directory; write one with smallwm_tf.export")
    if (path / CONFIG).exists() and not (path / METADATA).exists():
        raise RunError(f"export={path}: holds a run, no export; write {flag('run_dir', path)}")
    if not (path / METADATA).is_file():
        raise RunError(f"export={path}: holds no export ({METADATA} is missing)")
    refuse_links(path)


def refuse_unfinished(path: Path, trained: int, done: int, total: int, unfinished: bool) -> None:
    """Refuses a run without a policy, or one that is not finished where that was not asked for.

    Args:
      path: of the run.
      trained: how often its policy was trained.
      done: phases that are done.
      total: of as many.
      unfinished: whether it may be unfinished.

    Raises:
      RunError: with the remedy.
    """
    if not trained or (done < total and not unfinished):
        remedy = ", or add --unfinished to take it as it is" if trained else ""
        count = f"{done} of {total} phases are done" if total else "nothing of it is done"
        raise RunError(
            f"run_dir={path}: the run is unfinished ({count}); "
            f"continue it with the command that started it{remedy}"
        )


def check_is_free(path: Path) -> None:
    """Sees that an export can be made at a path.

    Raises:
      RunError: something is there already, or TensorFlow could not load from there.
    """
    if is_pattern(path):
        raise RunError(
            f"out={path}: TensorFlow cannot load from paths with * ? [ ] or a backslash; "
            "name another directory"
        )
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise RunError(f"out={path}: is not empty; name a new directory")
