"""Files as people have them: read right or refused in one line; written whole or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from apps.media import check_output, open_reader, open_writer, read_picture, write_picture
from streamdiff import Frame, MediaError
from tests.apps.media import decoded, frame, packets, turned, video

GREY = np.full((10, 14), 128, np.uint8)


def refused(path: Path, says: str) -> None:
    with pytest.raises(MediaError, match=says) as caught, open_reader(path) as reader:
        list(reader)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)


# Pictures.


@pytest.mark.parametrize("mode", ["RGB", "L", "LA", "RGBA", "P", "1", "CMYK", "I;16"])
def test_pictures_of_every_kind(tmp_path: Path, mode: str) -> None:
    path = tmp_path / ("picture.tif" if mode == "CMYK" else "picture.png")
    image = Image.fromarray(GREY.astype(np.uint16) * 257) if mode == "I;16" else Image.fromarray(GREY).convert(mode)
    image.save(path)
    pixels = read_picture(path)
    assert pixels.shape == (10, 14, 3) and pixels.dtype == np.uint8
    if mode != "1":
        assert int(np.abs(pixels.astype(int) - 128).max()) <= 1


def test_transparency_is_shown_on_white(tmp_path: Path) -> None:
    rgba = np.zeros((8, 8, 4), np.uint8)
    rgba[:4, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    pixels = read_picture(tmp_path / "a.png")
    assert pixels[:4].max() == 0 and pixels[4:].min() == 255


def test_a_phones_photograph_stands_upright(tmp_path: Path) -> None:
    image = Image.fromarray(frame(0))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    with open_reader(tmp_path / "a.jpg") as reader:
        assert (reader.width, reader.height, reader.still) == (48, 64, True)
        (shown,) = list(reader)
    assert shown.pixels.shape == (64, 48, 3)
    assert shown.pixels[:32, 24:].mean() > 200  # the bright corner is now at the top right


@pytest.mark.parametrize("size", [(1, 1), (1, 200), (333, 7)])
def test_pictures_of_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    Image.new("RGB", size, (200, 10, 30)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").shape == (size[1], size[0], 3)


def test_an_animated_picture_is_a_film(tmp_path: Path) -> None:
    images = [Image.fromarray(frame(i)) for i in range(4)]
    images[0].save(tmp_path / "a.gif", save_all=True, append_images=images[1:], duration=[100, 50, 200, 100])
    with open_reader(tmp_path / "a.gif") as reader:
        assert not reader.still
        assert [round(f.pts or 0, 3) for f in reader] == [0, 0.1, 0.15, 0.35]


# Videos.


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.mov", "a.avi"])
def test_every_frame_with_its_time(tmp_path: Path, name: str) -> None:
    codec = "mpeg4" if name == "a.avi" else "libx264"  # AVI cannot say when frames that are out of order are shown
    with open_reader(video(tmp_path / name, codec=codec)) as reader:
        got = list(reader)
    assert [f.index for f in got] == list(range(12))
    assert np.allclose([f.pts for f in got if f.pts is not None], np.arange(12) / 30, atol=2e-3)
    for f in got:
        assert f.pixels.shape == (48, 64, 3)
        assert abs(float(f.pixels[30:, 40:].mean()) - (20 + f.index * 6)) < 4


def test_a_variable_frame_rate_is_kept(tmp_path: Path) -> None:
    times = [0, 33, 40, 300, 310, 1000, 1001, 1500]
    path = video(tmp_path / "a.mkv", len(times), times=times)
    with open_reader(path) as reader:
        assert [round((f.pts or 0) * 1000) for f in reader] == times
    output = tmp_path / "b.mp4"
    with open_reader(path) as reader, open_writer(output, 64, 48, reader) as writer:
        for f in reader:
            writer.write(f)
        writer.finish()
    assert [round(t * 1000) for t, _ in decoded(output)] == times


def test_a_phones_video_stands_upright(tmp_path: Path) -> None:
    with open_reader(turned(video(tmp_path / "a.mp4"))) as reader:
        assert (reader.width, reader.height) == (48, 64)
        first = next(iter(reader)).pixels
    assert first.shape == (64, 48, 3)
    corners = {
        "left top": first[:32, :24], "right top": first[:32, 24:], "left": first[32:, :24], "right": first[32:, 24:]
    }  # fmt: skip
    assert max(corners, key=lambda name: float(corners[name].mean())) == "right top"  # a quarter turn clockwise


@pytest.mark.parametrize("pixel_format", ["yuv444p", "yuv420p10le", "gray"])
def test_other_pixel_formats(tmp_path: Path, pixel_format: str) -> None:
    codec = "ffv1" if pixel_format == "gray" else "libx264"
    with open_reader(video(tmp_path / "a.mkv", 3, pixel_format=pixel_format, codec=codec)) as reader:
        assert abs(float(next(iter(reader)).pixels[30:, 40:].mean()) - 20) < 5


def test_odd_sizes(tmp_path: Path) -> None:
    with open_reader(video(tmp_path / "a.mkv", 3, size=(53, 37), pixel_format="yuv444p")) as reader:
        assert next(iter(reader)).pixels.shape == (37, 53, 3)


def test_contents_decide_and_not_names(tmp_path: Path) -> None:
    Image.fromarray(frame(0)).save(tmp_path / "picture.mp4", format="PNG")
    with open_reader(tmp_path / "picture.mp4") as reader:
        assert reader.still
    with open_reader(video(tmp_path / "film.png", kind="mp4")) as reader:
        assert not reader.still and len(list(reader)) == 12


def test_what_is_no_media_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.mp4", "no such file")
    refused(tmp_path, "is a folder")
    (tmp_path / "empty.mp4").touch()
    refused(tmp_path / "empty.mp4", "empty")
    (tmp_path / "text.mp4").write_text("this is not a film\n" * 50)
    refused(tmp_path / "text.mp4", "neither|not a picture or video")
    (tmp_path / "noise.mp4").write_bytes(os.urandom(5000))
    refused(tmp_path / "noise.mp4", "neither|not a picture or video")
    whole = video(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "cut.mp4", "cut short|damaged")
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    data = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "cut.png", "damaged or cut short")


def test_a_film_that_ends_early_is_read_as_far_as_it_goes(tmp_path: Path) -> None:
    path = video(tmp_path / "a.mkv", 40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 3 // 4])
    with open_reader(path) as reader:
        assert 5 < len(list(reader)) < 40
        assert any("ends early" in warning for warning in reader.warnings)
    path.write_bytes(data)
    with open_reader(path) as reader:
        assert len(list(reader)) == 40 and reader.warnings == []


# Writing.


def test_colours_survive_the_way_through_a_file(tmp_path: Path) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (128, 128, 128), (230, 180, 40)]
    chart = np.concatenate([np.full((64, 32, 3), c, np.uint8) for c in colours], 1)
    with open_writer(tmp_path / "a.mp4", chart.shape[1], 64) as writer:
        for i in range(3):
            writer.write(Frame(chart, pts=i / 30))
        writer.finish()
    with open_reader(tmp_path / "a.mp4") as reader:
        shown = next(iter(reader)).pixels
    for i, colour in enumerate(colours):
        middle = shown[16:48, i * 32 + 10 : i * 32 + 22].reshape(-1, 3).mean(0)
        assert np.abs(middle - colour).max() <= 5, (colour, middle)


@pytest.mark.parametrize(
    ("name", "fate"), [("b.mp4", "copied"), ("b.mkv", "copied"), ("b.webm", "encoded again as opus")]
)
def test_sound_goes_along(tmp_path: Path, name: str, fate: str) -> None:
    source = video(tmp_path / "a.mp4", 30, sound=True)
    with open_reader(source) as reader, open_writer(tmp_path / name, 64, 48, reader) as writer:
        for f in reader:
            writer.write(f)
        writer.finish()
        assert writer.sound == fate
    before, after = packets(source), packets(tmp_path / name)
    # Containers that know no times below zero shift sound and picture alike: what counts is the one against the other.
    shift = decoded(tmp_path / name)[0][0] - decoded(source)[0][0]
    after = [(data, time - shift) for data, time in after]
    if fate == "copied":
        assert [p for p, _ in after] == [p for p, _ in before]
        assert np.allclose([t for _, t in after], [t for _, t in before], atol=2e-3)
    else:
        assert abs(after[-1][1] - before[-1][1]) < 0.1


@pytest.mark.parametrize("name", ["out.mp4", "out.png"])
def test_nothing_is_left_of_what_was_not_finished(tmp_path: Path, name: str) -> None:
    output = tmp_path / name
    for existing in (None, b"what stood there before"):
        if existing:
            output.write_bytes(existing)
        with pytest.raises(RuntimeError), open_writer(output, 64, 48) as writer:
            writer.write(Frame(frame(0), pts=0.0))
            raise RuntimeError("the model failed")
        assert [p.name for p in tmp_path.iterdir()] == ([name] if existing else [])
        if existing:
            assert output.read_bytes() == existing


FULL_DISK = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from apps.media import open_writer, write_picture
from streamdiff import Frame, MediaError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
random = np.random.default_rng(0)
noise = [random.integers(0, 255, (256, 256, 3), dtype=np.uint8) for _ in range(20)]
output = Path(sys.argv[1])
try:
    if output.suffix == ".png":
        write_picture(output, noise[0])
    else:
        with open_writer(output, 256, 256) as writer:
            for i, pixels in enumerate(noise):
                writer.write(Frame(pixels, pts=i / 30))
            writer.finish()
except MediaError as error:
    print(error)
    sys.exit(3)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.png"])
def test_a_full_disk(tmp_path: Path, name: str) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / name)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 3, result.stderr
    assert "cannot be written" in result.stdout and len(result.stdout.splitlines()) == 1
    assert result.stderr == ""  # nor anything from the codecs, which go on calling after a failure
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_cannot_work_are_refused_at_once(tmp_path: Path) -> None:
    source = video(tmp_path / "a.mp4")
    for output, says, still in [
        (tmp_path / "b.xyz", "not supported", None), (tmp_path / "b", "without an ending", None),
        (tmp_path, "is a folder", None), (tmp_path / "no" / "b.mp4", "does not exist", None),
        (source, "the output is the input", None), (tmp_path / "b.mp4", "still picture", True),
        (tmp_path / "b.png", "is a video", False),
    ]:  # fmt: skip
        with pytest.raises(MediaError, match=says):
            check_output(output, source, still=still)
    with pytest.raises(MediaError, match="exists already"):
        check_output(source, None, replace=False)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.webp"])
def test_pictures_are_written_as_their_names_say(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / name, frame(3))
    assert int(np.abs(read_picture(tmp_path / name).astype(int) - frame(3)).max()) <= (0 if name == "a.png" else 30)
    assert [p.name for p in tmp_path.iterdir()] == [name]
