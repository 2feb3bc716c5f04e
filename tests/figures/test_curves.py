"""Curves: the lines that are drawn, against the numbers they show."""

import matplotlib.colors
import matplotlib.figure
import numpy as np
import pytest
from PIL import Image

from smallwm_tf.figures.curves import draw_horizons, draw_promise, draw_scores
from smallwm_tf.judging.held_out import OpenLoopCurves
from smallwm_tf.judging.promise import Promise

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


def entries(*points):
    """Of ``scores.json``."""
    return [dict(zip(("num_interactions", "mean", "std"), point, strict=True)) for point in points]


def test_curve_shows_means_bands_and_references(tmp_path, drawn):
    points = [(12800, -20.0, 1.0), (19200, 0.0, 2.0), (25600, 18.0, 0.5)]
    draw_scores(tmp_path, "Pong", entries(*points), {"random": {"mean": -20.7}})
    (axes,) = drawn[0].axes
    found = lines(axes)
    np.testing.assert_allclose(
        found["mean ± standard deviation"], [[12800, 19200, 25600], [-20, 0, 18]]
    )
    np.testing.assert_allclose(found["random"][1], -20.7)
    np.testing.assert_allclose(band(axes, 0), [[-21, -2, 17.5], [-19, 2, 18.5]])
    assert axes.get_title() == "Pong" and is_picture(tmp_path / "scores.png")


def test_bands_end_where_returns_do(tmp_path, drawn):
    ends = [{"min": -1.0, "max": 1.0}, {"min": -0.5, "max": 1.0}]
    points = entries((100, 0.9, 0.4), (200, 0.0, 0.9))
    draw_scores(tmp_path, "Catch", [p | e for p, e in zip(points, ends, strict=True)], {})
    np.testing.assert_allclose(band(drawn[0].axes[0], 0), [[0.5, -0.5], [1.0, 0.9]])


def test_no_curve_is_hidden_under_another(tmp_path):
    """Everything equal: each colour is still to be seen, and not in the legend alone."""
    equal = np.full(6, 0.5)
    draw_horizons(tmp_path / "h.png", OpenLoopCurves(*[equal] * 8, None), "t")
    draw_promise(tmp_path, Promise(np.ones([3, 6]), np.ones([3, 6])), 1)
    nulls = {name: {"mean": 0.5} for name in ("uniform", "holding", "best of nine")}
    draw_scores(tmp_path, "Catch", entries((100, 0.0, 0.1), (200, 0.1, 0.1)), nulls)
    for name, count, panels in (("h.png", 3, 2), ("promise_001.png", 2, 1), ("scores.png", 4, 1)):
        with Image.open(tmp_path / name) as image:
            picture = np.asarray(image.convert("RGB")).astype(int)
        width = picture.shape[1] // panels
        for number in range(count):
            wanted = np.array(matplotlib.colors.to_rgb(f"C{number}")) * 255
            seen = (np.abs(picture - wanted).max(axis=-1) < 40)[:, :width]
            columns = seen.any(axis=0).mean()  # a legend's sample takes a small part of them
            assert columns > 0.15, (name, number, columns)


def test_curve_of_a_single_evaluation(tmp_path):
    draw_scores(tmp_path, "Pong", entries((12800, -20.0, 0.0)), {})
    with Image.open(tmp_path / "scores.png") as image:
        blue = (np.asarray(image.convert("RGB")) == BLUE).all(-1)
    assert blue.any(axis=1).sum() >= 6  # the marker


def test_horizon_figure_shows_its_numbers_step_by_step_with_gaps(tmp_path, drawn):
    rising, gap = np.linspace(0, 1, 6), np.array([1.0, np.nan, 0.5, 0.4, np.nan, np.nan])
    curves = OpenLoopCurves(
        gap, rising / 2, rising[::-1], 9 * gap, 8 * rising, 7 * rising, gap, gap, None
    )
    likeliest, copy, recall = "most probable codes", "copy of the first code", "positive, recall"
    draw_horizons(tmp_path / "h.png", curves, "t", {recall: gap})
    codes, errors, rewards = drawn[0].axes
    expected = [
        (codes, {likeliest: gap, "sampled codes, as in dreams": rising / 2, copy: rising[::-1]}),
        (errors, {likeliest: 9 * gap, copy: 8 * rising,
                  "reconstruction of the true code": 7 * rising}),
        (rewards, {recall: gap}),
    ]  # fmt: skip
    for axes, shown in expected:
        found = lines(axes)
        assert found.keys() == shown.keys()
        for label, values in shown.items():
            np.testing.assert_array_equal(found[label][0], [1, 2, 3, 4, 5, 6])
            np.testing.assert_array_equal(found[label][1], values)
    styles = {line.get_label(): line.get_linestyle() for line in codes.get_lines()}
    assert styles == {likeliest: "-", "sampled codes, as in dreams": "-", copy: "--"}
    assert codes.get_ylabel() == "share of right codes" and "grey" in errors.get_ylabel()
    assert is_picture(tmp_path / "h.png")
    draw_horizons(tmp_path / "h.png", curves, "t")
    assert len(drawn[1].axes) == 2


def test_promise_figure_shows_sums_of_rewards_and_two_standard_errors(tmp_path, drawn):
    dreamed = np.array([[1, 0, -1], [1, 1, 0], [0, 1, 1], [0, 0, 0]])
    real = np.array([[0, 0, 1], [0, 0, 0], [0, -1, 0], [0, 0, 0]])
    draw_promise(tmp_path, Promise(dreamed, real), 1)
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
    # Sums 0 0 1, 0 0 0, 0 -1 -1, 0 0 0; the band of the second step ends at the best sum, 0.
    low, high = band(axes, 1)
    np.testing.assert_allclose(low, [0, -0.25 - np.sqrt(3) / 4, -np.sqrt(2) / 2])
    np.testing.assert_allclose(high, [0, 0, np.sqrt(2) / 2])
    assert is_picture(tmp_path / "promise_001.png")


def test_equal_input_gives_equal_bytes(tmp_path):
    drawn = []
    for _ in range(2):
        draw_promise(tmp_path, Promise(np.ones([3, 6]), np.zeros([3, 6])), 1)
        drawn.append((tmp_path / "promise_001.png").read_bytes())
    assert drawn[0] == drawn[1]
