"""What a run needs of an algorithm and of its phases."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from smallwm_tf.agents.networks import CodeNetworks, FrameNetworks
from smallwm_tf.experiment.experiment import Experiment
from smallwm_tf.experiment.schedule import Work
from smallwm_tf.learning.replay import Replay

if TYPE_CHECKING:
    from smallwm_tf.training.run import Run


class Phase(Protocol):
    """One part of an iteration; a run saves a checkpoint after each.

    Attributes:
      name: in metrics and messages.
      place_type: record of the places inside it at which a run may pause, see ``places``; None if
        it is done in one go.
      trains_policy: whether a policy has been trained once it is done.
    """

    name: str
    place_type: type | None
    trains_policy: bool

    def perform(self, run: "Run", iteration: int) -> None:
        """Does the work of one iteration, from 1, on from ``run.place`` if that is not None."""
        ...


class Algorithm(Protocol):
    """Something that learns to play; made of an experiment and the game's number of actions.

    Attributes:
      components: name to model, optimiser or ``tf.Variable``: all that a checkpoint must hold.
      phases: of an iteration, in the order in which they are performed.
      networks: what learns.
      replay: of the real steps that are kept; None if they are not.
      num_measurements: how often ``seconds`` calls ``on_part``.
    """

    components: Mapping[str, Any]
    phases: Sequence[Phase]
    networks: CodeNetworks | FrameNetworks
    replay: Replay | None
    num_measurements: int

    @staticmethod
    def seconds(
        experiment: Experiment, work: Work, on_part: Callable[[], None]
    ) -> dict[str, float]:
        """What a whole run takes by kind of work, if its episodes are as long as random ones; plays
        and measures."""
        ...
