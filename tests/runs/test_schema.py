"""Schemas: what fits, what does not, and the field that is named."""

import pytest

from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import parse_json
from smallwm_tf.runs.records import progress_problem, read_config, read_versions
from smallwm_tf.runs.schema import (
    any_of,
    each,
    fields,
    named,
    number,
    optional,
    text,
    truth,
    whole,
)

SCHEMA = fields(
    {"best": optional(number(0.0)), "parts": named(fields(bytes=whole()))},
    count=whole(1, 9),
    names=each(text(), least=1),
    flag=any_of(number(), truth()),
)
GOOD = {"count": 3, "names": ["a"], "flag": True, "best": None, "parts": {"x": {"bytes": 0}}}


@pytest.mark.parametrize("change", [{}, {"best": 0.5}, {"flag": 2}, {"other": ...}], ids=str)
def test_what_fits(change):
    assert SCHEMA(GOOD | change, "") is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"count": 0}, "count=0 must be a whole number from 1 to 9"),
        ({"count": True}, "count=True must be"),
        ({"count": 3.0}, "count=3.0 must be"),
        ({"count": 10**5000}, "count=(an integer of more than 40 digits) must be"),
        ({"names": []}, "names=[] must be a list of at least 1"),
        ({"names": "a"}, "names='a' must be a list"),
        ({"names": ["a", "\x1b[2J"]}, "names[1]='\\x1b[2J' must be printable text"),
        ({"names": ["x" * 999]}, "names[0]="),
        ({"best": -1.0}, "best=-1.0 must be a finite number of at least 0"),
        ({"best": float("inf")}, "best=inf must be"),
        ({"best": float("nan")}, "best=nan must be"),
        ({"best": 10**400}, "best=(an integer of more than 40 digits) must be"),
        ({"flag": "x"}, "flag='x' must be"),
        ({"parts": {"a b": {"bytes": "3"}}}, "parts.'a b'.bytes='3' must be"),
        ({"parts": {"x": {}}}, "parts.x.bytes is missing"),
        ({"parts": 3}, "parts=3 must be an object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_does_not(change, problem):
    found = SCHEMA(GOOD | change, "")
    assert found.startswith(problem) and found.isprintable() and len(found) < 300


def test_what_is_missing_or_no_object():
    assert SCHEMA({"count": 1}, "") == "names is missing"
    assert SCHEMA([], "") == "its content=[] must be an object"


@pytest.mark.parametrize(
    ("content", "named_field"),
    [
        (b'{"a": {"b": [0, 1e999]}}', r"a.b\[1\]=inf is not finite"),
        (b'{"a": NaN}', "a=nan"),
        (b"[" * 40 + b"]" * 40, "more than 32 levels"),
        (b"[" * 10**5, "recursion"),
        (b"9" * 10**5, "digits"),
        (b'{"a": "\xff"}', "utf-8"),
    ],
    ids=range(6),
)
def test_json_that_is_none(content, named_field):
    with pytest.raises((ValueError, RecursionError), match=named_field):
        parse_json(content)


def test_counters_that_do_not_belong_together():
    good = {"phases_done": 4, "policies_trained": 1, "replay": ["a", "b"]}
    assert progress_problem(good) is None
    for change, problem in (
        ({"phases_done": -5}, "progress.json: phases_done=-5 must be"),
        ({"policies_trained": 5}, "progress.json: policies_trained=5 is above phases_done=4"),
        ({"replay": ["a", "a"]}, "progress.json: replay names a file twice"),
        ({"seconds": "long"}, "progress.json: seconds='long' must be"),
    ):
        assert progress_problem(good | change).startswith(problem)


def test_records_that_are_not_there_are_empty(tmp_path):
    assert read_config(tmp_path) == read_versions(tmp_path) == {}


@pytest.mark.parametrize("content", ["{}", "[]", "", '{"packages": []}', '{"commit": 3}'])
def test_doctored_versions_are_named(tmp_path, content):
    (tmp_path / "versions.json").write_text(content)
    if content == "{}":
        assert read_versions(tmp_path) == {}
        return
    with pytest.raises(RunError, match=r"versions.json: "):
        read_versions(tmp_path)
