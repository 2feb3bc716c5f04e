"""Exports of world models with each kind of cell dream as the live one does."""

import numpy as np
import pytest
import tensorflow as tf

from smallwm_tf.deployment.exported_world_model import ExportedWorldModel
from smallwm_tf.deployment.program_check import check_program
from smallwm_tf.deployment.saved_world_model import SavedWorldModel
from smallwm_tf.deployment.signatures import check_outputs, signatures_of_world_model
from smallwm_tf.experiment.config import build_config
from smallwm_tf.models.build import build_models
from smallwm_tf.models.imagination import Dreamer, DreamSettings, DreamState
from smallwm_tf.models.recurrent_stack import CELLS

N, M, K, C = 3, 3, 16, 4


@pytest.fixture(scope="module", params=[*((c, 0) for c in CELLS), ("conv_lstm", 2)])
def world_models(request, tmp_path_factory):
    """The live one and its export, loaded."""
    cell, past_codes = request.param
    config = build_config(
        {
            "dynamics.cell": cell,
            "dynamics.past_codes": past_codes,
            "dynamics.channels": C,
            "dynamics.convolution": "direct",
            "vqvae.num_embeddings": K,
            "game.num_stacked_frames": 1,
        }
    )
    live = build_models(config, M)[0]
    path = tmp_path_factory.mktemp("export") / "world_model"
    SavedWorldModel(live).save(path)
    wanted = signatures_of_world_model(config)
    check_program(path, wanted)
    loaded = tf.saved_model.load(str(path))
    check_outputs(loaded, wanted)
    return live, loaded


def test_dream_steps_of_an_export_equal_those_of_the_run(world_models):
    live, loaded = world_models
    draw = np.random.default_rng(3)
    codes = tf.constant(draw.integers(K, size=[N, 6, 6]), tf.int32)
    dreamer = Dreamer(live, DreamSettings(temperature=0.7))
    names = live.dynamics.stack.state_names
    model = ExportedWorldModel(None, loaded, 1, K, M, names)
    exported = Dreamer(model, DreamSettings(temperature=0.7))
    state = DreamState(codes, live.initial_state(N), live.prepare())
    of_export = DreamState(codes, exported.world_model.initial_state(N), ())
    by_name = loaded.initial_state(tf.constant(N))
    for number in range(3):
        seed, actions = tf.constant([5, number]), tf.constant(draw.integers(M, size=N), tf.int32)
        found = loaded.dream_step(
            state.codes, actions, **by_name, temperature=tf.constant(0.7), seed=seed
        )
        step, state = dreamer.step(state, actions, seed)
        again, of_export = exported.step(of_export, actions, seed)
        for ours in (found["codes"], again.codes):
            np.testing.assert_array_equal(ours, step.codes)
        for ours in (found["reward"], again.rewards):
            np.testing.assert_array_equal(ours, step.rewards)
        by_name = {name: found[name] for name in by_name}
        for name, image in zip(names, live.state_to_images(state.recurrent), strict=True):
            assert np.abs(image).max() > 1e-3
            np.testing.assert_allclose(by_name[name], image, atol=1e-5)
            np.testing.assert_allclose(of_export.recurrent[name], image, atol=1e-5)


def image_shape(name) -> list[int]:
    return [6, 6, 2 * 32 if name == "past_codes" else C]  # of two embedding vectors


def test_a_state_is_masked_in_exports_too(world_models):
    model = ExportedWorldModel(None, world_models[1], 1, K, M)
    ones = {name: tf.ones_like(tensor) for name, tensor in model.initial_state(2).items()}
    for name, tensor in model.masked(ones, tf.constant([True, False])).items():
        np.testing.assert_array_equal(tensor[0], np.ones(image_shape(name)))
        np.testing.assert_array_equal(tensor[1], np.zeros(image_shape(name)))


def test_states_have_an_order_for_calls_without_names(world_models):
    live, loaded = world_models
    draw = np.random.default_rng(4)
    names, codes, actions = live.dynamics.stack.state_names, tf.zeros([2, 6, 6], tf.int32), [0, 2]
    state = {name: draw.normal(size=[2, *image_shape(name)]).astype(np.float32) for name in names}
    drawing = {"temperature": tf.constant(1.0), "seed": tf.constant([1, 2])}
    for function, further in ((loaded.predict, {}), (loaded.dream_step, drawing)):
        by_name = function(codes, actions, **state, **further)
        by_order = function(codes, actions, *state.values(), *further.values())
        assert {*names} < {*by_name}
        tf.nest.map_structure(np.testing.assert_array_equal, by_name, by_order)
