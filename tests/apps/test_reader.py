"""Files that are turned, cut, misnamed, or only pretend to be films."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from apps.media import open_reader, open_writer, read_picture
from streamdiff import MediaError
from tests.apps.media import decoded, frame, packets, video

MATRICES = [
    (1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0),
    (0, -1, -1, 0),
]  # fmt: skip


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_turn_and_mirror_is_shown_as_a_player_shows_it(tmp_path: Path, matrix: tuple[int, int, int, int]) -> None:
    a, b, c, d = matrix
    path = video(tmp_path / "a.mp4", 2)
    stored = decoded(path)[0][1]
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 44
    values = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    data[place : place + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in values)
    path.write_bytes(data)
    # The definition of a display matrix, pixel by pixel: x' = a x + c y, y' = b x + d y.
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    right, down = a * x + c * y, b * x + d * y
    right, down = right - right.min(), down - down.min()
    upright = np.zeros((down.max() + 1, right.max() + 1, 3), int)
    upright[down, right] = stored
    with open_reader(path) as reader:
        shown = next(iter(reader)).pixels
        assert (reader.height, reader.width) == shown.shape[:2] == upright.shape[:2]
    assert float(np.abs(shown - upright).mean()) < 3


def test_wide_pixels_are_shown_wide(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.mkv"), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(2, 1)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(0), format="rgb24")))
        container.mux(stream.encode(None))
    with open_reader(tmp_path / "a.mkv") as reader:
        assert (reader.width, reader.height) == (128, 48)
        assert next(iter(reader)).pixels.shape == (48, 128, 3)


def test_a_cut_film_with_its_index_in_front_is_read_with_a_warning(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4", 60, sound=True)
    with open_reader(source) as reader, open_writer(tmp_path / "b.mp4", 64, 48, reader) as writer:
        for f in reader:
            writer.write(f)
        writer.finish()
    data = (tmp_path / "b.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(data[: len(data) * 2 // 3])
    with open_reader(tmp_path / "cut.mp4") as reader, open_writer(tmp_path / "c.mp4", 64, 48, reader) as writer:
        for f in reader:
            writer.write(f)
        writer.finish()
        assert any("ends early" in text for text in reader.warnings)
    assert 5 < len(decoded(tmp_path / "c.mp4")) < 60


def test_a_recording_that_counts_from_elsewhere_starts_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream("aac", rate=44100, layout="mono")
        for index in range(30):
            picture = av.VideoFrame.from_ndarray(frame(index), format="rgb24")
            picture.pts, picture.time_base = index + 3000, Fraction(1, 30)
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
        for index in range(40):
            block = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            block.sample_rate, block.pts, block.time_base = 44100, index * 1024 + 4_410_000, Fraction(1, 44100)
            container.mux(tone.encode(block))
        container.mux(tone.encode(None))
    with open_reader(path) as reader, open_writer(tmp_path / "b.mp4", 64, 48, reader) as writer:
        for f in reader:
            writer.write(f)
        writer.finish()
    before, after = decoded(path)[0][0] - packets(path)[0][1], decoded(tmp_path / "b.mp4")[0][0]
    assert 0 <= after < 0.1
    assert abs(after - packets(tmp_path / "b.mp4")[0][1] - before) < 2e-3  # sound and picture as they were


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.svg", b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "a.svg"),
        ("a.m3u8", b"#EXTM3U\n#EXTINF:1,\nhttp://example.invalid/a.ts\n#EXT-X-ENDLIST\n", "not a picture or video"),
        ("a.ffconcat", b"ffconcat version 1.0\nfile '/etc/hostname'\n", "not a picture or video"),
        ("a.srt", b"1\n00:00:00,000 --> 00:00:02,000\nhello\n", "neither a picture nor a video"),
        ("zeros.mp4", bytes(4096), "not a picture or video"),
    ],
)
def test_what_only_leads_to_films_is_refused(tmp_path: Path, name: str, data: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(MediaError, match=says) as caught, open_reader(tmp_path / name) as reader:
        list(reader)
    assert "\n" not in str(caught.value)


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "a.wav"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        block = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        block.sample_rate, block.pts = 8000, 0
        container.mux(stream.encode(block))
    with pytest.raises(MediaError, match="neither a picture nor a video"):
        open_reader(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["a%03d.mp4", "http:a.mp4", "-a.mp4", "a  b.mp4", "画.mp4", "a.txt"])
def test_names_are_only_names(tmp_path: Path, name: str) -> None:
    video(tmp_path / "plain.mp4", 3).rename(tmp_path / name)
    with open_reader(tmp_path / name) as reader:
        assert len(list(reader)) == 3


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_pictures_of_16_bits(tmp_path: Path, channels: int, suffix: str) -> None:
    pixels = np.full((10, 12, channels), 128 * 257, np.uint16)
    pixels[:, :, 3:] = 65535
    cv2.imwrite(str(tmp_path / f"a{suffix}"), pixels)
    read = read_picture(tmp_path / f"a{suffix}")
    assert read.shape == (10, 12, 3) and int(np.abs(read.astype(int) - 128).max()) <= 1
