"""Tables: digits, marks and notes, as a reader sees them."""

import csv
import io
import json

import pytest

pytest.importorskip("rliable", reason="the extra [report] is not installed")

from smallwm_tf.reporting import data_files, tables  # noqa: E402
from smallwm_tf.reporting.contents import gather  # noqa: E402
from tests.reporting.made_runs import make_run  # noqa: E402


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234.5, "1,234"),
        (-20.26, "−20.3"),
        (0.987, "0.99"),
        (-3.9, "−3.90"),
        (-0.001, "0.00"),
        (99.99, "100.0"),
        (None, "–"),
    ],
)
def test_digits_follow_the_size(value, text):
    assert tables.number(value) == text


def test_nothing_is_minus_zero():
    assert tables.number(-0.0004, digits=3) == "0.000" and tables.number(2.0, sign="+") == "+2.00"


def test_an_error_has_the_digits_of_its_mean():
    assert tables.number(1.234, 5000.0) == "1" and tables.number(123.4, 2.0) == "123.40"


def row_of(folder, game="Alien"):
    (preset,) = gather([folder]).presets
    (row,) = (row for row in tables.game_rows(preset) if row[0].value == game)
    return dict(zip(tables.GAME_COLUMNS, (cell.text for cell in row), strict=True)), preset


def test_a_row_of_one_run(tmp_path):
    make_run(tmp_path / "0", nulls={"uniform": [1.0, 2.0], "best of nine": [4.0, 8.0]})
    row, _ = row_of(tmp_path)
    assert row == {
        "game": "Alien", "score": "20 ± 6 (e)", "human-normalised": "−0.0301",
        "best null policy": "6.0 ± 2.0 best of nine", "standard errors above it": "+2.3",
        "random": "228", "human": "7,128", "paper, 1 frame": "423", "paper, 4 frames": "410",
        "PPO": "291", "SimPLe": "405", "seeds × episodes": "1 × 3",
        "real steps": "200 / 312 / 153",
    }  # fmt: skip


def test_published_figures_stand_as_they_were_published(tmp_path):
    make_run(tmp_path / "0", game="Pong")
    row, _ = row_of(tmp_path, "Pong")
    columns = ("random", "human", "paper, 1 frame", "paper, 4 frames", "PPO", "SimPLe")
    assert [row[name] for name in columns] == ["−20.7", "14.6", "−3.9", "11.8", "−20.5", "5.2"]


def test_a_row_of_several_unfinished_runs_of_one_seed(tmp_path):
    for name, returns in (("a", [[1.0]]), ("b", [[2.0, 3.0], [3.0, 4.0]])):
        make_run(tmp_path / name, game="Catch", returns=returns)
    row, preset = row_of(tmp_path, "Catch")
    assert row["game"] == "Catch (iteration 1 to 2 of 3)"
    assert row["seeds × episodes"] == "1 (2 runs) × 1 or 2"
    assert row["score"] == "2.2 ± 1.2" and row["best null policy"] == row["human"] == "–"
    notes = "\n".join(tables.notes(preset))
    assert "Unfinished, marked in the table, counted in the aggregates: Catch." in notes
    assert "No human score, so in no aggregate: Catch." in notes
    assert "No null policies were scored: Catch." in notes


def test_notes_say_what_is_partial_and_mixed(tmp_path):
    make_run(tmp_path / "0", nulls={"uniform": [1.0, 2.0]})
    make_run(tmp_path / "1", seed=1, returns=[[5.0, 6.0]], version="0.2.0")
    make_run(tmp_path / "2", game="Asteroids", config={"ppo": {"discount": 0.5}})
    (preset,) = gather([tmp_path], mix=True).presets
    notes = "\n".join(tables.notes(preset))
    here = tmp_path.name
    assert (
        "1 of the 26 games of Atari 100k, 2 of the 36 of Table 4; missing: Amidar, Assault, "
        "Asterix, Atlantis, "
    ) in notes
    assert f"{here}/1 is unfinished (iteration 1 of 3) and not in the score." in notes
    assert "Uniform play is the only null policy that was scored: Alien." in notes
    assert f"Mixed: ppo.discount is 0.99 in {here}/0, {here}/1; 0.5 in {here}/2." in notes
    assert f"Mixed: smallwm_tf is 0.1.0 in {here}/0, {here}/2; 0.2.0 in {here}/1." in notes


