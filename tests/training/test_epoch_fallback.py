"""A dynamics training that ends behind copying goes back to its best epoch."""

import contextlib

import numpy as np
import pytest

from smallwm_tf.judging.held_out import HeldOutMeasures, OneStep
from smallwm_tf.runs.stop_request import Stopped
from tests.tiny_runs import experiment_for, open_run, perform, start_run

COPYING = 0.5
SETTINGS = {
    "dynamics.epochs": "(3,1)",
    "dynamics.epoch_fallback": "true",
    "vqvae.update_interval": 0,
    "vqvae.warmup_epochs": 0,
}


@contextlib.contextmanager
def collected(path):
    """A run behind its first collection, if it is not further."""
    experiment = experiment_for(path, SETTINGS)
    with open_run(experiment) as directory:
        run = start_run(experiment, directory)
        perform(run, "collect")
        yield run
        run.close()


def variables_of(run):
    parts = run.algorithm.components.values()
    return [variable for part in parts for variable in getattr(part, "variables", [part])]


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """A run that has collected; its variables and its number of lines of metrics then."""
    with collected(tmp_path_factory.mktemp("fallback") / "run") as run:
        yield run, [variable.numpy() for variable in variables_of(run)], run.metrics.num_lines


@pytest.fixture
def run(untrained):
    """The same run as if it were new: what one test has traced serves the next."""
    run, begun, num_lines = untrained
    for variable, value in zip(variables_of(run), begun, strict=True):
        variable.assign(value)
    run.metrics.rewind(num_lines)
    return run


def train(run, monkeypatch, accuracies, stop_in_epoch=None):
    """Trains the world model of a run whose epochs are said to be so accurate.

    Returns variables, moments included, after each epoch that was measured here, those in the end,
    and the lines.
    """
    learner = run.algorithm.world_model_learner
    epochs = []

    def variables():
        parts = (learner.world_model, learner.dynamics_optimizer, learner.reward_optimizer)
        return [variable.numpy() for part in parts for variable in part.variables]

    def measure():
        epochs.append(variables())
        number = sum(line["event"] == "epoch" for line in run.metrics.read())
        if number + 2 == stop_in_epoch:
            run.stop.signal_name = "SIGTERM"  # noticed in the next group of updates
        unknown = np.zeros(3)
        return OneStep(
            *(1.0, accuracies[number], COPYING, 1.0, np.zeros([3, 3]), unknown, 0.0, unknown),
            *(0.0, 0.0, 0.5),  # of ends
        )

    monkeypatch.setattr(HeldOutMeasures, "one_step", lambda _: measure())
    run.algorithm.phases[1].learn(run, 1)  # the phase without its judging, which takes longer
    final, lines = variables(), run.metrics.read()
    updates = [line["step"] for line in lines if line["event"] == "dynamics"]
    assert int(learner.dynamics_updates) == updates[-1]  # counted on, whatever was kept
    return epochs, final, lines


def number_of_equal(final, epochs):
    """Which epochs ended with exactly these weights, counted from 1."""
    return [
        number
        for number, weights in enumerate(epochs, 1)
        if all(np.array_equal(a, b) for a, b in zip(final, weights, strict=True))
    ]


@pytest.mark.parametrize(
    ("accuracies", "kept"),
    [
        ((0.6, 0.7, 0.4), 2),
        ((0.6, 0.6, 0.5), 2),  # as good as copying is not enough; of equal epochs the later
        ((0.4, 0.7, 0.51), 3),  # not behind copying: likelihood and rewards gain from the rest
        ((0.3, 0.4, 0.45), 3),  # all behind: the last is the best
    ],
)
def test_which_epoch_is_kept(run, monkeypatch, capsys, accuracies, kept):
    epochs, final, lines = train(run, monkeypatch, accuracies)
    assert number_of_equal(final, epochs) == [kept]
    logged = [line["code_accuracy"] for line in lines if line["event"] == "epoch"]
    assert logged == list(accuracies)
    assert ("back to the best epoch" in capsys.readouterr().out) == (accuracies[-1] <= COPYING)


def test_a_run_stopped_in_between_keeps_the_same_epoch(run, tmp_path, monkeypatch):
    accuracies = (0.6, 0.7, 0.4)
    _, expected, _ = train(run, monkeypatch, accuracies)
    with pytest.raises(Stopped), collected(tmp_path / "stopped") as stopped:
        train(stopped, monkeypatch, accuracies, stop_in_epoch=3)
    with collected(tmp_path / "stopped") as again:
        _, final, lines = train(again, monkeypatch, accuracies)
    assert number_of_equal(final, [expected]) == [1]
    assert sum(line["event"] == "epoch" for line in lines) == 3


def test_without_it_the_last_epoch_stays_and_nothing_is_measured(run, monkeypatch):
    differences = SETTINGS | {"dynamics.epoch_fallback": "false"}
    experiment = experiment_for(run.experiment.run_dir, differences)
    monkeypatch.setattr(run, "experiment", experiment)
    epochs, _, lines = train(run, monkeypatch, ())
    assert epochs == [] and not any(line["event"] == "epoch" for line in lines)


def test_what_is_measured_is_what_the_judge_measures(run):
    run.algorithm.phases[1].perform(run, 1)
    lines = run.metrics.read()
    *_, last = epochs = [line for line in lines if line["event"] == "epoch"]
    (judged,) = (line for line in lines if line["event"] == "held_out")
    names = ("latent_loss", "reward_loss", "code_accuracy", "copy_accuracy")
    if last["code_accuracy"] <= last["copy_accuracy"]:
        last = max(epochs, key=lambda line: (line["code_accuracy"], line["step"]))
    for name in names:
        assert judged[name] == pytest.approx(last[name], rel=1e-5), name
