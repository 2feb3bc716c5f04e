"""Archives, TensorBoard's files and SavedModels, changed at random: read or refused in one line.

Nothing on disk changes, and no more memory is taken than twice what the reader allows.
FUZZ_CASES as for `test_fuzzed_records`.
"""

import io
import os
import pathlib
import struct
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.lib import format as npy
from tensorflow.core.protobuf import saved_model_pb2

from smallwm_tf.deployment.program_check import MODEL, check_program
from smallwm_tf.runs import RunError
from smallwm_tf.runs.event_files import fingerprint_of_files
from smallwm_tf.runs.metrics import Metrics
from smallwm_tf.runs.replay_files import STEPS, read_chunk, write_chunk
from tests.memory import at_most_twice

CASES = int(os.environ.get("FUZZ_CASES", 100)) // 2
EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "Catch" / "agent" / MODEL
ALLOWED = 2**20  # bytes of arrays that the readers of archives are given
FUZZED = settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))

sizes = st.sampled_from([0, 1, 3, 1000, 2**16, 2**20, 2**24, 2**31, 2**40, 2**63, -1])
dtypes = st.sampled_from(["uint8", "int32", "float32", "float64", "bool", "S9", "U9", "O", "V8"])
names = st.sampled_from(["frames", "actions", "../x", "/x", "a b", "", "x" * 300, "é", "a.b"])


@st.composite
def damaged(draw, content):
    """The bytes, with some of them flipped, cut off, doubled or moved."""
    content = bytearray(content)
    for _ in range(draw(st.integers(0, 4))):
        place = draw(st.integers(0, max(len(content) - 1, 0)))
        match draw(st.sampled_from(["flip", "cut", "double", "zeros", "ones"])):
            case "flip" if content:
                content[place] ^= 1 << draw(st.integers(0, 7))
            case "cut":
                del content[place:]
            case "double":
                content += content[place : place + 1000]
            case "zeros":
                content[place : place + 8] = bytes(8)
            case "ones":
                content[place : place + 8] = b"\xff" * 8
    return bytes(content)


@st.composite
def archives(draw):
    """A zip archive whose arrays declare something else than they hold."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in draw(st.lists(names, max_size=4, unique=True)):
            header = io.BytesIO()
            shape = tuple(draw(st.lists(sizes, max_size=3)))
            described = {"descr": draw(dtypes), "fortran_order": False, "shape": shape}
            described["descr"] = np.dtype(described["descr"]).str
            npy.write_array_header_1_0(header, described)
            held = draw(st.sampled_from([0, 100, 2**20, 2**23]))
            archive.writestr(f"{name}.npy", header.getvalue() + bytes(held))
    return draw(damaged(file.getvalue()))


def refused_or_read(read, path, announced):
    before = path.read_bytes()
    with at_most_twice(announced):
        try:
            read()
        except RunError as error:
            line = str(error)
            assert line.isprintable() and len(line) < 2000
    assert path.read_bytes() == before and len(os.listdir(path.parent)) == 1


@pytest.mark.parametrize("expected", [None, STEPS], ids=["any", "steps"])
@FUZZED
@given(content=archives())
def test_archives(tmp_path_factory, expected, content):
    path = tmp_path_factory.mktemp("x", numbered=True) / "000001.npz"
    path.write_bytes(content)
    # A list of members that is as long as the file is read first.
    read = lambda: read_chunk(path, expected=expected, most_bytes=ALLOWED)  # noqa: E731
    refused_or_read(read, path, ALLOWED + len(content))


def test_a_list_of_members_without_end_is_refused(tmp_path):
    path = tmp_path / "x.npz"
    write_chunk(path, x=np.zeros(9))
    content = bytearray(path.read_bytes())
    for count, size in ((60_000, 1000), (1, 2**30)):
        content[-22:] = struct.pack("<4s4xHHLLH", b"PK\x05\x06", count, count, size, 0, 0)
        path.write_bytes(content)
        refused = False
        try:
            read_chunk(path)
        except RunError as error:
            refused = "no archive of up to" in str(error) or "list of arrays has" in str(error)
        assert refused


def record(event):
    content = event.SerializeToString()
    return struct.pack("<QL", len(content), 0) + content + bytes(4)


@FUZZED
@given(data=st.data())
def test_files_of_tensorboard(tmp_path_factory, data):
    tensor = tf.make_tensor_proto(np.float32(data.draw(st.floats(width=32))))
    for size in data.draw(st.lists(sizes, max_size=3)):
        tensor.tensor_shape.dim.add(size=min(size, 2**62))
    event = tf.compat.v1.Event(step=data.draw(st.integers(0, 2**40)))
    event.summary.value.add(tag="a/b", tensor=tensor)
    path = tmp_path_factory.mktemp("x", numbered=True) / "events.out.1"
    path.write_bytes(data.draw(damaged(record(event) * data.draw(st.integers(1, 3)))))
    refused_or_read(lambda: fingerprint_of_files(path.parent), path, 2**20)


def test_a_tensor_that_unfolds_is_no_scalar(tmp_path):
    """`events/` is made again, and no gigabytes are taken."""
    with Metrics(tmp_path) as metrics:
        metrics.write("a", 1, 2, b=3.0)
    tensor = tf.make_tensor_proto(np.float32(3.0))
    tensor.tensor_shape.dim.add(size=2**28)
    event = tf.compat.v1.Event(step=2)
    event.summary.value.add(tag="a/b", tensor=tensor)
    for file in (tmp_path / "events").iterdir():
        file.unlink()
    (tmp_path / "events" / "events.out.tfevents.1").write_bytes(record(event))
    with at_most_twice(2**20):
        assert fingerprint_of_files(tmp_path / "events") is None


@pytest.fixture(scope="module")
def program():
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(EXAMPLE.read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.attr["value"].tensor.ClearField("tensor_content")
    return model.SerializeToString()


@FUZZED
@given(data=st.data())
def test_programs(tmp_path_factory, program, data):
    path = tmp_path_factory.mktemp("x", numbered=True) / MODEL
    path.write_bytes(data.draw(damaged(program)))
    refused_or_read(lambda: check_program(path.parent, {}), path, 2**24)
