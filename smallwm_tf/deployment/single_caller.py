"""A guard, inside graphs, for functions that remember something and so serve a single caller."""

from collections.abc import Callable

import tensorflow as tf

_MESSAGE = (
    "two calls overlapped, and what is remembered may be of either: load an agent for each caller, "
    "or use begin and act_with_stack, which remember nothing. After a second reset it goes on"
)


class SingleCaller(tf.Module):
    """Notices that a call began before another one had ended; then both are errors.

    A call enters, works and leaves. If no other one came in between, as many have entered as have
    left, but for this one, at its beginning and at its end.
    """

    def __init__(self):
        super().__init__(name="single_caller")
        self._entered = tf.Variable(0, trainable=False, dtype=tf.int64, name="entered")
        self._left = tf.Variable(0, trainable=False, dtype=tf.int64, name="left")

    def alone(
        self, call: Callable[[], dict[str, tf.Tensor]], prepared: tf.Tensor, begins: bool
    ) -> dict[str, tf.Tensor]:
        """What ``call`` returns, an ``InvalidArgumentError`` if another call overlaps with it.

        Args:
          call: reads and changes what is remembered.
          prepared: what it works on; computed before, so that wrong inputs are not laid to others.
          begins: whether the call forgets all before, and with it what went wrong.
        """
        with tf.control_dependencies([prepared]):
            self.enter(begins)
        outputs = call()
        with tf.control_dependencies(list(outputs.values())):
            self.leave()
        return outputs

    def enter(self, begins: bool) -> None:
        """The beginning of a call; arguments and error as of ``alone``."""
        self._entered.assign_add(1)
        is_alone = self._is_alone()
        forgotten = []
        if begins:
            # Where nothing went wrong 0 is taken away: an assignment could undo another's entering.
            broken = tf.cast(tf.logical_not(is_alone), tf.int64)
            forgotten = [
                variable.assign_sub(broken * variable) for variable in (self._entered, self._left)
            ]
        with tf.control_dependencies(forgotten):
            _require(is_alone)

    def leave(self) -> None:
        """The end of a call; error as of ``alone``."""
        is_alone = self._is_alone()
        self._left.assign_add(tf.cast(is_alone, tf.int64))
        _require(is_alone)

    def _is_alone(self) -> tf.Tensor:
        return tf.equal(self._entered.read_value(), self._left.read_value() + 1)


def _require(is_alone: tf.Tensor) -> None:
    tf.raw_ops.Assert(condition=is_alone, data=[_MESSAGE])
