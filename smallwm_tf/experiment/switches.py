"""What the paper leaves open, as switches to add to a preset: ``--config=quick+st_lstm``.

Section 5 of the paper names most of it; docs/outlook.md has what each is worth.
"""

from typing import Any

SWITCHES: dict[str, dict[str, Any]] = {
    # How the world model predicts.
    "autoregressive": {"dynamics.code_head": "autoregressive"},
    "masked": {"dynamics.code_head": "masked"},
    "st_lstm": {"dynamics.cell": "st_lstm"},
    "causal_lstm": {"dynamics.cell": "causal_lstm"},
    # What the policy sees.
    "policy_state": {"ppo.sees_recurrent_state": True},
    # Where dreams begin, and what they pay besides rewards.
    "disagreement": {"dream.disagreement_weight": 0.1},
    "newest_starts": {"dream.newest_share": 0.5},
    "paid_starts": {"dream.paid_share": 0.5},
    # How real steps are played.
    "cooling": {
        "collection.final_temperature_share": 0.5,
        "collection.policy_repeat_probability": 0.7,
    },
    # How the agent decides when it is scored.
    "look_ahead": {"evaluation.look_ahead_dreams": 8},
    # How long dreams are, and what ends them.
    "predicted_ends": {"dream.ends": "predicted"},
    "horizon_50": {"dream.horizon": 50},
    "horizon_100": {"dream.horizon": 100},
    "terminal": {"dream.bootstrap_at_horizon": False},
}
"""Settings by the name of the switch."""
