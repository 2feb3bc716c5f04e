"""Amounts of work against sums worked by hand."""

import pytest

from smallwm_tf.experiment.config import build_config, default_config
from smallwm_tf.experiment.schedule import (
    collection_steps,
    expected_work,
    policy_learning_rate,
    total_steps,
)


def test_the_papers_interactions():
    config = default_config()
    assert [collection_steps(config, i) for i in (1, 2, 15)] == [12_800, 6_400, 6_400]
    assert total_steps(config) == 12_800 + 14 * 6_400 == 102_400


def test_the_papers_work():
    work = expected_work(default_config())
    assert work.real_steps == 102_400
    assert work.ppo_updates == 7 * 1000 + 2000 + 3 * 1000 + 2000 + 2 * 1000 + 3000
    assert work.evaluation_episodes == 15 * 32
    # Windows of eleven steps share their ends: one per ten steps; four of them make an update.
    epochs = (140, 32, 24, 20, 16, 14, 12, 11, 10, 9, 8, 8, 7, 7, 6)
    updates = [n * ((12_800 + 6_400 * i) // 10 // 4) for i, n in enumerate(epochs)]
    assert work.dynamics_steps == sum(updates)
    assert work.vqvae_steps == 50 * 320 + sum(updates) // 2


TINY = {
    "collection.num_iterations": 2,
    "collection.first_iteration_steps": 100,
    "collection.steps_per_iteration": 50,
    "vqvae.warmup_epochs": 3,
    "vqvae.batch_size": 30,
    "dynamics.windows_per_batch": 2,
    "dynamics.window_length": 6,
    "dynamics.epochs": (4, 1),
    "ppo.num_updates": (5, 0),
    "evaluation.num_episodes": 7,
}


def test_a_tiny_schedule():
    # 100 steps: 20 windows, 10 updates an epoch; 150 steps: 30 windows, 15 updates.
    work = expected_work(build_config(TINY))
    assert work == (150, 3 * 3 + (40 + 15) // 2, 40 + 15, 5, 14, 0)


@pytest.mark.parametrize(("interval", "evaluated"), [(1, 5), (2, 3), (4, 2), (5, 1), (9, 1)])
def test_the_last_iteration_is_always_evaluated(interval, evaluated):
    """With an interval of 2: after the iterations 2, 4 and 5."""
    five = {"collection.num_iterations": 5, "dynamics.epochs": (1,) * 5}
    five |= {"ppo.num_updates": (1,) * 5, "evaluation.interval": interval}
    assert expected_work(build_config(TINY | five)).evaluation_episodes == 7 * evaluated


def test_a_vqvae_that_trains_alone_only():
    resting = TINY | {"vqvae.update_interval": 0}
    assert expected_work(build_config(resting)) == (150, 3 * 3, 40 + 15, 5, 14, 0)
    # Batches of 30: three in 100 steps, five in 150, six in 200.
    later = TINY | {"vqvae.later_epochs": 2}
    assert expected_work(build_config(later)).vqvae_steps == 3 * 3 + 2 * 5 + (40 + 15) // 2
    longer = {"collection.num_iterations": 3, "dynamics.epochs": (4, 1, 0)}
    longer |= {"ppo.num_updates": (5, 0, 1), "vqvae.warmup_epochs": 0}
    work = expected_work(build_config(resting | later | longer | {"vqvae.update_interval": 0}))
    assert work.vqvae_steps == 2 * 5 + 2 * 6
    assert (work.dynamics_steps, work.ppo_updates) == (40 + 15, 6)


def test_the_steps_for_choosing_policies():
    assert expected_work(default_config()).choosing_steps == 0
    looked = {"ppo.check_interval": 2, "inspection.num_starts": 3, "inspection.horizon": 10}
    # Five updates are looked at before them, after 2, 4 and 5; no updates before them only.
    assert expected_work(build_config(TINY | looked)).choosing_steps == (4 + 1) * 3 * 10


@pytest.mark.parametrize(
    ("share", "count", "rates"),
    [
        (1.0, 3, [2.5e-4] * 3),
        (0.0, 3, [2.5e-4, 1.25e-4, 0.0]),
        (0.1, 4, [2.5e-4, 1.75e-4, 1e-4, 0.25e-4]),
        (0.1, 1, [2.5e-4]),
    ],
)
def test_learning_rates_of_the_policys_updates(share, count, rates):
    config = build_config({"ppo.final_learning_rate_share": share})
    got = [policy_learning_rate(config, number, count) for number in range(count)]
    assert got == pytest.approx(rates)
