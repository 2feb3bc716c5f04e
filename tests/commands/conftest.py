"""A finished run of Catch at a tiny size, trained once, and an export of it."""

import shutil
import sys

import ml_collections
import pytest

from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.experiment.config import default_config

SETTINGS = {
    "game.num_stacked_frames": 2,
    "collection.num_iterations": 2,
    "collection.first_iteration_steps": 60,
    "collection.steps_per_iteration": 10,
    "vqvae.warmup_epochs": 1,
    "vqvae.batch_size": 5,
    "dynamics.channels": 8,
    "dynamics.convolution": "direct",  # less to compile
    "dynamics.window_length": 4,
    "dynamics.context_steps": 2,
    "dynamics.epochs": (1, 0),
    "dream.num_dreams": 4,
    "dream.horizon": 3,
    "dream.context_steps": 2,
    "ppo.num_updates": (1, 0),
    "ppo.minibatch_size": 8,
    "evaluation.num_episodes": 24,  # some are won, some lost
    "evaluation.interval": 2,
    "inspection.held_out_steps": 20,
    "inspection.num_starts": 3,
    "inspection.horizon": 5,
    "checkpoints.keep": 10,
}


@pytest.fixture(scope="session")
def keys_read():
    """Keys of the settings that the run's training has read."""
    return set()


@pytest.fixture(scope="session")
def run_dir(tmp_path_factory, keys_read):
    """The run's directory."""
    import smallwm_tf

    path = tmp_path_factory.mktemp("commands") / "a run"  # a path with a space
    words = [f"--config.{key}={value}" for key, value in SETTINGS.items()]
    experiment = read_train_flags(
        ["train", "--game=Catch", "--config=catch", "--seed=5", f"--run_dir={path}", *words]
    ).experiment
    with pytest.MonkeyPatch.context() as patched:
        _record_reads(patched, keys_read)
        assert smallwm_tf.train(experiment) == path
    return path


def _record_reads(patched, keys_read):
    """Notes each `config.<section>.<name>`; copying or printing a whole section is no reading."""
    sections = {frozenset(section): name for name, section in default_config().items()
                if isinstance(section, ml_collections.ConfigDict)}  # fmt: skip
    read = ml_collections.ConfigDict.__getattr__

    def recording(config, name):
        if not name.startswith("_"):
            section = sections.get(frozenset(config.keys()))
            keys_read.add(f"{section}.{name}" if section else name)
        return read(config, name)

    patched.setattr(ml_collections.ConfigDict, "__getattr__", recording)


@pytest.fixture(scope="session")
def unfinished_run_dir(run_dir, tmp_path_factory):
    """The same run as it was before its policy was trained."""
    path = tmp_path_factory.mktemp("unfinished") / "run"
    shutil.copytree(run_dir, path)
    for checkpoint in (path / "checkpoints").iterdir():
        if int(checkpoint.name) > 2:
            shutil.rmtree(checkpoint)
    return path


@pytest.fixture(scope="session")
def export_dir(run_dir, tmp_path_factory):
    """An export of the run with all its parts."""
    from smallwm_tf.deployment.export_directory import write_export
    from smallwm_tf.deployment.opening import load_run

    path = tmp_path_factory.mktemp("export") / "Catch"
    write_export(load_run(run_dir), path, with_world_model=True, with_tf_agents_policy=True)
    return path


@pytest.fixture(scope="module")
def saved(export_dir):
    """The export's agent, loaded with TensorFlow alone."""
    import tensorflow as tf

    return tf.saved_model.load(str(export_dir / "agent"))


@pytest.fixture(scope="module")
def saved_world_model(export_dir):
    """The export's world model in the same way."""
    import tensorflow as tf

    return tf.saved_model.load(str(export_dir / "world_model"))


@pytest.fixture
def command(monkeypatch, capsys):
    """Runs a command's `main` in this process: exit code, stdout, stderr."""

    def run(module, *words):
        monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, words)])
        code = 0
        try:
            module.main()
        except SystemExit as ended:
            code = ended.code or 0
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return run
