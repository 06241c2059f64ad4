"""Every sink, with the real library behind it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from apps.sinks import Picture, Sink
from apps.sinks.encoded import CODECS
from apps.sinks.uri import check_files, sink_from
from apps.sources.source import SOUND_RATE, Sound
from apps.sources.uri import source_from
from streamdiff.errors import ConfigError, DeviceError, MediaError, StreamdiffError
from streamdiff.frame import Frame

TIMES = [0.0, 0.04, 0.08, 0.2, 0.24, 0.5, 0.54, 1.0, 1.04, 1.08]


def no_window(_: Picture) -> Sink:
    raise AssertionError("no window was asked for")


def colour(i: int) -> tuple[int, int, int]:
    return (20 * i + 20, 120, 220 - 20 * i)


def write_all(sink: Sink, times: list[float] = TIMES) -> None:
    for i, pts in enumerate(times):
        if sink.takes_sound:
            samples = np.full((SOUND_RATE // 10, 2), 9000, np.int16)
            sink.write_sound(Sound(samples, i / 10))
        pixels = np.full((64, 96, 3), colour(i), np.uint8)
        sink.write(Frame(pixels, pts=pts, tag=pixels))
    sink.close()


@pytest.mark.parametrize(
    ("name", "codec"), [("a.mp4", "h264"), ("a.mkv", "h264"), ("a.mov", "prores"), ("a.mp4", "h265"), ("a.mkv", "av1")]
)
def test_a_file_has_every_picture_at_its_time_and_the_sound(tmp_path: Path, name: str, codec: str) -> None:
    if not set(CODECS[codec][0]) & av.codecs_available:
        pytest.skip(f"this FFmpeg has no encoder for {codec}")
    write_all(sink_from(f"{tmp_path / name}?codec={codec}", no_window)(Picture(96, 64, 25, has_sound=True)))
    with av.open(str(tmp_path / name)) as container:
        frames = list(container.decode(video=0))
    assert [float(f.time) for f in frames] == pytest.approx(TIMES, abs=0.002)
    for i, frame in enumerate(frames):
        mean = frame.to_ndarray(format="rgb24").mean((0, 1))
        assert np.abs(mean - colour(i)).max() < 8, (i, mean)
    with av.open(str(tmp_path / name)) as container:
        seconds = sum(f.samples for f in container.decode(audio=0)) / SOUND_RATE
    assert seconds == pytest.approx(1.0, abs=0.06)


@pytest.mark.skipif(sys.platform != "linux", reason="threads are told apart by their numbers on Linux")
@pytest.mark.parametrize("codec", list(CODECS))
def test_no_encoder_takes_the_cores_for_itself(tmp_path: Path, codec: str) -> None:
    """SVT-AV1 gives itself and its caller real-time priority where it may, as root: nothing else would run."""
    path = tmp_path / ("a.mov" if codec == "prores" else "a.mkv")
    sink = sink_from(f"{path}?codec={codec}", no_window)(Picture(96, 64, 25))
    try:
        sink.write(Frame(np.zeros((64, 96, 3), np.uint8), pts=0.0))
        threads = [int(entry.name) for entry in Path("/proc/self/task").iterdir()]
        assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_OTHER}
    finally:
        sink.close()


def test_what_is_there_is_kept_unless_told_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    for uri, expected in ((str(path), "a.mkv"), (str(path), "a-2.mkv"), (f"{path}?replace=1", "a.mkv")):
        sink = sink_from(uri, no_window)(Picture(96, 64, 25))
        assert Path(sink.name).name == expected
        write_all(sink)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a-2.mkv", "a.mkv"]


def test_what_is_there_is_replaced_only_by_what_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    sink = sink_from(f"{path}?replace=1", no_window)(Picture(96, 64, 25))
    assert path.read_bytes() == b"old" and sink.name == str(path)
    sink.close()  # no picture came: there is nothing to replace it by, and no stub is left
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
    write_all(sink_from(f"{path}?replace=1", no_window)(Picture(96, 64, 25)))
    assert path.stat().st_size > 100 and list(tmp_path.iterdir()) == [path]
    link = tmp_path / "link.mp4"
    link.symlink_to(path)
    path.write_bytes(b"old")
    write_all(sink_from(f"{link}?replace=1", no_window)(Picture(96, 64, 25)))
    assert link.is_symlink() and path.stat().st_size > 100


def test_an_output_is_no_input_and_no_other_output(tmp_path: Path) -> None:
    path, link = tmp_path / "a.mp4", tmp_path / "b.mp4"
    path.write_bytes(b"old")
    link.symlink_to(path)
    for outputs in ([f"{path}?replace=1"], ["window", f"{link}?replace=1"]):
        with pytest.raises(ConfigError, match="the output is the input"):
            check_files(outputs, f"{path}?pace=fast")
    for outputs in ([f"{path}?replace=1", f"{link}?replace=1"], [str(path), f"{path}?replace=1"]):
        for each in (outputs, outputs[::-1]):
            with pytest.raises(ConfigError, match="is an output already"):
                check_files(each, "camera")
    check_files([str(path), str(path), f"{tmp_path / 'c.mp4'}?replace=1"], str(path))


def test_what_this_run_has_written_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    again = sink_from(f"{path}?replace=1", no_window)
    names = []
    for _ in range(2):  # the second time after it was lost
        sink = again(Picture(96, 64, 25))
        names.append(Path(sink.name).name)
        write_all(sink)
    assert names == ["a.mp4", "a-2.mp4"] and path.stat().st_size > 100


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "h264"), ("a.mkv", "h265"), ("a.mp4", "av1")])
def test_slow_pictures_have_a_keyframe_every_second(tmp_path: Path, name: str, codec: str) -> None:
    sink = sink_from(f"{tmp_path / name}?codec={codec}", no_window)(Picture(96, 64, 30))
    write_all(sink, [0.5 * i for i in range(10)])
    with av.open(str(tmp_path / name)) as container:
        keys = [float(p.pts * p.time_base) for p in container.demux(video=0) if p.is_keyframe and p.pts is not None]
    assert keys == pytest.approx([0.0, 1.0, 2.0, 3.0, 4.0], abs=0.01)


def test_a_full_disk_is_one_line() -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from apps.sinks.encoded import Encoded

    with pytest.raises(DeviceError, match="cannot be"):
        sink = Encoded("file:/dev/full", "full.mkv", "matroska", {}, Picture(96, 64, 25), codec="h264", sound="aac")
        write_all(sink, [i / 25 for i in range(500)])


@pytest.mark.parametrize(("kind", "fails"), [("matroska", True), ("mpegts", False)])
def test_a_file_without_its_end_is_an_error_and_a_peer_that_has_gone_is_none(kind: str, fails: bool) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    from apps.sinks.encoded import Encoded

    sink = Encoded("file:/dev/full", "full", kind, {}, Picture(96, 64, 25), codec="h264", sound="aac")
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3), np.uint8)
    with contextlib.suppress(DeviceError):
        sink.write(Frame(pixels, pts=0.0))
    with pytest.raises(DeviceError, match="cannot be completed") if fails else contextlib.nullcontext():
        sink.close()


KILLED = """
import sys, time
import numpy as np
from apps.sinks import Picture
from apps.sinks.encoded import to_file
from pathlib import Path
from streamdiff.frame import Frame
sink = to_file(Path(sys.argv[1]), Picture(96, 64, 25))
rng = np.random.default_rng(0)
for i in range(100_000):
    sink.write(Frame(rng.integers(0, 255, (64, 96, 3), dtype=np.uint8), pts=i / 25))
    if i == 150:
        print("far enough", flush=True)
    if i > 150:
        time.sleep(0.01)
