"""Text that must stay on one short line."""

import pytest

from smallwm_tf.experiment.messages import nearest_names, one_line, show


class _Broken:
    def __repr__(self):
        raise RuntimeError("no")


class _Tall:
    def __repr__(self):
        return "a\n  b\tc"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("two  spaces\n", r"'two  spaces\n'"),
        ("été\udcff", r"'\xe9t\xe9\udcff'"),
        (-0.5, "-0.5"),
        (True, "True"),
        (10**41, "(an integer of more than 40 digits)"),
        (-(10**41), "(an integer of more than 40 digits)"),
        ((1,) * 25, "(a sequence of 25 values)"),
        ((1, "x"), "(1, 'x')"),
        (_Broken(), "(_Broken)"),
        (_Tall(), "a b c"),
    ],
)
def test_values_are_shown_on_one_line(value, shown):
    assert show(value) == shown


def test_a_long_value_keeps_both_ends():
    assert show(10**5000) == show(-(10**5000)) == show(10**41)  # Python refuses to print it
    shown = show("a" * 500 + "z")
    assert len(shown) == 80 and shown.startswith("'aaa") and shown.endswith("aaz'")


def test_an_error_on_one_line():
    assert one_line(ValueError("a\n  b")) == "ValueError: a b"
    assert one_line(OSError(2, "No such file", "x")) == (
        "FileNotFoundError: [Errno 2] No such file: 'x'"
    )
    assert one_line(KeyError("k" * 500), 20) == "KeyError: 'kkkkkkkkk"


def test_names_of_the_same_section_come_first():
    known = ["adam.epsilon", "ppo.learning_rate", "vqvae.learning_rate", "dream.horizon"]
    assert nearest_names("vqvae.learnig_rate", known)[:2] == [
        "vqvae.learning_rate",
        "ppo.learning_rate",
    ]
    assert nearest_names("Dream.Horizon", known) == ["dream.horizon"]
    assert nearest_names("zzz", known) == []
