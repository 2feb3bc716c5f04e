"""The table of settings, its validation, and the presets."""

import math
import subprocess
import sys
from pathlib import Path

import pytest

from smallwm_tf.experiment import presets
from smallwm_tf.experiment.config import (
    ConfigError,
    build_config,
    default_config,
    flatten,
    validate,
)
from smallwm_tf.experiment.presets import load_preset, preset_names
from smallwm_tf.experiment.settings import FIELD_OF_KEY, FIELDS, Interval
from smallwm_tf.experiment.switches import SWITCHES

# Section 5 and others of the paper and the authors' code, typed here a second time.
PAPER = {
    "game.num_stacked_frames": 4,
    "collection.first_iteration_steps": 12800,
    "collection.steps_per_iteration": 6400,
    "collection.temperature": 1.5,
    "collection.repeat_probability": 0.0,
    "vqvae.num_embeddings": 128,
    "vqvae.embedding_dim": 32,
    "vqvae.ema_decay": 0.99,
    "vqvae.commitment_cost": 0.25,
    "vqvae.likelihood": "clamped",
    "vqvae.pixel_margin": 0.0,
    "vqvae.foreground_weight": 0.0,
    "vqvae.warmup_epochs": 50,
    "vqvae.later_epochs": 0,
    "vqvae.update_interval": 2,
    "dynamics.windows_per_batch": 4,
    "dynamics.window_length": 11,
    "dynamics.learning_rate": 0.0005,
    "dynamics.final_learning_rate_share": 1.0,
    "dynamics.reward_loss_weight": 0.000001,
    "dream.num_dreams": 16,
    "dream.horizon": 50,
    "dream.context_steps": 0,
    "dynamics.temperature": 1.0,
    "dream.rewards": "sampled",
    "dream.bootstrap_at_horizon": False,
    "ppo.check_interval": 0,
    "ppo.num_epochs": 4,
    "ppo.minibatch_size": 256,
    "ppo.discount": 0.99,
    "ppo.gae_lambda": 0.95,
    "ppo.ratio_clip": 0.1,
    "ppo.value_clip": 0.1,
    "ppo.value_loss_weight": 0.5,
    "ppo.entropy_weight": 0.01,
    "ppo.learning_rate": 0.00025,
    "ppo.final_learning_rate_share": 1.0,
    "ppo.max_gradient_norm": 0.5,
    "adam.epsilon": 1e-8,
    "evaluation.num_episodes": 32,
    "evaluation.interval": 1,
}


def refusal(differences):
    with pytest.raises(ConfigError) as caught:
        validate(build_config(differences))
    assert "\n" not in str(caught.value)
    return caught.value


def test_defaults_are_the_papers():
    flat = flatten(default_config())
    assert {key: flat[key] for key in PAPER} == PAPER
    assert sum(flat["dynamics.epochs"]) == 324 and len(flat["dynamics.epochs"]) == 15
    assert sum(flat["ppo.num_updates"]) == 12 * 1000 + 2 * 2000 + 3000
    config = default_config().collection
    assert config.first_iteration_steps + 14 * config.steps_per_iteration == 102_400
    validate(default_config())


def test_every_field_is_described_once():
    assert len(FIELD_OF_KEY) == len(FIELDS)
    assert set(flatten(default_config())) == set(FIELD_OF_KEY)
    for field in FIELDS:
        assert field.meaning and field.source in (
            "paper",
            "tables",
            "authors",
            "baselines",
            "ours",
        ), field.key
        if isinstance(field.default, bool):
            assert field.allowed is None
        elif isinstance(field.default, str):
            assert field.default in field.allowed and all(map(str.isidentifier, field.allowed))
        else:
            assert isinstance(field.allowed, Interval) and field.allowed.low < field.allowed.high


def test_intervals():
    for interval, text, inside, outside in (
        (Interval(0, 1), "[0, 1]", (0, 0.5, 1), (-1e-9, 1 + 1e-9, math.nan, math.inf)),
        (Interval(0, 1, open_low=True), "(0, 1]", (1e-9, 1), (0, -0.0, 2)),
        (Interval(2, 9, open_high=True), "[2, 9)", (2, 8.999), (9, 1, -math.inf)),
        (Interval(1, 10_000_000), "[1, 10000000]", (1, 10**7), (0, 10**400)),
    ):
        assert str(interval) == text
        assert all(number in interval for number in inside)
        assert not any(number in interval for number in outside)


def test_defaults_accept_no_new_key_and_no_other_type():
    config = default_config()
    with pytest.raises(AttributeError):
        config.ppo.learnig_rate = 1.0
    with pytest.raises(TypeError):
        config.ppo.num_epochs = "four"


