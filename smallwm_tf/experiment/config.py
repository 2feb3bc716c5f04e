"""The configuration: built from the table of settings, checked, with a message for what is wrong.

This module imports no TensorFlow: a bad setting is refused before anything heavy is loaded.
"""

import difflib
import math
import numbers
from collections.abc import Mapping
from typing import Any

import ml_collections

from smallwm_tf.experiment.messages import nearest_names, show
from smallwm_tf.experiment.schedule import plan_of
from smallwm_tf.experiment.settings import FIELD_OF_KEY, FIELDS, Config, Field


class ConfigError(ValueError):
    """A setting that cannot be used: its key, the value, and what to give instead, in one line."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(f"{key}={show(value)}: {remedy}")
        self.key = key
        self.value = value
        self.remedy = remedy


def default_config() -> ml_collections.ConfigDict:
    """All settings at their defaults, as a typed ConfigDict that accepts no new keys."""
    nested: dict[str, Any] = {}
    for field in FIELDS:
        *sections, name = field.key.split(".")
        place = nested
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = field.default
    return ml_collections.ConfigDict(nested).lock()


def build_config(differences: Mapping[str, Any]) -> ml_collections.ConfigDict:
    """The defaults with some values replaced; types are checked here, ranges by `validate`.

    Args:
        differences: Nested sections, or keys with dots, or both; lists stand for tuples.

    Raises:
        ConfigError: An unknown key or a value of the wrong type.
    """
    config = default_config()
    for key, value in flatten(differences).items():
        field = find_field(key, value)
        config.update_from_flattened_dict({key: _cast(field, value)})
    return config


def editable(config: ml_collections.FrozenConfigDict) -> ml_collections.ConfigDict:
    """A copy to change; `as_configdict` alone, and a ConfigDict of it, share their sections."""
    return config.as_configdict().copy_and_resolve_references()


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """{"ppo": {"discount": 0.9}} -> {"ppo.discount": 0.9}.

    Raises:
        ConfigError: A key that is not a string, or nesting without end.
    """
    if prefix.count(".") > 8:
        raise ConfigError(prefix, nested, "sections are nested too deeply")
    flat: dict[str, Any] = {}
    for name, value in nested.items():
        if not isinstance(name, str):
            raise ConfigError(f"{prefix}{show(name)}", value, "the key must be a string")
        if isinstance(value, Mapping | ml_collections.ConfigDict):
            flat.update(flatten(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = value
    return flat


def find_field(key: str, value: object = "") -> Field:
    """The field of a key.

    Raises:
        ConfigError: No such key; the message gives the nearest ones.
    """
    if key in FIELD_OF_KEY:
        return FIELD_OF_KEY[key]
    members = [known for known in FIELD_OF_KEY if known.startswith(f"{key}.")]
    if members:
        remedy = f"is a section; give one of its settings: {', '.join(members)}"
    else:
        near = nearest_keys(key)
        remedy = f"no such setting; nearest: {', '.join(near)}" if near else "no such setting"
    is_short = key.isascii() and key.isprintable() and len(key) < 80
    raise ConfigError(key if is_short else show(key), value, remedy)


def nearest_keys(key: str) -> list[str]:
    """Known keys that somebody who wrote `key` may have meant, the nearest first."""
    section = key.rpartition(".")[0]
    return nearest_names(key, FIELD_OF_KEY) or [
        known for known in FIELD_OF_KEY if section and known.startswith(f"{section}.")
    ]


def validate(config: Config) -> None:
    """Checks types, ranges, and settings against each other.

    Raises:
        ConfigError: The first setting that cannot be used.
    """
    flat = flatten(config)
    for key, value in flat.items():
        find_field(key, value)
    for field in FIELDS:
        if field.key not in flat:
            raise ConfigError(field.key, None, "the setting is missing")
        _check_range(field, _cast(field, flat[field.key]))
    _check_together(config, flat)


def _cast(field: Field, value: object) -> Any:
    """The value in the field's own type; never rounds, parses or truncates."""
    kind = type(field.default)
    if kind is bool and isinstance(value, bool):
        return value
    if kind is str and isinstance(value, str):
        return value
    if kind is int and _is_integer(value):
        return int(value)
    if kind is float and isinstance(value, numbers.Real) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if kind is tuple and isinstance(value, tuple | list) and all(map(_is_integer, value)):
        return tuple(int(entry) for entry in value)
    raise ConfigError(field.key, value, f"must be {expected(field)}")


