"""Chunks of replay: compressed NumPy archives that hold plain arrays and nothing else.

Format 2 keeps true ends, time limits and lost lives apart, which format 1 threw together.

The same arrays always give the same bytes, so a chunk's SHA-256 identifies its content. A chunk
is never changed once written; checkpoints refer to it by name and SHA-256.
"""

import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from numpy.lib import format as npy

from smallwm_tf.experiment.messages import one_line
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import sha256_of, write_atomically
from smallwm_tf.runs.plain_files import open_plain

#: What a chunk holds: name -> dtype and shape, None for any length.
Expected = Mapping[str, tuple[str, tuple[int | None, ...]]]
STEPS: Expected = {  # of a chunk of real steps
    "frames": ("uint8", (None, FRAME_SIZE, FRAME_SIZE)),
    "actions": ("int32", (None,)),
    "rewards": ("float32", (None,)),
    "terminated": ("bool", (None,)),
    "truncated": ("bool", (None,)),
    "lost_life": ("bool", (None,)),
}
_BYTES_PER_STEP = FRAME_SIZE**2 + 4 + 4 + 3
MOST_STEPS = 100_000  # of a chunk, where nothing else limits it: 0.9 GB
_STEPS_OF_FORMAT_1 = {"frames", "actions", "rewards", "ended"}
_KINDS = "biufSU"  # truth values, integers, floats, byte strings, text; never objects
_LARGEST_RATIO = 1032  # of deflate: more than this cannot come out of the stored bytes
_MOST_ARRAYS = 10_000
_LONGEST_MEMBER = 512  # bytes, in the list at the end of an archive
_END = struct.Struct("<4s6xHL4xH")  # signature, members, bytes of their list, bytes of a comment
_LOCATOR = struct.Struct("<20s")
_MOST_BYTES = 2**32


class ChunkError(RunError):
    """A chunk is missing, damaged, or not what it should be; nothing was loaded from it."""


class Chunk(NamedTuple):
    """A written chunk."""

    name: str  # the file's, without directories
    num_bytes: int  # on disk
    sha256: str  # in hexadecimal


def write_chunk(path: Path, **arrays: np.ndarray) -> Chunk:
    """Writes arrays of numbers, truth values or strings as a compressed .npz, or nothing at all.

    An existing file is replaced in one step.

    Raises:
        ValueError: An array of Python objects, or a name that is no identifier.
        OSError: The disk is full or read-only.
    """
    plain_arrays = {name: np.asarray(array) for name, array in arrays.items()}
    for name, array in plain_arrays.items():
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"{name!r}: an array's name must be an identifier")
        if array.dtype.kind not in _KINDS:
            raise ValueError(f"{name}: arrays of {array.dtype} cannot be stored")

    def write(file: BinaryIO) -> None:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, array in plain_arrays.items():
                # ZipInfo has a fixed date: the bytes depend on the arrays alone
                info = zipfile.ZipInfo(f"{name}.npy")
                info.compress_type = zipfile.ZIP_DEFLATED
                with archive.open(info, "w", force_zip64=True) as member:
                    npy.write_array(member, array, allow_pickle=False)

    write_atomically(path, write)
    return Chunk(path.name, path.stat().st_size, sha256_of(path))


def read_chunk(
    path: Path,
    *,
    sha256: str | None = None,
    expected: Expected | None = None,
    most_bytes: int = _MOST_BYTES,
) -> dict[str, np.ndarray]:
    """Reads a chunk; what it declares is checked before any of it is allocated.

    Args:
        path: A file made by `write_chunk`.
        sha256: What its SHA-256 must be; None does not check.
        expected: What it must hold and nothing else, like `STEPS`; None takes any arrays.
        most_bytes: Largest size of all arrays together, in memory.

    Raises:
        ChunkError: Missing, damaged, pickled, oddly named, too large, or not as expected.
    """
    try:
        if sha256 is not None and sha256_of(path) != sha256:
            raise ChunkError(f"{path}: its SHA-256 is not {sha256[:12]}...; the file is damaged")
        with open_plain(path) as file:
            _check_directory(path, file)
            archive = zipfile.ZipFile(file)
            members = _check_members(path, archive)
            headers = {name: _read_header(path, archive, info) for name, info in members.items()}
            if expected is not None:
                _check_expected(path, headers, expected)
            total = sum(header.num_bytes for header in headers.values())
            if total > most_bytes:
                raise ChunkError(f"{path}: declares {total} bytes of arrays, over {most_bytes}")
            return {name: _read_array(archive, info) for name, info in members.items()}
    except RunError:
        raise
    except Exception as error:  # zipfile and zlib raise many kinds on damaged bytes
        raise ChunkError(f"{path}: cannot be read ({one_line(error)})") from error


