"""The notebooks run from top to bottom, at a size of seconds, in kernels of their own."""

import pathlib

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = pathlib.Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "colab").glob("*.ipynb"))
TINY = {
    "collection.num_iterations": 1,
    "collection.first_iteration_steps": 60,
    "vqvae.warmup_epochs": 1,
    "vqvae.batch_size": 5,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",  # less to compile
    "dynamics.epochs": "(1,)",
    "dynamics.windows_per_batch": 2,
    "dream.num_dreams": 4,
    "dream.horizon": 3,
    "ppo.num_updates": "(1,)",
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 1,
    "game.max_episode_steps": 60,
    "inspection.held_out_steps": 20,
    "inspection.num_starts": 3,
    "inspection.horizon": 5,
}
FLAGS = " ".join(f"--config.{key}={value}" for key, value in TINY.items())
PARAMETERS = {
    "1_train": f"CATCH_FLAGS = {FLAGS!r}\nGAME_FLAGS = {'--config=smoke ' + FLAGS!r}",
    "2_look_inside": "NUM_STEPS, NUM_STARTS, HORIZON = 30, 3, 4",
    "3_play_exported": "NUM_STEPS = 10",
}


def test_every_notebook_is_run():
    assert [path.stem for path in NOTEBOOKS] == sorted(PARAMETERS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_unattended(path, tmp_path):
    for name in ("smallwm_tf", "configs", "examples", "setup.py"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "colab").mkdir()
    notebook = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)  # none are committed
    (place,) = (
        number
        for number, cell in enumerate(notebook.cells)
        if "parameters" in cell.metadata.get("tags", ())
    )
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell(PARAMETERS[path.stem]))
    NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(tmp_path / "colab")}}
    ).execute()
    shown = [
        output
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if {"image/png", "image/gif"} & set(output.get("data", ()))
    ]
    assert shown, "a notebook shows pictures"
