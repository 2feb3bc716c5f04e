"""What TensorBoard shows of a run, line by line of its record `metrics.jsonl`.

The x axis of all of it is the work that was done so far: real steps of collections + updates of the
VQ-VAE + of the dynamics + of the policy. All of it can be made again from the run directory:

    config.json           settings, as a text and as hyperparameters
    metrics.jsonl         numbers; seconds of phases, and from these what was done per second
    null_policies.json    scores of null policies, as lines beside the agent's
    figures/, films/      what was drawn before a line was written
"""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from smallwm_tf.experiment.config import flatten
from smallwm_tf.runs import RunError
from smallwm_tf.runs.event_files import Entry
from smallwm_tf.runs.plain_files import open_plain
from smallwm_tf.runs.records import read_config
from smallwm_tf.runs.scores import ScoresError, read_summaries

SETTINGS, FIGURES, FILMS = "settings", "figures", "films"
_COUNTED_BY = {
    "collect": "real_steps", "evaluate": "real_steps", "vqvae": "vqvae_updates",
    "dynamics": "dynamics_updates", "reward_prediction": "dynamics_updates",
    "epoch": "dynamics_updates", "held_out": "dynamics_updates", "ppo": "policy_updates",
    "check": "policy_updates", "promise": "policy_updates",
}  # fmt: skip
"""What an event's steps count; those of events that are not here count for themselves."""
_DRAWN = {"held_out": ("codes", "dream", "horizon"), "promise": ("promise",)}
"""Kinds of figures that are drawn before an event's line is written."""
_CHARTS = {
    "mean return beside null policies": "evaluate/(mean_return|null_.*)",
    "what dreams promise and the game pays": "promise/(dreamed|real)",
    "codes one step ahead, beside copying": "held_out/(code_accuracy|copy_accuracy)",
}
_MOST_BYTES = 2**24  # of a picture


class Shown(NamedTuple):
    """One entry on a board."""

    tag: str
    step: int  # on the x axis: work done so far
    value: float | bytes | tuple[bytes, ...]  # of a picture: width, height, encoded
    kind: str = "number"  # or "text", "picture", "settings", "charts"
    settings: Mapping[str, Any] | None = None  # by name

    @property
    def entry(self) -> Entry:
        """As TensorBoard's files hold it."""
        value = b"\0".join(self.value) if isinstance(self.value, tuple) else self.value
        return self.tag, self.step, value


class Board:
    """Turns the lines of a run's record into what is shown of them, in their order.

    Args:
        root: The run directory.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counters: dict[str, int] = {}
        self._counters_before: dict[str, int] = {}  # the present phase
        self._has_nulls = False

    @property
    def work(self) -> int:
        """The x axis: how much was done so far."""
        return sum(self._counters.values())

    def beginning(self) -> Iterator[Shown]:
        """What stands before the first line: nothing where there is no `config.json`."""
        if settings := settings_of(self._root):
            rows = "\n".join(f"| {name} | {value} |" for name, value in settings.items())
            text = f"| setting | value |\n|--|--|\n{rows}".encode()
            yield Shown(SETTINGS, 0, text, "text")
            yield Shown("_hparams_/session_start_info", 0, 0.0, "settings", settings)
            yield Shown("custom_scalars__config__", 0, _charts(), "charts")

    def of(self, line: Mapping[str, Any]) -> Iterator[Shown]:
        """What is shown of the next line."""
        event, iteration = line["event"], line["iteration"]
        if event != "phase":
            self._counters[_COUNTED_BY.get(event, event)] = line["step"]
        work = self.work
        for name, value in line.items():
            if isinstance(value, int | float) and name not in ("iteration", "step", "time"):
                yield Shown(f"{event}/{name}", work, float(value))
        if event == "phase":
            yield from self._rates(line)
        if event == "evaluate":
            yield from self._nulls()
        for kind in _DRAWN.get(event, ()):
            name = f"{kind}_{iteration:03d}"
            yield from self._picture(f"{FIGURES}/{name}.png", f"figures/{kind}")
            yield from self._picture(f"{FILMS}/{name}.gif", f"figures/{kind}_film")

    def _rates(self, line: Mapping[str, Any]) -> Iterator[Shown]:
        """Seconds of a phase, and what was done per second in it."""
        name, seconds, work = line.get("phase"), line.get("seconds"), self.work
        before, self._counters_before = self._counters_before, dict(self._counters)
        if not isinstance(name, str) or not isinstance(seconds, int | float) or seconds <= 0:
            return
        yield Shown(f"seconds/{name}", work, float(seconds))
        for counter, count in self._counters.items():
            if (done := count - before.get(counter, 0)) > 0:
                yield Shown(f"rates/{counter}_per_second_of_{name}", work, done / seconds)

    def _nulls(self) -> Iterator[Shown]:
        """Scores of null policies, from the beginning on: they come out as level lines."""
        path = self._root / "null_policies.json"
        try:
            means = {name: nulls["mean"] for name, nulls in read_summaries(path).items()}
        except (OSError, ScoresError):
            return
        places = [self.work] if self._has_nulls else [0, self.work]
        self._has_nulls = True
        for name, mean in means.items():
            for place in places:
                yield Shown(f"evaluate/null_{name.replace(' ', '_')}", place, float(mean))

    def _picture(self, file: str, tag: str) -> Iterator[Shown]:
        """A picture of the run, if it is there and can be read."""
        from PIL import Image

        try:
            with open_plain(self._root / file, _MOST_BYTES) as opened:
                encoded = opened.read(_MOST_BYTES)
            with Image.open(io.BytesIO(encoded), formats=("PNG", "GIF")) as image:
                size = image.size
        except (OSError, RunError, ValueError, SyntaxError, Image.DecompressionBombError):
            return
        width, height = (str(side).encode() for side in size)
        yield Shown(tag, self.work, (width, height, encoded), "picture")


def _charts() -> bytes:
    """The layout of TensorBoard's "custom scalars": curves that belong into one chart."""
    from tensorboard.plugins.custom_scalar import layout_pb2

    layout = layout_pb2.Layout(category=[layout_pb2.Category(title="beside each other")])
    for title, tags in _CHARTS.items():
        chart = layout_pb2.Chart(title=title)
        chart.multiline.tag.append(tags)
        layout.category[0].chart.append(chart)
    return layout.SerializeToString()


def settings_of(root: Path) -> dict[str, bool | int | float | str]:
    """Game, seed, preset and every setting of a run by name; empty where nothing says so.

    Raises:
        RunError: `config.json` is damaged.
    """
    if not (record := read_config(root)):
        return {}
    named = {key: record[key] for key in ("game", "seed", "preset")} | flatten(record["config"])
    plain = (bool, int, float, str)
    return {key: value if isinstance(value, plain) else str(value) for key, value in named.items()}
