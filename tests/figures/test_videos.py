"""Films that are said to be written can be read."""

import os

import cv2
import numpy as np
import pytest

from smallwm_tf.figures import videos

PICTURES = [np.full([64, 96, 3], level, np.uint8) for level in range(0, 250, 5)]


def test_an_mp4_that_was_cut_off_is_told_and_does_not_stay(tmp_path, monkeypatch):
    """OpenCV says nothing where the disk is full."""
    make = cv2.VideoWriter

    class OnAFullDisk:
        def __init__(self, path, *arguments):
            self.path, self.writer = path, make(path, *arguments)
            self.isOpened, self.write = self.writer.isOpened, self.writer.write

        def release(self):
            self.writer.release()
            os.truncate(self.path, os.path.getsize(self.path) // 2)

    (tmp_path / "film.mp4").write_bytes(b"an older film")
    monkeypatch.setattr(cv2, "VideoWriter", OnAFullDisk)
    with pytest.raises(OSError, match="No space left") as caught:
        videos.save_video(tmp_path / "film.mp4", PICTURES, 10.0)
    assert caught.value.filename == str(tmp_path / "film.mp4")
    assert os.listdir(tmp_path) == ["film.mp4"]
    assert (tmp_path / "film.mp4").read_bytes() == b"an older film"


def test_left_overs_of_a_killed_film_are_cleaned(tmp_path):
    (tmp_path / ".film.mp4.7.part.mp4").write_bytes(b"half")
    videos.save_video(tmp_path / "film.mp4", PICTURES, 10.0)
    assert os.listdir(tmp_path) == ["film.mp4"]
