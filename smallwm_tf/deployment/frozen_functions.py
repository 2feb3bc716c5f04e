"""Functions whose weights are constants of their graph.

A SavedModel made of them needs no Keras, TFP or TF-Agents to load, and oneDNN lays constant kernels
out once instead of at every call.
"""

from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from smallwm_tf.models.private_tensorflow import convert_variables_to_constants_v2

_LEAST_ELEMENTS = 1024  # smaller constants stay as they are


def freeze(
    function: Callable, signature: Sequence[tf.TensorSpec], half_precision: bool = False
) -> Callable:
    """Traces a function and turns the variables that it reads into constants.

    The result takes the same arguments and returns a list of tensors. It can be called inside other
    graphs; a SavedModel stores it once however many others call it.

    Args:
      function: tensors → tuple of tensors, without side effects.
      signature: of its arguments; their names become the placeholders'.
      half_precision: store large float32 constants as float16; the graph casts them back, so
        calculations stay in float32.
    """
    traced = tf.function(function, input_signature=list(signature), autograph=False)
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function())
    definition = frozen.graph.as_graph_def()
    if half_precision:
        definition = _with_half_constants(definition)
    imported = tf.compat.v1.wrap_function(
        lambda: tf.graph_util.import_graph_def(definition, name=""), []
    )
    element = imported.graph.as_graph_element
    return imported.prune(
        [element(tensor.name) for tensor in frozen.inputs],
        [element(tensor.name) for tensor in frozen.outputs],
    )


def _with_half_constants(definition: tf.compat.v1.GraphDef) -> tf.compat.v1.GraphDef:
    """Replaces each large float32 constant by a float16 one and a cast of the same name."""
    halved = tf.compat.v1.GraphDef()
    halved.CopyFrom(definition)
    del halved.node[:]
    for node in definition.node:
        is_float = node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum
        array = tf.make_ndarray(node.attr["value"].tensor) if is_float else np.empty(0)
        if array.size < _LEAST_ELEMENTS:
            halved.node.append(node)
            continue
        stored = halved.node.add(name=f"{node.name}/float16", op="Const")
        stored.attr["dtype"].type = tf.float16.as_datatype_enum
        stored.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(array.astype(np.float16)))
        cast = halved.node.add(name=node.name, op="Cast", input=[stored.name])
        cast.attr["SrcT"].type = tf.float16.as_datatype_enum
        cast.attr["DstT"].type = tf.float32.as_datatype_enum
    return halved
