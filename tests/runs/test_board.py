"""TensorBoard's board: pictures, films, settings, rates, level lines, on one axis; made again."""

import io
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from smallwm_tf.experiment.config import default_config, flatten
from smallwm_tf.runs.board import Board
from smallwm_tf.runs.files import write_json
from smallwm_tf.runs.metrics import Metrics


def picture(kind, level):
    file, frames = io.BytesIO(), [Image.new("RGB", (6, 4), (level, 0, 9 * n)) for n in range(3)]
    if kind == "PNG":
        frames[0].save(file, "PNG")
    else:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:])
    return file.getvalue()


LINES = [  # event, iteration, step, values
    ("collect", 1, 100, {"mean_return": 1.0}),
    ("phase", 1, 0, {"phase": "collect", "seconds": 4.0}),
    ("vqvae", 1, 10, {"elbo": 5.0}),
    ("dynamics", 1, 30, {"latent_loss": 7.0}),
    ("held_out", 1, 30, {"elbo": 6.0}),
    ("phase", 1, 1, {"phase": "learn_world_model", "seconds": 5.0}),
    ("ppo", 1, 8, {"entropy": 1.5}),
    ("promise", 1, 8, {"dreamed": 2.0}),
    ("phase", 1, 2, {"phase": "learn_policy", "seconds": 2.0}),
    ("evaluate", 1, 100, {"mean_return": 3.0}),
    ("collect", 2, 150, {"mean_return": 2.0}),
    ("phase", 2, 4, {"phase": "collect", "seconds": 10.0}),
    ("evaluate", 2, 150, {"mean_return": 4.0}),
]


@pytest.fixture
def root(tmp_path):
    """A run directory with all that a board shows, but no metrics yet."""
    (tmp_path / "figures").mkdir()
    for name, level in (("codes_001", 10), ("dream_001", 20), ("promise_001", 30)):
        (tmp_path / "figures" / f"{name}.png").write_bytes(picture("PNG", level))
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "dream_001.gif").write_bytes(picture("GIF", 40))
    config = default_config().to_dict()
    record = {"game": "Pong", "seed": 3, "preset": "quick", "config": config, "changes": []}
    write_json(tmp_path / "config.json", record)
    nulls = {"uniform": {"mean": -2.5}, "best of nine": {"mean": -1.5}}
    write_json(tmp_path / "null_policies.json", nulls)
    return tmp_path


def write(metrics, lines=LINES):
    for event, iteration, step, values in lines:
        metrics.write(event, iteration, step, **values)


def read(root):
    board = EventAccumulator(str(root / "events"), size_guidance={"tensors": 0})
    board.Reload()
    return board


def points(board, tag):
    return [(p.step, float(tf.make_ndarray(p.tensor_proto))) for p in board.Tensors(tag)]


def test_everything_stands_on_one_axis_of_work_done(root):
    with Metrics(root) as metrics:
        metrics.rewind(0)
        write(metrics)
    board = read(root)
    # Real steps + updates of the VQ-VAE + of the dynamics + of the policy.
    assert points(board, "collect/mean_return") == [(100, 1.0), (198, 2.0)]
    assert points(board, "vqvae/elbo") == [(110, 5.0)]
    assert points(board, "dynamics/latent_loss") == [(140, 7.0)]
    assert points(board, "held_out/elbo") == [(140, 6.0)]
    assert points(board, "ppo/entropy") == [(148, 1.5)]
    assert points(board, "evaluate/mean_return") == [(148, 3.0), (198, 4.0)]


def test_seconds_and_rates_per_phase(root):
    with Metrics(root) as metrics:
        write(metrics)
    board = read(root)
    assert points(board, "seconds/collect") == [(100, 4.0), (198, 10.0)]
    assert points(board, "rates/real_steps_per_second_of_collect") == [(100, 25.0), (198, 5.0)]
    name = "rates/dynamics_updates_per_second_of_learn_world_model"
    assert points(board, name) == [(140, 6.0)]
    assert points(board, "rates/policy_updates_per_second_of_learn_policy") == [(148, 4.0)]


def test_null_policies_are_level_lines_from_the_beginning(root):
    with Metrics(root) as metrics:
        write(metrics)
    board = read(root)
    assert points(board, "evaluate/null_uniform") == [(0, -2.5), (148, -2.5), (198, -2.5)]
    assert {y for _, y in points(board, "evaluate/null_best_of_nine")} == {-1.5}


