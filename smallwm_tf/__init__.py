"""Discrete world models for Atari in TensorFlow, and policies learned inside them.

Importing the package chooses Keras 2 for the whole process, which TF-Agents and TensorFlow
Probability need, keeps the user's variables and files for Keras away, and refuses a wrong
installation with one line. It does not load TensorFlow.
"""

import sys as _sys

from smallwm_tf import _environment, _requirements
from smallwm_tf._requirements import RequirementsError

__version__ = "0.1.0"
__all__ = ["RequirementsError", "__version__"]

_command = _requirements.started_as_command()
try:
    _requirements.check()
    if _problem := _environment.problem_of_keras(_sys.modules.get("tf_keras")):
        raise RequirementsError(_problem)
except RequirementsError as _error:
    if not _command:
        raise
    if _command != "smallwm_tf.doctor":  # which is there to tell what else is wrong
        print(f"smallwm_tf: error: {_error}", file=_sys.stderr)
        raise SystemExit(2) from None
_environment.pin(for_command=bool(_command))
