"""Dreams beside reality, as the command draws and measures them."""

import json
import shutil

import numpy as np
from PIL import Image

from smallwm_tf import dream
from smallwm_tf.deployment.opening import load_export, load_run
from smallwm_tf.viewing.dreams import dream_beside_reality, play_real_game

FLAGS = ("--steps=30", "--num_starts=5", "--horizon=4", "--start=3", "--start=12")


def test_pictures_films_and_figures(command, run_dir):
    code, printed, err = command(
        dream, f"--run_dir={run_dir}", *FLAGS, "--temperature=0", "--temperature=0.5"
    )
    assert code == 0, err
    out = run_dir / "dreams"
    names = {f"dream_{start}_{t}.{kind}" for start in (3, 12) for t in ("0", "0.5")
             for kind in ("png", "gif")}  # fmt: skip
    assert {path.name for path in out.iterdir()} == names | {"horizon.png", "horizon.json"}
    assert 1 < Image.open(out / "dream_3_0.gif").n_frames <= 4
    assert "1 ahead:" in printed and "copying" in printed
    figures = json.loads((out / "horizon.json").read_text())
    assert figures["game"] == "Catch" and figures["temperature"] == 0.0
    assert len(figures["code_accuracy"]) == len(figures["reward_recall_positive"]) == 4
    assert all(0.0 <= share <= 1.0 for share in figures["code_accuracy"])


def test_temperature_0_feeds_back_the_most_probable_codes_and_an_export_dreams_the_same(
    command, run_dir, export_dir, tmp_path
):
    """Then what is drawn is what is most probable; at 1 it is not, with so young a model."""
    figures = {}
    for source, place in (("run_dir", run_dir), ("export", export_dir)):
        for temperature in ("0", "1") if source == "run_dir" else ("1",):
            out = tmp_path / source / temperature
            words = (f"--{source}={place}", *FLAGS[:-1], f"--temperature={temperature}")
            code, _, err = command(dream, *words, f"--out={out}")
            assert code == 0, err
            figures[source, temperature] = json.loads((out / "horizon.json").read_text())
    certain, drawn, exported = figures.values()
    assert certain["sampled_accuracy"] == certain["code_accuracy"]
    assert drawn["sampled_accuracy"] != drawn["code_accuracy"]
    assert certain["code_accuracy"] == drawn["code_accuracy"]
    for key in ("code_accuracy", "sampled_accuracy", "copy_accuracy", "reward_confusion"):
        np.testing.assert_allclose(
            np.array(drawn[key], float), np.array(exported[key], float), err_msg=key
        )


def test_a_dream_stays_within_its_episode_and_starts_real(run_dir):
    agent = load_run(run_dir)
    replay = play_real_game(agent, 30)
    ends = np.flatnonzero(replay.terminated.numpy() | replay.truncated.numpy())
    start = int(ends[0]) - 2
    loop = dream_beside_reality(agent, replay, start, 10, temperature=0.0)
    assert len(loop.dreamed) == 3
    np.testing.assert_array_equal(loop.real.frames, replay.frames.numpy()[start : start + 3])
    np.testing.assert_array_equal(loop.dreamed_codes[0], loop.real.codes[0])
    again = dream_beside_reality(agent, replay, start, 10, temperature=0.0)
    np.testing.assert_array_equal(loop.dreamed_codes, again.dreamed_codes)


def test_it_refuses_with_one_line(command, run_dir, export_dir, unfinished_run_dir, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(export_dir, bare, ignore=shutil.ignore_patterns("world_model"))
    assert load_export(bare).world_model is None
    run = f"--run_dir={run_dir}"
    cases = {
        "holds no world model": (f"--export={bare}",),
        "--start=50: must be below --steps=30": (run, "--start=50", "--steps=30"),
        "--horizon: '0' must be": (run, "--horizon=0"),
        "--temperature: '-1' must be": (run, "--temperature=-1"),
        "unfinished": (f"--run_dir={unfinished_run_dir}",),
    }
    for expected, words in cases.items():
        code, out, err = command(dream, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), (expected, err)
        assert expected in err and err.startswith("smallwm_tf.dream: error: ")
