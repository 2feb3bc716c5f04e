"""Scoring a finished run: by table, JSON and film."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from smallwm_tf import evaluate
from smallwm_tf.deployment.opening import load_run
from smallwm_tf.experiment.numbers import with_error
from smallwm_tf.figures import videos
from smallwm_tf.runs.scores import summarise
from smallwm_tf.viewing.playing import play_episode


def test_it_repeats_the_evaluation_of_the_training(command, run_dir, tmp_path):
    out = tmp_path / "result.json"
    code, printed, err = command(
        evaluate, f"--run_dir={run_dir}", "--json", "--nonulls", f"--out={out}"
    )
    assert code == 0, err
    result = json.loads(printed)
    assert result == json.loads(out.read_text())
    last = json.loads((run_dir / "scores.json").read_text())[-1]
    assert result["agent"]["returns"] == last["returns"]
    assert result["agent"]["lengths"] == last["lengths"]
    assert result["null_policies"] is None and result["num_interactions"] == 70


def test_an_export_scores_like_its_run(command, run_dir, export_dir, tmp_path):
    last = json.loads((run_dir / "scores.json").read_text())[-1]
    code, printed, _ = command(evaluate, f"--export={export_dir}", "--json", "--nonulls")
    assert code == 0
    assert json.loads(printed)["agent"]["returns"] == last["returns"]


def test_an_agent_looks_ahead_out_of_a_run_and_out_of_an_export(
    command, run_dir, export_dir, tmp_path
):
    words = ("--json", "--nonulls", "--episodes=3", "--greedy", f"--out={tmp_path / 'x.json'}")
    found = {}
    for place in (f"--run_dir={run_dir}", f"--export={export_dir}"):
        for look_ahead in (0, 3):
            film = [f"--video={tmp_path / 'film.gif'}"] * (look_ahead > 0)
            given = (*words, f"--look_ahead={look_ahead}", *film)
            code, printed, err = command(evaluate, place, *given)
            assert code == 0, err
            result = json.loads(printed)
            found[place.partition("=")[0], look_ahead] = result["agent"]
            assert 0.0 < result["milliseconds_per_decision"] < 10_000.0
    assert found["--run_dir", 0]["returns"] == found["--export", 0]["returns"]
    assert found["--run_dir", 3]["returns"] == found["--export", 3]["returns"]
    assert Image.open(tmp_path / "film.gif").n_frames > 5


def test_without_a_world_model_nobody_looks_ahead(command, run_dir, export_dir, tmp_path):
    shutil.copytree(export_dir, tmp_path / "export")
    shutil.rmtree(tmp_path / "export" / "world_model")
    code, _, err = command(evaluate, f"--export={tmp_path / 'export'}", "--look_ahead=1")
    assert code == 2 and err.count("\n") == 1 and "holds no world model" in err


def test_table_film_and_null_policies(command, run_dir, tmp_path):
    video = tmp_path / "films" / "episode.gif"
    code, printed, err = command(
        evaluate, f"--run_dir={run_dir}", "--episodes=4", "--seed=9", "--greedy",
        f"--video={video}", "--video_steps=6",
    )  # fmt: skip
    assert code == 0, err
    result = json.loads((run_dir / "evaluation.json").read_text())
    assert result["greedy"] and result["seed"] == 9 and result["temperature"] == 0.0
    nulls = result["null_policies"]
    assert {"uniform", "holding", "blind control"} <= set(nulls)
    for summary in (result["agent"], *nulls.values()):
        assert len(summary["returns"]) == 4
    best = max(nulls.values(), key=lambda summary: summary["mean"])
    assert nulls[result["best_null_policy"]]["mean"] == best["mean"]
    agent, error = result["agent"], result["agent"]["standard_error"]
    lines = printed.splitlines()
    (row,) = (number for number, line in enumerate(lines) if line.startswith("agent "))
    assert with_error(agent["mean"], error) in lines[row] and "standard error" in lines[row - 1]
    assert "nan" not in printed and "human = 1" not in printed
    assert max(map(len, lines[row - 2 : row + 4])) <= 80
    assert "4 episodes, most probable actions, seed 9" in printed
    assert [line for line in printed.splitlines() if line.startswith("note: ")] == [
        "note: seed 9, where the run has 5",
        "note: episodes 4, where the run has 24",
        "note: temperature 0, where the run has 1",
    ]
    assert "holding" in printed and "paper" not in printed  # it has no figure for Catch
    assert f"best null policy ({result['best_null_policy']})" in printed or (
        f"best null policy: {result['best_null_policy']}" in printed
    )
    assert Image.open(video).n_frames == 6


@pytest.mark.parametrize(
    ("returns", "expected"),
    [([-21.0, -20.0], ["-20.5", "±", "0.5", "0.5"]), ([-21.0], ["-21.0", "–"])],
)
def test_figures_have_the_digits_that_mean_something(returns, expected):
    agent = summarise(returns) | {"human_normalised_mean": 0.02}
    result = {
        "game": "Pong", "num_interactions": 100, "agent": agent, "null_policies": None,
        "paper": {"mean": -3.9, "std": 7.6}, "greedy": False, "temperature": 1.0, "seed": 0,
        "milliseconds_per_decision": 1.0,
    }  # fmt: skip
    rows = {line.split()[0]: line.split()[1:] for line in evaluate.table(result)}
    assert rows["paper"] == ["-3.9", "7.6"]
    assert rows["agent"][: len(expected)] == expected


def test_an_episode_as_the_agent_sees_it(run_dir):
    agent = load_run(run_dir)
    steps = list(play_episode(agent, most_steps=100, temperature=0.0))
    assert len(steps) < 100  # an episode of Catch is over by then
    assert all(step.action == step.probabilities.argmax() for step in steps)
    assert steps[-1].episode_return == sum(step.reward for step in steps) != 0
    for step in steps:
        assert step.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
    assert len({step.frame.tobytes() for step in steps}) > 5  # the ball falls


def test_a_step_is_drawn_with_its_codes_and_probabilities():
    step = videos.PlayedStep(
        frame=np.full([96, 96], 77, np.uint8),
        codes=np.full([6, 6], 3),
        probabilities=np.array([0.25, 0.75]),
        action=1,
        value=1.5,
        reward=0.0,
        episode_return=2.0,
    )
    picture = videos.draw_played_step(step, 4, ["LEFT", "RIGHT"])
    assert (picture[10:394, 10:394] == 77).all()
    taken = (picture == videos._TAKEN).all(-1).sum(axis=1).max()  # widths of the bars
    other = (picture == videos._BAR).all(-1).sum(axis=1).max()
    assert 2.5 < taken / other < 3.5


def test_it_refuses_with_one_line(command, run_dir, unfinished_run_dir, export_dir, tmp_path):
    (tmp_path / "file").write_text("")
    run = f"--run_dir={run_dir}"
    cases = {
        "no such directory; write one": (f"--export={tmp_path / 'none'}",),
        "holds no export": (f"--export={tmp_path}",),
        "unfinished (2 of 8": (f"--run_dir={unfinished_run_dir}",),
        "one of the arguments --run_dir --export is required": (),
        "not allowed with": (run, f"--export={export_dir}"),
        "--episodes: '0' must be": (run, "--episodes=0"),
        "--episodes: 'many' must be": (run, "--episodes=many"),
        "--seed: '-1' must be": (run, "--seed=-1"),
        "--temperature: 'nan' must be": (run, "--temperature=nan"),
        "must end with .gif or .mp4": (run, "--video=film.avi"),
        "file is not a directory": (run, f"--out={tmp_path / 'file' / 'x.json'}"),
        "game='Pomg' is not known": (run, "--game=Pomg"),
        "holds an agent of Catch": (run, "--game=Pong"),
        "--epis": (run, "--epis=3"),
    }
    for expected, words in cases.items():
        code, out, err = command(evaluate, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), (expected, err)
        assert expected in err and err.startswith("smallwm_tf.evaluate: error: ")


def test_help_is_for_newcomers(command):
    code, printed, _ = command(evaluate, "--help")
    assert code == 0
    assert "Scores a trained agent" in printed and "--run_dir" in printed and "examples:" in printed