"""


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv"])
def test_a_killed_process_leaves_a_playable_file(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline().strip() == "far enough"
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    source = source_from(f"{path}?pace=fast")()
    times = []
    while (piece := source.read()) is not None:
        times.append(piece.pts)
    assert len(times) > 75 and times == pytest.approx([i / 25 for i in range(len(times))], abs=0.002)


def test_a_stream_to_another_end(free_port: int) -> None:
    url = f"rtmp://127.0.0.1:{free_port}/live/a"
    got: list[Any] = []

    def receive() -> None:
        try:
            source = source_from(f"{url}?listen=1")()
            while (piece := source.read()) is not None:
                got.append(piece)
        except DeviceError:
            return

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    sink: Sink | None = None
    for _ in range(50):  # until somebody listens
        try:
            sink = sink_from(url, no_window)(Picture(96, 64, 25, has_sound=True))
            break
        except DeviceError:
            time.sleep(0.1)
    assert sink is not None
    write_all(sink, [i / 25 for i in range(50)])
    receiver.join(15)
    frames = [piece for piece in got if isinstance(piece, Frame)]
    assert len(frames) >= 45 and any(isinstance(piece, Sound) for piece in got)
    gaps = np.diff([frame.pts for frame in frames])
    assert np.abs(gaps - 0.04).max() < 0.002


def test_udp_from_end_to_end(free_port: int) -> None:
    url = f"udp://127.0.0.1:{free_port}"
    got: list[Frame] = []
    enough = threading.Event()

    def receive() -> None:
        source = source_from(url)()  # it waits for what a stream is made of
        while len(got) < 40 and (piece := source.read()) is not None:
            if isinstance(piece, Frame):
                got.append(piece)
        source.close()
        enough.set()

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    sink = sink_from(url, no_window)(Picture(96, 64, 25))
    began = time.monotonic()
    for i in range(500):  # nobody says whether it arrives: in real time, until enough has
        if enough.is_set():
            break
        time.sleep(max(0.0, began + i / 25 - time.monotonic()))
        sink.write(Frame(np.full((64, 96, 3), (5 * i) % 200, np.uint8), pts=i / 25))
    sink.close()
    assert enough.is_set()
    gaps = np.diff([frame.pts for frame in got])
    assert np.median(gaps) == pytest.approx(0.04, abs=0.002) and gaps.min() > 0


def test_a_peer_that_is_not_there_or_hangs_up(free_port: int) -> None:
    with pytest.raises(DeviceError, match="cannot be opened"):
        sink_from(f"rtmp://127.0.0.1:{free_port}/live/a", no_window)(Picture(96, 64, 25))


class Backend:
    """pyvirtualcam's side of a virtual camera."""

    sent: list[np.ndarray] = []  # noqa: RUF012
    times: list[float] = []  # noqa: RUF012
    closed = 0

    def __init__(self, width: int, height: int, fps: float, fourcc: int, device: str | None, **_: Any) -> None:
        self.size = (width, height)
        self._device = device or "/dev/video9"

    def close(self) -> None:
        type(self).closed += 1

    def send(self, frame: np.ndarray) -> None:
        self.sent.append(frame.copy())
        self.times.append(time.monotonic())

    def device(self) -> str:
        return self._device

    def native_fourcc(self) -> None:
        return None