def test_intervals_are_marked_where_they_are_too_narrow(tmp_path):
    for game, seeds in (("Alien", 2), ("Pong", 1)):
        for seed in range(seeds):
            make_run(tmp_path / f"{game}{seed}", game, seed, returns=[[0.0], [0.0], [300.0 * seed]])
    contents = gather([tmp_path])
    ours, *published = tables.aggregate_rows(contents.aggregates[0].rows)
    assert [cell.text for cell in ours[:3]] == ["quick", "2", "3"]
    assert all(cell.text.endswith("] †") for cell in ours[3:])
    assert all("[" not in cell.text for row in published for cell in row)
    text = tables.markdown(contents, {"A caption": "a.png"})
    assert "![A caption](a.png)" in text and "### quick, and published means on its games" in text


def test_csv_and_json_hold_every_run(tmp_path):
    make_run(tmp_path / "0", nulls={"uniform": [1.0, 2.0], "holding": [3.0, 5.0]})
    make_run(tmp_path / "1", seed=1, game="Catch", returns=[[0.1, 0.2]])
    contents = gather([tmp_path])
    alien, catch = csv.DictReader(io.StringIO(data_files.csv_text(contents.found)))
    assert (alien["game"], alien["mean"], alien["best_null"]) == ("Alien", "20.0", "holding")
    assert float(alien["human_normalised"]) == (20.0 - 227.8) / (7127.7 - 227.8)
    assert (alien["learned_from"], alien["chosen_by"], alien["only_judged"]) == (
        "200",
        "312",
        "153",
    )
    assert (catch["iteration"], catch["num_iterations"]) == ("1", "3")
    assert catch["best_null"] == catch["human_normalised"] == catch["standard_errors_above"] == ""
    content = json.loads(data_files.rliable_json(contents.presets))["quick"]
    assert content["raw"] == {"Alien": [20.0], "Catch": [pytest.approx(0.15)]}
    assert content["human_normalised"] == {"Alien": [float(alien["human_normalised"])]}


def add_world_model(path, held_out, seconds, decision=None):
    """Metrics of a run with a world model, and perhaps what ``evaluate`` filed."""
    lines = [{"event": "networks", "iteration": 0, "step": 0, "training_total": 1000}]
    for iteration, (values, taken) in enumerate(zip(held_out, seconds, strict=True), 1):
        lines.append({"event": "held_out", "iteration": iteration, "step": 1, **values})
        of_policy = {"phase": "learn_policy", "seconds": taken}
        lines.append({"event": "phase", "iteration": iteration, "step": 2, **of_policy})
        of_other = {"phase": "collect", "seconds": 1e6}
        lines.append({"event": "phase", "iteration": iteration, "step": 0, **of_other})
    with open(path / "metrics.jsonl", "a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    if decision:
        content = json.dumps({"milliseconds_per_decision": decision})
        (path / "evaluation.json").write_text(content)


def test_world_models_stand_beside_each_other_game_by_game(tmp_path):
    dream = {"dream": {"num_dreams": 8, "horizon": 50}}
    for seed, nats in enumerate((20.0, 30.0)):
        path = make_run(tmp_path / f"a{seed}", seed=seed, config=dream)
        held_out = [{"latent_loss": 99.0}, {"latent_loss": nats, "reward_skill": -0.25}]
        held_out[1]["open_loop_more_objects_5"] = 0.25
        add_world_model(path, held_out, (10.0, 30.0))
    path = make_run(tmp_path / "b", preset="quick+masked", config=dream)
    add_world_model(path, [{"latent_loss": 15.5, "reward_skill": None}], (8.0,), decision=2.25)
    make_run(tmp_path / "c", game="Pong", config=dream)  # without a judgement
    make_run(tmp_path / "d", preset="ppo_quick", config={"algorithm": "ppo"})
    rows = tables.world_model_rows(gather([tmp_path]))
    texts = [[cell.text for cell in row] for row in rows]
    assert len(tables.WORLD_MODEL_COLUMNS) == len(texts[0])
    # 20 updates of 8 dreams of 50 steps in 40 seconds; 10 of them in 8.
    none = "–"
    both = ["Alien", "quick", "2", "1,000", "25 ± 5", none, none, "0.25", none, "−0.25", "200"]
    masked = ["Alien", "quick+masked", "1", "1,000", "15.5", *[none] * 5, "500", "2.25", "20 ± 6"]
    assert texts == [[*both, none, "20.0"], masked]
    assert [cell.value for cell in rows[0]][3:5] == [1000.0, 25.0]


def test_without_world_models_there_is_no_such_table(tmp_path):
    make_run(tmp_path / "a")
    contents = gather([tmp_path])
    assert not tables.world_model_rows(contents)
    assert "World models" not in tables.markdown(contents, {})