def test_pictures_and_films_are_those_of_the_figures(root):
    with Metrics(root) as metrics:
        write(metrics)
    board = read(root)
    for tag, name in (
        ("codes", "codes_001.png"),
        ("dream", "dream_001.png"),
        ("dream_film", "dream_001.gif"),
        ("promise", "promise_001.png"),
    ):
        (point,) = board.Tensors(f"figures/{tag}")
        width, height, encoded = tf.make_ndarray(point.tensor_proto)
        assert (width, height) == (b"6", b"4")
        folder = "films" if name.endswith(".gif") else "figures"
        assert encoded == (root / folder / name).read_bytes()
        assert board.summary_metadata[f"figures/{tag}"].plugin_data.plugin_name == "images"
    assert "figures/horizon" not in board.Tags()["tensors"]  # nobody drew it


def test_settings_are_a_text_and_hyperparameters(root):
    from tensorboard.plugins.hparams import plugin_data_pb2

    with Metrics(root) as metrics:
        metrics.rewind(0)
    board = read(root)
    (point,) = board.Tensors("settings")
    rows = tf.make_ndarray(point.tensor_proto).item().decode().splitlines()
    assert board.summary_metadata["settings"].plugin_data.plugin_name == "text"
    settings = flatten(default_config().to_dict())
    assert f"| ppo.discount | {settings['ppo.discount']} |" in rows
    assert len(rows) == 2 + 3 + len(settings)
    content = board.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info
    assert start.hparams["game"].string_value == "Pong" and start.hparams["seed"].number_value == 3
    assert start.hparams["ppo.discount"].number_value == settings["ppo.discount"]
    assert start.hparams["deterministic"].bool_value is False


def remove_a_picture(root):
    (root / "figures" / "dream_001.png").unlink()


def draw_another_picture(root):
    (root / "films" / "dream_001.gif").write_bytes(picture("GIF", 41))


def change_a_setting(root):
    record = json.loads((root / "config.json").read_text())
    record["config"]["ppo"]["discount"] = 0.5
    write_json(root / "config.json", record)


def lose_the_pictures_in_events(root):
    shutil.rmtree(root / "events")


CHANGES = [remove_a_picture, draw_another_picture, change_a_setting, lose_the_pictures_in_events]


@pytest.mark.parametrize("change", CHANGES)
def test_the_board_is_made_again_where_it_does_not_match_the_run(root, change):
    with Metrics(root) as metrics:
        metrics.rewind(0)
        write(metrics)
    files = sorted((root / "events").iterdir())
    with Metrics(root) as metrics:
        metrics.rewind(len(LINES))
    assert sorted((root / "events").iterdir()) == files  # what matches stays
    change(root)
    with Metrics(root) as metrics:
        metrics.rewind(len(LINES))
    assert sorted((root / "events").iterdir()) != files
    found, wanted = contents(root), expected(root)
    assert found == wanted and len(found) > 30


def test_a_run_that_was_killed_shows_what_an_undisturbed_one_does(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "run"
    shutil.copytree(root, other)
    with Metrics(root) as metrics:
        metrics.rewind(0)
        write(metrics)
    for kept, end in ((0, 6), (4, 9), (9, 13)):
        with Metrics(other) as metrics:
            metrics.rewind(kept)
            write(metrics, LINES[kept:end])
    assert contents(other) == contents(root)


def contents(root):
    """All that the files hold, whatever the order: (tag, step, bytes)."""
    board, found = read(root), []
    for tag in board.Tags()["tensors"]:
        for point in board.Tensors(tag):
            parts = np.ravel(tf.make_ndarray(point.tensor_proto)).tolist()
            found.append((tag, point.step, repr(parts)))
    return sorted(found)


def expected(root):
    """The same of a board that is written in one go."""
    lines = [json.loads(line) for line in (root / "metrics.jsonl").read_text().splitlines()]
    board, found = Board(root), []
    for shown in [*board.beginning(), *(shown for line in lines for shown in board.of(line))]:
        value = shown.value
        if shown.kind == "number":
            parts = [float(np.float32(value))]
        elif shown.kind == "settings":
            parts = []
        else:
            parts = list(value) if isinstance(value, tuple) else [value]
        found.append((shown.tag, shown.step, repr(parts)))
    return sorted(found)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n" + b"\0" * 40])
def test_a_figure_that_is_none_is_left_out(root, content):
    (root / "figures" / "dream_001.png").write_bytes(content)
    with Metrics(root) as metrics:
        write(metrics)
    tags = read(root).Tags()["tensors"]
    assert "figures/dream" not in tags and "figures/codes" in tags
