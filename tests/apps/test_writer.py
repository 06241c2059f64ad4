"""What is written is whole, bit for bit what the encoder made, and where it was asked for."""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from apps.media import open_reader, open_writer, write_picture
from streamdiff import Frame
from tests.apps.media import decoded, frame


def with_sound(path: Path, codec: str, rate: int, layout: str) -> Path:
    """A second of film with a second of noise."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        tone = container.add_stream(codec, rate=rate, layout=layout)
        for index in range(30):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame(index), format="rgb24")))
        container.mux(stream.encode(None))
        count = rate * tone.codec_context.layout.nb_channels
        noise = np.random.default_rng(0).integers(-999, 999, (1, count)).astype(np.int16)
        block = av.AudioFrame.from_ndarray(noise, format="s16", layout=layout)
        block.sample_rate, block.pts, block.time_base = rate, 0, Fraction(1, rate)
        container.mux(tone.encode(block))
        container.mux(tone.encode(None))
    return path


def test_an_index_moved_to_the_front_changes_no_frame(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 255, (64, 64, 3), dtype=np.uint8) for _ in range(60)]
    for name in ("a.mp4", "a.mkv"):
        with open_writer(tmp_path / name, 64, 64) as writer:
            for index, pixels in enumerate(pictures):
                writer.write(Frame(pixels, pts=index / 30))
            writer.finish()
    data = (tmp_path / "a.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    moved, plain = decoded(tmp_path / "a.mp4"), decoded(tmp_path / "a.mkv")
    assert len(moved) == 60
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(moved, plain, strict=True))


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mkv", "a.webm"])
def test_the_last_frame_is_shown_as_long_as_it_should_be(tmp_path: Path, name: str) -> None:
    with open_writer(tmp_path / name, 64, 48) as writer:
        for index, (pts, shown) in enumerate([(0.0, 0.1), (0.1, 0.4), (0.5, 2.0)]):
            writer.write(Frame(frame(index), pts=pts, tag=shown))
        writer.finish()
    with av.open(str(tmp_path / name)) as container:
        assert container.duration is not None and abs(container.duration / 1e6 - 2.5) < 2e-3
    assert [round(time, 3) for time, _ in decoded(tmp_path / name)] == [0, 0.1, 0.5]


@pytest.mark.parametrize(
    ("codec", "rate", "layout", "suffix", "fate"),
    [
        ("flac", 96000, "stereo", ".mov", "encoded again as aac"),
        ("libopus", 48000, "stereo", ".mov", "encoded again as aac"),
        ("libopus", 48000, "stereo", ".webm", "copied"),
        ("pcm_s16le", 44100, "5.1", ".mp4", "encoded again as aac"),
        ("pcm_s16le", 8000, "mono", ".mp4", "copied"),
        ("pcm_s16le", 8000, "mono", ".webm", "encoded again as opus"),
    ],
)
def test_sound_that_a_container_does_not_hold(
    tmp_path: Path, codec: str, rate: int, layout: str, suffix: str, fate: str
) -> None:
    output = tmp_path / f"b{suffix}"
    source = with_sound(tmp_path / "a.mkv", codec, rate, layout)
    with open_reader(source) as reader, open_writer(output, 64, 48, reader) as writer:
        for f in reader:
            writer.write(f)
        writer.finish()
        assert writer.sound == fate
    with av.open(str(output)) as container:
        blocks = list(container.decode(audio=0))
        assert abs(sum(block.samples for block in blocks) / blocks[0].sample_rate - 1) < 0.05


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "real.png").write_bytes(b"an older picture")
    (tmp_path / "a.png").symlink_to(tmp_path / "disk" / "real.png")
    write_picture(tmp_path / "a.png", frame(0))
    assert (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "disk" / "real.png").read_bytes().startswith(b"\x89PNG")
    assert [p.name for p in (tmp_path / "disk").iterdir()] == ["real.png"]


@pytest.mark.skipif(sys.platform == "win32", reason="names are counted in characters there")
def test_a_name_as_long_as_names_can_be(tmp_path: Path) -> None:
    name = "画" * 83 + ".png"  # 253 of 255 bytes
    write_picture(tmp_path / name, frame(0))
    assert [p.name for p in tmp_path.iterdir()] == [name]
