"""Writes what a `Board` shows as TensorBoard's summaries, into the writer that is the default."""

import importlib
from typing import Any

from smallwm_tf.runs.board import Shown

_PLUGINS = {"text": "text", "picture": "image", "charts": "custom_scalar"}


def write_summary(shown: Shown) -> None:
    """Writes one entry.

    Raises:
        tf.errors.OpError: It cannot be written.
    """
    import tensorflow as tf  # not above: reports read metrics without it

    if shown.kind == "number":
        tf.summary.scalar(shown.tag, shown.value, step=shown.step)
        return
    if shown.kind == "settings":
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        summary = hparams_pb(shown.settings, start_time_secs=0.0)
    else:
        summary = _strings(shown)
    tf.summary.experimental.write_raw_pb(summary.SerializeToString(), step=shown.step)


def _strings(shown: Shown) -> Any:
    """A summary of one string, or of a vector of them."""
    import tensorflow as tf

    plugin = importlib.import_module(f"tensorboard.plugins.{_PLUGINS[shown.kind]}.metadata")
    named = () if shown.kind == "charts" else ("", "")  # names to show, and descriptions
    summary = tf.compat.v1.Summary()
    entry = summary.value.add(tag=shown.tag)
    entry.metadata.ParseFromString(plugin.create_summary_metadata(*named).SerializeToString())
    value = list(shown.value) if isinstance(shown.value, tuple) else shown.value
    entry.tensor.CopyFrom(tf.make_tensor_proto(value, dtype=tf.string))
    return summary
