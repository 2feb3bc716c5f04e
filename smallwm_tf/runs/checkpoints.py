"""Checkpoints that are complete or absent, and verified before they are used.

    checkpoints/000012/
      variables.index, variables.data-*   written by tf.train.Checkpoint
      arrays.npz                          NumPy arrays, the emulator's state among them
      progress.json                       counters and references
      manifest.json                       size and SHA-256 of all of these and of the replay chunks

A checkpoint is written as `.saving-*`, flushed to disk and then renamed. There is no index file
that could be lost: the directory itself is read. `tf.train.CheckpointManager` is not used, as it
starts over silently when its index cannot be read and never tries an older checkpoint.
"""

import contextlib
import math
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import read_json, reason_and_remedy, sync_directory, write_json
from smallwm_tf.runs.lock import check_held
from smallwm_tf.runs.manifest import (
    FORMAT,
    MOST_NUMBER,
    find_problem,
    number_of,
    numbered,
    read_chunks,
    read_format,
    write_manifest,
)
from smallwm_tf.runs.progress import warn
from smallwm_tf.runs.replay_files import Chunk, read_chunk, write_chunk
from smallwm_tf.runs.tensorflow_paths import taken_literally

_MOST_ARRAY_BYTES = 2**26  # of a checkpoint's arrays, beside as much as its variables take


class CheckpointError(RunError):
    """A checkpoint cannot be written, or none can be read; the message says what to do."""


class Restored(NamedTuple):
    """What `save` was given besides the variables, which are restored in place."""

    progress: dict[str, Any]
    arrays: dict[str, np.ndarray]  # none where checkpoints are only read
    chunks: dict[str, Chunk]  # by name


