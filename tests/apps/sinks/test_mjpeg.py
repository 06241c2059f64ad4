"""MJPEG over HTTP, as OpenCV, FFmpeg and a browser's fetch take it."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise

import av
import cv2
import numpy as np
import pytest

from apps.sinks.mjpeg import CLIENTS, Mjpeg
from apps.sinks.sink import Picture
from apps.sinks.uri import sink_from
from streamdiff.errors import ConfigError
from streamdiff.frame import Frame

PICTURE = Picture(64, 48, 30)


@contextmanager
def running(token: str | None = None) -> Iterator[Mjpeg]:
    """A sink that gets a grey that grows, fifty times a second."""
    sink = Mjpeg(PICTURE, "127.0.0.1", 0, token)
    ended = threading.Event()

    def write() -> None:
        level = 0
        while not ended.wait(0.02):
            sink.write(Frame(np.full((48, 64, 3), level, np.uint8), pts=level / 50))
            level = min(255, level + 1)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield sink
    finally:
        ended.set()
        writer.join()
        sink.close()
        sink.close()


def get(sink: Mjpeg, path: str, host: str = "localhost") -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
    connection.request("GET", path, headers={"Host": host})
    answer = connection.getresponse()
    body = answer.read() if answer.headers.get("Content-Length") else b""
    connection.close()
    return answer.status, dict(answer.headers), body


def test_two_clients_see_it_move() -> None:
    with running() as sink:
        url = f"http://127.0.0.1:{sink.port}/"
        watching = cv2.VideoCapture(url, cv2.CAP_FFMPEG)
        seen = [watching.read()[1] for _ in range(5)]
        with av.open(url, format="mpjpeg") as container:
            frames = container.decode(video=0)
            others = [next(frames).to_ndarray(format="rgb24") for _ in range(5)]
        watching.release()
    for pictures in (seen, others):
        levels = [float(np.mean(p)) for p in pictures]
        assert pictures[0].shape == (48, 64, 3)
        assert all(b > a for a, b in pairwise(levels)), levels


def test_a_snapshot_is_the_newest_and_nobody_watching_costs_nothing() -> None:
    with running() as sink:
        time.sleep(0.1)
        assert sink._number == 0  # nothing was encoded
        status, headers, jpeg = get(sink, "/snapshot.jpg")
        assert status == 200 and headers["Content-Type"] == "image/jpeg"
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None and picture.shape == (48, 64, 3) and picture.mean() >= 4


def test_who_may_watch() -> None:
    with running() as sink:
        assert get(sink, "/snapshot.jpg", "elsewhere.example")[0] == 421
        assert get(sink, "/other")[0] == 404
    with running("a-secret") as sink:
        assert get(sink, "/snapshot.jpg")[0] == 401 == get(sink, "/snapshot.jpg?token=guess")[0]
        assert get(sink, "/snapshot.jpg?token=a-secret", "any.example")[0] == 200
    with pytest.raises(ConfigError, match="token"):
        Mjpeg(PICTURE, "0.0.0.0", 0)


def test_no_more_than_so_many_and_a_place_is_free_again() -> None:
    with running() as sink:
        connections = [http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5) for _ in range(CLIENTS)]
        for connection in connections:
            connection.request("GET", "/", headers={"Host": "localhost"})
        watching = [connection.getresponse() for connection in connections]  # let go of, they would be closed
        assert [response.status for response in watching] == [200] * CLIENTS
        assert get(sink, "/snapshot.jpg")[0] == 503
        for response, connection in zip(watching, connections, strict=True):
            response.close()
            connection.close()
        until = time.monotonic() + 10
        while get(sink, "/snapshot.jpg")[0] != 200 and time.monotonic() < until:
            time.sleep(0.05)
        assert get(sink, "/snapshot.jpg")[0] == 200


def test_a_client_that_takes_nothing_keeps_nobody_waiting() -> None:
    with running() as sink:
        slow = http.client.HTTPConnection("127.0.0.1", sink.port, timeout=5)
        slow.request("GET", "/", headers={"Host": "localhost"})
        began = time.monotonic()
        for i in range(400):
            sink.write(Frame(np.random.default_rng(i).integers(0, 255, (48, 64, 3), np.uint8), pts=i / 50))
        assert time.monotonic() - began < 5
        assert get(sink, "/snapshot.jpg")[0] == 200
        slow.close()


def test_its_address() -> None:
    opened = sink_from("mjpeg:127.0.0.1:0", lambda _: pytest.fail("no window"))(PICTURE)
    assert opened.name.startswith("mjpeg http://127.0.0.1:")
    with pytest.raises(ConfigError, match="cannot listen"):
        Mjpeg(PICTURE, "127.0.0.1", opened.port)  # type: ignore[attr-defined]
    opened.close()
    for text in ("mjpeg", "mjpeg:here", "mjpeg:70000"):
        with pytest.raises(ConfigError, match="write mjpeg:PORT"):
            sink_from(text, lambda _: pytest.fail("no window"))
