"""Every setting once: default, allowed values, unit, source, meaning.

`FIELDS` is the only place where a setting is defined; the ConfigDict, its validation, the command
line and `--help` are built from it. To add a setting, add one line to `FIELDS`. Presets
(`configs/*.py`) hold differences from these defaults only.

Sources: "paper"; "tables": forced by the parameter counts of the paper's Tables 2 and 3;
"authors": the authors' released code, where the paper is silent; "ours": decided here.

This module imports no TensorFlow: a bad setting is refused before anything heavy is loaded.
"""

import difflib
import math
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import ml_collections


class ConfigError(ValueError):
    """A setting that cannot be used: its key, the value, and what to give instead, in one line."""

    def __init__(self, key: str, value: object, remedy: str) -> None:
        super().__init__(f"{key}={show(value)}: {remedy}")
        self.key = key
        self.value = value
        self.remedy = remedy


@dataclass(frozen=True)
class Field:
    """One setting.

    Attributes:
        key: Section and name, "ppo.learning_rate".
        default: Its type is the type of the setting; a tuple holds integers, one per iteration.
        allowed: An interval such as "(0, 1]", for a tuple that of its entries, or "a | b | c".
        unit: "" for a pure number.
        source: See the module docstring.
        meaning: One phrase.
        fixed: Whether a run directory is bound to the value it was made with.
    """

    key: str
    default: bool | int | float | str | tuple[int, ...]
    allowed: str
    unit: str
    source: str
    meaning: str
    fixed: bool = False


_EPOCHS = (140, 32, 24, 20, 16, 14, 12, 11, 10, 9, 8, 8, 7, 7, 6)
_UPDATES = (1000,) * 7 + (2000,) + (1000,) * 3 + (2000,) + (1000,) * 2 + (3000,)

