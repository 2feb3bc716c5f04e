"""Whether a SavedModel is a program that `smallwm_tf.export` could have written; nothing runs.

A SavedModel is a program: loading one may start it, and calling it always does. So the graphs are
read as data first, with all functions of their library: only operations that compute are taken,
none that reads or writes files, runs Python or loads a library. What is not listed here is refused.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from smallwm_tf.deployment.signatures import Signature, Tensor
from smallwm_tf.experiment.messages import show
from smallwm_tf.runs import RunError
from smallwm_tf.runs.plain_files import read_plain

MODEL = "saved_model.pb"
FILES = frozenset(
    {
        MODEL,
        "fingerprint.pb",
        "variables/variables.index",
        "variables/variables.data-00000-of-00001",
    }
)
_MOST_BYTES = 2**30
_MOST_FOLDED_BYTES = 2**26  # of constants, beside as much as the file has
_OPERATIONS = """
Abs Add AddN AddV2 All Any ArgMax ArgMin Assert AssignAddVariableOp AssignSubVariableOp
AssignVariableOp AvgPool BatchMatMulV2 BiasAdd Bitcast BitwiseAnd BitwiseOr BitwiseXor
BroadcastArgs BroadcastTo Bucketize Cast Ceil ClipByValue Concat ConcatOffset ConcatV2 Const
Conv2D Conv2DBackpropInput Cos Cosh Cumsum DepthwiseConv2dNative DisableCopyOnRead Div DivNoNan
Einsum Elu EnsureShape Equal Erf Exp ExpandDims Expm1 Fill Floor FloorDiv FloorMod GatherNd
GatherV2 Greater GreaterEqual Identity IdentityN Inv Invert InvertPermutation IsFinite IsInf
IsNan LeakyRelu LeftShift Less LessEqual LinSpace Log Log1p LogSoftmax LogicalAnd LogicalNot
LogicalOr LogicalXor MatMul Max MaxPool Maximum Mean Min Minimum Mod Mul MulNoNan Multinomial
Neg NoOp NotEqual OneHot OnesLike Pack Pad PadV2 PartitionedCall Placeholder Pow PreventGradient
Prod RandomUniform Range Rank ReadVariableOp RealDiv Reciprocal Relu Relu6 ReluGrad Reshape
ReverseV2 RightShift Round Rsqrt Select SelectV2 Selu Shape Sigmoid Sign Sin Sinh Size Slice
Snapshot Softmax Softplus Softsign Split SplitV Sqrt Square SquaredDifference Squeeze
StatefulPartitionedCall StatelessMultinomial StatelessRandomGetAlg StatelessRandomGetKeyCounter
StatelessRandomGetKeyCounterAlg StatelessRandomUniformFullIntV2 StatelessRandomUniformV2
StopGradient StridedSlice Sub Sum Tan Tanh TensorScatterUpdate Tile TopKV2 Transpose Unpack
UnravelIndex VarHandleOp Where Xdivy Xlogy ZerosLike
"""  # that compute, or keep variables
_COMPUTING = frozenset(_OPERATIONS.split())
_SAVING_OPERATIONS = """
MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin
"""  # that read and write variables: only in two functions of the model's saver, which nobody calls
_SAVING = frozenset(_SAVING_OPERATIONS.split())
_KINDS = frozenset({"user_object", "function", "bare_concrete_function", "variable", "constant"})
_OBJECTS = frozenset({"_generic_user_object", "signature_map", "trackable_dict_wrapper"})


def check_program(folder: Path, wanted: Mapping[str, Signature]) -> None:
    """Refuses a SavedModel that smallwm_tf would not write, or that has not the wanted signatures.

    Args:
      folder: of the SavedModel; its files were compared with their SHA-256 before.
      wanted: inputs and outputs by signature; there may be others.

    Raises:
      RunError: one line with the file and what is odd about it.
    """
    file = folder / MODEL
    content = read_plain(file, _MOST_BYTES)
    model = saved_model_pb2.SavedModel()
    try:
        model.ParseFromString(content)
    except DecodeError as error:
        raise RunError(f"{file}: holds no SavedModel; export again") from error
    if problem := next(_problems(model, len(content), wanted), None):
        raise RunError(f"{file}: {problem}; take an export that smallwm_tf.export has written")


def _problems(
    model: saved_model_pb2.SavedModel, num_bytes: int, wanted: Mapping[str, Signature]
) -> Iterator[str]:
    graphs = model.meta_graphs
    if len(graphs) != 1 or not graphs[0].HasField("object_graph_def"):
        yield "is no SavedModel of TensorFlow 2 with a single graph"
        return
    graph = graphs[0]
    if graph.asset_file_def:
        yield "refers to further files"
    yield from _problems_of_objects(graph.object_graph_def)
    yield from _problems_of_operations(graph)
    declared = sum(
        _num_bytes(node.attr["value"].tensor)
        for _, nodes in _functions(graph)
        for node in nodes
        if node.op == "Const"
    )
    if declared > num_bytes + _MOST_FOLDED_BYTES:
        yield f"declares {declared} bytes of constants, and has {num_bytes} bytes"
    for name, signature in wanted.items():
        if name not in graph.signature_def:
            yield f"signature {name} is missing"
            return
        found = graph.signature_def[name]
        yield from _differences(f"{name}: input", found.inputs, signature.inputs)
        yield from _differences(f"{name}: output", found.outputs, signature.outputs)


def _problems_of_objects(objects) -> Iterator[str]:
    """Of what loading builds: no assets, tables or classes that others have registered."""
    for node in objects.nodes:
        kind, identifier = node.WhichOneof("kind"), node.user_object.identifier
        if kind not in _KINDS or node.registered_name or node.registered_saver:
            yield f"holds an object of kind {show(node.registered_name or kind)}"
        elif kind == "user_object" and identifier not in _OBJECTS:
            yield f"holds an object of class {show(identifier)}"


def _problems_of_operations(graph) -> Iterator[str]:
    calling = _nodes_of_saver(graph)
    nodes = [node for node in graph.graph_def.node if node.name in calling]
    saving = set().union(*map(_functions_named_in, nodes))
    for name, nodes in _functions(graph):
        allowed = _COMPUTING | _SAVING if name in saving else _COMPUTING
        for node in nodes:
            if node.op not in allowed:
                yield f"{show(name)[1:-1]} has the operation {show(node.op)}, which no agent needs"
            is_saver = name == "" and node.name in calling
            if not is_saver and saving & _functions_named_in(node):
                yield f"{show(node.name)} calls what saves and restores"
    if saving & set(graph.object_graph_def.concrete_functions):
        yield "offers what saves and restores"
    names = {function.signature.name for function in graph.graph_def.library.function}
    if names & (_COMPUTING | _SAVING) or graph.graph_def.library.gradient:
        yield "gives operations another meaning"


def _functions(graph) -> Iterator[tuple[str, Iterable]]:
    """The nodes of the graph itself, which has no name, and of each function of its library."""
    yield "", graph.graph_def.node
    for function in graph.graph_def.library.function:
        yield function.signature.name, function.node_def


def _nodes_of_saver(graph) -> set[str]:
    saver = graph.saver_def
    return {saver.save_tensor_name.split(":")[0], saver.restore_op_name}


def _functions_named_in(node) -> set[str]:
    values = list(node.attr.values())
    named = {value.func.name for value in values if value.HasField("func")}
    return named | {function.name for value in values for function in value.list.func}


def _num_bytes(tensor) -> int:
    """What a constant takes; it may be stored folded, as one value for many."""
    size = max(tf.dtypes.as_dtype(tensor.dtype or 1).size, 1)
    return size * math.prod(max(dim.size, 0) for dim in tensor.tensor_shape.dim)


def _differences(place: str, found: Mapping, wanted: Mapping[str, Tensor]) -> Iterator[str]:
    for name, tensor in wanted.items():
        if name not in found:
            yield f"signature {place} {name} is missing"
            continue
        shape = tuple(dim.size for dim in found[name].tensor_shape.dim)
        fits = found[name].dtype == tensor.dtype.as_datatype_enum
        if not fits or shape not in (tensor.shape, tensor.former):
            yield (
                f"signature {place} {name} is {_type_name(found[name].dtype)} {list(shape)}, not "
                f"{tensor.dtype.name} {list(tensor.shape)}"
            )


def _type_name(number: int) -> str:
    try:
        return tf.dtypes.as_dtype(number).name
    except TypeError:
        return f"type {number}"
