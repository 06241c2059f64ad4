"""Every source, with the real library behind it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from apps.sources import Sound, Source
from apps.sources.file import FileSource
from apps.sources.network import NetworkSource
from apps.sources.pattern import Pattern
from apps.sources.uri import source_from
from apps.uri import shown
from streamdiff.errors import ConfigError, DeviceError, MediaError, StreamdiffError
from streamdiff.frame import Frame
from tests.apps.sources.clip import RATE, SECONDS, encode, flash_and_beep, pieces


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    encode(str(path), "mp4")
    return path


def test_a_file_as_fast_as_it_is_taken_gives_everything_once(clip: Path) -> None:
    source = FileSource(clip, paced=False)
    frames, sounds = pieces(source, 10_000)
    source.close()
    assert source.waits and (source.width, source.height, source.rate) == (96, 64, 25)
    assert [f.pts for f in frames] == pytest.approx([i / RATE for i in range(RATE * SECONDS)])
    assert sum(s.seconds for s in sounds) == pytest.approx(SECONDS, abs=0.06)


def test_picture_and_sound_stay_together_through_loops(clip: Path) -> None:
    source = FileSource(clip, loop=True, paced=False)
    frames, sounds = pieces(source, 3 * RATE * SECONDS)
    source.close()
    times = [f.pts for f in frames]
    assert times == sorted(set(times))
    flashes, beeps = flash_and_beep(frames, sounds)
    assert len(flashes) == len(beeps) == 3
    assert np.abs(np.array(flashes) - np.array(beeps)).max() < 1 / RATE


def test_a_file_in_real_time_takes_its_time_and_stops_at_once(clip: Path) -> None:
    source = FileSource(clip, loop=True)
    begun = time.monotonic()
    pieces(source, 20)
    assert time.monotonic() - begun >= 19 / RATE - 0.05
    threading.Timer(0.1, source.close).start()
    frames, _ = pieces(source, 10_000)
    assert len(frames) < 1000


def test_a_damaged_or_soundless_file(clip: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:200])
    with pytest.raises(MediaError, match=r"cut\.mp4"):
        source_from(str(cut))()
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=48_000)
        part = av.AudioFrame.from_ndarray(np.zeros((1, 9600), np.int16), format="s16", layout="stereo")
        part.sample_rate = 48_000
        container.mux(stream.encode(part))
    with pytest.raises(MediaError, match="neither a picture nor a video"):
        source_from(str(sound))()


def sending(url: str, kind: str, codec: str = "mpeg4", options: dict[str, str] | None = None) -> threading.Thread:
    def send() -> None:
        for _ in range(50):  # until somebody listens
            try:
                encode(url, kind, codec, options)
                return
            except (OSError, av.error.FFmpegError):
                time.sleep(0.1)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("url", "options", "sent", "kind", "codec"),
    [
        ("rtmp://127.0.0.1:{}/live/a", "?listen=1", "rtmp://127.0.0.1:{}/live/a", "flv", "libx264"),
        ("srt://127.0.0.1:{}", "?listen=1", "srt://127.0.0.1:{}", "mpegts", "libx264"),
    ],
)
def test_a_stream_from_another_end(url: str, options: str, sent: str, kind: str, codec: str, free_port: int) -> None:
    thread = sending(sent.format(free_port), kind, codec)
    try:
        source = source_from(url.format(free_port) + options)()
    except DeviceError as error:
        if "Protocol not found" in str(error):
            pytest.skip(f"this FFmpeg does not speak {url[:4]}")
        raise
    frames, sounds = pieces_until_lost(source)
    source.close()
    thread.join(10)
    assert len(frames) > RATE * SECONDS * 0.8 and frames[0].pixels.shape == (64, 96, 3)
    flashes, beeps = flash_and_beep(frames, sounds)
    assert len(flashes) == len(beeps) == 1 and abs(flashes[0] - beeps[0]) < 0.06


def pieces_until_lost(source: Source) -> tuple[list[Frame], list[Sound]]:
    frames: list[Frame] = []
    sounds: list[Sound] = []
    with pytest.raises(DeviceError, match=r"ended|lost"):
        while (piece := source.read()) is not None:
            (sounds if isinstance(piece, Sound) else frames).append(piece)  # type: ignore[arg-type]
    return frames, sounds


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("camera?size=1280x720", "camera?size=1280x720"),
        ("rtmp://a.example/live2/ab12-key?x=1", "rtmp://a.example/live2/…"),
        ("rtmps://a.example:443/live", "rtmps://a.example:443/live"),
        ("rtsp://me:secret@10.0.0.2:554/cam/1", "rtsp://10.0.0.2:554/cam/1"),
        ("whip+https://a.example/whip?bearer=abc", "whip+https://a.example/whip"),
        ("udp://127.0.0.1:9", "udp://127.0.0.1:9"),
        ("mjpeg:0.0.0.0:8090?token=abc", "mjpeg:0.0.0.0:8090"),
    ],
)
def test_what_others_may_see_of_an_address(text: str, wanted: str) -> None:
    assert shown(text) == wanted


def test_nobody_answers(free_port: int) -> None:
    with pytest.raises(DeviceError, match="cannot be opened"):
        NetworkSource(f"rtmp://127.0.0.1:{free_port}/live/a")


def test_the_pattern_moves_and_is_paced() -> None:
    source = Pattern(128, 128, 50)
    begun = time.monotonic()
    frames, _ = pieces(source, 11)
    assert time.monotonic() - begun > 10 / 50 - 0.05
    assert [f.pts for f in frames] == pytest.approx([i / 50 for i in range(11)])
    assert not np.array_equal(frames[0].pixels, frames[10].pixels)
    source.close()
    assert source.read() is None


class FakeDevice:
    """What OpenCV shows of a camera that gives another size than asked, and is unplugged after three pictures."""

    opened = True
    pictures = 3

    def __init__(self, index: int) -> None:
        self.asked: dict[int, float] = {}

    def isOpened(self) -> bool:
        return self.opened

    def set(self, what: int, value: float) -> bool:
        self.asked[what] = value
        return True

    def get(self, what: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 320, cv2.CAP_PROP_FRAME_HEIGHT: 240, cv2.CAP_PROP_FPS: 0}[what]

    def read(self) -> tuple[bool, Any]:
        self.pictures -= 1
        blue = np.zeros((240, 320, 3), np.uint8)
        blue[..., 0] = 200
        return (True, blue) if self.pictures >= 0 else (False, None)

    def release(self) -> None:
        pass


def test_a_camera_that_is_unplugged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", FakeDevice)
    source = source_from("camera?size=1280x720&rate=30")()
    assert (source.width, source.height, source.rate) == (320, 240, 30)
    frames = [source.read() for _ in range(3)]
    assert all(isinstance(f, Frame) and tuple(f.pixels[0, 0]) == (0, 0, 200) for f in frames)
    with pytest.raises(DeviceError, match="unplugged"):
        source.read()


def test_a_camera_that_another_program_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", type("Busy", (FakeDevice,), {"opened": False}))
    with pytest.raises(DeviceError, match=r"another program|allow the terminal"):
        source_from("camera:0")()


def test_a_camera_by_its_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from apps.sources import camera

    for i, name in enumerate(("Laptop HD", "Studio Cam")):
        node = tmp_path / f"video{i}"
        node.mkdir()
        (node / "name").write_text(f"{name}\n")
        (node / "index").write_text("0\n")
    monkeypatch.setattr(camera, "DEVICES", tmp_path)
    assert camera.camera_of("studio") == 1 and camera.camera_of("") == 0
    with pytest.raises(DeviceError, match="0 Laptop HD, 1 Studio Cam"):
        camera.camera_of("phone")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "empty"),
        ("nothing.mp4", "no such file"),
        ("gopher://a/b", "gopher:// is not known"),
        ("camera?speed=3", "known: rate, size"),
        ("camera?rate=0", "number from 1 to 240"),
        ("camera?size=12", "WIDTHxHEIGHT"),
        ("screen:a", "a region"),
        ("screen:1,2,3", "a region"),
        ("pattern:7", "takes nothing"),
        (f"{__file__}?pace=slow", "real or fast"),
        (f"{__file__}?loop=yes", "0 or 1"),
    ],
)
def test_what_cannot_be_meant(uri: str, says: str) -> None:
    with pytest.raises(StreamdiffError, match=says) as caught:
        source_from(uri)
    assert "\n" not in str(caught.value) and isinstance(caught.value, (ConfigError, MediaError))
