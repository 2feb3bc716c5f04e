"""Chunks: round trips, repeatable bytes, and hostile files refused before allocation."""

import io
import os
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.extra import numpy as hnp

from smallwm_tf.runs.replay_files import ChunkError, read_chunk, read_steps, write_chunk


@pytest.fixture
def path(tmp_path):
    return tmp_path / "chunk.npz"


def example():
    generator = np.random.default_rng(0)
    return {
        "frames": generator.integers(0, 255, (7, 96, 96), np.uint8),
        "actions": np.arange(7, dtype=np.int32),
        "rewards": np.array([0, 1, -1, np.nan, np.inf, 5, 0], np.float32),
        "episode_ends": np.arange(7) == 3,
        "nothing": np.zeros((0, 3)),
        "one": np.float64(3.5),
        "text": np.array("random state"),
        "columns": np.asfortranarray(np.arange(12).reshape(3, 4)),
    }


def test_round_trip_and_numpy_agrees(path):
    chunk = write_chunk(path, **example())
    with np.load(path, allow_pickle=False) as other:
        for name, array in example().items():
            read = read_chunk(path, sha256=chunk.sha256)[name]
            np.testing.assert_array_equal(read, array)
            np.testing.assert_array_equal(other[name], array)
            assert read.dtype == np.asarray(array).dtype
    assert chunk.name == "chunk.npz" and chunk.num_bytes == path.stat().st_size


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(hnp.arrays(hnp.scalar_dtypes().filter(lambda d: d.kind in "biuf"), hnp.array_shapes()))
def test_any_array_survives(path, array):
    write_chunk(path, array=array)
    np.testing.assert_array_equal(read_chunk(path)["array"], array)


def test_equal_arrays_give_equal_bytes(path, tmp_path):
    first = write_chunk(path, **example())
    second = write_chunk(tmp_path / "other.npz", **example())
    assert first.sha256 == second.sha256
    assert write_chunk(path, a=np.arange(3)).sha256 != write_chunk(path, a=np.arange(4)).sha256


def test_a_failed_write_leaves_the_old_file_alone(path, monkeypatch):
    before = write_chunk(path, **example())

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="space"):
        write_chunk(path, a=np.arange(9))
    assert read_chunk(path, sha256=before.sha256)["actions"].shape == (7,)
    assert os.listdir(path.parent) == [path.name]


def test_objects_and_odd_names_are_not_written(path):
    with pytest.raises(ValueError, match="thing"):
        write_chunk(path, thing=np.array([{}]))
    with pytest.raises(ValueError, match="identifier"):
        write_chunk(path, **{"../x": np.arange(3)})
    assert not path.exists()


def npy_bytes(array, allow_pickle=False):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def header_only(shape, descr="|u1", payload=b""):
    buffer = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + payload


def zip_of(path, *members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)


class Bomb:
    """Leaves a trace if it is ever unpickled."""

    def __reduce__(self):
        return (os.mkdir, ("unpickled",))


