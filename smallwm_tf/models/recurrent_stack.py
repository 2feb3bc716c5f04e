"""The recurrent part of the dynamics: cells on top of each other (section 3.3, Fig. 3).

Whoever uses a stack hands its state from step to step and never looks into it; what of it a policy
may see is ``visible``.

Shapes, grid-major inside: B batch, C channels, D embedding size, M actions.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf
import tf_keras

from smallwm_tf.experiment.config import Config
from smallwm_tf.models.causal_lstm import CausalLSTMCell
from smallwm_tf.models.conv_lstm import ConvLSTMCell
from smallwm_tf.models.convolution_recorder import ConvolutionRecorder
from smallwm_tf.models.execution import Execution
from smallwm_tf.models.gradient_highway import GradientHighway
from smallwm_tf.models.grid_convolution import NUM_CELLS, to_grid_major, to_images
from smallwm_tf.models.memory_cell import MemoryCell
from smallwm_tf.models.st_lstm import STLSTMCell


class StackKind(NamedTuple):
    """What a stack is made of."""

    cells: tuple[type[tf_keras.layers.Layer], ...]  # from the bottom up
    state_names: tuple[str, ...]  # of the tensors of its state, flattened, in exports


_STATE_NAMES = ("hidden_1", "cell_1", "hidden_2", "cell_2")
VISIBLE_PART = "hidden_2"  #: by this name; see ``RecurrentStack.visible``
CELLS = {
    "conv_lstm": StackKind((ConvLSTMCell, ConvLSTMCell), _STATE_NAMES),
    "st_lstm": StackKind((STLSTMCell, STLSTMCell), (*_STATE_NAMES, "memory")),
    "causal_lstm": StackKind(
        (CausalLSTMCell, GradientHighway, CausalLSTMCell),
        ("hidden_1", "cell_1", "highway", "hidden_2", "cell_2", "memory"),
    ),
}

_PAST_CODES = "past_codes"  # the last part, of ``dynamics.past_codes``

State = Any  # a nest of tensors
Kernels = Any


def state_channels(config: Config) -> dict[str, int]:
    """Channels of each part of a state, by its name in exports."""
    settings = config.dynamics
    parts = dict.fromkeys(CELLS[settings.cell].state_names, settings.channels)
    if settings.past_codes:
        parts[_PAST_CODES] = settings.past_codes * config.vqvae.embedding_dim
    return parts


class RecurrentStack(tf_keras.layers.Layer):
    """p(h_t | z_t, a_t, h_{t−1}): the cells of a ``StackKind``, each of which also sees the action.

    Cells of the kind ``MemoryCell`` share a memory, which zigzags (Wang et al., 2017): it goes up
    from cell to cell within a step, and from the top one to the bottom one of the next step. It
    comes in the state behind the states of the cells.

    With ``past_codes`` n the state remembers as many codes, newest first, and y_t holds z_t and
    them beside h_t: cells forget what rewards hang on. Before an episode they are zeros.
    """

    def __init__(
        self,
        cell: str,
        num_actions: int,
        embedding_dim: int,
        channels: int,
        execution: Execution,
        past_codes: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self._another = functools.partial(
            RecurrentStack, cell, num_actions, embedding_dim, channels, past_codes=past_codes
        )
        self.num_actions = num_actions
        self.execution = execution
        self._past_channels = past_codes * embedding_dim
        seen = embedding_dim + self._past_channels if past_codes else 0
        self.num_channels = channels + num_actions + seen  #: of y
        self.state_names = CELLS[cell].state_names + ((_PAST_CODES,) if past_codes else ())
        self.cells = [
            kind(channels, execution, name=f"cell_{number}")
            for number, kind in enumerate(CELLS[cell].cells, 1)
        ]
        for number, layer in enumerate(self.cells):
            below = channels if number else embedding_dim
            layer.build([NUM_CELLS, None, below + num_actions])
        self.built = True

    @property
    def recorded_kernels(self) -> list[tf.Variable]:
        """Kernels whose gradients a ``ConvolutionRecorder`` forms."""
        return [kernel for cell in self.cells for kernel in cell.recorded_kernels]

    def initial_state(self, batch_size: int | tf.Tensor) -> State:
        """The state before a first step."""
        states = tuple(cell.initial_state(batch_size) for cell in self.cells)
        further = []
        if any(isinstance(cell, MemoryCell) for cell in self.cells):
            further.append(tf.zeros_like(states[0].hidden))
        if self._past_channels:
            further.append(tf.zeros([NUM_CELLS, batch_size, self._past_channels]))
        return *states, *further

    def copy(self, execution: Execution) -> "RecurrentStack":
        """One with the weights of the moment, which this one's training does not change."""
        copied = self._another(execution)
        copied.set_weights(self.get_weights())
        return copied

    def visible(self, state: State) -> tf.Tensor:
        """What a policy may see of a state: what the top cell gave, h_t, [36, B, C]."""
        return state[len(self.cells) - 1].hidden

    def to_images(self, state: State) -> tuple[tf.Tensor, ...]:
        """The parts of a state as images, [B, 6, 6, ·] each, for whoever stores or exports it."""
        return tuple(to_images(tensor) for tensor in tf.nest.flatten(state))

    def from_images(self, images: Sequence[tf.Tensor]) -> State:
        """The state that ``to_images`` took apart."""
        cells = [to_grid_major(tensor) for tensor in images]
        return tf.nest.pack_sequence_as(self.initial_state(1), cells)

    def prepare(self, form: str | None = None) -> Kernels:
        """Kernels for all steps between two gradient steps, see ``GridConvolution.prepare``."""
        return tuple(cell.prepare(form) for cell in self.cells)

    def step(
        self,
        embedded: tf.Tensor,
        actions: tf.Tensor,
        state: State,
        kernels: Kernels | None = None,
        recorder: ConvolutionRecorder | None = None,
    ) -> tuple[tf.Tensor, State]:
        """y_t, [36, B, ``num_channels``], C + M as in the paper or more, and h_t.

        Args:
          embedded: embedding vectors of z_t, [36, B, D].
          actions: a_t, int [B].
          state: h_{t−1}.
          kernels: from ``prepare``; made here if not given.
          recorder: defers kernel gradients.
        """
        kernels = self.prepare() if kernels is None else kernels
        one_hot = tf.one_hot(actions, self.num_actions)
        planes = tf.repeat(one_hot[tf.newaxis], NUM_CELLS, axis=0)  # [36, B, M]
        features, states = tf.concat([embedded, planes], axis=-1), []
        before, memory = state[: len(self.cells)], state[len(self.cells) :]  # (M,) or nothing
        past = []
        if self._past_channels:
            *memory, remembered = memory
            seen = tf.concat([embedded, remembered], axis=-1)
            past = [seen[..., : self._past_channels]]
        for cell, cell_state, prepared in zip(self.cells, before, kernels, strict=True):
            if isinstance(cell, MemoryCell):
                after, *memory = cell(features, cell_state, *memory, prepared, recorder)
            else:
                after = cell(features, cell_state, prepared, recorder)
            states.append(after)
            features = tf.concat([after.hidden, planes], axis=-1)
        if past:
            features = tf.concat([features, seen], axis=-1)
        return features, (*states, *memory, *past)
