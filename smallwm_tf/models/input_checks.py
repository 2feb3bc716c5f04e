"""What a dream can be asked for: codes, actions and temperatures that there are.

Looked up without a check, a code or an action that there is none of gives zeros, or an error of
TensorFlow, as the device likes. Checked is where others hand them in, not in graphs of training.
"""

import math

import tensorflow as tf

COLDEST = 1e-6  #: temperatures below it take what is most probable; logits / 0 are no numbers


def check_range(name: str, values: tf.Tensor, count: int | None) -> list[tf.Operation]:
    """Refuses whole numbers that do not lie within 0 … count − 1, if the count is known.

    Returns:
      In a graph, operations that what uses the values has to wait for, else its errors may be told.

    Raises:
      ValueError: outside of graphs; inside, ``InvalidArgumentError`` when they run.
    """
    if count is None:
        return []
    values = tf.convert_to_tensor(values)
    fits = tf.reduce_all((values >= 0) & (values < tf.constant(count, values.dtype)))
    return _require(fits, f"{name} must be from 0 to {count - 1}")


def check_step(
    codes: tf.Tensor, actions: tf.Tensor, num_embeddings: int | None, num_actions: int | None
) -> list[tf.Operation]:
    """Refuses inputs of a step of dreams that there are none of, as ``check_range`` does.

    Args:
      codes: int [B, 6, 6].
      actions: int [B]; one for many codes would be taken for all.
      num_embeddings: K.
      num_actions: M.
    """
    fits = tf.shape(codes)[0] == tf.shape(actions)[0]
    return [
        *_require(fits, "codes and actions must be as many"),
        *check_range("codes", codes, num_embeddings),
        *check_range("actions", actions, num_actions),
    ]


def check_temperature(temperature: float | tf.Tensor) -> None:
    """Refuses what is negative, infinite or no number; raises as ``check_range``."""
    if tf.is_tensor(temperature):
        fits = (temperature >= 0.0) & tf.math.is_finite(temperature)
    else:
        fits = math.isfinite(temperature) and temperature >= 0.0
    _require(fits, "temperature must be a finite number of at least 0")


def _require(fits: tf.Tensor | bool, message: str) -> list[tf.Operation]:
    if tf.is_tensor(fits) and not tf.executing_eagerly():
        # Not tf.debugging's, which makes a branch with functions of its own.
        return [tf.raw_ops.Assert(condition=fits, data=[message])]
    if not fits:
        raise ValueError(message)
    return []
