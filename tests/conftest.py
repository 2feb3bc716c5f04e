"""Imported before every test module: chooses Keras 2 before one of them loads TensorFlow."""

import pytest

import smallwm_tf  # noqa: F401


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items):
    """Files stay together, so that what they share is made once; commands share a trained run."""
    import tensorflow as tf

    # Tests run many graphs a few times each; optimising them takes longer than it saves. Commands
    # that are started as processes of their own run as a user's do.
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    for item in items:
        folder = item.path.parent
        place = folder if folder.name == "commands" else item.path
        item.add_marker(pytest.mark.xdist_group(str(place.relative_to(item.config.rootpath))))
