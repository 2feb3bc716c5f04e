"""The dream that a person plays: draws, overwritten codes, entropies, the real game beside it."""

import base64
import contextlib
import dataclasses
import io
import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from smallwm_tf.deployment.exported_world_model import ExportedWorldModel
from smallwm_tf.deployment.saved_agent import saved_code_policy
from smallwm_tf.deployment.saved_world_model import SavedWorldModel
from smallwm_tf.deployment.trained_agent import ExportedNetworks
from smallwm_tf.experiment.config import build_config, flatten
from smallwm_tf.games.opening import open_game
from smallwm_tf.models.event_heads import Transition
from smallwm_tf.runs import RunError
from smallwm_tf.viewing.dream_session import DreamSession
from smallwm_tf.viewing.real_beside import RealBeside, difference_picture

ACTIONS = [0, 2, 1, 1, 2]


def picture(base64_png):
    return np.array(Image.open(io.BytesIO(base64.b64decode(base64_png))))


def play(session, actions=ACTIONS):
    """What a dream shows, step after step."""
    views = [session.view()]
    for action in actions:
        session.step(action)
        views.append(session.view())
    return views


# --- the dream -------------------------------------------------------------------------------


def test_the_same_start_and_actions_give_the_same_dream(session, agent):
    first = play(session)
    session.reset(0)
    assert play(session) == first
    with contextlib.closing(DreamSession(agent, num_starts=3, interval=5)) as fresh:
        assert play(fresh) == first
        fresh.reset()
        assert fresh.view()["start"] == 1


def test_another_seed_gives_another_dream(session, agent):
    views = play(session)
    other = DreamSession(agent.with_settings(seed=4), num_starts=3, interval=5)
    with contextlib.closing(other):
        assert play(other)[-1]["codes"] != views[-1]["codes"]


def test_a_view_is_json_and_what_it_says_fits_together(session):
    view = play(session)[-1]
    assert json.loads(json.dumps(view)) == view
    assert (view["game"], view["step"], view["last_action"]) == ("Catch", 5, ACTIONS[-1])
    assert view["actions"] == ["STAY", "LEFT", "RIGHT"]
    assert picture(view["frame"]).shape == (96, 96)
    assert sum(view["policy"]["probabilities"]) == pytest.approx(1.0)
    assert len(view["palette"]) == view["num_embeddings"] == 24
    for codes, colours in zip(view["codes"], view["colours"], strict=True):
        assert colours == [view["palette"][index] for index in codes]


def test_the_frame_is_the_newest_decoded_one(session, agent):
    view = play(session)[-1]
    means = agent.world_model.decode(np.array([view["codes"]], np.int32)).numpy()
    expected = np.round(255.0 * means[0, :, :, -1])
    assert expected.std() > 5.0  # or the test would see nothing
    np.testing.assert_allclose(picture(view["frame"]), expected, atol=1)


def test_rewards_are_summed_from_the_start_on(session):
    views = play(session, ACTIONS * 3)
    drawn = [view["reward"]["drawn"] for view in views[1:]]
    assert set(drawn) <= {-1.0, 0.0, 1.0} and len(set(drawn)) > 1
    assert [view["reward"]["sum"] for view in views[1:]] == list(np.cumsum(drawn))
    assert views[0]["reward"] == dict(drawn=None, expected=None, probabilities=None, sum=0.0)


def test_entropies_and_rewards_are_those_of_the_prediction(session, agent):
    play(session, [1])
    codes, state = np.array([session.view()["codes"]], np.int32), session._dream.recurrent
    y, next_codes, _ = agent.world_model.predict(codes, np.array([2]), state)
    latent = next_codes.logits
    reward = agent.world_model.events(Transition(y, codes, codes)).rewards.logits
    session.step(2)
    view = session.view()
    unnormalised = np.exp(latent.numpy()[0].astype(np.float64) / 0.5)  # dynamics.temperature
    probabilities = unnormalised / unnormalised.sum(axis=-1, keepdims=True)
    entropies = -np.sum(probabilities * np.log(probabilities), axis=-1)
    np.testing.assert_allclose(view["entropies"], entropies, rtol=1e-3)
    assert np.ptp(entropies) > 1e-3
    assert view["max_entropy"] == pytest.approx(np.log(24))
    three = np.exp(reward.numpy()[0].astype(np.float64))
    three /= three.sum()
    np.testing.assert_allclose(view["reward"]["probabilities"], three, rtol=1e-3)
    assert view["reward"]["expected"] == pytest.approx(three @ [-1, 0, 1], abs=1e-4)


