"""The figures of a report as PNG and PDF: learning curves, aggregates, performance profiles."""

import io
from collections.abc import Callable
from typing import Any

from smallwm_tf.figures.curves import dashes, line_width, new_figure
from smallwm_tf.reporting.aggregates import METRICS
from smallwm_tf.reporting.comparison import GameResult
from smallwm_tf.reporting.contents import Contents
from smallwm_tf.runs.scores import paper_score

COLOURS = ("#1560d4", "#c2410c", "#15803d", "#7c3aed", "#0e7490", "#a16207", "#be185d", "#475569")
CAPTIONS = {
    "learning_curves": "Mean return of evaluations over all real steps, learned from, chosen by or "
    "only judged, ± standard error; thin: while collecting",
    "aggregates": "Aggregates of human-normalised scores with 95 % intervals",
    "performance_profiles": "Share of runs above a human-normalised score, with 95 % bands",
}
"""What the figures show, by the name of their file."""

_PANELS_IN_A_ROW = 4


def draw(contents: Contents) -> dict[str, bytes]:
    """File name to content, twice for every figure that there is something to draw for."""
    figures: dict[str, Callable[[Contents], Any]] = {"learning_curves": _learning_curves}
    if contents.aggregates:
        figures |= {"aggregates": _aggregates, "performance_profiles": _profiles}
    files = {}
    for name, make in figures.items():
        figure = make(contents)
        for kind, left_out in (("png", "Software"), ("pdf", "CreationDate")):
            file = io.BytesIO()
            figure.savefig(file, format=kind, metadata={left_out: None})
            files[f"{name}.{kind}"] = file.getvalue()
    return files


def colour_of(contents: Contents, preset: str) -> str:
    """The colour of a preset, the same in every figure and on the page."""
    names = [each.preset for each in contents.presets]
    return COLOURS[names.index(preset) % len(COLOURS)]


def references(game: GameResult) -> dict[str, float]:
    """Scores to compare a learning curve with: the best null policy, the paper's final score."""
    found = {}
    if game.nulls:
        found["best null policy"] = game.nulls[game.best_null]["mean"]
    if score := paper_score(game.game, game.runs[0].config.game.num_stacked_frames):
        found["paper, at the end"] = score.mean
    return found


def _learning_curves(contents: Contents):
    panels = contents.panels()
    columns = min(_PANELS_IN_A_ROW, len(panels))
    rows = -(-len(panels) // columns)
    figure = new_figure(max(6.0, 3.2 * columns), 2.6 * rows + 0.4)
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    for axes, (game, results) in zip(grid, panels.items(), strict=False):
        for number, (preset, result) in enumerate(results):
            colour, place = colour_of(contents, preset), (number, len(results))
            _draw_curve(axes, preset, result, colour, line_width(*place))
            for label, value in references(result).items():
                style = dashes(*place, dotted=label.startswith("paper"))
                axes.axhline(value, color=colour, linestyle=style, linewidth=1.2, label=label)
        axes.set_title(game, fontsize="medium")
        axes.set_xlim(left=0)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value / 1000:g}k")
        axes.xaxis.get_major_locator().set_params(nbins=4)
        axes.grid(alpha=0.3)
    labelled = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            labelled.setdefault(label, handle)
    figure.supxlabel("real steps", fontsize="medium")
    figure.supylabel("mean return", fontsize="medium")
    figure.legend(
        labelled.values(), labelled, loc="outside upper center", ncols=4, fontsize="small"
    )
    return figure


def _draw_curve(axes, preset: str, result: GameResult, colour: str, width: float) -> None:
    points = result.curve()
    steps = [sum(point.real_steps) for point in points]
    means = [point.mean for point in points]
    errors = [point.error or 0.0 for point in points]
    bounds = [[m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1, 1)]
    axes.fill_between(steps, *bounds, color=colour, alpha=0.2, linewidth=0)
    style = {"linewidth": width, "marker": "o", "markersize": width + 2.2, "capsize": 2}
    axes.errorbar(steps, means, errors, color=colour, label=preset, **style)
    if collecting := result.curve_while_collecting():
        axes.plot(*zip(*collecting, strict=True), color=colour, linewidth=0.8, alpha=0.6)


def _aggregates(contents: Contents):
    rows = [(each.preset, row) for each in contents.aggregates for row in each.rows if row.num_runs]
    published = (row for each in contents.aggregates for row in each.rows if not row.num_runs)
    rows += {(row.label, *row.values): ("", row) for row in published}.values()  # each once
    figure = new_figure(11, 0.26 * len(rows) + 1.0)
    panels = figure.subplots(1, len(METRICS), sharey=True)
    heights = range(len(rows), 0, -1)
    for index, (axes, metric) in enumerate(zip(panels, METRICS, strict=True)):
        for height, (preset, row) in zip(heights, rows, strict=True):
            colour = colour_of(contents, preset) if row.num_runs else "#64748b"
            if row.low is not None:
                axes.barh(
                    height,
                    row.high[index] - row.low[index],
                    0.6,
                    row.low[index],
                    color=colour,
                    alpha=0.35,
                )
            axes.plot(row.values[index], height, marker="|", markersize=11, mew=2, color=colour)
        axes.set_title(metric, fontsize="medium")
        axes.margins(x=0.08)
        axes.use_sticky_edges = False  # else bars stand on the frame
        axes.grid(alpha=0.3, axis="x")
        axes.xaxis.get_major_locator().set_params(nbins=4)
    labels = [
        row.label if row.num_runs else f"{row.label} ({row.num_games} games)" for _, row in rows
    ]
    panels[0].set_yticks(list(heights), labels, fontsize="small")
    figure.supxlabel("human-normalised score", fontsize="medium")
    return figure


def _profiles(contents: Contents):
    figure = new_figure(6.4, 4.0)
    axes = figure.add_subplot()
    lines = [
        (each, profile, style)
        for each in contents.aggregates
        for profile, style in zip(each.profiles, ("-", "--"), strict=False)
    ]
    for number, (each, profile, style) in enumerate(lines):
        colour, width = colour_of(contents, each.preset), line_width(number, len(lines))
        axes.plot(
            each.thresholds, profile.values, style, color=colour, label=profile.label, lw=width
        )
        if profile.low is not None:
            axes.fill_between(
                each.thresholds, profile.low, profile.high, color=colour, alpha=0.15, lw=0
            )
    axes.set(xlabel="human-normalised score τ", ylabel="share of runs above τ", ylim=(-0.02, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    return figure
