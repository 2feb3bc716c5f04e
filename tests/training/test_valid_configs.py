"""Whatever passes the checks of a configuration can be built."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smallwm_tf.cli.train_flags import read_train_flags
from smallwm_tf.experiment.config import flatten
from smallwm_tf.experiment.schedule import plan_of, total_steps
from smallwm_tf.experiment.settings import FIELD_OF_KEY, FIELDS
from smallwm_tf.models.build import build_models

_SMALL = 40  # the largest whole number drawn: the limits themselves would not fit into memory


def _values(field):
    kind = type(field.default)
    if kind is bool:
        return st.booleans()
    if kind is str:
        return st.sampled_from(field.allowed)
    low, high = field.allowed.low, field.allowed.high
    if kind is float:
        return st.floats(
            low,
            min(high, 1e6),
            exclude_min=field.allowed.open_low,
            exclude_max=field.allowed.open_high and high <= 1e6,
        )
    whole = st.integers(int(low), int(min(high, int(low) + _SMALL)))
    return st.lists(whole, min_size=8, max_size=8).map(tuple) if kind is tuple else whole


@st.composite
def valid_settings(draw):
    """Settings that obey each range and the rules between them."""
    drawn = {field.key: draw(_values(field)) for field in FIELDS}

    def at_most(key, limit):
        least = FIELD_OF_KEY[key].allowed.low
        drawn[key] = draw(st.integers(least, max(least, limit)))

    drawn["collection.num_iterations"] = draw(st.integers(1, 8))
    first = draw(st.integers(20, 60))
    drawn["collection.first_iteration_steps"] = first
    at_most("dynamics.window_length", min(12, first))
    at_most("dynamics.context_steps", drawn["dynamics.window_length"] - 1)
    at_most("dynamics.windows_per_batch", first // drawn["dynamics.window_length"])
    at_most("vqvae.batch_size", first)
    if drawn["dynamics.epoch_fallback"]:
        drawn["vqvae.update_interval"] = 0
    at_most("dream.horizon", 20)
    drawn["game.max_episode_steps"] = draw(st.integers(drawn["dream.horizon"], 100))
    at_most("ppo.minibatch_size", drawn["dream.num_dreams"] * drawn["dream.horizon"])
    most = round(1.0 - drawn["dream.newest_share"], 9)
    drawn["dream.paid_share"] = draw(st.floats(0.0, most))
    if drawn["ppo.repeat_probability"] or drawn["ppo.sees_recurrent_state"]:
        drawn["collection.policy_repeat_probability"] = 0.0
    if drawn["algorithm"] == "ppo":
        num_games = drawn["ppo.num_actors"] = draw(st.integers(1, 10))
        for name in ("first_iteration_steps", "steps_per_iteration"):
            key = f"collection.{name}"
            drawn[key] = max(1, drawn[key] // num_games) * num_games
        at_most("vqvae.batch_size", min(10, drawn["collection.first_iteration_steps"]))
        at_most("dynamics.window_length", 2)
        at_most("dynamics.context_steps", 1)
        at_most("dynamics.windows_per_batch", 1)
        at_most("ppo.minibatch_size", num_games * drawn["ppo.steps_per_rollout"])
        drawn["ppo.repeat_probability"] = 0.0
        drawn["evaluation.look_ahead_dreams"] = 0
        drawn["ppo.sees_recurrent_state"] = False
        drawn["precision"] = draw(st.sampled_from(["auto", "float32"]))
    return drawn


def _read(drawn):
    words = [f"--config.{key}={value}" for key, value in drawn.items()]
    return read_train_flags(["train", "--game=Catch", *words]).experiment


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(valid_settings())
def test_valid_settings_pass_and_arrive_as_they_were_given(drawn):
    config = _read(drawn).config
    flat = flatten(config.as_configdict())
    assert {key: flat[key] for key in drawn} == drawn
    assert total_steps(config) >= config.collection.first_iteration_steps
    assert plan_of(config).work().real_steps.learned_from == total_steps(config)


@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(valid_settings())
def test_valid_settings_build(drawn):
    config = _read(drawn).config
    world_model, policy = build_models(config, num_actions=3)
    past, y_channels = config.dynamics.past_codes, config.dynamics.channels + 3
    y_channels += (past + 1) * config.vqvae.embedding_dim * (past > 0)
    assert world_model.dynamics.stack.num_channels == y_channels
    assert world_model.vqvae.quantizer.num_embeddings == config.vqvae.num_embeddings
    assert policy.num_actions == 3