def test_a_low_temperature_draws_the_likeliest_codes(agent):
    with contextlib.closing(DreamSession(agent, 1e-4, num_starts=1)) as session:
        codes = np.array([session.view()["codes"]], np.int32)
        found = agent.world_model.predict(codes, np.array([0]), session._dream.recurrent)
        session.step(0)
        view = session.view()
    assert view["codes"] == found.next_codes.mode().numpy()[0].tolist()
    assert np.median(view["entropies"]) < 0.01


def test_the_agent_draws_from_its_policy_at_the_codes_of_the_dream(session, agent):
    bias = agent.networks.policy.logits.bias
    before = bias.numpy()
    try:
        bias.assign([0.0, 0.0, 30.0])
        assert session.view()["policy"]["probabilities"][2] > 0.999
        for _ in range(4):
            session.step(None)
            assert session.view()["last_action"] == 2
    finally:
        bias.assign(before)
    taken = {view["last_action"] for view in play(session, [None] * 20)[1:]}
    assert taken == {0, 1, 2}


def test_the_dream_has_seen_what_came_before_its_start(session, agent):
    session.reset(1)
    past = session._starts.past
    state = agent.world_model.initial_state(1)
    assert past.valid.shape == (3, 2)
    for t in range(2):
        codes = agent.encode(past.observations[1:2, t].numpy())
        following = agent.world_model.predict(codes, past.actions[1:2, t], state).state
        if past.valid[1, t]:
            state = following
    expected, found = state[-1].hidden.numpy(), session._dream.recurrent[-1].hidden.numpy()
    assert np.abs(expected).max() > 1e-4
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_run_whose_dreams_see_nothing_before_them_is_played_so(agent):
    config = build_config(flatten(agent.config) | {"dream.context_steps": 0})
    experiment = dataclasses.replace(agent.experiment, config=config)
    blind = dataclasses.replace(agent, experiment=experiment)
    with contextlib.closing(DreamSession(blind, num_starts=2, interval=5)) as session:
        session.reset(1)
        assert not any(np.any(part) for part in tf.nest.flatten(session._dream.recurrent))


# --- overwriting -----------------------------------------------------------------------------


def test_overwriting_changes_one_code_and_what_follows_from_it(session):
    before = play(session)[-1]
    index = (before["codes"][2][4] + 1) % 24
    session.overwrite(2, 4, index)
    after = session.view()
    changed = np.argwhere(np.array(after["codes"]) != np.array(before["codes"]))
    assert changed.tolist() == after["overwritten"] == [[2, 4]]
    assert after["codes"][2][4] == index
    assert after["frame"] != before["frame"]
    assert after["policy"] != before["policy"]
    assert after["step"] == before["step"] and after["entropies"] == before["entropies"]
    session.step(0)
    stepped = session.view()
    assert stepped["overwritten"] == []
    session.reset(0)
    assert play(session, [*ACTIONS, 0])[-1]["entropies"] != stepped["entropies"]


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda session: session.overwrite(6, 0, 0), "row=6 must be from 0 to 5"),
        (lambda session: session.overwrite(0, -1, 0), "column=-1 must be"),
        (lambda session: session.overwrite(0, 0, 24), "index=24 must be from 0 to 23"),
        (lambda session: session.step(3), "action=3 must be"),
        (lambda session: session.reset(3), "start=3 must be"),
        (lambda session: session.set_mode("awake"), "mode='awake' must be"),
    ],
)
def test_values_out_of_range_change_nothing(session, act, message):
    before = session.view()
    with pytest.raises(ValueError, match=message):
        act(session)
    assert session.view() == before


