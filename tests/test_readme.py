"""What the README says is what the code, the documents and the examples give."""

import re
from pathlib import Path

import pytest

import smallwm_tf
from smallwm_tf import doctor
from smallwm_tf.experiment.schedule import plan_of

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text("utf-8")
PERFORMANCE = (ROOT / "docs" / "performance.md").read_text("utf-8")


def section(title: str, text: str = README) -> str:
    return text.split(f"\n## {title}\n")[1].split("\n## ")[0]


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the tables in a text by what their first cell begins with, up to a comma."""
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")]
    stripped = [[cell.strip() for cell in cells] for cells in lines]
    return {cells[0].split(",")[0].strip("`"): cells[1:] for cells in stripped}


def test_the_contents_list_every_section_in_order():
    headings = re.findall(r"^## (.*)$", README, re.MULTILINE)
    listed = re.findall(r"^- \[(.*)\]\(#", section("Contents"), re.MULTILINE)
    assert ["Contents", *listed] == headings


def test_every_document_is_linked():
    linked = re.findall(r"\]\((docs/\w+\.md)\)", section("Documents"))
    assert sorted(linked) == sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md"))


def test_every_picture_stands_below_the_command_that_made_it():
    """And is used; the picture at the top has its command below it."""
    shown = re.findall(r"!\[[^\]]*\]\((docs/pictures/\S+)\)", README)
    documents = "".join(path.read_text("utf-8") for path in ROOT.glob("docs/*.md"))
    for path in (ROOT / "docs" / "pictures").iterdir():
        assert f"docs/pictures/{path.name}" in shown or f"pictures/{path.name})" in documents
    for picture in shown[1:]:
        before = README[: README.index(picture)]
        command = before[before.rindex("-m smallwm_tf.") :].split()[1].removeprefix("smallwm_tf.")
        name = Path(picture).stem
        assert name == command or (name, command) == ("horizon", "dream")


# --- what a run costs ------------------------------------------------------------------------

COSTS = rows(section("What a run costs"))
AGAINST_PYTORCH = section("Against PyTorch, in float32 and in bfloat16", PERFORMANCE)
MEASURED = rows(AGAINST_PYTORCH.split("**AMD EPYC without")[0])  # the first machine's
PRESETS = ("catch", "quick", "laptop", "fast", "atari100k")


def test_costs_come_before_the_commands_that_cost_them():
    assert set(PRESETS) <= set(COSTS)
    assert README.index("## What a run costs") < README.index("--game=Alien ")


@pytest.mark.parametrize("preset", PRESETS)
def test_steps_memory_and_disk_are_what_the_code_counts(preset):
    from smallwm_tf.sweeping.estimate import disk_bytes
    from smallwm_tf.training.estimate import describe

    experiment = smallwm_tf.Experiment("Catch" if preset == "catch" else "Pong", preset)
    _, memory, disk, steps = COSTS[preset]
    counted = plan_of(experiment.config).work().real_steps
    assert steps == " / ".join(f"{number:,}" for number in counted)
    report = describe(experiment)
    kept = disk_bytes(experiment.config, report.parameters["training_total"], counted.learned_from)
    assert memory == f"{report.memory_bytes / 1e9:.1f} GB" and disk == f"{kept / 1e9:.1f} GB"


@pytest.mark.parametrize("preset", ["laptop", "fast", "atari100k"])
def test_hours_follow_from_measured_rates(preset):
    """As docs/performance.md says; by the rates of its first table."""
    experiment = smallwm_tf.Experiment("Pong", preset)
    config, work = experiment.config, plan_of(experiment.config).work()
    rates = MEASURED
    column = {"float32": 0, "bfloat16": 3}

    def rate(name, kind):
        return float(rates[name][column[kind]].replace(",", ""))

    windows, dreams = config.dynamics.windows_per_batch, config.dream.num_dreams
    small, few = {16: 1.0, 4: 0.61}, {64: 1.0, 16: 0.72}
    transitions = work.dynamics_steps * windows * (config.dynamics.window_length - 1)
    steps = work.ppo_updates * dreams * config.dream.horizon
    cells, policy = {128: (1.0, 1.0), 64: (0.38, 0.54)}[config.dynamics.channels]
    told = rows(section("Minutes of a run", PERFORMANCE))[preset]
    for kind, hours in zip(("float32", "bfloat16"), told, strict=True):
        seconds = (
            work.vqvae_steps * config.vqvae.batch_size / rate("VQ-VAE training step", kind)
            + transitions * cells / rate("dynamics training step", kind) / small[windows]
            + steps * policy / 3200 * rate("whole PPO update", kind) / 1000 / few[dreams]
        )
        assert float(hours) == pytest.approx(seconds / 3600, rel=0.07), seconds / 3600
    assert COSTS[preset][0] == f"{told[0]} hours"


def test_rates_are_those_of_the_performance_page():
    shown = rows(section("Speed"))
    names = [name for name in shown if name in MEASURED and name != "work"]
    assert len(names) == 4
    for name in names:
        assert shown[name] == MEASURED[name][:6]


# --- what commands print and show ------------------------------------------------------------


def test_what_the_doctor_says_of_a_game():
    (found,) = doctor._examine_game("Pong")
    assert f"{found.state:<6} {found.topic:<10} {found.text}\n" in README


def test_the_citation_names_the_version_and_the_paper():
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {smallwm_tf.__version__}\n" in citation
    (paper,) = set(re.findall(r"\d{4}\.\d{5}", README + citation))
    assert f"https://arxiv.org/abs/{paper}" in README and f"arXiv:{paper}" in section("Citation")


@pytest.mark.slow  # loads an export and dreams
def test_the_dream_at_the_top_is_right_to_the_last_code(tmp_path, monkeypatch, capsys):
    """By the command below the picture, which draws the same picture again."""
    import numpy as np
    from PIL import Image, ImageSequence

    from smallwm_tf import dream

    (words,) = re.findall(r"^`python -m smallwm_tf\.dream (.*)`\.", README, re.MULTILINE)
    monkeypatch.chdir(ROOT)
    more = ["--num_starts=1", f"--out={tmp_path}"]
    monkeypatch.setattr("sys.argv", ["dream", *words.split(), *more])
    dream.main()
    assert "12 steps, 100% of codes right" in capsys.readouterr().out

    def pictures(path):
        with Image.open(path) as film:
            return np.stack([np.asarray(p.convert("RGB")) for p in ImageSequence.Iterator(film)])

    made = pictures(tmp_path / "dream_24_0.gif")
    kept = pictures(ROOT / "docs" / "pictures" / "catch_dream.gif")
    assert made.shape == kept.shape and len(made) == 12
    # Other hardware rounds pixels otherwise; codes and rewards are in the colours and captions.
    assert (np.abs(made.astype(int) - kept) <= 8).mean() > 0.99
    assert 12 * 36 == 432 and "432 codes" in README