HOSTILE = {
    "pickle": [("a.npy", npy_bytes(np.array([Bomb()], object), allow_pickle=True))],
    "structured": [("a.npy", npy_bytes(np.zeros(2, [("x", "f4")])))],
    "dates": [("a.npy", npy_bytes(np.zeros(2, "M8[s]")))],
    "parent directory": [("../a.npy", npy_bytes(np.zeros(2)))],
    "absolute": [("/tmp/a.npy", npy_bytes(np.zeros(2)))],
    "no array": [("a.py", b"import os")],
    "garbage": [("a.npy", b"garbage")],
    "empty": [("a.npy", b"")],
    "absurd shape": [("a.npy", header_only((10**15,)))],
    "overflowing shape": [("a.npy", header_only((2**32, 2**32), payload=b""))],
    "negative shape": [("a.npy", header_only((-1, 3)))],
    "two negatives": [("a.npy", header_only((-1, -3), payload=b"abc"))],
    "too short": [("a.npy", header_only((5,), payload=b"abc"))],
    "too long": [("a.npy", header_only((2,), payload=b"abc"))],
    "shape of text": [("a.npy", header_only("abc"))],
    "shape of truth": [("a.npy", header_only((True, 3.5)))],
    "future format": [("a.npy", b"\x93NUMPY\x09\x00" + bytes(100))],
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused(kind, path, monkeypatch):
    monkeypatch.chdir(path.parent)
    zip_of(path, *HOSTILE[kind])
    with pytest.raises(ChunkError) as caught:
        read_chunk(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert os.listdir(path.parent) == [path.name]


def peak_of_refusal(path, **arguments):
    tracemalloc.start()
    try:
        with pytest.raises(ChunkError) as caught:
            read_chunk(path, **arguments)
        return tracemalloc.get_traced_memory()[1], str(caught.value)
    finally:
        tracemalloc.stop()


def test_a_decompression_bomb_is_refused_before_allocation(path):
    write_chunk(path, a=np.zeros(200_000_000, np.uint8))
    assert path.stat().st_size < 2_000_000
    peak, message = peak_of_refusal(path, most_bytes=10**8)
    assert peak < 5_000_000 and "over 100000000" in message
    expected = {"a": ("uint8", (None, 96, 96))}
    peak, message = peak_of_refusal(path, expected=expected)
    assert peak < 5_000_000 and "96" in message


def test_more_than_deflate_can_hold_is_refused_before_allocation(path):
    content = header_only((10**9,), payload=b"x")
    zip_of(path, ("a.npy", content))
    lie = len(header_only((10**9,))) + 10**9
    raw = path.read_bytes().replace(len(content).to_bytes(4, "little"), lie.to_bytes(4, "little"))
    path.write_bytes(raw)
    peak, message = peak_of_refusal(path)
    assert peak < 5_000_000 and "more bytes than it can hold" in message


def test_a_shape_larger_than_the_file_is_refused_before_allocation(path):
    zip_of(path, ("a.npy", header_only((10**9,), payload=b"x")))
    peak, message = peak_of_refusal(path)
    assert peak < 5_000_000 and "declares shape (1000000000,)" in message


def test_duplicate_names_are_refused(path):
    with pytest.warns(UserWarning, match="Duplicate"):
        zip_of(path, ("a.npy", npy_bytes(np.zeros(2))), ("a.npy", npy_bytes(np.ones(2))))
    with pytest.raises(ChunkError):
        read_chunk(path)


@pytest.mark.parametrize(
    "expected",
    [
        {"a": ("uint8", (3,))},
        {"a": ("int32", (4,))},
        {"a": ("int32", (None, 3))},
        {"b": ("int32", (3,))},
        {"a": ("int32", (3,)), "b": ("int32", (3,))},
        {},
    ],
)
def test_unexpected_content_is_named(path, expected):
    write_chunk(path, a=np.arange(3, dtype=np.int32))
    with pytest.raises(ChunkError):
        read_chunk(path, expected=expected)
    read_chunk(path, expected={"a": ("int32", (None,))})


def test_every_truncation_and_bit_flip_is_noticed(path):
    chunk = write_chunk(path, a=np.arange(50), b=np.ones((3, 3)))
    whole = path.read_bytes()
    generator = np.random.default_rng(1)
    for place in generator.integers(0, len(whole), 60):
        path.write_bytes(whole[:place])
        with pytest.raises(ChunkError):
            read_chunk(path)
        flipped = bytearray(whole)
        flipped[place] ^= 1 << generator.integers(8)
        path.write_bytes(flipped)
        with pytest.raises(ChunkError):
            read_chunk(path, sha256=chunk.sha256)
        try:  # without the SHA-256: refused, or the flip was in bytes that carry no data
            np.testing.assert_array_equal(read_chunk(path)["a"], np.arange(50))
        except (ChunkError, KeyError, zlib.error) as error:
            assert not isinstance(error, zlib.error)


def steps(num_steps=3):
    flags = {name: np.zeros(num_steps, bool) for name in ("terminated", "truncated", "lost_life")}
    return {
        "frames": np.zeros((num_steps, 96, 96), np.uint8),
        "actions": np.zeros(num_steps, np.int32),
        "rewards": np.zeros(num_steps, np.float32),
        **flags,
    }


def test_real_steps_are_read_back(path):
    written = steps() | {"truncated": np.array([False, True, False])}
    read = read_steps(path.parent, write_chunk(path, **written))
    assert read.keys() == written.keys()
    for name, array in written.items():
        np.testing.assert_array_equal(read[name], array)


def test_steps_of_the_old_format_are_refused_with_the_remedy(path):
    old = {name: steps()[name] for name in ("frames", "actions", "rewards")}
    chunk = write_chunk(path, **old, ended=np.zeros(3, bool))
    with pytest.raises(ChunkError, match="old format 1") as caught:
        read_steps(path.parent, chunk)
    message = str(caught.value)
    assert "--run_dir" in message and "versions.json" in message and "\n" not in message


@pytest.mark.parametrize("name", steps())
def test_steps_that_lack_an_array_are_refused(path, name):
    chunk = write_chunk(path, **{key: array for key, array in steps().items() if key != name})
    with pytest.raises(ChunkError, match="holds"):
        read_steps(path.parent, chunk)


def test_missing_file(path):
    with pytest.raises(ChunkError, match="chunk.npz"):
        read_chunk(path)