def read_steps(folder: Path, chunk: Chunk, most_steps: int = MOST_STEPS) -> dict[str, np.ndarray]:
    """Reads a chunk of real steps, the arguments of `Replay.append`; raises as `read_chunk`."""
    return read_chunk(
        folder / chunk.name,
        sha256=chunk.sha256,
        expected=STEPS,
        most_bytes=most_steps * _BYTES_PER_STEP,
    )


def _check_directory(path: Path, file: BinaryIO) -> None:
    """Refuses a list of members that is longer than any of ours, before it is read."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _LOCATOR.size - _END.size))
    end = file.read()
    if len(end) < _END.size:
        raise ChunkError(f"{path}: is no archive; the file is damaged")
    signature, num_members, num_bytes, comment = _END.unpack(end[-_END.size :])
    is_large = end[: _LOCATOR.size].startswith(b"PK\x06\x07")  # holds larger counts elsewhere
    if signature != b"PK\x05\x06" or comment or is_large or num_members > _MOST_ARRAYS:
        raise ChunkError(f"{path}: is no archive of up to {_MOST_ARRAYS} arrays")
    if num_bytes > _MOST_ARRAYS * _LONGEST_MEMBER:
        raise ChunkError(f"{path}: its list of arrays has {num_bytes} bytes")
    file.seek(0)


class _Header(NamedTuple):
    shape: tuple[int, ...]
    dtype: np.dtype
    num_bytes: int


def _check_members(path: Path, archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    infos = archive.infolist()
    if len(infos) > _MOST_ARRAYS:
        raise ChunkError(f"{path}: holds {len(infos)} arrays, over {_MOST_ARRAYS}")
    if sum(info.compress_size for info in infos) > path.stat().st_size:
        raise ChunkError(f"{path}: declares more bytes than the file has")
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        match = re.fullmatch(r"([A-Za-z_][A-Za-z0-9_]*)\.npy", info.filename)
        if match is None or match.group(1) in members:
            raise ChunkError(f"{path}: {ascii(info.filename)[:80]} is no array of a chunk")
        if info.file_size > info.compress_size * _LARGEST_RATIO + 1024:
            raise ChunkError(f"{path}: {info.filename} declares more bytes than it can hold")
        members[match.group(1)] = info
    return members


def _read_header(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header:
    with archive.open(info) as member:
        start = io.BytesIO(member.read(4096))
    version = npy.read_magic(start)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ChunkError(f"{path}: {info.filename} has an unknown format {version}")
    shape, _, dtype = read(start, max_header_size=4096)
    if dtype.kind not in _KINDS or dtype.hasobject:
        raise ChunkError(f"{path}: {info.filename} holds {dtype}, which is never loaded")
    num_bytes = math.prod(shape) * dtype.itemsize  # Python integers: no overflow
    if min(shape, default=0) < 0 or len(shape) > 32 or num_bytes + start.tell() != info.file_size:
        raise ChunkError(f"{path}: {info.filename} declares shape {shape}, which does not fit it")
    return _Header(shape, dtype, num_bytes)


def _check_expected(path: Path, headers: dict[str, _Header], expected: Expected) -> None:
    if set(headers) == _STEPS_OF_FORMAT_1 != set(expected):
        raise ChunkError(
            f"{path}: real steps of the old format 1, which does not tell true ends from time "
            "limits; train anew with another --run_dir, or use the version that wrote it "
            "(versions.json)"
        )
    if set(headers) != set(expected):
        raise ChunkError(f"{path}: holds {sorted(headers)}, not {sorted(expected)}")
    for name, (dtype, shape) in expected.items():
        header = headers[name]
        fits = len(header.shape) == len(shape) and all(
            wanted in (None, length) for length, wanted in zip(header.shape, shape, strict=True)
        )
        if not fits or header.dtype != np.dtype(dtype):
            found = f"{header.dtype} {header.shape}"
            raise ChunkError(f"{path}: {name} is {found}, not {dtype} {shape}")


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    with archive.open(info) as member:
        array = npy.read_array(member, allow_pickle=False, max_header_size=4096)
        if member.read(1):  # also makes zipfile compare the checksum
            raise ValueError("the array is longer than declared")
    return array
