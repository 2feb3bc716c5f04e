"""Where a run stands and when it ends: against runs whose phases take what they take."""

import re
import time

import pytest

from smallwm_tf.experiment.machine import cores_here
from smallwm_tf.experiment.presets import load_preset
from smallwm_tf.models.execution import FAST
from smallwm_tf.training import outlook
from smallwm_tf.training.outlook import Outlook

PHASES = ("collect", "learn_world_model", "learn_policy", "evaluate")
TEXT = re.compile(r"phase (\d+) of (\d+), (\d+) %, ends about (.*)")


@pytest.fixture
def clock(monkeypatch):
    """Both clocks, which the test moves; it is noon of a day in spring."""
    noon, now = time.mktime((2026, 5, 4, 12, 0, 0, 0, 0, -1)), [0.0]
    monkeypatch.setattr(outlook.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(outlook.time, "time", lambda: noon + now[0])
    return now


def lines(seconds):
    """Of the metrics: what phases took, in their order."""
    return [
        {"event": "phase", "iteration": 1, "step": place, "seconds": each}
        for place, each in enumerate(seconds)
    ]


def config(**settings):
    """Three iterations of `atari100k` with a VQ-VAE at rest, changed."""
    three = {"collection.num_iterations": 3, "evaluation.interval": 3, "vqvae.update_interval": 0,
             "dynamics.epochs": (8, 2, 2), "ppo.num_updates": (100, 100, 100)}  # fmt: skip
    found = load_preset("atari100k")[1]
    found.update_from_flattened_dict({**three, **settings})
    return found


def test_with_every_kind_of_phase_seen_the_end_is_known(clock):
    """Three iterations of equal work, 600 seconds each; half of the second is over."""
    same = {"dynamics.epochs": (0, 0, 0), "vqvae.warmup_epochs": 0, "vqvae.later_epochs": 0,
            "collection.first_iteration_steps": 6400, "collection.steps_per_iteration": 6400,
            "ppo.num_updates": (50, 50, 50)}  # fmt: skip
    took = [100.0, 200.0, 300.0, 0.0]
    seen = Outlook(config(**same), PHASES, lines([*took, *took[:2]]))
    seen.begin(6)
    phase, of, percent, end = TEXT.fullmatch(seen.text()).groups()
    assert (phase, of) == ("7", "12")
    left = 300.0 + 600.0
    assert int(percent) == pytest.approx(100 * 900 / (900 + left), abs=1)
    assert end == "12:15"
    clock[0] += 150.0
    assert TEXT.fullmatch(seen.text())[3] == str(int(100 * 1050 / 1800))


def test_work_that_is_slower_than_its_price_moves_the_end(clock):
    first = Outlook(config(), PHASES)
    first.begin(1)
    clock[0] += 100.0
    soon, late = (first.expected(100.0 + left) for left in (100.0, 10_000.0))
    assert soon[1] == 200.0 and late[1] == 10_100.0
    assert late[2] == pytest.approx(soon[2] * 10_100.0 / 200.0)  # learning is as slow everywhere
    assert late[0] == soon[0]  # playing is not


def test_percent_never_goes_back_and_never_says_done(clock):
    run = Outlook(config(), PHASES)
    run.begin(0)
    shown = []
    for left in (1.0, 1.0, 50_000.0, 10.0):
        clock[0] += 30.0
        shown.append(int(TEXT.fullmatch(run.text(left))[3]))
    assert shown == sorted(shown)
    run = Outlook(config(), PHASES, lines([1.0] * 11))
    run.begin(11)
    clock[0] += 1e6
    assert TEXT.fullmatch(run.text(0.0))[3] == "99"


def test_another_day_is_named(clock):
    for seconds, end in (
        (3600.0, "13:00"),
        (86_400.0, "Tue 12:00"),
        (30 * 86_400.0, "03 Jun 12:00"),
    ):
        assert outlook._clock(time.time(), seconds) == end


@pytest.mark.parametrize("preset", ["atari100k", "laptop", "quick", "catch", "smoke"])
def test_every_phase_of_every_preset_has_a_price(preset):
    found = load_preset(preset)[1]
    expected = Outlook(found, PHASES).expected()
    assert len(expected) == 4 * found.collection.num_iterations and min(expected) > 0.0


def test_model_free_runs_have_prices_too():
    assert min(Outlook(load_preset("ppo_quick")[1], ("learn_policy", "evaluate")).expected()) > 0


@pytest.mark.parametrize("phase, settings, low, high", [
    (1, {"dynamics.channels": 64}, 0.35, 0.45),  # measured: 1.01 / 2.64
    (1, {"dynamics.cell": "causal_lstm"}, 3.0, 3.4),
    (1, {"dynamics.cell": "st_lstm", "dynamics.channels": 64}, 0.7, 0.9),
    (1, {"dynamics.code_head": "masked"}, 1.4, 1.6),
    (2, {"dynamics.channels": 64}, 0.5, 0.7),  # measured: 2.0 / 3.7
])  # fmt: skip
def test_what_networks_cost_is_in_the_first_guess(phase, settings, low, high):
    """Of a run without held-out steps, a VQ-VAE, and looks."""
    rest = {"inspection.held_out_steps": 0, "vqvae.warmup_epochs": 0}
    usual = Outlook(config(**rest), PHASES).expected()[phase]
    assert low < Outlook(config(**rest, **settings), PHASES).expected()[phase] / usual < high


def test_one_core_is_half_as_fast_as_two(monkeypatch):
    expected = {}
    for cores in (1, 2, 64):
        monkeypatch.setattr(outlook, "cores_here", lambda cores=cores: cores)
        expected[cores] = Outlook(config(), PHASES).expected()
    assert expected[64] == expected[2]
    assert expected[1] == [
        seconds * (2.0 if phase.startswith("learn") else 1.0)
        for phase, seconds in zip(PHASES * 3, expected[2], strict=True)
    ]


@pytest.mark.parametrize("form, updates_per_second", [("direct", 4.2), ("blocks", 2.1)])
def test_the_first_guess_knows_what_frames_cost_the_processor(
    form, updates_per_second, monkeypatch
):
    """The warm-up of `atari100k`, 16,000 updates of 40 frames, at the rates of performance.md."""
    monkeypatch.setattr(outlook, "execution_of", lambda _: FAST._replace(strided_form=form))
    rest = {"inspection.held_out_steps": 0, "dynamics.epochs": (0, 0, 0)}
    seconds = Outlook(config(**rest), PHASES).expected()[1]
    assert 16_000 / seconds * 2 / min(2, cores_here()) == pytest.approx(
        updates_per_second, rel=0.05
    )


def test_odd_lines_are_left_out():
    odd = [{"event": "phase", "step": 10**6, "seconds": 1.0}, {"event": "phase", "step": 0},
           {"event": "ppo", "step": 1, "seconds": 3.0}]  # fmt: skip
    assert Outlook(config(), PHASES, odd).expected() == Outlook(config(), PHASES).expected()
