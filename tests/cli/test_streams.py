"""Streams that are closed, full, broken or of few letters, and places that cannot be written to."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import smallwm_tf
from smallwm_tf.cli import errors, streams
from smallwm_tf.cli.errors import check_writable, problem_of_place, refuse
from smallwm_tf.runs.progress import Progress, say

ROOT = Path(smallwm_tf.__file__).parents[1]
PUT = """
from smallwm_tf.cli.errors import refuse
from smallwm_tf.cli.streams import OutputError, prepare_streams, put
prepare_streams()
try:
    put("caf\\xe9 \\x1b[2J", "second")
    put("third " * 20000)
except OutputError as error:
    refuse(str(error), "command")
"""
OPEN = """
import os
from smallwm_tf.cli.flags import CommandParser
CommandParser("evaluate", "")
with open("opened", "w") as file:
    print(file.fileno(), file=file)
os.write(1, b"words for nobody"), os.write(2, b"words for nobody")
"""


def shell(line, code, cwd, **environment):
    """A line of bash, in which $RUN is Python with some code."""
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "CODE": code, "PY": sys.executable}
    line = "set -o pipefail; " + line.replace("$RUN", '"$PY" -c "$CODE"')
    command = ["bash", "-c", line]
    done = subprocess.run(command, cwd=cwd, env=variables | environment, capture_output=True)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def test_descriptors_that_are_closed_do_not_become_files(tmp_path):
    code, out, err = shell("$RUN <&- >&- 2>&-", OPEN, tmp_path)
    assert (code, out, err) == (0, "", "")
    assert int((tmp_path / "opened").read_text()) > 2


@pytest.mark.parametrize(
    ("line", "reason"), [("$RUN > /dev/full", "No space left"), ("$RUN >&-", "it is closed")]
)
def test_results_that_cannot_be_printed_are_an_error(tmp_path, line, reason):
    code, out, err = shell(line, PUT, tmp_path)
    assert code == 2 and out == "" and err.count("\n") == 1
    assert err.startswith("command: error: standard output: cannot be written (" + reason)


def test_also_where_progress_could_not_be_printed_before(tmp_path):
    code = PUT.replace("try:", "from smallwm_tf.runs.progress import say\nsay('progress')\ntry:")
    assert shell("$RUN > /dev/full", code, tmp_path)[0] == 2
    assert shell("$RUN | true", code, tmp_path)[0] == 0


def test_a_reader_who_has_enough_is_no_error(tmp_path):
    assert shell("$RUN | true", PUT, tmp_path) == (0, "", "")
    assert shell("$RUN | head -n 2 | tail -n 1", PUT, tmp_path) == (0, "second\n", "")


def test_letters_that_a_stream_does_not_have_are_spelled_out(tmp_path):
    code, out, err = shell("$RUN", PUT, tmp_path, PYTHONIOENCODING="ascii")
    assert (code, err) == (0, "") and out.splitlines()[0] == "caf\\xe9 \\x1b[2J"


@pytest.mark.parametrize(("line", "code"), [("> /dev/full", 2), (">&-", 2), ("| true", 0)])
@pytest.mark.parametrize("command", ["train", "report"])
def test_help(tmp_path, command, line, code):
    found = shell(f'"$PY" -m smallwm_tf.{command} --help {line}', "", tmp_path)
    assert found[0] == code and "Traceback" not in found[2] and found[2].count("\n") <= 1


def test_an_error_prints_no_control_characters(capsys):
    with pytest.raises(SystemExit):
        refuse("a\x1b[2J\x07 b\nc\u202e", "command")
    assert capsys.readouterr().err == "command: error: a\\x1b[2J\\x07 b c\\u202e\n"


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("folder", "is a directory"),
        ("folder.gif", "is a directory"),
        ("file/x.json", "file is not a directory"),
        ("n" * 256, "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
        ("m" * 256 + "/x.json", "more than 255 bytes"),
        ("/".join(["d" * 200] * 20) + "/x.json", "more than 4000 bytes"),
        ("a link that leads nowhere/x.json", "is not a directory"),
    ],
)
def test_files_that_cannot_be_written_are_known_before(tmp_path, path, reason, capsys):
    for name in ("folder", "folder.gif"):
        (tmp_path / name).mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "a link that leads nowhere").symlink_to("none")
    assert reason in problem_of_place(tmp_path / path, is_file=True)
    with pytest.raises(SystemExit):
        check_writable("command", out=tmp_path / path)
    assert capsys.readouterr().err.count("\n") == 1
    assert len(os.listdir(tmp_path)) == 4


def test_files_that_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    for name in ("file", "new", "a/b/new", "n" * 255):
        assert problem_of_place(tmp_path / name, is_file=True) == ""
    assert problem_of_place(tmp_path / "a" / "b") == "" == problem_of_place(tmp_path)
    assert "is not a directory" in problem_of_place(tmp_path / "file")
    assert os.listdir(tmp_path) == ["file"]


def test_a_place_is_tried_not_only_asked_about(tmp_path, monkeypatch):
    def full(**_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(errors.tempfile, "TemporaryFile", full)
    assert "cannot be written to (No space left on device)" in problem_of_place(tmp_path / "new")
    assert problem_of_place(tmp_path / "new", will_write=False) == ""


def test_a_device_or_a_pipe_is_no_file_to_write(tmp_path):
    """Files are written beside their place and renamed, which would replace the device."""
    os.mkfifo(tmp_path / "pipe.gif")
    (tmp_path / "link").symlink_to(os.devnull)
    for place in (Path(os.devnull), tmp_path / "pipe.gif", tmp_path / "link"):
        assert "is a device or a pipe" in problem_of_place(place, is_file=True)


def test_results_are_alone_on_standard_output(capsys):
    with streams.results_alone():
        print("a game says something")
        say("people's words")
        with Progress(2, "evaluate") as bar:
            bar.update(2)
        streams.put('{"a": 1}')
    streams.put("afterwards")
    printed = capsys.readouterr()
    assert printed.out == '{"a": 1}\nafterwards\n'
    assert printed.err.startswith("a game says something\npeople's words\nevaluate: 100% 2/2")


def test_standard_output_is_back_after_an_error(capsys):
    with pytest.raises(ZeroDivisionError), streams.results_alone():
        raise ZeroDivisionError
    print("on standard output again")
    assert capsys.readouterr().out == "on standard output again\n"


@pytest.mark.parametrize("inside", [True, False])
def test_ctrl_c_is_one_line(inside):
    """Inside of what a command does, and anywhere else, as while it loads its modules."""
    within = "one_line_errors('smallwm_tf.x')" if inside else "contextlib.nullcontext()"
    script = f"""if True:
        import contextlib, os, signal, time
        from smallwm_tf.cli.errors import one_line_errors
        from smallwm_tf.cli.streams import prepare_streams
        signal.signal(signal.SIGINT, signal.default_int_handler)  # not so in a shell's background
        prepare_streams()
        with {within}:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(9)
    """
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == (130 if inside else -signal.SIGINT)
    assert done.stderr == ("smallwm_tf.x: interrupted\n" if inside else "interrupted\n")