# fmt: off
FIELDS = (
    Field("game.num_stacked_frames", 4, "[1, 16]", "frames", "paper",
          "last frames that make one observation (the paper also has 1)", fixed=True),
    Field("game.frame_skip", 4, "[1, 100]", "emulator frames", "paper",
          "emulator frames per action", fixed=True),
    Field("game.noop_max", 30, "[0, 1000]", "emulator frames", "authors",
          "most no-op actions at the start of an episode"),
    Field("game.max_episode_steps", 27000, "[1, 10000000]", "steps", "ours",
          "time limit of an episode; 27,000 steps are 108,000 emulator frames"),
    Field("collection.num_iterations", 15, "[1, 10000]", "iterations", "paper",
          "rounds of collect, learn the world model, learn the policy, evaluate"),
    Field("collection.first_iteration_steps", 12800, "[1, 10000000]", "steps", "paper",
          "real steps of the first, uniformly random collection", fixed=True),
    Field("collection.steps_per_iteration", 6400, "[1, 10000000]", "steps", "paper",
          "real steps of every later collection", fixed=True),
    Field("collection.temperature", 1.5, "(0, 100]", "", "authors",
          "divides the policy's logits while collecting after the first iteration"),
    Field("collection.repeat_probability", 0.0, "[0, 1)", "", "ours",
          "chance that a step of the random collection repeats the last action"),
    Field("vqvae.num_embeddings", 128, "[2, 65536]", "embeddings", "paper",
          "size of the codebook", fixed=True),
    Field("vqvae.embedding_dim", 32, "[1, 4096]", "channels", "paper",
          "size of one embedding", fixed=True),
    Field("vqvae.ema_decay", 0.99, "[0, 1)", "per update", "authors",
          "decay of the codebook's moving averages"),
    Field("vqvae.ema_epsilon", 1e-5, "(0, 1]", "", "authors",
          "Laplace smoothing of the codebook's counts"),
    Field("vqvae.commitment_cost", 0.25, "[0, 1000]", "", "authors",
          "weight of the mean squared distance between encoding and embedding"),
    Field("vqvae.likelihood", "clamped", "clamped | exact", "", "authors",
          "form of the continuous Bernoulli: clamped keeps logits bounded, exact is the paper's "
          "formula and needs a pixel_margin where pixels are black or white", fixed=True),
    Field("vqvae.pixel_margin", 0.0, "[0, 0.5)", "", "ours",
          "pixels are squeezed into [margin, 1 - margin] before the likelihood", fixed=True),
    Field("vqvae.foreground_weight", 0.0, "[0, 1000]", "", "ours",
          "added to the weight 1 of pixels that differ from the median frame"),
    Field("vqvae.warmup_epochs", 50, "[0, 1000000]", "epochs", "paper",
          "training of the VQ-VAE alone after the first collection"),
    Field("vqvae.warmup_learning_rate", 1e-3, "(0, 1]", "", "paper",
          "Adam's learning rate during the warm-up"),
    Field("vqvae.later_epochs", 0, "[0, 1000000]", "epochs", "ours",
          "training of the VQ-VAE alone after every later collection"),
    Field("vqvae.learning_rate", 1e-4, "(0, 1]", "", "paper",
          "Adam's learning rate after the warm-up"),
    Field("vqvae.batch_size", 40, "[1, 65536]", "observations", "authors",
          "observations in one update of the VQ-VAE"),
    Field("vqvae.update_interval", 2, "[0, 1000000]", "dynamics updates", "paper",
          "dynamics updates per update of the VQ-VAE; 0: it rests while the dynamics learn"),
    Field("dynamics.channels", 128, "[1, 4096]", "channels", "tables",
          "channels of each ConvLSTM cell", fixed=True),
    Field("dynamics.convolution", "auto", "auto | direct | fast", "", "ours",
          "how all convolutions on the 6x6 grid are computed; the result is the same"),
    Field("dynamics.present_code_logit", 0.0, "[0, 100]", "nats", "ours",
          "added to the logit of the code that a cell has now: most codes stay", fixed=True),
    Field("dynamics.windows_per_batch", 4, "[1, 65536]", "windows", "authors",
          "windows of consecutive steps in one update of the dynamics"),
    Field("dynamics.window_length", 11, "[2, 10000]", "steps", "authors",
          "observations in one window"),
    Field("dynamics.context_steps", 4, "[1, 10000]", "steps", "authors",
          "steps fed with the true code; later ones with the model's own sample"),
    Field("dynamics.temperature", 1.0, "(0, 100]", "", "ours",
          "divides the logits of codes that are drawn, in training and in dreams"),
    Field("dynamics.learning_rate", 5e-4, "(0, 1]", "", "authors",
          "Adam's learning rate for the cells and the latent head"),
    Field("dynamics.reward_head_learning_rate", 1e-3, "(0, 1]", "", "authors",
          "Adam's learning rate for the reward head"),
    Field("dynamics.reward_loss_weight", 1e-6, "[0, 1000000]", "", "authors",
          "weight of the reward's cross-entropy in the loss"),
    Field("dynamics.epochs", _EPOCHS, "[0, 1000000]", "epochs", "authors",
          "training of the world model, one entry per iteration"),
    Field("dynamics.epoch_fallback", False, "", "", "ours",
          "go back to the best epoch if the last one predicts held-out codes worse than copying"),
    Field("dream.num_dreams", 16, "[1, 65536]", "dreams", "paper",
          "dreams that run side by side in one policy update"),
    Field("dream.horizon", 50, "[1, 100000]", "steps", "paper",
          "steps of a dream"),
    Field("dream.context_steps", 0, "[0, 10000]", "steps", "ours",
          "real steps before a dream that the recurrent state has seen"),
    Field("dream.rewards", "sampled", "sampled | expected", "", "ours",
          "whether a dream pays draws from the reward's distribution or its mean"),
    Field("dream.bootstrap_at_horizon", False, "", "", "authors",
          "whether a dream's end is a time limit (bootstrap) instead of a terminal state"),
    Field("ppo.num_updates", _UPDATES, "[0, 1000000]", "updates", "authors",
          "policy updates, each on fresh dreams, one entry per iteration"),
    Field("ppo.check_interval", 0, "[0, 1000000]", "updates", "ours",
          "policy updates between two looks at what the real game pays; the best policy of an "
          "iteration is kept; 0: no looks, the last one is kept"),
    Field("ppo.num_epochs", 4, "[1, 1000]", "epochs", "authors",
          "passes over the dreams of one update"),
    Field("ppo.minibatch_size", 256, "[1, 10000000]", "steps", "authors",
          "dream steps in one gradient step"),
    Field("ppo.discount", 0.99, "[0, 1]", "per step", "paper",
          "discount of simulated rewards"),
    Field("ppo.gae_lambda", 0.95, "[0, 1]", "per step", "authors",
          "decay of generalised advantage estimation"),
    Field("ppo.ratio_clip", 0.1, "(0, 10]", "", "authors",
          "clip of the probability ratio"),
    Field("ppo.value_clip", 0.1, "(0, 1000000]", "", "authors",
          "clip of the change of the value"),
    Field("ppo.value_loss_weight", 0.5, "[0, 1000000]", "", "authors",
          "weight of the value loss"),
    Field("ppo.entropy_weight", 0.01, "[0, 1000000]", "", "authors",
          "weight of the entropy bonus"),
    Field("ppo.learning_rate", 2.5e-4, "(0, 1]", "", "authors",
          "Adam's learning rate for policy and value"),
    Field("ppo.final_learning_rate_share", 1.0, "[0, 1]", "", "ours",
          "what is left of it at the end of an iteration; it falls in a straight line"),
    Field("ppo.max_gradient_norm", 0.5, "(0, 1000000]", "", "authors",
          "global norm to which gradients are clipped"),
    Field("adam.epsilon", 1e-8, "(0, 1]", "", "authors",
          "added to Adam's denominator after bias correction"),
    Field("adam.beta_1", 0.9, "[0, 1)", "per update", "authors",
          "decay of Adam's first moment"),
    Field("adam.beta_2", 0.999, "[0, 1)", "per update", "authors",
          "decay of Adam's second moment"),
    Field("evaluation.num_episodes", 32, "[1, 100000]", "episodes", "paper",
          "real episodes of one evaluation"),
    Field("evaluation.interval", 1, "[1, 10000]", "iterations", "ours",
          "iterations from one evaluation to the next; the last one is always evaluated"),
    Field("evaluation.temperature", 1.0, "(0, 100]", "", "authors",
          "divides the policy's logits while evaluating"),
    Field("inspection.held_out_steps", 3200, "[10, 1000000]", "steps", "ours",
          "real steps per iteration that only judge the world model; none is trained on"),
    Field("inspection.num_starts", 32, "[1, 10000]", "starts", "ours",
          "real moments from which predictions and comparisons start"),
    Field("inspection.horizon", 50, "[1, 100000]", "steps", "ours",
          "steps of these predictions, and of the comparison of dream and game"),
    Field("checkpoints.keep", 3, "[1, 100000]", "checkpoints", "ours",
          "newest checkpoints that are kept"),
    Field("checkpoints.interval", 10.0, "(0, 1000000]", "minutes", "ours",
          "longest time between two checkpoints while a world model or a policy learns"),
    Field("logging.interval", 50, "[1, 10000000]", "updates", "ours",
          "gradient steps between two lines of metrics"),
    Field("deterministic", False, "", "", "ours",
          "whether TensorFlow may only use operations that repeat bit for bit"),
)
# fmt: on
FIELD_OF_KEY = {field.key: field for field in FIELDS}


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
    raise ConfigError(key if key.isprintable() and len(key) < 80 else show(key), value, remedy)


