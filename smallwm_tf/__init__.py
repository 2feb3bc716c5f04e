"""Discrete world models for Atari in TensorFlow, and policies learned inside them.

Importing the package chooses Keras 2 for the whole process, which TF-Agents and TensorFlow
Probability need, keeps the user's variables and files for Keras away, and refuses a wrong
installation with one line. It does not load TensorFlow; what is used below loads it.

    import smallwm_tf

    run_dir = smallwm_tf.train(smallwm_tf.Experiment("Catch", "catch"))
    agent = smallwm_tf.load_run(run_dir)  # or load_export("examples/Catch")
    smallwm_tf.evaluate(agent)["agent"]["mean"]
    smallwm_tf.DreamVectorEnv(agent, num_envs=64)

docs/python.md goes through all of it.
"""

import importlib as _importlib
import sys as _sys

from smallwm_tf import _environment, _requirements
from smallwm_tf._requirements import RequirementsError

__version__ = "0.1.0"

_PLACES = {  # what is imported when it is first used
    "Experiment": "interface.experiments",
    "train": "train",  # a command that can be called
    "load_run": "interface.agents",
    "load_export": "interface.agents",
    "evaluate": "evaluate",
    "dream_environment": "interface.dreams",
    "DreamEnv": "interface.dreams",
    "DreamVectorEnv": "interface.dreams",
}
__all__ = ["RequirementsError", "__version__", *_PLACES]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = _importlib.import_module(f"{__name__}.{_PLACES[name]}")
    return module if name == _PLACES[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})


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
