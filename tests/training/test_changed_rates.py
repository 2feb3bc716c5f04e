"""A continued run learns at the rates of its command, not at those of its checkpoint."""

import numpy as np
import pytest

from tests.tiny_runs import experiment_for, open_run, perform, start_run

SETTINGS = {
    "dynamics.epochs": "(1,1)",
    "vqvae.warmup_epochs": 0,  # rates are set all the same
    "vqvae.update_interval": 0,
    "ppo.num_updates": "(1,1)",  # the first one is made at the whole rate
    "ppo.check_interval": 0,
}
RATES = {
    "vqvae.learning_rate": 0.00002,
    "dynamics.learning_rate": 0.00003,
    "dynamics.reward_head_learning_rate": 0.00004,
    "ppo.learning_rate": 0.00005,
    "adam.epsilon": 0.5,
    "adam.beta_1": 0.25,
    "adam.beta_2": 0.125,
}


@pytest.fixture(scope="module")
def optimizers(tmp_path_factory):
    """By name, after learning at other rates than the checkpoint was saved with."""
    path = tmp_path_factory.mktemp("rates") / "run"
    with open_run(experiment_for(path, SETTINGS)) as directory:
        run = start_run(experiment_for(path, SETTINGS), directory)
        perform(run, "collect")
        run.close()
    experiment = experiment_for(path, SETTINGS | RATES)
    with open_run(experiment) as directory:
        assert len(directory.changes) == len(RATES)  # announced
        run = start_run(experiment, directory)
        run.algorithm.phases[1].learn(run, 1)  # the phase without its judging, which takes longer
        perform(run, "learn_policy")
        run.close()
    components = run.algorithm.components
    return {name: part for name, part in components.items() if name.endswith("optimizer")}


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vqvae_optimizer", "vqvae.learning_rate"),
        ("dynamics_optimizer", "dynamics.learning_rate"),
        ("reward_optimizer", "dynamics.reward_head_learning_rate"),
        ("policy_optimizer", "ppo.learning_rate"),
    ],
)
def test_changed_rates_are_obeyed(optimizers, name, key):
    np.testing.assert_allclose(optimizers[name].learning_rate, RATES[key], rtol=1e-6)


def test_so_are_epsilon_and_the_decays(optimizers):
    assert len(optimizers) == 4
    for name, optimizer in optimizers.items():
        found = (optimizer.epsilon, optimizer.beta_1, optimizer.beta_2)
        assert found == (0.5, 0.25, 0.125), name