@pytest.mark.parametrize("field", FIELDS, ids=lambda field: field.key)
def test_each_field_refuses_wrong_types_and_ranges(field):
    bad = [None, {}, [], "nonsense", b"1", object(), 1j, [[1]], (1.5,), (True,), math.nan]
    if isinstance(field.default, bool):
        bad += [1, 0, "true", 1.0]
    elif isinstance(field.default, str):
        bad += [1, True, "", field.default.upper()]
    elif isinstance(field.default, tuple):
        bad += [1, True, (-1,) * 15, (10**30,) * 15, ("1",) * 15]
    else:
        low, high = float(field.allowed.low), float(field.allowed.high)
        bad += [True, "1", -math.inf, math.inf, low - 1, high + 1, 10**400, -(10**400)]
        bad += [low] if field.allowed.open_low else []
        bad += [high] if field.allowed.open_high else []
        bad += [low + 0.5] if isinstance(field.default, int) else []
    for value in bad:
        if value == {}:  # an empty section where a value belongs
            continue
        error = refusal({field.key: value})
        assert error.key == field.key, (value, error)


def test_integers_become_floats_and_lists_become_tuples():
    config = build_config({"evaluation": {"temperature": 2}, "dynamics": {"epochs": [1] * 15}})
    validate(config)
    assert type(config.evaluation.temperature) is float
    assert config.dynamics.epochs == (1,) * 15


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("ppo.learnig_rate", "ppo.learning_rate"),
        ("learning_rate", "ppo.learning_rate"),
        ("vqvae.num_embedings", "vqvae.num_embeddings"),
        ("dream.horizn", "dream.horizon"),
        ("ppo.clip", "ppo.ratio_clip"),
        ("Deterministic", "deterministic"),
    ],
)
def test_misspelt_keys_get_the_nearest_name(key, nearest):
    error = refusal({key: 1})
    assert error.key == key and nearest in error.remedy


def test_a_section_is_not_a_setting():
    assert "ppo.discount" in refusal({"ppo": 3}).remedy


@pytest.mark.parametrize(
    ("differences", "key", "other"),
    [
        ({"dynamics.epochs": (1, 1)}, "dynamics.epochs", "collection.num_iterations"),
        ({"collection.num_iterations": 16}, "dynamics.epochs", "collection.num_iterations"),
        ({"ppo.num_updates": ()}, "ppo.num_updates", "collection.num_iterations"),
        ({"ppo.minibatch_size": 801}, "ppo.minibatch_size", "dream.horizon"),
        ({"dynamics.context_steps": 11}, "dynamics.context_steps", "dynamics.window_length"),
        (
            {"collection.first_iteration_steps": 10},
            "dynamics.window_length",
            "collection.first_iteration_steps",
        ),
        (
            {"collection.first_iteration_steps": 43},
            "dynamics.windows_per_batch",
            "collection.first_iteration_steps",
        ),
        ({"vqvae.batch_size": 12801}, "vqvae.batch_size", "collection.first_iteration_steps"),
        ({"game.max_episode_steps": 49}, "dream.horizon", "game.max_episode_steps"),
        ({"dynamics.epoch_fallback": True}, "dynamics.epoch_fallback", "vqvae.update_interval"),
    ],
)
def test_contradictions_name_both_settings(differences, key, other):
    error = refusal(differences)
    assert error.key == key and other in error.remedy


def test_the_limits_themselves_are_allowed():
    validate(build_config({"ppo.minibatch_size": 800, "dynamics.context_steps": 10}))
    validate(build_config({"collection.first_iteration_steps": 44, "vqvae.batch_size": 44}))
    validate(build_config({"dynamics.epoch_fallback": True, "vqvae.update_interval": 0}))


def test_messages_stay_short_for_huge_values():
    assert len(str(refusal({"ppo.num_epochs": 10**5000}))) < 300
    assert len(str(refusal({"dynamics.epochs": (-1,) * 100_000}))) < 300
    assert len(str(refusal({"x" * 10_000: 1}))) < 400


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_is_valid_under_its_name(name):
    found, config = load_preset(name)
    validate(config)
    assert found == name
    assert load_preset(f"configs/{name}.py") == (name, config)


def test_presets_differ_from_the_paper_as_documented():
    assert load_preset("atari100k")[1] == default_config()
    one_frame = flatten(load_preset("atari100k_1frame")[1])
    assert one_frame == {**flatten(default_config()), "game.num_stacked_frames": 1}
    quick = load_preset("quick")[1].collection
    assert quick.num_iterations >= 2 and quick.first_iteration_steps == 12800
    assert quick.first_iteration_steps + (quick.num_iterations - 1) * quick.steps_per_iteration == (
        12800 + 19200
    )
    laptop = load_preset("laptop")[1].collection
    for key in ("num_iterations", "first_iteration_steps", "steps_per_iteration"):
        assert laptop[key] == default_config().collection[key]
    assert load_preset("smoke")[1].collection.num_iterations == 2
    paper, fast = default_config(), load_preset("fast")[1]
    assert fast.collection == paper.collection and fast.dynamics.epochs == paper.dynamics.epochs
    dreamed = [config.dream.num_dreams * sum(config.ppo.num_updates) for config in (paper, fast)]
    assert dreamed[0] == dreamed[1]


