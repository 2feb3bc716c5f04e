"""SavedModels beside the live agent they were made of, and in a process with TensorFlow alone."""

import json
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tf_agents.policies import py_tf_eager_policy
from tf_agents.trajectories import time_step as ts

from smallwm_tf import export
from smallwm_tf.deployment import export_directory
from smallwm_tf.deployment.export_directory import write_export
from smallwm_tf.deployment.opening import load_export, load_run, open_agent
from smallwm_tf.games.game_batch import GameBatch
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.runs import RunError

NUM_FRAMES = 64
ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def agent(run_dir):
    """The live agent, in the other form of convolutions."""
    return load_run(run_dir, convolution="fast")


@pytest.fixture(scope="module")
def direct(run_dir):
    """The agent that is exported."""
    return load_run(run_dir)


@pytest.fixture(scope="module")
def varied(run_dir, frames, tmp_path_factory):
    """Live agent and SavedModel with one bias changed, so that greedy actions differ.

    A policy after one update prefers the same action everywhere, which would prove nothing.
    """
    live, direct = load_run(run_dir, convolution="fast"), load_run(run_dir)
    excess = live.policy_of(live.encode(frames)).logits.mean(axis=0)
    for changed in (live, direct):
        changed.networks.policy.logits.bias.assign_sub(excess)
    path = tmp_path_factory.mktemp("varied") / "export"
    write_export(direct, path, with_world_model=True)
    return live, path


@pytest.fixture(scope="module")
def frames():
    """Observations of the real game under random actions, uint8 [64, 96, 96, 2]."""
    games, random = GameBatch("Catch", 5, 2, seed=1), np.random.default_rng(2)
    seen = []
    while len(seen) < NUM_FRAMES:
        seen.extend(games.reset())
        while not games.episode_over.all():
            seen.extend(games.step(random.integers(3, size=5)).observations)
    return np.stack(seen[:NUM_FRAMES])