class Checkpoints:
    """The checkpoints of one run; the run's lock must be held, unless they are only read."""

    def __init__(
        self, directory: Path, objects: Mapping[str, Any], keep: int = 3, read_only: bool = False
    ) -> None:
        """Prepares saving and restoring; cleans up what a killed process left half-written.

        Args:
            directory: `checkpoints/` of the run directory; made if missing.
            objects: Name -> model, optimiser, `tf.Variable` or other trackable. Every variable
                must exist already (`optimizer.build(...)`).
            keep: Newest checkpoints that are kept.
            read_only: For whoever only looks at a run: `objects` may be some of those that were
                saved, replay chunks need not be there, and nothing on disk is changed, so the
                lock need not be held.
        """
        self.directory = Path(directory)
        self._objects = dict(objects)
        self._keep = keep
        self._read_only = read_only
        if not read_only:
            check_held(self.directory)
            self.directory.mkdir(parents=True, exist_ok=True)
            for path in self.directory.glob(".saving-*"):
                shutil.rmtree(path, ignore_errors=True)

    def save(
        self,
        progress: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray] | None = None,
        chunks: Iterable[Chunk] = (),
    ) -> Path:
        """Writes a checkpoint, removes those older than the last `keep`; returns its directory.

        Args:
            progress: JSON values: counters, seeds, the number of metric lines.
            arrays: By name.
            chunks: Files in the run's `replay/` that belong to this checkpoint. They are not
                copied; restoring checks that they are there and unchanged.

        Raises:
            CheckpointError: It could not be written, the disk being full or read-only. Older
                checkpoints are untouched and nothing half-written remains.
            LockedError: The run directory is no longer this process's.
        """
        arrays = dict(arrays or {})
        check_held(self.directory)
        names = [path.name.partition(".")[0] for path in self.directory.iterdir()]
        number = 1 + max(filter(None, map(number_of, names)), default=0)
        if number > MOST_NUMBER:
            raise CheckpointError(f"{self.directory}: no number is left above {max(names)}; move "
                                  "that folder away and run the same command again")  # fmt: skip
        final = self.directory / f"{number:06d}"
        temporary = self.directory / f".saving-{final.name}"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir()
            with taken_literally(temporary) as place:
                tf.train.Checkpoint(**self._objects).write(f"{place}/variables")
            for file in temporary.iterdir():
                if file.is_file():
                    _sync_file(file)
                else:  # a directory that TensorFlow wrote into before renaming
                    shutil.rmtree(file)
            write_chunk(temporary / "arrays.npz", **arrays)
            write_json(temporary / "progress.json", dict(progress))
            write_manifest(temporary, chunks)
            sync_directory(temporary)
            check_held(final)
            os.replace(temporary, final)
            sync_directory(self.directory)
        except (OSError, tf.errors.OpError) as error:
            raise self._cannot_save(final, error, arrays) from error
        finally:
            check_held(self.directory)  # else it may be a second writer's
            shutil.rmtree(temporary, ignore_errors=True)
        for path in numbered(self.directory)[self._keep :]:
            # renamed first: a kill during removal must not leave half a checkpoint
            doomed = self.directory / f".saving-old-{path.name}"
            with contextlib.suppress(OSError):
                os.replace(path, doomed)
                shutil.rmtree(doomed, ignore_errors=True)
        return final

    def restore_latest(self) -> Restored | None:
        """Restores the newest checkpoint that verifies; None if none was ever written.

        Damaged newer ones are renamed to `<number>.damaged` (unless `read_only`) and named on
        stderr.

        Raises:
            CheckpointError: There are checkpoints, but none verifies; or one verifies and does
                not fit the models; or all are of another format. Nothing is changed on disk.
        """
        self._refuse_other_formats()
        replay = None if self._read_only else self.directory.parent / "replay"
        problems: dict[Path, str] = {}
        for directory in numbered(self.directory):
            if problem := find_problem(directory, replay):
                problems[directory] = problem
                continue
            restored = self._read(directory)
            for damaged, reason in problems.items():
                self._put_aside(damaged, reason, directory)
            return restored
        for path in sorted(self.directory.glob("*.damaged*")):
            problems[path] = "set aside earlier as damaged"
        if not problems:
            return None
        reasons = "; ".join(f"{path.name}: {reason}" for path, reason in problems.items())
        raise CheckpointError(
            f"{self.directory}: none of {len(problems)} checkpoints can be used ({reasons[:500]}); "
            "bring one back from a copy, or start over with another --run_dir"
        )

    def _refuse_other_formats(self) -> None:
        """A run has one format: a single other number among right ones is damage."""
        complete = numbered(self.directory)
        formats = {read_format(directory) for directory in complete} - {None}
        if formats and FORMAT not in formats:
            raise CheckpointError(
                f"{complete[0]}: is of format {max(formats)}, this program reads format {FORMAT}, "
                "which tells true ends of episodes from time limits; train anew with another "
                "--run_dir, or use the version that wrote it (versions.json)"
            )

    def _read(self, directory: Path) -> Restored:
        progress = read_json(directory / "progress.json")
        arrays = {}
        if not self._read_only:
            most_bytes = _MOST_ARRAY_BYTES + self._num_bytes()
            arrays = read_chunk(directory / "arrays.npz", most_bytes=most_bytes)
        try:
            with taken_literally(directory) as place:
                check_declared(directory, f"{place}/variables")
                status = tf.train.Checkpoint(**self._objects).read(f"{place}/variables")
            if self._read_only:
                status.expect_partial().assert_existing_objects_matched()
            else:
                status.assert_consumed()
        except Exception as error:  # TensorFlow raises many kinds on hostile bytes
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{directory}: is intact but does not fit this program's models ({reason}); "
                "use the version that wrote it (versions.json), or another --run_dir"
            ) from error
        return Restored(progress, arrays, read_chunks(directory))

    def _put_aside(self, damaged: Path, reason: str, used: Path) -> None:
        action = "passed over"
        if not self._read_only:
            target, count = damaged.with_name(f"{damaged.name}.damaged"), 1
            while os.path.lexists(target):
                count += 1
                target = damaged.with_name(f"{damaged.name}.damaged{count}")
            check_held(damaged)
            os.replace(damaged, target)
            action = f"set aside as {target.name}"
        warn(f"{damaged}: damaged ({reason}); {action}, using {used.name}")

    def _num_bytes(self) -> int:
        """What all variables take."""
        return sum(
            variable.shape.num_elements() * variable.dtype.size
            for item in self._objects.values()
            for variable in getattr(item, "variables", [item])
        )

    def _cannot_save(
        self, final: Path, error: Exception, arrays: Mapping[str, np.ndarray]
    ) -> CheckpointError:
        needed = self._num_bytes() + sum(np.asarray(array).nbytes for array in arrays.values())
        reason, remedy = reason_and_remedy(error, final)
        return CheckpointError(
            f"{final}: could not be saved ({reason}, about {needed} bytes are needed); older "
            f"checkpoints are untouched; {remedy or 'run the same command again'}"
        )


def check_declared(directory: Path, prefix: str) -> None:
    """Refuses tensors that declare more bytes than the files have, before any is allocated.

    Args:
        directory: Where `variables.index` and `variables.data-*` are.
        prefix: The same with the files' common name, as TensorFlow takes it.

    Raises:
        ValueError: They do.
    """
    reader = tf.train.load_checkpoint(prefix)
    types = reader.get_variable_to_dtype_map()
    declared = sum(
        math.prod(shape) * types[name].size
        for name, shape in reader.get_variable_to_shape_map().items()
        if types[name] != tf.string
    )
    stored = sum(file.stat().st_size for file in directory.glob("variables.data-*"))
    if declared > stored:
        raise ValueError(f"variables.index declares {declared} bytes, {stored} are stored")


def _sync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())