@pytest.mark.parametrize("switch", SWITCHES)
def test_every_switch_is_valid_and_changes_what_it_says(switch):
    changed = {}
    for preset in ("atari100k", "quick"):  # each has some switched on already
        base = flatten(load_preset(preset)[1])
        name, config = load_preset(f"{preset}+{switch}")
        assert name == f"{preset}+{switch}"
        assert flatten(config) == {**base, **SWITCHES[switch]}
        changed |= {key: value for key, value in SWITCHES[switch].items() if base[key] != value}
        if (preset, switch) == ("quick", "cooling"):
            with pytest.raises(ConfigError, match="the policy remembers what it chose itself"):
                validate(config)
        else:
            validate(config)
    assert changed == SWITCHES[switch] and changed


def test_switches_add_up_in_their_order_and_follow_paths_with_a_plus(tmp_path):
    folder = tmp_path / "a+b"
    folder.mkdir()
    (folder / "mine.py").write_text("def get_config(): return {'ppo': {'num_epochs': 2}}")
    name, config = load_preset(f"{folder}/mine.py+horizon_100+predicted_ends+horizon_50")
    assert name == "mine+horizon_100+predicted_ends+horizon_50"
    assert (config.ppo.num_epochs, config.dream.horizon, config.dream.ends) == (2, 50, "predicted")


@pytest.mark.parametrize(
    "name", ["quick+horizon_5", "quick+", "quick++terminal", "quick+terminal "]
)
def test_switches_that_there_are_not_are_named(name):
    with pytest.raises(ConfigError, match="no switch '.*'; .*switches: autoregressive, ") as caught:
        load_preset(name)
    assert caught.value.value == name and "\n" not in str(caught.value)


def test_the_working_directory_does_not_shadow_presets(monkeypatch, tmp_path):
    """Presets are programs: one of somebody else is run only if it is asked for by its path."""
    expected = load_preset("smoke")
    (tmp_path / "configs").mkdir()
    for name in ("smoke", "mine", "my own"):
        text = "def get_config(): return {'ppo': {'num_epochs': 77}}"
        (tmp_path / "configs" / f"{name}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    assert load_preset("smoke") == expected and expected[1].ppo.num_epochs != 77
    assert "mine" not in preset_names()
    for path in ("configs/smoke.py", "./configs/smoke.py", f"{tmp_path}/configs/mine.py"):
        assert load_preset(path)[1].ppo.num_epochs == 77
    with pytest.raises(ConfigError, match=r"your own is --config=configs/mine\.py"):
        load_preset("mine")
    with pytest.raises(ConfigError, match=r"your own is --config='configs/my own\.py'; "):
        load_preset("my own")
    (tmp_path / "configs" / "smoke.py").unlink()
    assert load_preset("configs/smoke.py") == expected
    with pytest.raises(ConfigError, match="no such file"):
        load_preset("experiment/smoke.py")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "get_config"),
        ("get_config = 3", "get_config"),
        ("def get_config(:", "line 1"),
        ("def get_config():\n  1 / 0", "line 2: ZeroDivisionError"),
        ("def get_config():\n  raise ValueError('a\\nb')", "ValueError: a b"),
        ("def get_config(size): return {}", "TypeError"),
        ("raise SystemExit(0)", "SystemExit"),
        ("import no_such_module", "no_such_module"),
        ("def get_config(): return [1]", "not list"),
        ("def get_config(): return {1: 2}", "must be a string"),
        ("def get_config(): return {'ppo': {'discont': 0.9}}", "ppo.discount"),
        ("def get_config(): return {'ppo': {'discount': '0.9'}}", "must be a number"),
        ("d = {}\nd['d'] = d\ndef get_config(): return d", "too deeply"),
        ("\0", "null byte"),
        ("# " + "x" * 2_000_000, "larger than"),
    ],
)
def test_bad_preset_files_are_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / "mine.py"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_preset(str(path))
    message = str(caught.value)
    assert reason in message and "\n" not in message and "mine.py" in message
    assert [entry.name for entry in tmp_path.iterdir()] == ["mine.py"]  # no byte code


@pytest.mark.parametrize("name", ["smok", "nowhere/smoke.py", "", ".", "/", "x" * 5000, "a\0b"])
def test_missing_presets_are_named(name):
    with pytest.raises(ConfigError) as caught:
        load_preset(name)
    assert caught.value.key == "config"


def test_config_loads_no_tensorflow():
    code = (
        "import sys, smallwm_tf.experiment.config, smallwm_tf.experiment.presets\n"
        "import smallwm_tf.runs.run_directory\n"
        "assert not {'tensorflow', 'tf_agents', 'tf_keras'} & set(sys.modules)"
    )
    root = Path(presets.__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root, timeout=60)
