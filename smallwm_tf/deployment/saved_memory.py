"""Names and shapes of what a policy remembers and sees, as functions of a SavedModel take them."""

import inspect
from collections.abc import Sequence

import tensorflow as tf

from smallwm_tf.agents.episode_memory import MemoryKeeper


def remembered_specs(memory: MemoryKeeper) -> list[tf.TensorSpec]:
    """Of the parts of a memory, by their names."""
    names = ["last_action"] * memory.sees_last_action
    names += memory.carrier.state_names if memory.carrier else ()
    return _specs(names, tf.nest.flatten(memory.begin(1)))


def seen_specs(memory: MemoryKeeper) -> list[tf.TensorSpec]:
    """Of what a policy sees beside codes, by their names."""
    names = [*(["last_action"] * memory.sees_last_action), *(["hidden"] if memory.carrier else ())]
    _, *seen = tf.nest.flatten(memory.observation(0, memory.begin(1)))
    return _specs(names, seen)


def _specs(names: Sequence[str], parts: Sequence[tf.Tensor]) -> list[tf.TensorSpec]:
    pairs = zip(names, parts, strict=True)
    return [tf.TensorSpec([None, *part.shape[1:]], part.dtype, name) for name, part in pairs]


def signature_of(specs: Sequence[tf.TensorSpec], is_seeded: bool = True) -> inspect.Signature:
    """Arguments that are named as their specs; the last one, a seed, may be left out."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    named = [inspect.Parameter(spec.name, kind) for spec in specs]
    seed = [inspect.Parameter("seed", kind, default=None)] if is_seeded else []
    return inspect.Signature(named + seed)
