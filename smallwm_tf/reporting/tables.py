"""A report as text: cells of tables, for Markdown and the page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from smallwm_tf.experiment.numbers import counted, decimals, published
from smallwm_tf.experiment.schedule import RealSteps
from smallwm_tf.reporting.aggregates import METRICS, Estimate
from smallwm_tf.reporting.comparison import PUBLISHED, GameResult, PresetResult, games_of
from smallwm_tf.reporting.contents import Contents
from smallwm_tf.reporting.found_runs import FoundRun
from smallwm_tf.reporting.world_models import MEASURES, rows_of

GAME_COLUMNS = (
    "game", "score", "human-normalised", "best null policy", "standard errors above it",
    *PUBLISHED, "seeds × episodes", "real steps",
)  # fmt: skip
AGGREGATE_COLUMNS = ("", "games", "runs", *METRICS)
IMPROVEMENT_COLUMNS = ("of", "over", "games", "chance")
WORLD_MODEL_COLUMNS = ("game", "preset", "runs", *MEASURES, "score")
LEGEND = (
    "A score is the mean of the last evaluation, raw and undiscounted, ± its standard error: over "
    "seeds where a game has several, else over the episodes of its one run, marked (e).",
    "The best null policy is the one with the highest mean among those scored: play that looks at "
    "nothing. A score counts only beside it.",
    "Random, human, the paper, PPO and SimPLe are published means (Table 4); random = 0 and "
    "human = 1 in human-normalised scores.",
    "Real steps: learned from / at most chosen by / at most only judged, up to the evaluation, "
    "without the evaluation's own episodes.",
)
AGGREGATE_LEGEND = (
    "Human-normalised scores; a small optimality gap is good. In brackets 95 % intervals of a "
    "bootstrap over runs within games (rliable). Rows without brackets have one run per game, or "
    "are published means. With † some games have one run only: the interval is too narrow."
)
WORLD_MODEL_LEGEND = (
    "Of the last iteration, on steps that nothing was trained on: the loss of the next 36 codes, "
    "the share of drawn codes that are right after so many steps without looking, the share of "
    "such dreams that show more moving objects than reality, and fewer, the skill of predicted "
    "rewards. Speed is that of the machine that made the run, everything in the phase of "
    "the policy included; a decision is one observation, where `evaluate` was called. Means ± "
    "standard errors over runs."
)
IMPROVEMENT_LEGEND = (
    "That a run scores more than one of the other on the same game; ties count half, games equally."
)


_WIDTH = 3.92  # of a 95 % interval, in standard errors


class Cell(NamedTuple):
    """What a table shows, and what it sorts by (None: last)."""

    text: str
    value: float | str | None


def number(
    value: float | None, like: float | None = None, digits: int | None = None, sign: str = ""
) -> str:
    """A number with as many digits as one of its size (or of the size of `like`) deserves."""
    if value is None:
        return "–"
    size = abs(value if like is None else like)
    if digits is None:
        digits = 0 if size >= 100 else 1 if size >= 10 else 2
    text = f"{value:{sign},.{digits}f}".replace("-", "−")
    return text.replace("−", "") if not text.strip("−0.") else text


def game_rows(preset: PresetResult) -> list[list[Cell]]:
    """One row of ``GAME_COLUMNS`` per game."""
    return [_game_row(game) for game in preset.games]


def _game_row(game: GameResult) -> list[Cell]:
    summary, null = game.summary, game.nulls.get(game.best_null)
    steps = game.real_steps()
    mark = "" if game.is_finished else f" ({progress(game.runs)})"
    null_text = f"{with_error(null)} {game.best_null}" if null else "–"
    of_others = [_published_cell(game.published.get(name)) for name in PUBLISHED]
    normal, normal_error = game.human_normalised, game.human_normalised_error
    return [
        Cell(game.game + mark, game.game),
        Cell(with_error(summary) + ("" if len(game.runs) > 1 else " (e)"), summary["mean"]),
        Cell(number(normal, digits=_or(decimals(normal_error), 3)), normal),
        Cell(null_text, null["mean"] if null else None),
        Cell(number(game.above, digits=1, sign="+"), game.above),
        *of_others,
        Cell(_seeds(game), len(game.runs)),
        Cell(steps_text(steps), sum(steps)),
    ]


def progress(runs: Sequence[FoundRun]) -> str:
    """ "iteration 1 of 3" """
    done = sorted({run.entries[-1]["iteration"] for run in runs})
    last = "" if len(done) == 1 else f" to {done[-1]}"
    return f"iteration {done[0]}{last} of {max(run.num_iterations for run in runs)}"


def steps_text(steps: RealSteps) -> str:
    """Real steps by what they were for."""
    return " / ".join(f"{count:,}" for count in steps)


def _or(value: int | None, default: int) -> int:
    return default if value is None else value


def with_error(summary: Any) -> str:
    """A mean and its standard error, as far as the latter gives its digits a meaning."""
    mean, error = summary["mean"], summary.get("standard_error")
    if (digits := decimals(error)) is None:
        return number(mean)
    return f"{number(mean, digits=digits)} ± {number(error, digits=digits)}"


def last_score(run: FoundRun) -> str:
    """ "0.94 ± 0.06 (standard error) over 32 episodes" """
    last = run.entries[-1]
    of_what = " (standard error)" if decimals(last.get("standard_error")) is not None else ""
    return f"{with_error(last)}{of_what} over {counted(last['num_episodes'], 'episode')}"


def _seeds(game: GameResult) -> str:
    seeds = len({run.seed for run in game.runs})
    runs = f" ({len(game.runs)} runs)" if len(game.runs) > seeds else ""
    episodes = sorted({run.entries[-1]["num_episodes"] for run in game.runs})
    return f"{seeds}{runs} × {' or '.join(map(str, episodes))}"


def notes(preset: PresetResult) -> list[str]:
    """What is partial, mixed or weak about the runs of a preset."""
    games = preset.games
    names = {game.game for game in games}
    found = [f"smallwm_tf {', '.join(preset.versions)}; algorithm: {preset.algorithm}."]
    all_games, few = games_of("random"), games_of("iris")
    missing = [game for game in all_games if game not in names]
    if missing and len(missing) < len(all_games):
        found.append(
            f"{len(names & set(few))} of the {len(few)} games of Atari 100k, "
            f"{len(names & set(all_games))} of the {len(all_games)} of Table 4; missing: "
            f"{', '.join(missing)}."
        )
    if no_human := [game.game for game in games if game not in preset.comparable_games]:
        found.append(f"No human score, so in no aggregate: {', '.join(no_human)}.")
    counts = sorted({len(game.runs) for game in games})
    if len(counts) > 1:
        found.append(f"Runs per game differ: {counts[0]} to {counts[-1]}.")
    if unfinished := [game.game for game in games if not game.is_finished]:
        found.append(
            f"Unfinished, marked in the table, counted in the aggregates: {', '.join(unfinished)}."
        )
    for run in (run for game in games for run in game.left_out):
        found.append(f"{run.name} is unfinished ({progress([run])}) and not in the score.")
    if no_nulls := [game.game for game in games if not game.nulls]:
        found.append(f"No null policies were scored: {', '.join(no_nulls)}.")
    if weak := [game.game for game in games if list(game.nulls) == ["uniform"]]:
        found.append(f"Uniform play is the only null policy that was scored: {', '.join(weak)}.")
    for key, values in preset.mixture().items():
        listed = "; ".join(f"{value} in {', '.join(runs)}" for value, runs in values.items())
        found.append(f"Mixed: {key} is {listed}.")
    return found


def aggregate_rows(estimates: Iterable[Estimate]) -> list[list[Cell]]:
    """One row of ``AGGREGATE_COLUMNS`` per estimate."""
    return [
        [
            Cell(each.label, each.label),
            Cell(str(each.num_games), each.num_games),
            Cell(str(each.num_runs) if each.num_runs else "–", each.num_runs),
            *(_estimate_cell(each, index) for index in range(len(METRICS))),
        ]
        for each in estimates
    ]


def world_model_rows(contents: Contents) -> list[list[Cell]]:
    """One row of ``WORLD_MODEL_COLUMNS`` per game and preset with a world model."""
    return [
        [
            Cell(row.game, row.game),
            Cell(row.preset, row.preset),
            Cell(str(row.num_runs), row.num_runs),
            *(_measure_cell(row.measures.get(name)) for name in MEASURES.values()),
            Cell(with_error(row.score), row.score["mean"]),
        ]
        for row in rows_of(contents.presets)
    ]


def _published_cell(value: float | None) -> Cell:
    return Cell("–" if value is None else published(value).replace("-", "−"), value)


def _measure_cell(summary: Mapping[str, Any] | None) -> Cell:
    if summary is None:
        return Cell("–", None)
    mean = summary["mean"]
    text = f"{mean:,.0f}" if abs(mean) >= 1000.0 else f"{mean:.3g}"
    if decimals(summary["standard_error"]) is not None:
        text = with_error(summary)
    return Cell(text.replace("-", "−"), mean)


def improvement_rows(improvements: Sequence[tuple[str, Estimate]]) -> list[list[Cell]]:
    """One row of ``IMPROVEMENT_COLUMNS`` per pair."""
    return [
        [
            Cell(one, one),
            Cell(over.label, over.label),
            Cell(str(over.num_games), over.num_games),
            _estimate_cell(over, 0),
        ]
        for one, over in improvements
    ]


def _estimate_cell(estimate: Estimate, index: int) -> Cell:
    value = float(estimate.values[index])
    digits = 3
    if estimate.low is not None:  # an interval is some four standard errors wide
        digits = _or(decimals((estimate.high[index] - estimate.low[index]) / _WIDTH), digits)
    text = number(value, digits=digits)
    if estimate.low is not None:
        limits = (number(limit[index], digits=digits) for limit in (estimate.low, estimate.high))
        text += f" [{', '.join(limits)}]{' †' if estimate.num_single else ''}"
    return Cell(text, value)


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> str:
    """A table in Markdown; columns after the first are set to the right."""
    lines = [columns, ["--", *["--:"] * (len(columns) - 1)]]
    lines += [[cell.text.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def markdown(contents: Contents, figures: Mapping[str, str]) -> str:
    """The whole report; figures are file names by caption."""
    parts = ["# Report", _listed(LEGEND)]
    for preset in contents.presets:
        parts += [f"## {preset.preset}", markdown_table(GAME_COLUMNS, game_rows(preset))]
        parts.append(_listed(notes(preset)))
    if names := contents.found.not_evaluated:
        parts.append(f"Runs without an evaluation so far: {', '.join(names)}.")
    if rows := world_model_rows(contents):
        parts += ["## World models", WORLD_MODEL_LEGEND]
        parts.append(markdown_table(WORLD_MODEL_COLUMNS, rows))
    parts += ["## Aggregates", AGGREGATE_LEGEND]
    for title, rows in aggregate_tables(contents).items():
        parts += [f"### {title}", markdown_table(AGGREGATE_COLUMNS, aggregate_rows(rows))]
    if contents.improvements:
        rows = improvement_rows(contents.improvements)
        parts += ["## Chance of improvement", IMPROVEMENT_LEGEND]
        parts.append(markdown_table(IMPROVEMENT_COLUMNS, rows))
    parts.append("## Figures")
    parts += [f"![{caption}]({file})" for caption, file in figures.items()]
    return "\n\n".join(parts) + "\n"


def aggregate_tables(contents: Contents) -> dict[str, Sequence[Estimate]]:
    """Estimates by the title of their table."""
    ours = {f"{each.preset}, and published means on its games": each.rows
            for each in contents.aggregates}  # fmt: skip
    return ours | {"Published means on all games of Atari 100k and of Table 4": contents.published}


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