def _is_integer(value: object) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def expected(field: Field) -> str:
    """What a value of this field looks like, for messages."""
    kind = type(field.default)
    if kind is bool:
        return "true or false"
    if kind is str:
        return f"one of {field.allowed_text()}"
    if kind is tuple:
        return f"a tuple of integers in {field.allowed}, such as (3, 2, 1)"
    return f"{'an integer' if kind is int else 'a number'} in {field.allowed}"


def _check_range(field: Field, value: Any) -> None:
    entries = value if isinstance(value, tuple) else (value,)
    if field.allowed is not None and not all(entry in field.allowed for entry in entries):
        near = difflib.get_close_matches(value, field.allowed) if isinstance(value, str) else ()
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(field.key, value, f"must be {expected(field)}{hint}")


def _check_together(config: Config, flat: Mapping[str, Any]) -> None:
    """Settings that contradict each other; the message names both."""
    collection, dynamics, plan = config.collection, config.dynamics, plan_of(config)
    for key in ("dynamics.epochs", "ppo.num_updates"):
        if len(flat[key]) < collection.num_iterations:
            remedy = (
                f"needs one entry for each of collection.num_iterations="
                f"{collection.num_iterations}, but has {len(flat[key])}"
            )
            raise ConfigError(key, flat[key], remedy)
    if dynamics.epoch_fallback and config.vqvae.update_interval:
        remedy = (
            "needs vqvae.update_interval=0: while the VQ-VAE learns, accuracies of different "
            "epochs are those of different codes"
        )
        raise ConfigError("dynamics.epoch_fallback", True, remedy)
    if config.precision == "bfloat16" and not plan.has_bfloat16:
        remedy = f"must be auto or float32: algorithm={config.algorithm} has no other"
        raise ConfigError("precision", config.precision, remedy)
    if config.ppo.repeat_probability and config.algorithm != "world_model":
        remedy = f"must be 0: algorithm={config.algorithm} has no policy that sees its last action"
        raise ConfigError("ppo.repeat_probability", config.ppo.repeat_probability, remedy)
    for key in ("ppo.repeat_probability", "ppo.sees_recurrent_state"):
        if flat[key] and collection.policy_repeat_probability:
            remedy = f"must be 0 with {key}={flat[key]}: the policy remembers what it chose itself"
            held = collection.policy_repeat_probability
            raise ConfigError("collection.policy_repeat_probability", held, remedy)
    if config.ppo.sees_recurrent_state and config.algorithm != "world_model":
        remedy = f"must be false: algorithm={config.algorithm} has no world model, and so no state"
        raise ConfigError("ppo.sees_recurrent_state", True, remedy)
    looks_ahead = config.evaluation.look_ahead_dreams
    if looks_ahead and config.algorithm != "world_model":
        remedy = f"must be 0: algorithm={config.algorithm} has no world model to look ahead in"
        raise ConfigError("evaluation.look_ahead_dreams", looks_ahead, remedy)
    for key in ("collection.first_iteration_steps", "collection.steps_per_iteration"):
        if flat[key] % plan.num_games:
            remedy = f"must be a multiple of ppo.num_actors={plan.num_games}"
            raise ConfigError(key, flat[key], remedy)
    sizes = [flat[key] for key in plan.rollout_sizes]
    first = collection.first_iteration_steps
    limits = (  # key, value, most, where the limit comes from
        ("dynamics.context_steps", dynamics.context_steps, dynamics.window_length - 1,
         f"less than dynamics.window_length={dynamics.window_length}"),
        ("dynamics.window_length", dynamics.window_length, first,
         f"at most collection.first_iteration_steps={first}"),
        ("dynamics.windows_per_batch", dynamics.windows_per_batch, first // dynamics.window_length,
         f"at most {first // dynamics.window_length}, the windows of dynamics.window_length="
         f"{dynamics.window_length} in collection.first_iteration_steps={first}"),
        ("vqvae.batch_size", config.vqvae.batch_size, first,
         f"at most collection.first_iteration_steps={first}"),
        ("ppo.minibatch_size", config.ppo.minibatch_size, math.prod(sizes),
         f"at most {' * '.join(plan.rollout_sizes)} = {' * '.join(map(str, sizes))}"),
        ("dream.horizon", config.dream.horizon, config.game.max_episode_steps,
         f"at most game.max_episode_steps={config.game.max_episode_steps}"),
        ("dream.paid_share", config.dream.paid_share, round(1.0 - config.dream.newest_share, 9),
         f"at most {1.0 - config.dream.newest_share:g} beside dream.newest_share="
         f"{config.dream.newest_share}"),
    )  # fmt: skip
    for key, value, most, remedy in limits:
        if value > most:
            raise ConfigError(key, value, f"must be {remedy}")