def test_a_virtual_camera_gets_the_pixels_when_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    import pyvirtualcam
    from pyvirtualcam.camera import BACKENDS

    from apps.live.show import Show
    from apps.sinks.virtual_camera import VirtualCamera
    from tests.apps.live.parts import pictures
    from tests.toy import toy

    monkeypatch.setitem(BACKENDS, "test", None)  # taken out again when the test ends
    pyvirtualcam.register_backend("test", Backend)
    Backend.sent, Backend.times = [], []
    sink = VirtualCamera(Picture(96, 64, 30), backend="test")
    assert sink.name == "virtual camera /dev/video9"
    pixels = np.arange(64 * 96 * 3, dtype=np.uint32).astype(np.uint8).reshape(64, 96, 3)
    sink.write(Frame(pixels, pts=0.0))
    assert np.array_equal(Backend.sent[0].reshape(pixels.shape), pixels)
    sink.close()
    assert Backend.closed == 1
    Backend.sent, Backend.times = [], []
    show = Show(toy().stream(), pictures(60, rate=50), [lambda p: VirtualCamera(p, backend="test")])
    show.start()
    assert show.wait(20)
    show.join()
    assert len(Backend.sent) == show.figures()["sinks"][0]["delivered"] > 40
    assert np.median(np.diff(Backend.times)) == pytest.approx(1 / 50, rel=0.5)


def test_no_virtual_camera_says_how_to_get_one() -> None:
    if Path("/dev/video0").exists():
        pytest.skip("there is a video device here")
    with pytest.raises(DeviceError, match=r"v4l2loopback|OBS") as caught:
        sink_from("virtual-camera", no_window)(Picture(96, 64, 30))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("", "empty"),
        ("a.avi", "ends in .mp4"),
        ("/no/such/folder/a.mp4", "folder .* does not exist"),
        ("a.mp4?codec=divx", "h264"),
        ("a.mp4?crf=3", "known: codec, replace"),
        ("window:3", "takes nothing"),
        ("gopher://a/b", "not known"),
    ],
)
def test_what_cannot_be_meant(uri: str, says: str) -> None:
    with pytest.raises(StreamdiffError, match=says) as caught:
        sink_from(uri, no_window)
    assert "\n" not in str(caught.value) and isinstance(caught.value, (ConfigError, MediaError))


def test_prores_needs_mov(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\.mov"):
        sink_from(f"{tmp_path}/a.mkv?codec=prores", no_window)(Picture(96, 64, 25))
