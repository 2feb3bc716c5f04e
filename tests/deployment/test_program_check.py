"""SavedModels that `smallwm_tf.export` has not written: refused before TensorFlow loads them."""

import json
import os
import pathlib
import re
import shutil

import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import saved_model_pb2

from smallwm_tf.deployment.opening import load_export
from smallwm_tf.deployment.program_check import MODEL, check_program
from smallwm_tf.deployment.signatures import Signature, Tensor, check_outputs
from smallwm_tf.runs import RunError
from smallwm_tf.runs.files import describe_file

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
HOSTILE = [
    "ReadFile",
    "WriteFile",
    "MatchingFiles",
    "PyFunc",
    "PyFuncStateless",
    "EagerPyFunc",
    "SaveV2",
    "RestoreV2",
    "RemoteCall",
    "WholeFileReaderV2",
    "TFRecordDataset",
    "PrintV2",
    "XlaLaunch",
    "DecodeRaw",
    "While",
    "StatelessWhile",
    "_NotRegistered",
    "LookupTableImportV2",
    "ReadFile\x1b[2J",
]


@pytest.fixture(scope="module")
def content():
    """An agent without its weights, which nobody looks at here."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((EXAMPLES / "Catch" / "agent" / MODEL).read_bytes())
    for function in model.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.attr["value"].tensor.ClearField("tensor_content")
    return model.SerializeToString()


@pytest.fixture
def model(content):
    model = saved_model_pb2.SavedModel()
    model.ParseFromString(content)
    return model


def refused(model, folder, match, wanted=None):
    (folder / MODEL).write_bytes(model.SerializeToString())
    with pytest.raises(RunError, match=match) as caught:
        check_program(folder, wanted or {})
    assert str(caught.value).isprintable() and str(folder / MODEL) in str(caught.value)


@pytest.mark.parametrize("name", ["Catch", "UpNDown"])
@pytest.mark.parametrize("part", ["agent", "world_model"])
def test_the_examples_are_taken(name, part):
    check_program(EXAMPLES / name / part, {})


@pytest.mark.parametrize("place", ["graph", "first function", "last function"])
def test_operations_that_do_more_than_compute(model, tmp_path, place):
    graph = model.meta_graphs[0].graph_def
    functions = [f for f in graph.library.function if "_traced_" not in f.signature.name]
    nodes = {
        "graph": graph.node,
        "first function": functions[0].node_def,
        "last function": functions[-1].node_def,
    }[place]
    for operation in HOSTILE:
        added = nodes.add(name="added", op=operation)
        refused(model, tmp_path, f"has the operation {re.escape(ascii(operation))}")
        nodes.remove(added)


def saver_function(model, kind):
    functions = model.meta_graphs[0].graph_def.library.function
    return next(f.signature.name for f in functions if f"_traced_{kind}_" in f.signature.name)


@pytest.mark.parametrize("kind", ["save", "restore"])
def test_what_saves_is_called_by_nobody_else(model, tmp_path, kind):
    graph = model.meta_graphs[0].graph_def
    others = [f for f in graph.library.function if "_traced_" not in f.signature.name]
    for nodes in (graph.node, others[0].node_def):
        added = nodes.add(name="added", op="StatefulPartitionedCall")
        added.attr["f"].func.name = saver_function(model, kind)
        refused(model, tmp_path, "calls what saves and restores")
        nodes.remove(added)
    offered = model.meta_graphs[0].object_graph_def.concrete_functions
    offered[saver_function(model, kind)].SetInParent()
    refused(model, tmp_path, "offers what saves and restores")


def test_a_function_with_the_name_of_an_operation(model, tmp_path):
    function = model.meta_graphs[0].graph_def.library.function.add()
    function.signature.name = "Conv2D"
    refused(model, tmp_path, "gives operations another meaning")


def objects_of(model):
    return model.meta_graphs[0].object_graph_def.nodes


def make_keras(model):
    objects_of(model)[0].user_object.identifier = "_tf_keras_model"


def make_asset(model):
    objects_of(model)[1].asset.SetInParent()


def make_resource(model):
    objects_of(model)[1].resource.SetInParent()


def name_a_class(model):
    objects_of(model)[0].registered_name = "Custom.Thing"


def refer_to_an_asset(model):
    model.meta_graphs[0].asset_file_def.add(filename="../../x")


def drop_objects(model):
    model.meta_graphs[0].ClearField("object_graph_def")


def add_a_graph(model):
    model.meta_graphs.add()


@pytest.mark.parametrize(
    "change",
    [make_keras, make_asset, make_resource, name_a_class, refer_to_an_asset, drop_objects,
     add_a_graph],
)  # fmt: skip
def test_what_loading_would_build_or_run(model, tmp_path, change):
    change(model)
    refused(model, tmp_path, "object of|further files|no SavedModel of TensorFlow 2")


def test_constants_that_unfold_to_gigabytes(model, tmp_path):
    node = model.meta_graphs[0].graph_def.library.function[0].node_def.add(name="a", op="Const")
    value = node.attr["value"].tensor
    value.dtype = types_pb2.DT_FLOAT
    value.float_val.append(1.0)
    value.tensor_shape.dim.add(size=2**33)
    refused(model, tmp_path, "declares 3.* bytes of constants")


def test_what_is_no_saved_model(tmp_path):
    (tmp_path / MODEL).write_bytes(b"\xff" * 100)
    with pytest.raises(RunError, match="holds no SavedModel"):
        check_program(tmp_path, {})


def test_signatures_that_are_missing_or_of_another_shape(model, tmp_path):
    frames = Tensor(tf.uint8, (-1, 96, 96, 1))
    good = {"encode": Signature({"frames": frames}, {"codes": Tensor(tf.int32, (-1, 6, 6))})}
    (tmp_path / MODEL).write_bytes(model.SerializeToString())
    check_program(tmp_path, good)
    for wanted, match in (
        ({"play": good["encode"]}, "signature play is missing"),
        ({"encode": Signature({"frame": frames}, {})}, "encode: input frame is missing"),
        ({"encode": Signature({"frames": Tensor(tf.uint8, (-1, 96, 96, 4))}, {})},
         r"frames is uint8 \[-1, 96, 96, 1\], not uint8 \[-1, 96, 96, 4\]"),
        ({"encode": Signature({}, {"codes": Tensor(tf.float32, (-1, 6, 6))})},
         "codes is int32 .* not float32"),
    ):  # fmt: skip
        refused(model, tmp_path, match, wanted)


class Lying(tf.Module):
    """Its function gives something else than it says."""

    @tf.function(input_signature=[tf.TensorSpec([None, 6, 6], tf.int32)])
    def decode(self, codes):
        return {"frames": tf.zeros([1, 96, 96, 4], tf.uint8)}


def test_what_a_function_really_gives_is_looked_at():
    codes = Tensor(tf.int32, (-1, 6, 6))
    for num_frames in (4, 1):
        frames = Tensor(tf.uint8, (-1, 96, 96, num_frames))
        wanted = {"decode": Signature({"codes": codes}, {"frames": frames})}
        if num_frames == 4:
            check_outputs(Lying(), wanted)
            continue
        with pytest.raises(ValueError, match=r"decode: frames is uint8 \[1, 96, 96, 4\]"):
            check_outputs(Lying(), wanted)


# --- whole exports ---------------------------------------------------------------------------


@pytest.fixture
def export(tmp_path, monkeypatch):
    """A copy of an example to change; TensorFlow loads nothing of it."""
    shutil.copytree(EXAMPLES / "Catch", tmp_path / "Catch", copy_function=os.link)
    monkeypatch.setattr(tf.saved_model, "load", lambda *_: pytest.fail("it was loaded"))
    return tmp_path / "Catch"


def describe(export, change=lambda metadata: None):
    """Metadata with right checksums of all that is there."""
    metadata = json.loads((export / "metadata.json").read_text())
    for file in export.rglob("*"):
        if file.is_file() and file.name != "metadata.json":
            metadata["files"][str(file.relative_to(export))] = describe_file(file)
    change(metadata)
    (export / "metadata.json").unlink()  # of which the example is another name
    (export / "metadata.json").write_text(json.dumps(metadata))


def test_a_program_with_right_checksums_is_refused_before_it_is_loaded(export, model):
    model.meta_graphs[0].graph_def.library.function[0].node_def.add(name="x", op="WriteFile")
    (export / "agent" / MODEL).unlink()
    (export / "agent" / MODEL).write_bytes(model.SerializeToString())
    describe(export)
    with pytest.raises(RunError, match="agent/saved_model.pb: .* the operation 'WriteFile'"):
        load_export(export)


@pytest.mark.parametrize(
    "name", ["saved_model.pbtxt", "saved_model.cpb", "keras_metadata.pb", "assets/x", "debug/x.pb"]
)
def test_files_that_no_export_has(export, name):
    (export / "agent" / name).parent.mkdir(exist_ok=True)
    (export / "agent" / name).write_bytes(b"x")
    describe(export)
    with pytest.raises(RunError, match=f"'agent/{name}' is no file of an export"):
        load_export(export)


def test_files_elsewhere_are_not_looked_at(export):
    def name_another(metadata):
        metadata["files"]["agent/../../../etc/passwd"] = {"bytes": 1, "sha256": ""}

    describe(export, name_another)
    with pytest.raises(RunError, match="is no file of an export"):
        load_export(export)


def set_in(*path, to):
    def change(metadata):
        for key in path[:-1]:
            metadata = metadata[key]
        metadata[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (set_in("action_meanings", to=["STAY", "LEFT"]), "action_meanings="),
        (set_in("action_meanings", to=["STAY", "RIGHT", "LEFT"]), "action_meanings="),
        (set_in("preprocessing", "num_stacked_frames", to=4), "num_stacked_frames=4"),
        (set_in("temperature", to=0.5), "temperature=0.5"),
        (set_in("gymnasium_id", to="ALE/Pong-v5"), "gymnasium_id='ALE/Pong-v5'"),
        (set_in("game", to="Pong"), "action_meanings="),
    ],
)
def test_metadata_that_contradicts_itself_or_the_game(export, change, match):
    describe(export, change)
    with pytest.raises(RunError, match=f"metadata.json: {match}"):
        load_export(export)


def test_frames_are_held_against_the_program(export):
    def four_frames(metadata):
        metadata["config"]["game"]["num_stacked_frames"] = 4
        metadata["preprocessing"]["num_stacked_frames"] = 4

    describe(export, four_frames)
    with pytest.raises(RunError, match=r"frames is uint8 \[-1, 96, 96, 1\], not uint8 .* 4\]"):
        load_export(export)
