"""Scores: tables against known figures, summaries against the statistics module, the file."""

import json
import math
import os
import pathlib
import statistics

import pytest

from smallwm_tf.runs import files, scores

PAPER = pathlib.Path(__file__).resolve().parents[2] / "smallwm_tf" / "data" / "atari_scores.csv"


def test_published_scores_of_table_4():
    # Read off Table 4 of the paper by hand.
    assert scores.paper_score("Pong", 4) == (11.8, 6.9)
    assert scores.paper_score("Pong", 1) == (-3.9, 7.6)
    assert scores.paper_score("Alien", 4).mean == 409.9
    assert scores.paper_score("YarsRevenge", 1).std == 1156.9


def test_tables_cover_the_36_games():
    games = [line.split(",")[0] for line in PAPER.read_text().splitlines()[1:]]
    assert len(set(games)) == 36
    for game in games:
        assert {"random", "human", "simple_mean"} <= set(scores.published_scores(game))
        assert 3 <= scores._table("random_reward_density.csv")[game]["num_actions"] <= 18
    assert "iris" in scores.published_scores("Alien")
    assert "iris" not in scores.published_scores("Asteroids")  # not one of the 26 of Atari 100k


def test_human_normalised_score():
    assert scores.human_normalised_score("Pong", -20.7) == 0.0
    assert scores.human_normalised_score("Pong", 14.6) == 1.0
    assert scores.human_normalised_score("Freeway", 7.4) == pytest.approx(0.25)
    assert scores.human_normalised_score("FishingDerby", -118.2) == pytest.approx(-0.5)


def test_mean_human_normalised_score_of_the_paper():
    # data/README.md's source gives 0.187 for 4 frames and 0.153 for 1 frame over the 36 games.
    games = list(scores._table("atari_scores.csv"))
    for num_frames, expected in ((4, 0.187), (1, 0.153)):
        values = [
            scores.human_normalised_score(game, scores.paper_score(game, num_frames).mean)
            for game in games
        ]
        assert statistics.mean(values) == pytest.approx(expected, abs=5e-4)


def test_games_and_variants_without_figures():
    assert scores.published_scores("Catch") == {}
    assert scores.human_normalised_score("Catch", 1.0) is None
    assert scores.paper_score("Catch", 4) is None
    assert scores.paper_score("Pong", 2) is None


def test_returned_tables_are_copies():
    scores.published_scores("Pong")["random"] = 5.0
    assert scores.published_scores("Pong")["random"] == -20.7


def test_summary_against_the_statistics_module():
    returns = [-21.0, 3.5, 7.0, 7.0, 14.0]
    summary = scores.summarise(returns)
    assert summary == {
        "mean": pytest.approx(statistics.mean(returns)),
        "std": pytest.approx(statistics.pstdev(returns)),
        "median": 7.0,
        "min": -21.0,
        "max": 14.0,
        "num_episodes": 5,
        "standard_error": pytest.approx(statistics.stdev(returns) / 5**0.5),
    }


def test_summary_of_one_episode_has_no_standard_error():
    summary = scores.summarise([2.0])
    assert (summary["mean"], summary["std"], summary["standard_error"]) == (2.0, 0.0, None)


@pytest.mark.parametrize("returns", [[], [1.0, float("nan")], [float("inf")], [[1.0]]])
def test_summary_refuses_what_is_not_a_return(returns):
    with pytest.raises(scores.ScoresError, match="returns:"):
        scores.summarise(returns)


def _entries():
    return [
        scores.evaluation_entry("Pong", 1, 12800, [-21.0, -20.0]),
        scores.evaluation_entry("Pong", 2, 19200, [-19.0, -21.0]),
    ]


def test_scores_file_round_trip(tmp_path):
    path = tmp_path / "scores.json"
    assert scores.read_scores(path) == []
    scores.write_scores(path, _entries())
    assert scores.read_scores(path) == _entries()
    first = path.read_bytes()
    scores.write_scores(path, _entries())
    assert path.read_bytes() == first
    assert os.listdir(tmp_path) == ["scores.json"]
    entry = json.loads(first)[1]
    assert entry["iteration"] == 2 and entry["num_interactions"] == 19200
    assert entry["returns"] == [-19.0, -21.0] and entry["mean"] == -20.0
    assert entry["human_normalised_mean"] == pytest.approx(0.7 / 35.3)


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "scores.json"
    scores.write_scores(path, _entries())
    before = path.read_bytes()

    def full_disk(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        scores.write_scores(path, _entries()[:1])
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["scores.json"]


@pytest.mark.parametrize(
    "entries",
    [
        {"iteration": 1},
        "text",
        [1],
        [{"mean": 1.0}],
        [{"iteration": True}],
        [{"iteration": 0}],
        [{"iteration": 2}, {"iteration": 2}],
        [{"iteration": 1, "mean": float("nan")}],
        [{"iteration": 1, "mean": object()}],
    ],
)
def test_unusable_entries_are_not_written(tmp_path, entries):
    with pytest.raises(scores.ScoresError, match="scores.json"):
        scores.write_scores(tmp_path / "scores.json", entries)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "content", [b"", b'[{"iteration": 1', b"\xff\xfe", b"{}", b"[[]]", b"[" * 100_000]
)
def test_damaged_files_are_named(tmp_path, content):
    path = tmp_path / "scores.json"
    path.write_bytes(content)
    with pytest.raises(scores.ScoresError, match="scores.json") as caught:
        scores.read_scores(path)
    assert "\n" not in str(caught.value)


def test_huge_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "scores.json"
    with open(path, "wb") as file:
        file.truncate(2**40)  # sparse: takes no space
    for read in (scores.read_scores, scores.read_summaries):
        with pytest.raises(scores.ScoresError, match="too large"):
            read(path)


def test_summaries_by_name(tmp_path):
    path = tmp_path / "null_policies.json"
    path.write_text(json.dumps({"uniform": scores.summarise([1.0, 2.0, 6.0])}))
    assert scores.read_summaries(path)["uniform"]["mean"] == 3.0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"uniform": {"mean": "3"}}',
        '{"uniform": {"mean": 1.0}, "holding": {"mean": true}}',
        '{"uniform": {"mean": NaN}}',
        '{"uniform": {"mean": 1e999}}',
        '{"mean": 3.0}',
        "[" * 9999,
    ],
)
def test_a_summary_without_a_mean_is_named(tmp_path, content):
    path = tmp_path / "null_policies.json"
    path.write_text(content)
    with pytest.raises(scores.ScoresError, match="null_policies.json.*move it away") as caught:
        scores.read_summaries(path)
    assert "\n" not in str(caught.value)


def test_standard_errors_by_hand():
    agent, null = ({"mean": m, "standard_error": e} for m, e in ((10.0, 3.0), (0.0, 4.0)))
    assert scores.standard_errors_above(agent, null) == pytest.approx(10.0 / 5.0)
    assert scores.standard_errors_above(null, agent) == pytest.approx(-2.0)
    assert scores.standard_errors_above(agent, null | {"standard_error": None}) is None
    same = {"mean": 1.0, "standard_error": 0.0}
    assert scores.standard_errors_above(same, same) is None
    assert not math.isnan(scores.standard_errors_above(agent, same))
    means = {"a": {"mean": -1.0}, "b": {"mean": 2.0}, "c": {"mean": 1.0}}
    assert scores.best_null_policy(means) == "b"
