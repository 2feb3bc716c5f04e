"""Every file that a command reads, changed at random with right checksums.

Whatever it holds, a reader takes it or refuses it with one printable line of the project's own
errors, nothing on disk changes, neither in the run nor beside it, and no more memory is taken than
twice what such a file may hold. The readers are called in this process; 200 cases in each run of
the tests, more with FUZZ_CASES=2000.
"""

import hashlib
import json
import os
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smallwm_tf.deployment import export_directory, opening
from smallwm_tf.experiment.config import ConfigError, build_config
from smallwm_tf.experiment.schedule import total_steps
from smallwm_tf.games.catalogue import UnknownGameError
from smallwm_tf.reporting.found_runs import find
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import describe_file, read_json
from smallwm_tf.runs.manifest import find_problem, read_chunks, write_manifest
from smallwm_tf.runs.metrics import Metrics, read_metrics
from smallwm_tf.runs.records import progress_problem, read_config
from smallwm_tf.runs.replay_files import write_chunk
from smallwm_tf.runs.run_directory import RunDirectory, check_may_continue
from smallwm_tf.runs.scores import ScoresError, evaluation_entry, read_scores, read_summaries
from smallwm_tf.sweeping.progress import is_done, newest_checkpoint
from tests.memory import at_most_twice
from tests.reporting.made_runs import summaries, write_json

CASES = int(os.environ.get("FUZZ_CASES", 100))
STATED_BYTES = 4 * 2**20  # of a JSON file
CONFIG = build_config({"collection.num_iterations": 2})
ARGUMENTS = ("Catch", CONFIG, 5, "catch")
OWN_ERRORS = (RunError, ConfigError, ScoresError, UnknownGameError)
PROGRESS = {
    "phases_done": 4, "phases_per_iteration": 4, "phases": ["a", "b", "c", "d"],
    "policies_trained": 1, "episode_return": 0.5, "metric_lines": 2, "replay": ["000001.npz"],
    "place": {"done": 3}, "seconds": 1.5,
}  # fmt: skip
LINES = [
    {"event": "collect", "iteration": 1, "step": 50, "mean_return": 1.0, "time": 1.5},
    {"event": "phase", "iteration": 1, "step": 0, "phase": "collect", "seconds": 2.5},
]


def read_checkpoint(run):
    folder = run / "checkpoints" / "000001"
    if problem := find_problem(folder, run / "replay"):
        raise RunError(problem)
    assert all(chunk.num_bytes >= 0 for chunk in read_chunks(folder).values())
    if problem := progress_problem(read_json(folder / "progress.json")):
        raise RunError(problem)
    newest_checkpoint(run), is_done(run, 2)


def read_experiment(run):
    record = read_config(run)
    found = opening._read_experiment(run, run / "config.json", record, None)
    assert total_steps(found.config) > 0


def read_export(export):
    metadata = export_directory.read_metadata(export)
    opening._read_experiment(export, export / "metadata.json", metadata, None)


def open_metrics(run):
    with Metrics(run):
        list(read_metrics(run / "metrics.jsonl"))


READERS = {
    "run/config.json": (read_experiment, lambda run: check_may_continue(run, *ARGUMENTS)),
    "run/versions.json": (lambda run: RunDirectory.open(run, *ARGUMENTS).close(),),
    "run/metrics.jsonl": (open_metrics,),
    "run/scores.json": (lambda run: read_scores(run / "scores.json"),),
    "run/null_policies.json": (lambda run: read_summaries(run / "null_policies.json"),),
    "run/checkpoints/000001/progress.json": (read_checkpoint,),
    "run/checkpoints/000001/manifest.json": (read_checkpoint,),
    "run/lock": (lambda run: RunDirectory.open(run, *ARGUMENTS).close(),),
    "export/metadata.json": (read_export,),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A run and an export as commands leave them, without a training."""
    root = tmp_path_factory.mktemp("fuzzed")
    run, export = root / "run", root / "export"
    with RunDirectory.open(run, *ARGUMENTS):
        pass
    write_json(run / "scores.json", [evaluation_entry("Catch", 1, 100, [1.0, 0.0])])
    write_json(run / "null_policies.json", summaries({"uniform": [0.0, 1.0]}))
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
    chunk = write_chunk(run / "replay" / "000001.npz", actions=[1, 2])
    folder = run / "checkpoints" / "000001"
    write_json(folder / "progress.json", PROGRESS)
    write_chunk(folder / "arrays.npz", numbers=[1.5])
    (folder / "variables.index").write_bytes(b"index")
    write_manifest(folder, [chunk])
    (export / "agent").mkdir(parents=True)
    (export / "agent" / "saved_model.pb").write_bytes(b"model")
    described = describe_file(export / "agent" / "saved_model.pb")
    config = json.loads((run / "config.json").read_text())["config"]
    metadata = {
        "format": 1, "game": "Catch", "seed": 5, "preset": "catch", "iteration": 2,
        "num_interactions": 100, "action_meanings": ["LEFT", "RIGHT"], "parameters": {"all": 3},
        "scores": None, "config": config, "files": {"agent/saved_model.pb": described},
    }  # fmt: skip
    write_json(export / "metadata.json", metadata)
    return root


def checksums(root):
    """Of all that no command may change; a lock is made and removed."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "lock"
    }


