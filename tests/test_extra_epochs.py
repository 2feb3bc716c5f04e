"""A world model that does not beat copying on held-out steps is trained on, up to a limit."""

import pytest

from smallwm_tf import session as session_module
from smallwm_tf.runs.run_directory import RunDirectory
from tests.faults.conftest import tiny_arguments


@pytest.mark.parametrize(("verdicts", "most", "extra"), [("ccb", 3, 2), ("ccc", 1, 1), ("b", 3, 0)])
def test_it_is_trained_until_it_beats_copying(tmp_path, monkeypatch, verdicts, most, extra):
    """Each verdict is that of one look: "b" beats copying, "c" does not."""
    judge, looks = session_module.judge_world_model, iter(verdicts)

    def judged(*arguments):
        measures, curves = judge(*arguments)
        accuracy = 0.6 if next(looks) == "b" else 0.5
        return measures | {"code_accuracy": accuracy, "copy_accuracy": 0.5}, curves

    monkeypatch.setattr(session_module, "judge_world_model", judged)
    arguments = tiny_arguments(
        tmp_path / "run",
        dynamics__most_extra_epochs=most,
        dynamics__epochs="(2,1)",
        collection__first_iteration_steps=60,
        inspection__held_out_steps=20,
        inspection__num_starts=2,
    )
    with RunDirectory.open(
        arguments.run_dir, arguments.game, arguments.config, arguments.seed, arguments.preset
    ) as run:
        session = session_module.Session(arguments, run)
        session.collect(1)
        session.learn_world_model(1)
        lines = session.metrics.read()
        session.close()
    epochs = [line["step"] for line in lines if line["event"] == "reward_prediction"]
    assert len(epochs) == 2 + extra
    assert len(set(epochs)) == len(epochs) and epochs == sorted(epochs)
    assert [line["event"] for line in lines].count("held_out") == 1 + extra
