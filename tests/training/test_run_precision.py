"""``precision=auto`` is decided once: what a run was made with stays."""

import json

import pytest

from smallwm_tf.runs import RunError
from smallwm_tf.training import precision
from smallwm_tf.training.precision import with_precision
from tests.tiny_runs import experiment_for, open_run


@pytest.fixture
def faster(monkeypatch):
    """Sets what this machine multiplies faster."""

    def is_now(word):
        monkeypatch.setattr(precision, "resolve_precision", lambda choice: word)

    return is_now


def decided(path, **differences):
    return with_precision(experiment_for(path, differences)).config.precision


def test_a_new_run_takes_what_is_faster_here(tmp_path, faster):
    for word in ("float32", "bfloat16"):
        faster(word)
        assert decided(tmp_path / "new") == word


@pytest.mark.parametrize("word", ["float32", "bfloat16"])
def test_a_word_of_the_user_counts(tmp_path, faster, word):
    faster("nothing")
    assert decided(tmp_path / "new", precision=word) == word


def test_a_run_goes_on_as_it_began(tmp_path, faster):
    faster("bfloat16")
    open_run(with_precision(experiment_for(tmp_path / "run"))).close()
    faster("float32")
    experiment = with_precision(experiment_for(tmp_path / "run"))
    assert experiment.config.precision == "bfloat16"
    with open_run(experiment) as directory:
        assert directory.changes == []
    assert json.loads((tmp_path / "run" / "config.json").read_text())["config"]["precision"] == (
        "bfloat16"
    )


def test_a_run_that_is_older_than_the_setting_stays_in_float32(tmp_path, faster):
    open_run(experiment_for(tmp_path / "run")).close()
    file = tmp_path / "run" / "config.json"
    record = json.loads(file.read_text())
    del record["config"]["precision"]
    file.write_text(json.dumps(record))
    faster("bfloat16")
    assert decided(tmp_path / "run") == "float32"


def test_a_change_is_announced(tmp_path):
    open_run(experiment_for(tmp_path / "run", {"precision": "float32"})).close()
    experiment = with_precision(experiment_for(tmp_path / "run", {"precision": "bfloat16"}))
    with open_run(experiment) as directory:
        assert directory.changes == ["precision: 'float32' -> 'bfloat16'"]


def test_a_damaged_record_is_one_line(tmp_path):
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(RunError, match="config.json"):
        with_precision(experiment_for(tmp_path))
