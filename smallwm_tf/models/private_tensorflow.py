"""What no public module of TensorFlow offers; look here first when moving to another version."""

from contextlib import AbstractContextManager

from tensorflow.python.eager import context

# Variables of a graph → constants; the public converters belong to TensorFlow Lite and to TensorRT
# and wrap this same function.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

__all__ = ["convert_variables_to_constants_v2", "single_threaded_executor"]


def single_threaded_executor() -> AbstractContextManager:
    """Functions called inside run one operation after the other, in the calling thread.

    TensorFlow's default executor hands a chain of short operations from thread to thread: a tenth
    of the time of a single observation. ``tf.config`` sets threads for the whole process only.
    """
    return context.function_executor_type("SINGLE_THREADED_EXECUTOR")
