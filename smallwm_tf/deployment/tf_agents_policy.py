"""The agent by the conventions of TF-Agents' PolicySaver."""

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
import tensorflow_probability as tfp
from absl import logging
from tf_agents.policies import policy_saver, tf_policy
from tf_agents.specs import tensor_spec
from tf_agents.trajectories import policy_step
from tf_agents.trajectories import time_step as ts

from smallwm_tf.deployment.saved_agent import SavedPolicy
from smallwm_tf.deployment.saved_memory import remembered_specs
from smallwm_tf.deployment.trained_agent import TrainedAgent
from smallwm_tf.experiment.settings import FRAME_SIZE

_SHIFTED = "last_action"  # by one, see ``FramesPolicy``


class FramesPolicy(tf_policy.TFPolicy):
    """Observations uint8 [B, 96, 96, F] → actions int32 [B], drawn from the policy.

    What that remembers is the policy state, by name; of the last action one more than it, so that
    all of it is 0 where an episode begins.
    """

    def __init__(self, saved: SavedPolicy, agent: TrainedAgent):
        frames = [FRAME_SIZE, FRAME_SIZE, agent.config.game.num_stacked_frames]
        observation = tensor_spec.BoundedTensorSpec(frames, tf.uint8, 0, 255, "observation")
        last_action = len(agent.action_meanings) - 1
        action = tensor_spec.BoundedTensorSpec([], tf.int32, 0, last_action, "action")
        specs = remembered_specs(saved.memory)
        self._names, self._begun = [spec.name for spec in specs], saved.memory.begin(1)
        state = {spec.name: tf.TensorSpec(spec.shape[1:], spec.dtype) for spec in specs}
        super().__init__(ts.time_step_spec(observation), action, policy_state_spec=state or ())
        self._saved = saved
        self._temperature = agent.config.evaluation.temperature

    def _action(self, time_step, policy_state, seed=None):
        # Not drawn by TFP: a global seed in force while this is traced would be kept in the graph.
        pair = () if seed is None else ([seed, 0],)
        before, seen = self._seen(time_step, policy_state)
        outputs = self._saved.serve(*seen, *pair)
        after = self._saved.memory.after(outputs.get("codes"), outputs["action"], before)
        return policy_step.PolicyStep(outputs["action"], self._state(after))

    def _distribution(self, time_step, policy_state):
        _, seen = self._seen(time_step, policy_state)
        logits = self._saved.serve(*seen)["logits"]
        drawn = tfp.distributions.Categorical(logits / self._temperature, dtype=tf.int32)
        return policy_step.PolicyStep(drawn, policy_state)

    def _seen(self, time_step, policy_state):
        """The policy's memory, and what it sees."""
        goes_on, parts = tf.logical_not(time_step.is_first()), []
        for name in self._names:
            part = policy_state[name]
            shape = [-1, *[1] * (part.shape.rank - 1)]
            part *= tf.reshape(tf.cast(goes_on, part.dtype), shape)
            parts.append(part - 1 if name == _SHIFTED else part)
        memory = tf.nest.pack_sequence_as(self._begun, parts)
        observation = self._saved.memory.observation(time_step.observation, memory)
        return memory, tf.nest.flatten(observation)

    def _state(self, memory):
        """The policy state that holds a memory."""
        parts = zip(self._names, tf.nest.flatten(memory), strict=True)
        return {name: part + 1 if name == _SHIFTED else part for name, part in parts} or ()


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Of TF-Agents' own names and distributions, about which nobody can do anything."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Encoding a StructuredValue", UserWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)


@_without_warnings()
def save_tf_agents_policy(saved: SavedPolicy, agent: TrainedAgent, path: Path) -> None:
    """Writes the SavedModel that ``tf_agents.policies.py_tf_eager_policy`` and others load."""
    step = tf.Variable(agent.iteration, trainable=False, dtype=tf.int64)
    policy = FramesPolicy(saved, agent)
    saver = policy_saver.PolicySaver(policy, batch_size=None, train_step=step)

    @tf.function(autograph=False)
    def action(time_step, policy_state=(), seed=None):
        return policy.action(time_step, policy_state, seed)

    specs = policy.time_step_spec, policy.policy_state_spec
    batch = [tensor_spec.add_outer_dim(spec) for spec in specs]
    action.get_concrete_function(*batch)
    action.get_concrete_function(*batch, seed=tf.TensorSpec([], tf.int32, "seed"))
    saver._policy.action = action  # TF-Agents 0.19 has no seed in what it saves
    saver.save(str(path))
