"""Curves: the lines that are drawn, against the numbers they show."""

import os

import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from smallwm_tf.figures.curves import save_curve, save_horizon_figure, save_promise_figure

BLUE = (0x1F, 0x77, 0xB4)


@pytest.fixture
def drawn(monkeypatch):
    """Every figure that is saved, as an object."""
    figures, save = [], matplotlib.figure.Figure.savefig

    def remember(figure, *arguments, **settings):
        figures.append(figure)
        save(figure, *arguments, **settings)

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", remember)
    return figures


def lines(axes):
    """Label to (x, y) of every line."""
    return {line.get_label(): line.get_data() for line in axes.get_lines()}


def band(axes, number):
    """Lower and upper edge [H] of the n-th band of an axes."""
    (path,) = axes.collections[number].get_paths()
    corners = path.vertices
    xs = np.unique(corners[:, 0])
    edges = [corners[corners[:, 0] == x, 1] for x in xs]
    return np.array([edge.min() for edge in edges]), np.array([edge.max() for edge in edges])


def is_picture(path):
    with Image.open(path) as image:
        return image.format == "PNG" and np.asarray(image.convert("L")).std() > 0


def test_curve_shows_means_bands_and_references(tmp_path, drawn):
    points = [(12800, -20.0, 1.0), (19200, 0.0, 2.0), (25600, 18.0, 0.5)]
    save_curve(tmp_path / "c.png", points, "Pong", [("random", -20.7)])
    (axes,) = drawn[0].axes
    found = lines(axes)
    np.testing.assert_allclose(
        found["mean ± standard deviation"], [[12800, 19200, 25600], [-20, 0, 18]]
    )
    np.testing.assert_allclose(found["random"][1], -20.7)
    np.testing.assert_allclose(band(axes, 0), [[-21, -2, 17.5], [-19, 2, 18.5]])
    assert axes.get_title() == "Pong" and is_picture(tmp_path / "c.png")


def test_curve_of_a_single_evaluation(tmp_path):
    save_curve(tmp_path / "c.png", [(12800, -20.0, 0.0)])
    with Image.open(tmp_path / "c.png") as image:
        blue = (np.asarray(image.convert("RGB")) == BLUE).all(-1)
    assert blue.any(axis=1).sum() >= 6  # the marker


@pytest.mark.parametrize("points", [[], [(1, 2)], [(1, 2, float("nan"))]])
def test_curve_refuses_bad_points(tmp_path, points):
    with pytest.raises(ValueError, match="points"):
        save_curve(tmp_path / "c.png", points)
    assert os.listdir(tmp_path) == []


def test_horizon_figure_shows_its_numbers_step_by_step_with_gaps(tmp_path, drawn):
    rising, gap = np.linspace(0, 1, 6), np.array([1.0, np.nan, 0.5, 0.4, np.nan, np.nan])
    accuracy = {"most probable codes": gap, "copy of the first code": rising[::-1]}
    error, recall = {"reconstruction": 9 * rising}, {"positive, recall": gap}
    save_horizon_figure(tmp_path / "h.png", accuracy, error, "t", recall)
    codes, errors, rewards = drawn[0].axes
    expected = [(codes, accuracy), (errors, error), (rewards, recall)]
    for axes, curves in expected:
        found = lines(axes)
        assert found.keys() == curves.keys()
        for label, values in curves.items():
            np.testing.assert_array_equal(found[label][0], [1, 2, 3, 4, 5, 6])
            np.testing.assert_array_equal(found[label][1], values)
    styles = {line.get_label(): line.get_linestyle() for line in codes.get_lines()}
    assert styles == {"most probable codes": "-", "copy of the first code": "--"}
    assert codes.get_ylabel() == "share of right codes" and "grey" in errors.get_ylabel()
    assert is_picture(tmp_path / "h.png")
    save_horizon_figure(tmp_path / "h.png", accuracy, error, "t")
    assert len(drawn[1].axes) == 2


def test_promise_figure_shows_sums_of_rewards_and_two_standard_errors(tmp_path, drawn):
    dreamed = np.array([[1, 0, -1], [1, 1, 0], [0, 1, 1], [0, 0, 0]])
    real = np.array([[0, 0, 1], [0, 0, 0], [0, -1, 0], [0, 0, 0]])
    save_promise_figure(tmp_path / "p.png", dreamed, real, "t")
    (axes,) = drawn[0].axes
    found = lines(axes)
    steps, promised = found["promised by the dream"]
    np.testing.assert_array_equal(steps, [1, 2, 3])
    # Sums per start: 1 1 0, 1 2 2, 0 1 2, 0 0 0.
    np.testing.assert_allclose(promised, [0.5, 1.0, 1.0])
    np.testing.assert_allclose(found["paid by the real game"][1], [0, -0.25, 0])
    # Deviations 0.5, √0.5 and 1 over four starts: twice the error is as much as the deviation.
    deviations = np.array([0.5, np.sqrt(0.5), 1.0])
    np.testing.assert_allclose(band(axes, 0), [promised - deviations, promised + deviations])
    # Sums 0 0 1, 0 0 0, 0 -1 -1, 0 0 0.
    np.testing.assert_allclose(np.ptp(band(axes, 1), axis=0), [0, 2 * np.sqrt(3) / 4, np.sqrt(2)])
    assert is_picture(tmp_path / "p.png")


def test_equal_input_gives_equal_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        save_promise_figure(tmp_path / name, np.ones([3, 6]), np.zeros([3, 6]), "t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
