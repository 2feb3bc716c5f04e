"""What the SavedModels of an export take and give, as its metadata says; see ``SavedPolicy`` and
``SavedWorldModel``.

Shapes: B batch (written -1), F stacked frames, M actions, K embeddings, C channels of the cells.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from smallwm_tf.experiment.config import Config
from smallwm_tf.experiment.settings import FRAME_SIZE
from smallwm_tf.models.bilinear_algorithms import GRID_SIZE, NUM_CELLS
from smallwm_tf.models.event_heads import NUM_REWARD_CLASSES
from smallwm_tf.models.joint_codes import NUM_CONDITIONS
from smallwm_tf.models.recurrent_stack import state_channels

#: Signatures that smallwm_tf itself calls, the state before what takes it.
_CALLED = (
    "serving_default",
    "encode",
    "act_on_codes",
    "advance",
    "decode",
    "initial_state",
    "predict",
    "draw_codes",
    "code_entropy",
)

Shape = tuple[int, ...]


class Tensor(NamedTuple):
    """Type and shape of an input or output; another shape where exports of before have one."""

    dtype: tf.DType
    shape: Shape
    former: Shape | None = None


class Signature(NamedTuple):
    """Inputs and outputs by name; there may be others."""

    inputs: Mapping[str, Tensor]
    outputs: Mapping[str, Tensor]


_CODES = Tensor(tf.int32, (-1, GRID_SIZE, GRID_SIZE))
_FRAME = Tensor(tf.uint8, (-1, FRAME_SIZE, FRAME_SIZE))
_EACH = Tensor(tf.float32, (-1,))
_ACTION = Tensor(tf.int32, (-1,))


def signatures_of_agent(config: Config, num_actions: int) -> dict[str, Signature]:
    """Those that every agent has, by name."""
    frames = Tensor(tf.uint8, (-1, FRAME_SIZE, FRAME_SIZE, config.game.num_stacked_frames))
    logits = Tensor(tf.float32, (-1, num_actions))
    acted = {"action": _ACTION, "greedy_action": _ACTION, "logits": logits, "value": _EACH}
    seen: dict[str, Tensor] = {}  # beside codes
    if config.algorithm == "ppo":
        shown, of_codes = acted, {}
    else:
        shown = {**acted, "codes": _CODES}
        if config.ppo.repeat_probability:
            seen["last_action"] = _ACTION
        of_codes = {"encode": Signature({"frames": frames}, {"codes": _CODES})}
        if config.ppo.sees_recurrent_state:
            image = (-1, GRID_SIZE, GRID_SIZE)
            seen["hidden"] = Tensor(tf.float32, (*image, config.dynamics.channels))
            channels = state_channels(config).items()
            state = {name: Tensor(tf.float32, (*image, count)) for name, count in channels}
            step = {"codes": _CODES, "action": _ACTION, **state}
            of_codes["advance"] = Signature(step, state)
        of_codes["act_on_codes"] = Signature({"codes": _CODES, **seen}, acted)
    return {
        "serving_default": Signature({"frames": frames, **seen}, shown),
        "reset": Signature({"frame": _FRAME}, shown),
        "act": Signature({"frame": _FRAME}, shown),
        **of_codes,
    }


def signatures_of_world_model(config: Config) -> dict[str, Signature]:
    """Those that every world model has, by name."""
    count, grid = config.vqvae.num_embeddings, (GRID_SIZE, GRID_SIZE)
    state = {
        name: Tensor(tf.float32, (-1, *grid, channels), (NUM_CELLS, -1, channels))
        for name, channels in state_channels(config).items()
    }
    given = (NUM_REWARD_CLASSES,) if config.dynamics.code_head == "given_reward" else ()
    rewards = Tensor(tf.float32, (-1, NUM_REWARD_CLASSES))
    ends = {"end_logits": _EACH} if config.dream.ends == "predicted" else {}
    step = {"codes": _CODES, "action": _ACTION, **state}
    drawing = {"temperature": Tensor(tf.float32, ()), "seed": Tensor(tf.int32, (2,))}
    frames = (-1, FRAME_SIZE, FRAME_SIZE, config.game.num_stacked_frames)
    entropy = Tensor(tf.float32, (-1, *grid))
    conditions, of_joint_codes = {}, {}
    if config.dynamics.code_head in ("autoregressive", "masked"):
        conditions = {"code_conditions": Tensor(tf.float32, (-1, *grid, NUM_CONDITIONS))}
        logits = Tensor(tf.float32, (-1, *grid, count))
        distribution = {"latent_logits": logits, **conditions, "reward": _EACH}
        drawn = {**distribution, "codes": _CODES, "temperature": drawing["temperature"]}
        of_joint_codes = {
            "draw_codes": Signature({**distribution, **drawing}, {"codes": _CODES}),
            "code_entropy": Signature(drawn, {"entropy": entropy}),
        }
    return {
        "decode": Signature({"codes": _CODES}, {"frames": Tensor(tf.uint8, frames)}),
        "initial_state": Signature({"batch_size": Tensor(tf.int32, ())}, state),
        "predict": Signature(
            step,
            {
                "latent_logits": Tensor(tf.float32, (-1, *given, *grid, count)),
                "reward_logits": rewards,
                **ends,
                **conditions,
                **state,
            },
        ),
        "dream_step": Signature(
            {**step, **drawing},
            {
                "codes": _CODES,
                "reward": _EACH,
                "reward_probabilities": rewards,
                "entropy": entropy,
                **state,
            },
        ),
        **of_joint_codes,
    }


def check_outputs(loaded: Any, wanted: Mapping[str, Signature]) -> None:
    """Calls those functions of a loaded SavedModel that smallwm_tf uses, once, on zeros.

    What a signature says is a claim; this is what the function does.

    Raises:
      ValueError: its outputs are not of the wanted types and shapes; the first one is named.
    """
    state: dict[str, tf.Tensor] = {}
    for name in filter(wanted.__contains__, _CALLED):
        zeros = {key: _zeros(tensor) for key, tensor in wanted[name].inputs.items()}
        if name == "initial_state":
            zeros = {"batch_size": tf.constant(1)}
        function = getattr(loaded, "serve" if name == "serving_default" else name)
        given = {key: state.get(key, zero) for key, zero in zeros.items()}
        outputs = function(*given.values())
        for key, tensor in wanted[name].outputs.items():
            found = outputs[key]
            if found.dtype != tensor.dtype or tuple(found.shape) not in _of_one(tensor):
                raise ValueError(
                    f"{name}: {key} is {found.dtype.name} {list(found.shape)}, not "
                    f"{tensor.dtype.name} {list(_of_one(tensor)[0])}"
                )
        if name == "initial_state":
            state = {key: outputs[key] for key in wanted[name].outputs}


def _of_one(tensor: Tensor) -> list[Shape]:
    """The shapes that a tensor may have in a batch of one."""
    shapes = filter(lambda shape: shape is not None, (tensor.shape, tensor.former))
    return [tuple(1 if length < 0 else length for length in shape) for shape in shapes]


def _zeros(tensor: Tensor) -> tf.Tensor:
    return tf.zeros(_of_one(tensor)[0], tensor.dtype)
