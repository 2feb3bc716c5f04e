"""Films that are said to be written can be read, and play in a browser."""

import errno
import io
import os

import av
import numpy as np
import pytest
from PIL import Image

from smallwm_tf.figures import videos
from smallwm_tf.runs import files
from tests.browser import needs_browser, open_browser

_WAVES = [128 + 100 * np.cos((np.arange(96) + 3 * t) * np.pi / 48) for t in range(30)]
PICTURES = [np.tile(wave.astype(np.uint8)[:, np.newaxis], (64, 1, 3)) for wave in _WAVES]
SUFFIXES = pytest.mark.parametrize("suffix", videos.VIDEO_SUFFIXES)


def read(path):
    """All pictures of a film, uint8 [T, height, width, 3]."""
    if path.suffix == ".gif":
        with Image.open(path) as film:
            return np.stack([_rgb(film, number) for number in range(film.n_frames)])
    with av.open(str(path)) as film:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in film.decode(video=0)])


def _rgb(film, number):
    film.seek(number)
    return np.asarray(film.convert("RGB"))


@SUFFIXES
def test_a_film_has_every_picture_and_its_rate(tmp_path, suffix):
    path = tmp_path / f"film{suffix}"
    videos.save_video(path, PICTURES, 12.5)
    found = read(path)
    np.testing.assert_allclose(found, np.stack(PICTURES).astype(float), atol=6)
    assert os.listdir(tmp_path) == [path.name]
    if suffix == ".mp4":
        with av.open(str(path)) as film:
            stream = film.streams.video[0]
            assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
            assert float(stream.average_rate) == 12.5


@pytest.mark.parametrize("size", [(63, 95), (1, 1), (2, 301)])
def test_films_of_any_size(tmp_path, size):
    """H.264 holds even sizes only: the last row and column are doubled."""
    height, width = size
    picture = np.full([*size, 3], (200, 40, 90), np.uint8)
    videos.save_video(tmp_path / "film.mp4", [picture] * 3, 10.0)
    found = read(tmp_path / "film.mp4")
    assert found.shape == (3, height + height % 2, width + width % 2, 3)
    np.testing.assert_allclose(found, np.broadcast_to((200, 40, 90), found.shape), atol=8)


@SUFFIXES
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9])
def test_a_film_that_was_cut_off_is_told_and_does_not_stay(tmp_path, monkeypatch, suffix, share):
    """On a disk that loses what it was given and says nothing."""
    path, create = tmp_path / f"film{suffix}", files.create_plain

    class Losing(io.BufferedWriter):
        def write(self, data):
            return super().write(bytes(data)[: int(share * len(data))]) and len(data)

    monkeypatch.setattr(files, "create_plain", lambda place: Losing(create(place).detach()))
    path.write_bytes(b"an older film")
    with pytest.raises(OSError, match="cannot be read back") as caught:
        videos.save_video(path, PICTURES, 10.0)
    assert caught.value.errno == errno.EIO and caught.value.filename == str(path)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_bytes() == b"an older film"


@SUFFIXES
def test_left_overs_of_a_killed_film_are_cleaned(tmp_path, suffix):
    (tmp_path / f".film{suffix}.7.part").write_bytes(b"half")
    videos.save_video(tmp_path / f"film{suffix}", PICTURES, 10.0)
    assert os.listdir(tmp_path) == [f"film{suffix}"]


@needs_browser
def test_a_browser_plays_it(tmp_path):
    """Chromium decodes it to its end, with the colours that were drawn."""
    colours = [(200, 40, 90), (0, 110, 200), (20, 20, 20), (255, 255, 255)]
    pictures = [np.full([404, 606, 3], colour, np.uint8) for colour in colours for _ in range(5)]
    videos.save_video(tmp_path / "film.mp4", pictures, 15.0)
    page = tmp_path / "page.html"
    page.write_text('<video id="film" src="film.mp4" muted></video><canvas id="c"></canvas>')
    script = """
        const done = arguments[0], film = document.getElementById("film");
        const c = document.getElementById("c"), seen = [];
        c.width = film.videoWidth; c.height = film.videoHeight;
        film.onerror = () => done({error: film.error.message});
        const see = () => {
          const draw = c.getContext("2d");
          draw.drawImage(film, 0, 0);
          seen.push([...draw.getImageData(300, 200, 1, 1).data].slice(0, 3));
        };
        // "seeked" may come before the frame is there to be drawn: its own callback does not.
        const times = [0.1, 0.45, 0.8, 1.2];
        const present = (now, frame) => {
          if (Math.abs(frame.mediaTime - film.currentTime) > 1 / 15) {
            film.requestVideoFrameCallback(present);
            return;
          }
          see();
          if (times.length) seek();
          else {
            film.onended = () => done({
              seen, width: c.width, height: c.height, duration: film.duration,
              played: film.getVideoPlaybackQuality().totalVideoFrames});
            film.currentTime = 0;
            film.play().catch(error => done({error: String(error)}));
          }
        };
        const seek = () => {
          film.requestVideoFrameCallback(present);
          film.currentTime = times.shift();
        };
        seek();
    """
    with open_browser("--allow-file-access-from-files") as browser:
        browser.set_script_timeout(30)
        browser.get(page.as_uri())
        seen = browser.execute_async_script(script)
    assert "error" not in seen, seen
    assert (seen["width"], seen["height"]) == (606, 404)
    assert seen["duration"] == pytest.approx(20 / 15, abs=0.01) and seen["played"] >= 15
    np.testing.assert_allclose(seen["seen"], colours, atol=8)
