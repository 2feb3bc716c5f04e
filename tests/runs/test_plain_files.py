"""Links, pipes and files without end, wherever they lie in a run: refused, nothing touched."""

import json
import os
import zipfile

import numpy as np
import pytest

from smallwm_tf.experiment.config import default_config
from smallwm_tf.reporting.found_runs import find
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import living, load_json, remove_half_written, write_atomically
from smallwm_tf.runs.lock import Lock
from smallwm_tf.runs.metrics import Metrics, read_metrics
from smallwm_tf.runs.plain_files import open_plain, read_plain, refuse_links
from smallwm_tf.runs.replay_files import ChunkError, read_chunk, write_chunk
from smallwm_tf.runs.run_directory import RunDirectory, check_may_continue
from tests.memory import at_most_twice
from tests.reporting.made_runs import make_run

ARGUMENTS = ("Catch", default_config(), 0, "catch")
NAMES = (
    "lock", "metrics.jsonl", "config.json", "versions.json", "scores.json", "begun.json",
    "null_policies.json", "replay/000001.npz", "events/events.out.tfevents.1.x.v2",
    "checkpoints/000001", "checkpoints/.saving-000002", "figures/.scores.png.7.part", "notes",
)  # fmt: skip
FOLDERS = ("checkpoints", "figures", "events", "replay", "dreams", "checkpoints/000001")


@pytest.fixture
def run_dir(tmp_path):
    path = tmp_path / "run"
    RunDirectory.open(path, *ARGUMENTS).close()
    return path


@pytest.fixture
def victim(tmp_path):
    """A folder of somebody else, with names that commands clean up."""
    folder = tmp_path / "victim"
    (folder / ".saving-000001").mkdir(parents=True)
    for name in ("file", ".scores.png.7.part", ".saving-000001/x", "000001.npz", "events.out.1"):
        (folder / name).write_text("precious\n" * 10)
    return folder


def snapshot(folder):
    return {
        str(path.relative_to(folder)): (path.is_symlink(), path.is_file() and path.read_bytes())
        for path in sorted(folder.rglob("*"))
    }


def make(path, kind, victim):
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    if kind == "link":
        path.symlink_to(victim / "file")
    elif kind == "dangling link":
        path.symlink_to(victim / "new")
    else:
        os.mkfifo(path)


@pytest.mark.parametrize("kind", ["link", "dangling link", "pipe"])
@pytest.mark.parametrize("name", NAMES)
def test_no_command_opens_one(run_dir, victim, tmp_path, name, kind):
    make(run_dir / name, kind, victim)
    entries = {path for path in run_dir.rglob("*")}
    before = snapshot(victim)
    for attempt in (
        lambda: RunDirectory.open(run_dir, *ARGUMENTS),
        lambda: check_may_continue(run_dir, *ARGUMENTS),
        lambda: refuse_links(run_dir),
    ):
        with pytest.raises(RunError, match="is a link|no plain file") as caught:
            attempt()
        assert name in str(caught.value) and "\n" not in str(caught.value)
    assert snapshot(victim) == before
    assert {path for path in run_dir.rglob("*")} == entries


@pytest.mark.parametrize("name", FOLDERS)
def test_a_linked_folder_loses_nothing(run_dir, victim, name):
    folder = run_dir / name
    if folder.is_dir():
        folder.rmdir()
    folder.parent.mkdir(exist_ok=True)
    folder.symlink_to(victim, target_is_directory=True)
    before = snapshot(victim)
    with pytest.raises(RunError, match="is a link"):
        RunDirectory.open(run_dir, *ARGUMENTS)
    assert snapshot(victim) == before


