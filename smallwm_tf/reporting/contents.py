"""Everything that a report says, before it is written in any form."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smallwm_tf.reporting.aggregates import (
    Aggregates,
    Estimate,
    aggregates,
    improvements,
    published_on_all_games,
)
from smallwm_tf.reporting.comparison import GameResult, PresetResult, by_preset
from smallwm_tf.reporting.found_runs import Found, find, refuse_differences


@dataclass(frozen=True)
class Contents:
    """What there is to tell about some runs."""

    found: Found  # the runs themselves
    presets: Sequence[PresetResult]  # the runs by preset and game
    aggregates: Sequence[Aggregates]  # of the presets that have games with a human score
    published: Sequence[Estimate]  # of published means on the 26 and the 36 games
    improvements: Sequence[tuple[str, Estimate]]  # of whom, over whom

    def panels(self) -> dict[str, list[tuple[str, GameResult]]]:
        """By game, the presets that have runs of it and their results."""
        found: dict[str, list[tuple[str, GameResult]]] = {}
        for preset in self.presets:
            for game in preset.games:
                found.setdefault(game.game, []).append((preset.preset, game))
        return dict(sorted(found.items()))


def gather(folders: Sequence[Path], mix: bool = False) -> Contents:
    """Reads all runs below some folders and compares them.

    Args:
        folders: Each is searched for run directories and null policies.
        mix: Whether runs of one preset may differ in settings and versions.

    Raises:
        RunError, ScoresError: What was found cannot be used; one line says why.
    """
    found = find(folders)
    if not mix:
        refuse_differences(found.runs)
    presets = by_preset(found)
    return Contents(
        found=found,
        presets=presets,
        aggregates=[each for each in map(aggregates, presets) if each],
        published=published_on_all_games(),
        improvements=improvements(presets),
    )
