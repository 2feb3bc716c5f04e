"""Reading run directories: what is found, real steps, null policies of runs and of games."""

import json
from pathlib import Path

import pytest

from smallwm_tf.reporting.found_runs import differences, find, refuse_differences
from smallwm_tf.runs import RunError
from tests.reporting.made_runs import make_run, summaries, write_json

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_runs_are_found_at_any_depth_and_counted_once(tmp_path):
    deep = make_run(tmp_path / "a" / "b" / "Pong-0", game="Pong")
    make_run(tmp_path / "Alien-1", seed=1)
    make_run(tmp_path / "Alien-0")
    make_run(deep / "figures" / "not a run of its own")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "config.json").write_text("something else")
    found = find([tmp_path / "a", tmp_path, tmp_path / "a" / ".."])
    assert [run.name for run in found.runs] == [
        f"{tmp_path.name}/Alien-0", f"{tmp_path.name}/Alien-1", "a/b/Pong-0",
    ]  # fmt: skip
    assert find([deep]).runs[0].name == "Pong-0"


def test_a_run_without_an_evaluation_is_only_named(tmp_path):
    make_run(tmp_path / "done")
    make_run(tmp_path / "empty", seed=1, returns=())
    (make_run(tmp_path / "begun", seed=2) / "scores.json").unlink()
    found = find([tmp_path])
    assert [run.seed for run in found.runs] == [0]
    assert [name.split("/")[-1] for name in found.not_evaluated] == ["empty", "begun"]


def test_real_steps_of_recorded_runs_are_those_of_the_documents():
    run = find([RESULTS / "quick" / "CrazyClimber-seed0"]).runs[0]
    assert run.is_finished and run.version == "0.1.0"
    assert run.real_steps() == (32_000, 0, 11_505)  # docs/metrics.md
    # One iteration: held-out steps, 15 × 20 + 1 to the moments, one promise.
    assert run.real_steps(1) == (12_800, 0, 1_200 + 301 + 16 * 50)
    assert run.real_steps(0) == (0, 0, 0)


def test_collections_lie_among_all_real_steps(tmp_path):
    run = find([make_run(tmp_path / "run")]).runs[0]
    # 41 to the moments, 3 looks of 3 × 7; 30 held-out steps and 3 × 7 of the promise.
    each = 41 + 3 * 21 + 30 + 21
    assert sum(run.real_steps(1)) == 100 + each and sum(run.real_steps()) == 200 + 3 * each
    assert list(run.steps_while_collecting()) == [
        (100, 1.0), (100 + each + 50, 2.0), (150 + 2 * each + 50, 3.0),
    ]  # fmt: skip


def test_old_runs_have_uniform_play_and_the_rest_is_the_games(tmp_path):
    own = make_run(tmp_path / "own", nulls={"uniform": [1.0, 2.0], "blind control": [3.0, 4.0]})
    old = make_run(tmp_path / "old", seed=1)
    write_json(old / "random_policy.json", summaries({"uniform": [5.0, 7.0]})["uniform"])
    make_run(tmp_path / "without", seed=2)
    games = {"uniform": [0.0, 0.0], "holding": [8.0, 9.0]}
    write_json(tmp_path / "null_policies" / "Alien.json", summaries(games))
    runs = find([tmp_path]).runs
    means = [{name: null["mean"] for name, null in run.nulls.items()} for run in runs]
    assert runs[0].path == own and means == [
        {"uniform": 1.5, "blind control": 3.5},
        {"uniform": 6.0, "holding": 8.5},
        {"uniform": 0.0, "holding": 8.5},
    ]


def test_another_setting_or_version_is_told_of_both_runs(tmp_path):
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", seed=1)
    refuse_differences(find([tmp_path]).runs)
    make_run(tmp_path / "three", seed=2, config={"ppo": {"learning_rate": 0.5}})
    make_run(tmp_path / "of another preset", preset="laptop", version="0.0.1")
    with pytest.raises(RunError, match="one has ppo.learning_rate=0.00025, .*three has 0.5; "):
        refuse_differences(find([tmp_path]).runs)
    make_run(tmp_path / "four", game="Aardvark", version="0.2.0")
    with pytest.raises(RunError, match="four has smallwm_tf='0.2.0', .*one has '0.1.0'; .*--mix"):
        refuse_differences(find([tmp_path]).runs)


def test_an_unknown_version_is_no_difference(tmp_path):
    make_run(tmp_path / "a", version=None)
    make_run(tmp_path / "b", seed=1)
    refuse_differences(find([tmp_path]).runs)
    make_run(tmp_path / "c", seed=2, version="0.2.0")
    with pytest.raises(RunError, match="b has smallwm_tf='0.1.0', .*c has '0.2.0'"):
        refuse_differences(find([tmp_path]).runs)


def test_a_default_that_is_written_out_is_no_difference(tmp_path):
    make_run(tmp_path / "one")
    make_run(tmp_path / "two", seed=1, config={"ppo": {"discount": 0.99}})
    runs = find([tmp_path]).runs
    assert not list(differences(*runs))
    make_run(tmp_path / "three", seed=2, config={"invention": {"of": "a later version"}})
    *_, last = find([tmp_path]).runs
    assert list(differences(runs[0], last)) == [("invention.of", None, "a later version")]


def test_pictures_are_the_newest_wherever_they_lie(tmp_path):
    path = make_run(tmp_path / "run")
    (path / "figures").mkdir()
    for name in ("dream_009.png", "dream_010.png", "codes_001.png"):
        (path / "figures" / name).touch()
    for name in ("dream_011.png", "film.gif", "scores.png", "film.mp4"):
        (path / name).touch()
    names = {kind: path.name for kind, path in find([path]).runs[0].figures().items()}
    assert names == {
        "dream": "dream_010.png", "codes": "codes_001.png", "film.gif": "film.gif",
        "film.mp4": "film.mp4",
    }  # fmt: skip


def test_a_half_written_line_of_metrics_is_left_out(tmp_path):
    path = make_run(tmp_path / "run")
    with open(path / "metrics.jsonl", "a") as file:
        file.write(json.dumps({"event": "collect", "iteration": 4, "step": 0})[:-3])
    assert len(find([path]).runs[0].collections) == 3
