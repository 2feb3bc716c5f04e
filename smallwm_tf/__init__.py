"""Discrete world models for Atari in TensorFlow, and policies learned inside them.

Importing the package chooses Keras 2 for the whole process, which TF-Agents and TensorFlow
Probability need, and refuses a wrong installation with one line. It does not load TensorFlow.
"""

import sys as _sys

from smallwm_tf import _requirements
from smallwm_tf._requirements import RequirementsError

__version__ = "0.1.0"
__all__ = ["RequirementsError", "__version__"]

try:
    _requirements.check()
except RequirementsError as _error:
    _command = _requirements.started_as_command()
    if not _command:
        raise
    if _command != "smallwm_tf.doctor":  # which is there to tell what else is wrong
        print(f"smallwm_tf: error: {_error}", file=_sys.stderr)
        raise SystemExit(2) from None
_requirements.choose_keras_2()
