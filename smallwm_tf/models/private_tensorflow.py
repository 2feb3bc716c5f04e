"""What this project needs of TensorFlow that no public module offers; it is used nowhere else.

Whoever moves to another version of TensorFlow looks here first.
"""

from contextlib import AbstractContextManager

from tensorflow.python.eager import context

# Variables of a graph → constants; the public converters belong to TensorFlow Lite and to TensorRT
# and wrap this same function.
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

__all__ = ["convert_variables_to_constants_v2", "single_threaded_executor"]


def single_threaded_executor() -> AbstractContextManager:
    """Functions called inside run one operation after the other, in the calling thread.

    A chain of short operations is handed from thread to thread by TensorFlow's default executor,
    which takes a tenth of the time of a single observation. ``tf.config`` can set numbers of
    threads for the whole process only.
    """
    return context.function_executor_type("SINGLE_THREADED_EXECUTOR")
