"""Weights & Biases, where it is installed (`pip install -e '.[wandb]'`), offline."""

import json
import sys

import pytest

from smallwm_tf.runs import RunError
from smallwm_tf.runs.metrics import Metrics
from smallwm_tf.runs.plain_files import refuse_links
from smallwm_tf.runs.wandb_writer import check_installed


def test_a_package_that_is_not_there_is_named(monkeypatch):
    check_installed("off")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        RunError, match=r"logging.wandb=offline: wandb is not installed.*\.\[wandb\]"
    ):
        check_installed("offline")


def test_what_fails_is_told_once_and_stops_nothing(tmp_path, monkeypatch, capsys):
    """As without the package, or with one that cannot work: the record is complete all the same."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    with Metrics(tmp_path, "online") as metrics:
        metrics.rewind(0)
        for step in range(3):
            metrics.write("ppo", 1, step, entropy=1.0)
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3
    err = capsys.readouterr().err
    assert err.count("warning: ") == 1 and "Weights & Biases get nothing more" in err


def test_each_session_holds_the_whole_record_on_the_axis_of_work(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto import wandb_internal_pb2
    from wandb.sdk.internal.datastore import DataStore

    monkeypatch.setenv("WANDB_SILENT", "true")
    root = tmp_path / "run"
    root.mkdir()
    for first in (0, 3):  # two sessions
        with Metrics(root, "offline") as metrics:
            metrics.rewind(first)
            for step in range(first, first + 3):
                metrics.write("ppo", 1, 10 * step, entropy=step / 2)
    refuse_links(root)  # they lie beside it
    sessions = sorted((tmp_path / "wandb").glob("offline-run-*/*.wandb"))
    assert len(sessions) == 2

    def rows(file):
        store = DataStore()
        store.open_for_scan(str(file))
        while content := store.scan_data():
            record = wandb_internal_pb2.Record.FromString(content)
            if record.WhichOneof("record_type") == "history":
                yield {
                    item.key or item.nested_key[0]: json.loads(item.value_json)
                    for item in record.history.item
                }

    histories = [[row for row in rows(file) if "ppo/entropy" in row] for file in sessions]
    shown = [[(row["work"], row["ppo/entropy"]) for row in history] for history in histories]
    assert sorted(shown, key=len) == [
        [(10 * step, step / 2) for step in range(3)],
        [(10 * step, step / 2) for step in range(6)],
    ]
