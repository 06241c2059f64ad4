"""Pieces at their own time, and what a server keeps, played like a file."""

from __future__ import annotations

import functools
import http.server
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from apps.sources import paced
from apps.sources.network import NetworkSource
from apps.sources.paced import Paced
from apps.sources.source import Sound
from streamdiff.frame import Frame
from tests.apps.sources.clip import RATE, SECONDS, encode, pieces

PIXELS = np.zeros((8, 8, 3), np.uint8)


def sound(pts: float) -> Sound:
    return Sound(np.zeros((480, 2), np.int16), pts)


def read_all(source: Paced) -> list[Frame | Sound]:
    found = []
    while (piece := source.read()) is not None:
        found.append(piece)
    return found


@pytest.mark.alone
def test_pictures_that_come_after_their_sound_hold_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "BEHIND", 0.1)
    given: list[Frame | Sound] = []
    for i in range(10):  # decoders hold pictures back, here for 0.3 s
        given += [sound(0.05 * i), *([Frame(PIXELS, pts=0.05 * (i - 6))] if i >= 6 else [])]
    begun = time.monotonic()
    found = read_all(Paced(iter(given), threading.Event()))
    assert [piece.pts for piece in found] == [piece.pts for piece in given]
    assert 0.4 < time.monotonic() - begun < 0.8


@pytest.mark.alone
def test_a_picture_is_given_again_where_the_next_is_long_in_coming(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paced, "REST", 0.1)
    given = [Frame(PIXELS, pts=0.0, index=0), Frame(PIXELS, pts=0.55, index=1), Frame(PIXELS, pts=0.6, index=2)]
    found = read_all(Paced(iter(given), threading.Event()))
    frames = [piece for piece in found if isinstance(piece, Frame)]
    assert [frame.index for frame in frames][-3:] == [0, 1, 2] and len(frames) >= 6
    times = [frame.pts or 0.0 for frame in frames]
    assert times == sorted(times) and np.diff(times).max() < 0.3


@pytest.mark.parametrize("jump", [1000.0, -1000.0])
def test_a_sender_with_another_clock_goes_on_at_its_own_pace(jump: float) -> None:
    given = [Frame(PIXELS, pts=2000 + i / 50 + (jump if i >= 10 else 0), index=i) for i in range(20)]
    begun = time.monotonic()
    found = read_all(Paced(iter(given), threading.Event(), jump=5.0))
    assert [piece.index for piece in found if isinstance(piece, Frame)] == list(range(20))
    assert time.monotonic() - begun > 0.3


def test_closing_ends_a_wait() -> None:
    closed = threading.Event()
    source = Paced(iter([Frame(PIXELS, pts=0.0), Frame(PIXELS, pts=60.0)]), closed)
    assert source.read() is not None
    threading.Timer(0.1, closed.set).start()
    assert source.read() is None


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    encode(str(tmp_path / "clip.mp4"), "mp4")
    encode(str(tmp_path / "list.m3u8"), "hls", "libx264", {"hls_time": "1", "hls_playlist_type": "vod"})

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["clip.mp4", "list.m3u8"])
def test_what_a_server_keeps_takes_its_time_and_ends(served: str, name: str) -> None:
    source = NetworkSource(f"{served}/{name}")
    begun = time.monotonic()
    frames, sounds = pieces(source, 10_000)
    assert len(frames) == RATE * SECONDS and sounds
    assert time.monotonic() - begun > SECONDS - 0.3
    assert source.read() is None
    source.close()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are of another kind there")
def test_waiting_for_a_sender_can_be_interrupted(free_port: int) -> None:
    program = (
        "from apps.sources.network import NetworkSource\n"
        "print('ready', flush=True)\n"
        f"NetworkSource('rtmp://127.0.0.1:{free_port}/live', listen=True)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, cwd=Path(__file__).parents[3])  # fmt: skip
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=10)
    assert process.returncode != 0 and "KeyboardInterrupt" in errors
