"""A run whose checkpoints are gone is told; one that was killed before its first begins again."""

import shutil

import pytest

from smallwm_tf.runs.checkpoints import CheckpointError
from smallwm_tf.training.run import Run
from smallwm_tf.training.world_model_agent import WorldModelAgent
from tests.faults.conftest import tiny_experiment
from tests.faults.test_hostile_runs import _STEPS, steps
from tests.tiny_runs import open_run


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    return tiny_experiment(
        tmp_path_factory.mktemp("lost") / "run", collection__first_iteration_steps=_STEPS
    )


@pytest.fixture(scope="module")
def start(experiment):
    """Opens the run, always with the same networks, whose making takes longer than all the rest."""
    algorithm = WorldModelAgent(experiment, num_actions=3)

    def start(directory):
        algorithm.replay.clear()
        return Run(experiment, directory, lambda *_: algorithm)

    return start


@pytest.fixture
def directory(experiment):
    shutil.rmtree(experiment.run_dir, ignore_errors=True)
    with open_run(experiment) as directory:
        yield directory


def collect(run):
    """The first phase, up to its checkpoint."""
    run.keep_steps("000001.npz", steps())
    run.metrics.write("collect", 1, _STEPS, mean_return=1.0)
    run.metrics.write("phase", 1, 0, phase="collect", seconds=1.0)


def test_killed_before_the_first_checkpoint_it_begins_again(start, directory):
    run = start(directory)
    collect(run)
    run.close()
    again = start(directory)
    again.close()
    assert again.phases_done == 0
    assert [line["event"] for line in again.metrics.read()] == ["networks"]


def save_and_lose_them(run):
    run.phases_done = 1
    run.save()
    shutil.rmtree(run.directory.checkpoints)


def go_on(run):
    run.metrics.write("vqvae", 1, 1, loss=1.0)


def play_held_out(run):
    (run.directory.replay / "held_out_000001.npz").touch()


def score(run):
    run.directory.scores.write_text("[]")


@pytest.mark.parametrize("sign", [save_and_lose_them, go_on, play_held_out, score])
def test_without_its_checkpoints_it_does_not_start_over(start, directory, sign):
    run = start(directory)
    collect(run)
    sign(run)
    run.close()
    before = {p: p.read_bytes() for p in directory.path.rglob("*") if p.is_file()}
    for _ in range(2):
        with pytest.raises(CheckpointError, match="holds no checkpoint, but the run had") as caught:
            start(directory)
        assert "--run_dir" in str(caught.value) and "\n" not in str(caught.value)
    assert {p: p.read_bytes() for p in directory.path.rglob("*") if p.is_file()} == before