@pytest.mark.parametrize("name", READERS)
def test_as_it_is_everything_is_read(root, name):
    file = root / name
    if file.name == "lock":
        file.write_text("{}")
    for read in READERS[name]:
        read(root / name.split("/")[0])
    assert [run.name for run in find([root]).runs] == [f"{root.name}/run"]


numbers = st.one_of(
    st.sampled_from([-5, 0, -1, 2**31, 2**63, 10**400, 1e999, -1e999, float("nan"), -0.0, 1e300]),
    st.integers(),
    st.floats(),
)
texts = st.one_of(
    st.sampled_from(
        ["", "\x1b[2J", "\ud800", "../../x", "/etc/passwd", "os:x", "a\nb", "\0", "x" * 9999, "[x]"]
    ),
    st.text(max_size=20),
)
leaves = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
nested = st.integers(2, 200).map(lambda depth: json.loads("[" * depth + "]" * depth))


@st.composite
def doctored(draw, content):
    """JSON of a file in which one to three fields, at any depth, are replaced, lost or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        place = content
        while isinstance(place, dict | list) and place:
            key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else [0]))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.booleans()):
                break
            place = inner
        if not isinstance(place, dict | list) or not place:
            return draw(values)
        match draw(st.sampled_from(["replace", "replace", "lose", "add", "whole"])):
            case "replace":
                place[key] = draw(values | nested)
            case "lose":
                del place[key]
            case "add" if isinstance(place, dict):
                place[draw(texts)] = draw(values)
            case _:
                return draw(values)
    return content


def parsed(file):
    if file.suffix == ".jsonl":
        return [json.loads(line) for line in file.read_text().splitlines()]
    return json.loads(file.read_bytes() or b"{}")


def dumped(file, content, raw):
    if raw is not None:
        return raw
    if file.suffix == ".jsonl" and isinstance(content, list):
        return "".join(json.dumps(line) + "\n" for line in content).encode()
    return json.dumps(content).encode()


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_whatever_a_file_holds(root, data):
    name = data.draw(st.sampled_from(sorted(READERS)))
    file = root / name
    before = file.read_bytes() if file.exists() else None
    example = {"pid": 7, "host": "elsewhere", "started": "yesterday"}
    content = data.draw(doctored(parsed(file) if before is not None else example))
    raw = data.draw(st.none() | st.none() | st.none() | st.binary(max_size=40))
    manifest = root / "run" / "checkpoints" / "000001" / "manifest.json"
    described = manifest.read_bytes()
    try:
        file.write_bytes(dumped(file, content, raw))
        if file.name == "progress.json":  # the right checksum
            known = json.loads(described)
            known["files"]["progress.json"] = describe_file(file)
            manifest.write_text(json.dumps(known))
        all_before = checksums(root)
        for read in (*READERS[name], lambda _: find([root])):
            try:
                with at_most_twice(STATED_BYTES):
                    read(root / name.split("/")[0])
            except OWN_ERRORS as error:
                line = " ".join(str(error).split())
                assert line and len(line) < 2000
                assert not re.search(r"[\x00-\x1f\x7f]", line)
            assert checksums(root) == all_before
    finally:
        manifest.write_bytes(described)
        if before is None:
            file.unlink(missing_ok=True)
        else:
            file.write_bytes(before)