# --- the real game beside --------------------------------------------------------------------


def test_dream_and_game_agree_at_the_start(session):
    assert session.view()["real"] is None
    session.set_mode("beside")
    for start in range(3):
        session.reset(start)
        view = session.view()
        assert view["real"]["codes"] == view["codes"]
        assert view["real"]["agreements"] == [1.0] and view["real"]["parted_at"] is None


def test_the_real_game_takes_the_same_actions_to_the_end_of_its_episode(session, agent):
    session.set_mode("beside")
    session.reset(1)
    game = open_game(agent.experiment, "another")
    game.reset()
    game.set_state(session._starts.states[1])
    rewards, actions = [], [0, 1, 1, 2, 0, 2, 2, 1, 0, 0, 1, 2, 0, 1]
    is_over = False
    for action in actions:
        if not is_over:
            time_step = game.step(np.int32(action))
            rewards.append(float(time_step.reward))
            is_over = bool(time_step.is_last())
        session.step(action)
        view = session.view()
        np.testing.assert_array_equal(
            picture(view["real"]["frame"]), time_step.observation[..., -1]
        )
        assert view["real"]["is_over"] == is_over
        assert view["real"]["reward_sum"] == sum(rewards)
    assert is_over and len(rewards) < len(actions) and any(rewards)
    assert view["step"] == len(actions)
    assert len(view["real"]["agreements"]) == len(rewards) + 1


def test_the_game_keeps_up_while_it_is_not_shown(session):
    session.set_mode("beside")
    shown = play(session)[-1]
    session.set_mode("dream")
    session.reset(0)
    play(session)
    session.set_mode("beside")
    assert session.view() == shown


def test_parting_is_where_less_than_four_fifths_agree(agent):
    game = open_game(agent.experiment, "another")
    game.reset()
    beside = RealBeside(game, lambda observation: np.zeros([1, 6, 6], np.int32))
    codes = np.zeros([6, 6], np.int32)
    beside.start(game.get_state(), codes)
    codes.flat[:7] = 1
    beside.step(0, codes)
    assert beside.parted_at is None and beside.agreements == [1.0, pytest.approx(29 / 36)]
    codes.flat[7] = 1
    beside.step(0, codes)
    beside.step(0, np.zeros_like(codes))
    assert beside.parted_at == 2
    beside.compare_again(codes)
    assert beside.agreements[-1] == pytest.approx(28 / 36)


def test_differences_are_orange_or_blue_by_what_is_brighter():
    dreamed, real = np.zeros([96, 96], np.uint8), np.zeros([96, 96], np.uint8)
    dreamed[0, 0], real[0, 1], dreamed[0, 2], real[0, 2] = 255, 255, 9, 9
    found = difference_picture(dreamed, real)
    assert found[0, 0].tolist() == [255, 150, 30]
    assert found[0, 1].tolist() == [60, 160, 255]
    assert not found[0, 2:].any() and not found[1:].any()


# --- exports ---------------------------------------------------------------------------------


def test_an_exported_world_model_dreams_the_same(session, agent):
    session.set_mode("beside")
    views = play(session)
    world_model, policy = agent.world_model, agent.networks.policy
    saved = saved_code_policy(world_model, policy, 1.0, False)
    sizes = (2, world_model.num_embeddings, world_model.num_actions)
    exported = ExportedWorldModel(saved, SavedWorldModel(world_model), *sizes)
    other = dataclasses.replace(agent, networks=ExportedNetworks(saved, exported))
    with contextlib.closing(DreamSession(other, num_starts=3, interval=5)) as copy:
        copy.set_mode("beside")
        for view, copied in zip(views, play(copy), strict=True):
            assert copied["codes"] == view["codes"]
            assert copied["reward"]["drawn"] == view["reward"]["drawn"]
            assert copied["real"]["frame"] == view["real"]["frame"]


def test_an_export_without_a_world_model_is_refused(agent):
    with pytest.raises(RunError, match="holds no world model.*--world_model"):
        DreamSession(dataclasses.replace(agent, networks=ExportedNetworks(None, None)))
