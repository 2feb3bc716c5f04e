"""Means, errors and null policies of several runs, against the statistics module."""

import math
import statistics

import pytest

from smallwm_tf.reporting.comparison import by_preset, games_of, pooled
from smallwm_tf.reporting.found_runs import find
from tests.reporting.made_runs import make_run, summaries


def standard_error(values):
    return statistics.stdev(values) / math.sqrt(len(values))


def result_of(folder):
    (preset,) = by_preset(find([folder]))
    (game,) = preset.games
    return game


def test_several_seeds_have_an_error_over_seeds_and_one_over_episodes(tmp_path):
    make_run(tmp_path / "0", nulls={"uniform": [1.0, 2.0], "holding": [4.0, 0.0]})
    one = result_of(tmp_path)
    assert one.summary["mean"] == 20.0
    assert one.summary["standard_error"] == pytest.approx(standard_error([10.0, 20.0, 30.0]))
    make_run(tmp_path / "1", seed=1, returns=[[0.0], [0.0], [26.0, 30.0]],
             nulls={"uniform": [3.0, 4.0, 5.0], "holding": [0.0, 1.0]})  # fmt: skip
    two = result_of(tmp_path)
    assert two.scores == [20.0, 28.0] and two.summary["mean"] == 24.0
    assert two.summary["standard_error"] == pytest.approx(standard_error([20.0, 28.0])) == 4.0
    assert two.best_null == "uniform" and two.null_scores == [1.5, 4.0]
    assert two.nulls["uniform"]["mean"] == 3.0  # 15 over 5 episodes
    error = math.hypot(2 * standard_error([1.0, 2.0]), 3 * standard_error([3.0, 4.0, 5.0])) / 5
    assert two.above == pytest.approx((24.0 - 3.0) / math.hypot(4.0, error))
    assert two.human_normalised == pytest.approx((24.0 - 227.8) / (7127.7 - 227.8))


def test_pooling_equal_evaluations_is_one_long_evaluation():
    halves = [[1.0, 5.0, 2.0], [2.0, 5.0, 1.0]]
    found = pooled([summaries({"a": half}) for half in halves])["a"]
    assert found["num_episodes"] == 6 and found["mean"] == pytest.approx(8 / 3)
    assert found["standard_error"] == pytest.approx(standard_error(halves[0]) / math.sqrt(2))
    unknown = [summaries({"a": [1.0]}), summaries({"a": [2.0, 3.0]})]
    assert pooled(unknown)["a"] == {"mean": 2.0, "standard_error": None, "num_episodes": 3}


def test_unfinished_runs_count_only_where_no_run_is_finished(tmp_path):
    make_run(tmp_path / "0", returns=[[1.0, 1.0]])
    alone = result_of(tmp_path)
    assert not alone.is_finished and alone.scores == [1.0] and not alone.left_out
    make_run(tmp_path / "1", seed=1)
    both = result_of(tmp_path)
    assert both.is_finished and both.scores == [20.0]
    assert [run.seed for run in both.left_out] == [0]
    first, *rest = both.curve()
    assert (first.mean, first.num_runs) == (1.5, 2) and [p.num_runs for p in rest] == [1, 1]
    assert first.error == pytest.approx(standard_error([1.0, 2.0]))


def test_the_curve_goes_over_all_real_steps(tmp_path):
    make_run(tmp_path / "0")
    game = result_of(tmp_path)
    assert [sum(point.real_steps) for point in game.curve()] == [255, 460, 665]
    assert [point.mean for point in game.curve()] == [2.0, 3.0, 20.0]
    assert game.curve_while_collecting() == [(100, 1.0), (305, 2.0), (510, 3.0)]


def test_nulls_that_runs_share_count_once(tmp_path):
    from tests.reporting.made_runs import write_json

    for seed in range(3):
        make_run(tmp_path / str(seed), seed=seed)
    write_json(tmp_path / "null_policies" / "Alien.json", summaries({"uniform": [2.0, 4.0]}))
    game = result_of(tmp_path)
    assert game.null_scores == [3.0] and game.nulls["uniform"]["num_episodes"] == 2


def test_the_sets_of_games():
    assert len(games_of("random")) == 36 and len(games_of("iris")) == 26
    assert "Asteroids" not in games_of("iris")
