"""Amounts of work against sums worked by hand, and against what the documents say."""

from pathlib import Path

import pytest

from smallwm_tf.experiment.config import build_config, default_config
from smallwm_tf.experiment.presets import load_preset
from smallwm_tf.experiment.schedule import (
    RealSteps,
    collection_steps,
    plan_of,
    policy_learning_rate,
    total_steps,
)

ROOT = Path(__file__).parents[2]


def test_the_papers_interactions():
    config = default_config()
    assert [collection_steps(config, i) for i in (1, 2, 15)] == [12_800, 6_400, 6_400]
    assert total_steps(config) == 12_800 + 14 * 6_400 == 102_400


def test_the_papers_work():
    work = plan_of(default_config()).work()
    assert work.real_steps.learned_from == 102_400
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
    work = plan_of(build_config(TINY)).work()
    assert work[1:] == (3 * 3 + (40 + 15) // 2, 40 + 15, 5, 14)


@pytest.mark.parametrize(("interval", "evaluated"), [(1, 5), (2, 3), (4, 2), (5, 1), (9, 1)])
def test_the_last_iteration_is_always_evaluated(interval, evaluated):
    """With an interval of 2: after the iterations 2, 4 and 5."""
    five = {"collection.num_iterations": 5, "dynamics.epochs": (1,) * 5}
    five |= {"ppo.num_updates": (1,) * 5, "evaluation.interval": interval}
    assert plan_of(build_config(TINY | five)).work().evaluation_episodes == 7 * evaluated


def test_a_vqvae_that_trains_alone_only():
    resting = TINY | {"vqvae.update_interval": 0}
    assert plan_of(build_config(resting)).work()[1:] == (3 * 3, 40 + 15, 5, 14)
    # Batches of 30: three in 100 steps, five in 150, six in 200.
    later = TINY | {"vqvae.later_epochs": 2}
    assert plan_of(build_config(later)).work().vqvae_steps == 3 * 3 + 2 * 5 + (40 + 15) // 2
    longer = {"collection.num_iterations": 3, "dynamics.epochs": (4, 1, 0)}
    longer |= {"ppo.num_updates": (5, 0, 1), "vqvae.warmup_epochs": 0}
    work = plan_of(build_config(resting | later | longer | {"vqvae.update_interval": 0})).work()
    assert work.vqvae_steps == 2 * 5 + 2 * 6
    assert (work.dynamics_steps, work.ppo_updates) == (40 + 15, 6)


JUDGED = {"inspection.held_out_steps": 70, "inspection.num_starts": 3, "inspection.horizon": 10}


@pytest.mark.parametrize(
    ("differences", "chosen_by", "only_judged"),
    [
        # Two iterations: 70 held-out steps, moments at steps 0, 20 and 40, ten steps from each.
        ({}, 0, 2 * (70 + 41 + 30)),
        ({"dynamics.epoch_fallback": True}, 2 * 70, 2 * (41 + 30)),
        # Five updates are looked at before them, after 2, 4 and 5; no updates before them only.
        ({"ppo.check_interval": 2}, 2 * 41 + (4 + 1) * 30, 2 * (70 + 30)),
        ({"ppo.check_interval": 5, "inspection.num_starts": 1}, 2 + 3 * 10, 2 * (70 + 10)),
        (
            {"ppo.check_interval": 9, "dynamics.epoch_fallback": True},
            2 * (70 + 41) + (2 + 1) * 30,
            2 * 30,
        ),
    ],
)
def test_every_real_step_by_what_it_is_for(differences, chosen_by, only_judged):
    plan = plan_of(build_config(TINY | JUDGED | differences))
    assert plan.real_steps() == plan.work().real_steps == RealSteps(150, chosen_by, only_judged)


@pytest.mark.parametrize(
    ("preset", "counted"),
    [
        ("atari100k", (102_400, 0, 15 * (3200 + 31 * 20 + 1 + 32 * 50))),
        ("catch", (4000 + 1000, 0, 2 * (500 + 31 * 20 + 1 + 32 * 12))),
        # Held-out steps, 301 on the way to 16 moments, 50 from each of them.
        ("quick", (32_000, 0, 5 * (1200 + 15 * 20 + 1 + 16 * 50))),
        ("laptop", (102_400, 0, 15 * (1200 + 15 * 20 + 1 + 16 * 50))),
    ],
)
def test_real_steps_of_the_presets(preset, counted):
    assert plan_of(load_preset(preset)[1]).real_steps() == counted


@pytest.mark.parametrize(
    ("document", "preset", "names"),
    [
        ("README.md", "quick", ("learned_from", "only_judged")),
        ("README.md", "laptop", ("learned_from", "only_judged")),
        ("configs/laptop.py", "laptop", ("learned_from",)),
        ("configs/ppo_quick.py", "quick", ("learned_from",)),
        ("docs/metrics.md", "quick", ("learned_from", "only_judged")),
    ],
)
def test_documents_name_the_number_that_is_counted(document, preset, names):
    text = " ".join((ROOT / document).read_text("utf-8").split())
    for name in names:
        assert f"{getattr(plan_of(load_preset(preset)[1]).real_steps(), name):,}" in text, name


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