@pytest.fixture(scope="module")
def fresh_process(varied, frames, tmp_path_factory):
    """What a process that can import TensorFlow and NumPy alone computes with the SavedModels."""
    _, export = varied
    folder = tmp_path_factory.mktemp("fresh")
    np.savez(folder / "frames.npz", frames=frames)
    script = f"""
import sys
for name in ("smallwm_tf", "tf_agents", "tensorflow_probability", "tf_keras", "gymnasium"):
    sys.modules[name] = None  # importing it fails
import numpy as np, tensorflow as tf
agent = tf.saved_model.load({str(export / "agent")!r})
serve = agent.signatures["serving_default"]
frames = np.load("frames.npz")["frames"]
greedy = {{
    f"greedy_{{size}}": np.concatenate([
        serve(frames=tf.constant(frames[first : first + size]))["greedy_action"]
        for first in range(0, len(frames), size)
    ])
    for size in (1, 7, 64)
}}
outputs = serve(frames=tf.constant(frames))
world = tf.saved_model.load({str(export / "world_model")!r})
state = world.initial_state(tf.constant(len(frames)))
codes = outputs["codes"]
step = world.dream_step(codes, outputs["greedy_action"], **state, temperature=tf.constant(1e-4),
                        seed=tf.constant([1, 2]))
np.savez("outputs.npz", decoded=world.decode(codes)["frames"], dreamed=step["codes"], **greedy,
         **{{key: value.numpy() for key, value in outputs.items()}})
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return np.load(folder / "outputs.npz")


def actions_of(agent, frames, temperature):
    actor = agent.agent(temperature)
    return actor.act(frames, actor.begin(len(frames)), np.array([5, 6], np.int32), 7)[0]


@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_greedy_actions_equal_the_live_agents(varied, frames, fresh_process, batch_size):
    agent, _ = varied
    live = actions_of(agent, frames, 0.0)
    assert np.bincount(live).max() < 0.9 * NUM_FRAMES
    np.testing.assert_array_equal(fresh_process[f"greedy_{batch_size}"], live)


def test_a_fresh_process_needs_tensorflow_alone(varied, frames, fresh_process):
    agent, outputs = varied[0], fresh_process
    codes = agent.encode(frames)
    logits, values = agent.policy_of(codes)
    np.testing.assert_array_equal(outputs["codes"], codes)
    np.testing.assert_allclose(outputs["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(outputs["value"], values, atol=1e-4)
    np.testing.assert_array_equal(outputs["greedy_action"], logits.argmax(axis=1))
    assert set(outputs["action"].tolist()) <= {0, 1, 2}
    pixels = 255.0 * agent.world_model.decode(tf.constant(codes)).numpy()
    np.testing.assert_allclose(outputs["decoded"], pixels, atol=0.51)
    # At so low a temperature almost every drawn code is the most probable one.
    state = agent.world_model.initial_state(NUM_FRAMES)
    found = agent.world_model.predict(tf.constant(codes), logits.argmax(axis=1), state)
    assert (outputs["dreamed"] == found.next_codes.mode().numpy()).mean() > 0.95


def test_drawn_actions_follow_the_probabilities(frames, saved):
    batch = tf.constant(np.repeat(frames[40:41], 3000, axis=0))
    codes = tf.repeat(saved.encode(batch[:1])["codes"], 3000, axis=0)
    outputs = saved.act_on_codes(codes)
    expected = tf.nn.softmax(outputs["logits"][0]).numpy()
    frequencies = np.bincount(outputs["action"].numpy(), minlength=3) / 3000
    np.testing.assert_allclose(frequencies, expected, atol=0.04)


def seeds_in(path):
    """The two seeds of every node of a SavedModel that draws from a stream of its own."""
    model = saved_model_pb2.SavedModel()
    model.ParseFromString((path / "saved_model.pb").read_bytes())
    library = model.meta_graphs[0].graph_def.library.function
    nodes = [node for function in library for node in function.node_def]
    assert not [n.op for n in nodes if n.op in ("RandomUniform", "RandomUniformInt")]
    drawing = [node for node in nodes if node.op == "Multinomial"]
    return [(node.attr["seed"].i, node.attr["seed2"].i) for node in drawing]


def test_a_seed_of_the_exporting_process_is_not_kept(direct, tmp_path, recwarn, caplog):
    """Seeds of 0 and 0 are what the kernel takes for: other draws in every process."""
    tf.random.set_seed(7)
    try:
        write_export(direct, tmp_path / "e", with_tf_agents_policy=True)
    finally:
        tf.random.set_seed(None)
    for part in ("agent", "tf_agents_policy"):
        assert set(seeds_in(tmp_path / "e" / part)) == {(0, 0)}
    assert not [str(w.message) for w in recwarn if "StructuredValue" in str(w.message)]
    assert not [record for record in caplog.records if record.name == "absl"]


@pytest.mark.parametrize("name", ["Catch", "UpNDown"])
def test_the_examples_draw_anew(name):
    path = ROOT / "examples" / name
    assert set(seeds_in(path / "agent")) == {(0, 0)}
    loaded = load_export(path)  # checksums
    observations = np.zeros([1, 96, 96, loaded.config.game.num_stacked_frames], np.uint8)
    assert loaded.networks._saved.serve(observations, [1, 2])["action"].shape == [1]


def test_a_given_seed_repeats_the_draws(saved, frames):
    batch = np.repeat(frames[40:41], 40, axis=0)
    single, codes = batch[..., -1], saved.encode(batch)["codes"]
    calls = {
        "serving_default": (saved.serve, batch),
        "reset": (saved.reset, single),
        "act": (saved.act, single),
        "act_on_codes": (saved.act_on_codes, codes),
    }
    for name, (function, given) in calls.items():
        first, again, other = (
            function(given, seed)["action"].numpy() for seed in ([7, 1], [7, 1], [7, 2])
        )
        np.testing.assert_array_equal(first, again)
        assert (first != other).any()
        assert (function(given)["action"] != function(given)["action"]).numpy().any()
        signature = saved.signatures[f"{name}_seeded"]
        inputs = {key: tf.constant(given) for key in signature.structured_input_signature[1]}
        inputs["seed"] = tf.constant([7, 1])
        np.testing.assert_array_equal(signature(**inputs)["action"], first)
        assert set(first) == {0, 1, 2}


def test_reset_and_act_keep_the_stack(saved, frames):
    single = frames[:48, ..., -1].reshape(3, 16, 96, 96)  # three steps of 16 games
    stacks = [
        np.stack([single[0], single[0]], axis=-1),
        np.stack([single[0], single[1]], axis=-1),
        np.stack([single[1], single[2]], axis=-1),
    ]
    answers = [saved.reset(single[0]), saved.act(single[1]), saved.act(single[2])]
    for answer, stack in zip(answers, stacks, strict=True):
        expected = saved.serve(tf.constant(stack))
        np.testing.assert_array_equal(answer["codes"], expected["codes"])
        np.testing.assert_allclose(answer["logits"], expected["logits"], atol=1e-5)
    alone = saved.reset(single[0, :1])  # another number of games
    np.testing.assert_allclose(alone["logits"], answers[0]["logits"][:1], atol=1e-4)


def test_dream_steps_are_those_of_the_live_world_model(agent, frames, saved_world_model):
    codes, actions = agent.encode(frames[:6]), np.array([0, 1, 2, 0, 1, 2], np.int32)
    live_state = agent.world_model.initial_state(6)
    state = saved_world_model.initial_state(tf.constant(6))
    seed, temperature = tf.constant([3, 4]), tf.constant(0.7)
    for _ in range(3):
        y, next_codes, live_state = agent.world_model.predict(
            tf.constant(codes), tf.constant(actions), live_state
        )
        reward = agent.world_model.events(Transition(y, codes, actions)).rewards.logits
        arguments = {**state, "temperature": temperature, "seed": seed}
        outputs = saved_world_model.dream_step(codes, actions, **arguments)
        again = saved_world_model.dream_step(codes, actions, **arguments)
        np.testing.assert_array_equal(outputs["codes"], again["codes"])
        np.testing.assert_array_equal(outputs["reward"], again["reward"])
        weights = np.exp(reward.numpy().astype(np.float64))
        expected = weights / weights.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(outputs["reward_probabilities"], expected, atol=1e-4)
        scaled = next_codes.logits.numpy().astype(np.float64) / 0.7
        weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
        shares = weights / weights.sum(axis=-1, keepdims=True)
        np.testing.assert_allclose(
            outputs["entropy"], -(shares * np.log(shares)).sum(-1), atol=1e-3
        )
        codes = outputs["codes"].numpy()
        state = {name: outputs[name] for name in state}
    images = agent.world_model.dynamics.stack.to_images(live_state)
    for name, image in zip(("hidden_1", "cell_1", "hidden_2", "cell_2"), images, strict=True):
        np.testing.assert_allclose(state[name], image, atol=1e-4, err_msg=name)


def test_an_export_dreams_like_its_run(agent, export_dir, frames):
    exported = load_export(export_dir)
    codes = exported.encode(frames[:4])
    np.testing.assert_array_equal(codes, agent.encode(frames[:4]))
    np.testing.assert_array_equal(actions_of(exported, frames, 1.0), actions_of(agent, frames, 1.0))
    assert exported.experiment.game == agent.experiment.game
    assert exported.scores["mean"] == agent.scores["mean"]
    assert exported.num_interactions == agent.num_interactions == 70
    assert exported.world_model.num_stacked_frames == 2


def test_tf_agents_loads_the_policy(agent, export_dir, frames):
    policy = py_tf_eager_policy.SavedModelPyTFEagerPolicy(
        str(export_dir / "tf_agents_policy"), load_specs_from_pbtxt=True
    )
    assert policy.action_spec.maximum == 2
    assert policy.time_step_spec.observation.shape == (96, 96, 2)
    step = ts.restart(frames[40])  # this class adds and removes the batch's axis
    drawn = np.array([policy.action(step).action for _ in range(200)])
    assert drawn.dtype == np.int32 and drawn.shape == (200,)
    logits, _ = agent.policy_of(agent.encode(frames[40:41]))
    frequencies = np.bincount(drawn, minlength=3) / 200
    np.testing.assert_allclose(frequencies, tf.nn.softmax(logits[0]), atol=0.15)
    assert policy.get_train_step() == agent.iteration == 2
    seeds = [*range(30), *range(30)]
    repeated = np.array([policy.action(step, seed=seed).action for seed in seeds])
    np.testing.assert_array_equal(repeated[:30], repeated[30:])
    assert len(set(repeated)) > 1


def test_float16_halves_the_bytes_and_keeps_the_answers(direct, saved, frames, tmp_path):
    write_export(direct, tmp_path / "half", half_precision=True)
    loaded = load_export(tmp_path / "half")
    assert loaded.world_model is None
    codes = saved.encode(frames)["codes"].numpy()
    assert (loaded.encode(frames) == codes).mean() > 0.97
    logits = saved.act_on_codes(codes)["logits"].numpy()
    np.testing.assert_allclose(loaded.policy_of(codes).logits, logits, atol=0.02)
    size = sum(f.stat().st_size for f in (tmp_path / "half" / "agent").rglob("*"))
    assert 6e6 < size < 8e6  # 3.3 million weights, two bytes each


def test_a_wrong_frame_size_is_told_with_the_expected_shape(saved):
    with pytest.raises((TypeError, ValueError), match=r"96, 96, 2"):
        saved.serve(tf.zeros([1, 84, 84, 2], tf.uint8))


def test_metadata_says_what_was_exported(export_dir, run_dir):
    metadata = json.loads((export_dir / "metadata.json").read_text())
    last = json.loads((run_dir / "scores.json").read_text())[-1]
    assert metadata["game"] == "Catch" and len(metadata["action_meanings"]) == 3
    assert metadata["preprocessing"]["num_stacked_frames"] == 2
    assert metadata["preprocessing"]["frame_skip"] == 1  # Catch skips none
    assert metadata["scores"]["returns"] == last["returns"]
    assert metadata["versions"]["packages"]["tensorflow"] == tf.__version__
    assert "host" not in metadata["versions"]["machine"]
    assert metadata["weights"] == "float32"


def test_command_writes_and_tells(command, run_dir, tmp_path):
    code, out, err = command(export, f"--run_dir={run_dir}", f"--out={tmp_path / 'new' / 'e'}")
    assert code == 0, err
    assert "agent/" in out and "world_model" not in out
    assert sorted(p.name for p in (tmp_path / "new" / "e").iterdir()) == ["agent", "metadata.json"]


def test_commands_refuse_with_one_line(command, run_dir, unfinished_run_dir, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("keep")
    (tmp_path / "file").write_text("")
    cases = {
        "no such directory": (f"--run_dir={tmp_path / 'none'}", f"--out={tmp_path / 'a'}"),
        "holds no run": (f"--run_dir={tmp_path}", f"--out={tmp_path / 'a'}"),
        "unfinished (2 of 8": (f"--run_dir={unfinished_run_dir}", f"--out={tmp_path / 'a'}"),
        "is not empty": (f"--run_dir={run_dir}", f"--out={tmp_path / 'full'}"),
        "not a directory": (f"--run_dir={run_dir}", f"--out={tmp_path / 'file' / 'x'}"),
        "--out": (f"--run_dir={run_dir}",),
        "--oout": (f"--run_dir={run_dir}", "--oout=x", f"--out={tmp_path / 'a'}"),
    }
    for expected, words in cases.items():
        code, out, err = command(export, *words)
        assert (code, out, err.count("\n")) == (2, "", 1), (expected, err)
        assert expected in err and err.startswith("smallwm_tf.export: error: ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "full"]
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]


def test_parts_of_different_exports_are_refused(export_dir, run_dir, tmp_path):
    mixed = tmp_path / "mixed"
    shutil.copytree(export_dir, mixed)
    assert load_export(mixed).world_model is not None
    with open(mixed / "world_model" / "saved_model.pb", "r+b") as file:
        file.seek(5000)
        byte = file.read(1)
        file.seek(5000)
        file.write(bytes([byte[0] ^ 1]))
    with pytest.raises(RunError, match=r"saved_model.pb: does not match its SHA-256"):
        load_export(mixed)
    shutil.rmtree(mixed / "world_model")
    assert load_export(mixed).world_model is None  # the agent alone is whole
    shutil.copytree(export_dir / "world_model" / "assets", mixed / "world_model")
    (mixed / "world_model" / "more").write_text("")
    with pytest.raises(RunError, match="more: belongs to another export"):
        load_export(mixed)
    shutil.rmtree(mixed / "agent")
    with pytest.raises(RunError, match="agent/.* is missing"):
        load_export(mixed)


def test_an_agent_of_another_game_is_refused(export_dir):
    with pytest.raises(RunError, match=r"game=Pong: .* holds an agent of Catch"):
        open_agent(None, export_dir, game="pong")
    assert open_agent(None, export_dir, game="catch").experiment.game.name == "Catch"


def test_a_failed_export_leaves_nothing(direct, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(export_directory, "write_json", fail)
    with pytest.raises(RunError, match="a/b: cannot be written .No space left"):
        write_export(direct, tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
