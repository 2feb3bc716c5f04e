"""Aggregates against sorting, counting, and rliable called by hand."""

import itertools

import numpy as np
import pytest

pytest.importorskip("rliable", reason="the extra [report] is not installed")

from rliable import library, metrics  # noqa: E402

from smallwm_tf.reporting import aggregates as module  # noqa: E402
from smallwm_tf.reporting.aggregates import (  # noqa: E402
    aggregates,
    estimate,
    improvements,
    published_on_all_games,
)
from smallwm_tf.reporting.comparison import by_preset  # noqa: E402
from smallwm_tf.reporting.found_runs import find  # noqa: E402
from smallwm_tf.runs.scores import human_normalised_score  # noqa: E402
from tests.reporting.made_runs import make_run  # noqa: E402

SCORES = {  # per game, of the runs with seeds 0, 1, ...
    "Alien": [700.0, 300.0, 1500.0],
    "Pong": [-20.0, 14.0, 3.0],
    "Boxing": [3.0, 30.0, -1.0],
    "Krull": [2000.0, 2100.0, 1500.0],
}


def make_preset(folder, scores, preset="quick", nulls=None, **config):
    for game, values in scores.items():
        for seed, score in enumerate(values):
            make_run(
                folder / f"{preset}-{game}-{seed}", game, seed, preset, [[score]], nulls=nulls,
                config={"collection": {"num_iterations": 1}, **config},
            )  # fmt: skip
    return by_preset(find([folder]))


@pytest.fixture(autouse=True)
def few_repetitions(monkeypatch):
    monkeypatch.setattr(module, "_REPETITIONS", 300)


def normalised(scores):
    return [[human_normalised_score(game, s) for s in values] for game, values in scores.items()]


def interquartile_mean(values):
    """The middle half of the sorted values."""
    values = sorted(values)
    cut = len(values) // 4
    return np.mean(values[cut : len(values) - cut])


def test_aggregates_by_sorting_and_intervals_by_rliable(tmp_path):
    (preset,) = make_preset(tmp_path, SCORES, nulls={"uniform": [0.0, 1.0]})
    np.random.seed(7)
    before = np.random.get_state()[1].copy()
    found = aggregates(preset)
    assert (np.random.get_state()[1] == before).all()  # the global stream is left alone
    ours, nulls, *published = found.rows
    columns = normalised({game: SCORES[game] for game in sorted(SCORES)})
    values = sorted(itertools.chain(*columns))
    means = [sum(column) / 3 for column in columns]
    np.testing.assert_allclose(
        ours.values,
        [
            sum(means) / 4,
            (sorted(means)[1] + sorted(means)[2]) / 2,
            interquartile_mean(values),
            1 - sum(min(value, 1.0) for value in values) / 12,
        ],
    )
    np.random.seed(0)
    matrix = np.array(columns).T
    by_hand = lambda x: np.array(  # noqa: E731
        [metrics.aggregate_mean(x), metrics.aggregate_median(x), metrics.aggregate_iqm(x),
         metrics.aggregate_optimality_gap(x)]
    )  # fmt: skip
    _, intervals = library.get_interval_estimates({"x": matrix}, by_hand, reps=300)
    np.testing.assert_allclose([ours.low, ours.high], intervals["x"])
    assert (ours.num_games, ours.num_runs, ours.num_single) == (4, 12, 0)
    assert nulls.label == "quick: best null policies" and nulls.num_runs == 12
    assert [row.label for row in published] == [
        "paper, 1 frame",
        "paper, 4 frames",
        "PPO",
        "SimPLe",
    ]


def test_the_profile_is_a_share_of_runs(tmp_path):
    (preset,) = make_preset(tmp_path, SCORES)
    found = aggregates(preset)
    (profile,) = found.profiles
    values = np.ravel(normalised(SCORES))
    by_hand = [(values > threshold).mean() for threshold in found.thresholds]
    np.testing.assert_allclose(profile.values, by_hand)
    assert profile.values[-1] == 0.0 and found.thresholds[-1] == values.max()
    inside = (profile.low <= profile.values + 1e-9) & (profile.values <= profile.high + 1e-9)
    assert inside.all()


def test_games_with_more_runs_do_not_weigh_more():
    columns = [[1.0, 3.0], [5.0, 6.0, 10.0], [0.0]]
    found = estimate(
        "x", columns, lambda *given: module._metrics_and_profile(np.array([2.0]), *given)
    )
    assert found.values[0] == pytest.approx((2.0 + 7.0 + 0.0) / 3)
    assert found.values[1] == pytest.approx(2.0)
    repeated = [1.0, 3.0] * 3 + [5.0, 6.0, 10.0] * 2 + [0.0] * 6
    assert found.values[2] == pytest.approx(interquartile_mean(repeated))
    assert found.values[4] == pytest.approx((0.5 + 1.0 + 0.0) / 3)  # above 2
    assert found.num_single == 1
    # Means of all resamples lie within those of the extremes.
    assert (1 + 5 + 0) / 3 <= found.low[0] < found.values[0] < found.high[0] <= (3 + 10 + 0) / 3


def test_one_run_per_game_has_no_interval(tmp_path):
    (preset,) = make_preset(tmp_path, {"Alien": [700.0], "Pong": [-20.0], "Catch": [1.0]})
    row = aggregates(preset).rows[0]
    assert row.low is None and row.num_games == 2  # Catch has no human score
    (only_catch,) = make_preset(tmp_path / "catch", {"Catch": [1.0]})
    assert aggregates(only_catch) is None


def test_chances_of_improvement_by_counting_pairs(tmp_path):
    make_preset(tmp_path, SCORES, nulls={"uniform": [1.0, 3.0], "holding": [0.0, 0.0]})
    theirs = {"Pong": [-20.0, 14.0], "Alien": [300.0, 9.0, 9.0], "Freeway": [2.0]}
    presets = make_preset(tmp_path, theirs, preset="ppo_quick", algorithm="ppo")
    found = {(one, over.label): over for one, over in improvements(presets)}
    assert set(found) == {("quick", "best null policies"), ("quick", "ppo_quick")}
    chances = []
    for game in ("Alien", "Pong"):
        pairs = list(itertools.product(SCORES[game], theirs[game]))
        chances.append(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    over = found["quick", "ppo_quick"]
    assert over.values == pytest.approx(np.mean(chances)) and over.num_games == 2
    by_rliable = [
        metrics.probability_of_improvement(*(np.array(s[game])[:, None] for s in (SCORES, theirs)))
        for game in ("Alien", "Pong")
    ]
    assert over.values == pytest.approx(np.mean(by_rliable))
    assert over.low < over.values < over.high
    # Every null is 2.0: of 12 scores all are above it but −20 and −1.
    assert found["quick", "best null policies"].values == pytest.approx(10 / 12)


def test_published_means_agree_with_what_their_sources_say():
    # /design: mean / median / IQM of per-game means on 26 games, mean / median on 36.
    few, all_games = (
        {row.label: row.values.round(3).tolist()
         for row in published_on_all_games() if row.num_games == count}
        for count in (26, 36)
    )  # fmt: skip
    assert few["paper, 4 frames"][:3] == [0.269, 0.073, 0.097]
    assert few["SimPLe"][:3] == [0.365, 0.098, 0.185]
    assert few["PPO"][:3] == [0.145, 0.027, 0.053]
    assert all_games["paper, 1 frame"][:2] == [0.153, 0.057]