def test_the_directory_itself_may_be_a_link(run_dir, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(run_dir, target_is_directory=True)
    RunDirectory.open(link, *ARGUMENTS).close()


@pytest.mark.parametrize("name", ["lock", "metrics.jsonl"])
def test_a_second_name_of_what_is_written_in_place_is_refused(run_dir, victim, name):
    (run_dir / name).unlink(missing_ok=True)
    os.link(victim / "file", run_dir / name)
    before = snapshot(victim)
    with pytest.raises(RunError, match="second name"):
        (Lock if name == "lock" else lambda path: Metrics(path.parent))(run_dir / name)
    assert snapshot(victim) == before


@pytest.mark.parametrize("open_it", [Lock, lambda path: Metrics(path.parent), open_plain])
def test_each_reader_refuses_a_link_by_itself(tmp_path, victim, open_it):
    link = tmp_path / "metrics.jsonl"
    link.symlink_to(victim / "file")
    before = snapshot(victim)
    with pytest.raises(RunError, match="is a link"):
        open_it(link)
    assert snapshot(victim) == before and link.is_symlink()


def test_a_link_at_a_temporary_name_is_not_followed(tmp_path, victim):
    path = tmp_path / "scores.json"
    (tmp_path / f".scores.json.{os.getpid()}.part").symlink_to(victim / "file")
    before = snapshot(victim)
    write_atomically(path, lambda file: file.write(b"mine"))
    assert path.read_bytes() == b"mine" and snapshot(victim) == before
    assert sorted(os.listdir(tmp_path)) == ["scores.json", "victim"]


def test_cleaning_removes_a_link_not_what_it_leads_to(tmp_path, victim):
    folder = tmp_path / "figures"
    folder.mkdir()
    (folder / ".a.7.part").symlink_to(victim, target_is_directory=True)
    before = snapshot(victim)
    remove_half_written(folder)
    assert os.listdir(folder) == [] and snapshot(victim) == before


def test_left_overs_of_killed_writers_go_and_those_of_living_ones_stay(tmp_path):
    path = tmp_path / "evaluation.json"
    (tmp_path / ".evaluation.json.7.part").write_text("half")
    (tmp_path / ".evaluation.json.8.part.mp4").write_text("half")
    (tmp_path / ".other.json.7.part").write_text("another's")

    in_use = tmp_path / ".evaluation.json.9.part"
    in_use.write_text("half")
    with living(in_use):
        write_atomically(path, lambda file: file.write(b"{}"))
    assert sorted(os.listdir(tmp_path)) == [in_use.name, ".other.json.7.part", path.name]


def test_a_report_looks_through_no_link(tmp_path, victim):
    make_run(tmp_path / "runs" / "Catch-seed0", game="Catch")
    figures = tmp_path / "runs" / "Catch-seed0" / "figures"
    figures.mkdir()
    (figures / "dream_001.png").symlink_to(victim / "file")
    with pytest.raises(RunError, match=r"dream_001.png: is a link"):
        find([tmp_path / "runs"])


@pytest.mark.parametrize("read", [load_json, open_plain, lambda path: next(read_metrics(path))])
def test_files_without_end_are_refused_unread(tmp_path, read):
    path = tmp_path / "file.json"
    with open(path, "wb") as file:
        file.truncate(2**41)  # sparse: takes no room
    with pytest.raises(RunError, match="too large"):
        read(path)


def test_one_endless_line_of_metrics_is_refused(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"event": "' + b"x" * 2**21 + b'"}\n')
    with pytest.raises(RunError, match="line 1 has over 1048576 bytes"):
        list(read_metrics(path))


def test_zeros_that_unpack_to_more_than_is_asked_for_are_refused(tmp_path):
    path = tmp_path / "arrays.npz"
    chunk = write_chunk(path, zeros=np.zeros(2**24, np.uint8))
    assert chunk.num_bytes < 2**18
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].file_size > 2**24
    with pytest.raises(ChunkError, match="declares 16777216 bytes of arrays, over 1000000"):
        read_chunk(path, most_bytes=1_000_000)


def test_json_reads_as_before(tmp_path):
    content = {"a": [1, 2.5, None, {"b": "c"}], "d": []}
    (tmp_path / "x.json").write_text(json.dumps(content))
    assert load_json(tmp_path / "x.json") == content


def test_reading_makes_room_for_the_file_alone(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"content")
    with at_most_twice(2**10):
        assert read_plain(path, 2**30) == b"content"
    with pytest.raises(RunError, match="7 bytes is too large, over 6"):
        read_plain(path, 6)