def nearest_keys(key: str) -> list[str]:
    """Known keys that somebody who wrote `key` may have meant, the nearest first."""
    section = key.rpartition(".")[0]
    return nearest_names(key, FIELD_OF_KEY) or [
        known for known in FIELD_OF_KEY if section and known.startswith(f"{section}.")
    ]


def nearest_names(name: str, known_names: Iterable[str]) -> list[str]:
    """Names like `name` as a whole, then names whose part after the last dot is like its own."""
    name, known_names = name[:80].lower(), list(known_names)
    near = difflib.get_close_matches(name, known_names, n=3, cutoff=0.75)
    section, _, last = name.rpartition(".")
    last_parts = {known.rpartition(".")[2] for known in known_names}
    for close in difflib.get_close_matches(last, last_parts, n=1, cutoff=0.75):
        near += [known for known in known_names if known.rpartition(".")[2] == close]
    near.sort(key=lambda known: not (section and known.startswith(f"{section}.")))
    return list(dict.fromkeys(near))[:6]


def validate(config: ml_collections.ConfigDict) -> None:
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
    _check_together(config)


def show(value: object) -> str:
    """A value on one line of at most 80 ASCII characters; a longer one loses its middle."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > 10**40:
        return "(an integer of more than 40 digits)"
    if isinstance(value, tuple | list) and len(value) > 24:
        return f"(a sequence of {len(value)} values)"
    try:
        text = ascii(value)
    except Exception:  # a preset may hold objects whose repr fails
        text = f"({type(value).__name__})"
    return text if len(text) <= 80 else f"{text[:38]}...{text[-39:]}"


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
        return f"one of {field.allowed}"
    if kind is tuple:
        return f"a tuple of integers in {field.allowed}, such as (3, 2, 1)"
    return f"{'an integer' if kind is int else 'a number'} in {field.allowed}"


def _check_range(field: Field, value: Any) -> None:
    if isinstance(value, bool):
        return
    if isinstance(value, str):
        if value not in field.allowed.split(" | "):
            near = difflib.get_close_matches(value, field.allowed.split(" | "), n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(field.key, value, f"must be {expected(field)}{hint}")
        return
    low, high = (float(end) for end in field.allowed[1:-1].split(","))
    for number in value if isinstance(value, tuple) else (value,):
        above = number > low if field.allowed[0] == "(" else number >= low
        below = number < high if field.allowed[-1] == ")" else number <= high
        if not (above and below):  # also NaN
            raise ConfigError(field.key, value, f"must be {expected(field)}")


def _check_together(config: ml_collections.ConfigDict) -> None:
    """Settings that contradict each other; the message names both."""
    collection, dynamics, dream, ppo = (
        config[section] for section in ("collection", "dynamics", "dream", "ppo")
    )
    per_iteration = {"dynamics.epochs": dynamics.epochs, "ppo.num_updates": ppo.num_updates}
    for key, entries in per_iteration.items():
        if len(entries) < collection.num_iterations:
            remedy = (
                f"needs one entry for each of collection.num_iterations="
                f"{collection.num_iterations}, but has {len(entries)}"
            )
            raise ConfigError(key, entries, remedy)
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
        ("ppo.minibatch_size", ppo.minibatch_size, dream.num_dreams * dream.horizon,
         f"at most dream.num_dreams * dream.horizon = {dream.num_dreams} * {dream.horizon}"),
        ("dream.horizon", dream.horizon, config.game.max_episode_steps,
         f"at most game.max_episode_steps={config.game.max_episode_steps}"),
    )  # fmt: skip
    for key, value, most, remedy in limits:
        if value > most:
            raise ConfigError(key, value, f"must be {remedy}")
