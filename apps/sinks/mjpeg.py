"""MJPEG over HTTP: pictures one after another, for a browser's <img>, VLC, OpenCV and what knows nothing better."""

from __future__ import annotations

import hmac
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import cv2

from apps.addresses import is_loopback, name_in
from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame

CLIENTS = 16
"""Most clients at once; each is a thread."""

QUALITY = 85
BOUNDARY = "streamdiff"
PATIENCE = 10.0
"""Seconds that a client may take nothing, or no picture comes."""


class Mjpeg:
    """Serves the newest picture at ``/`` as a stream, at ``/snapshot.jpg`` alone; see ``Sink``.

    Pictures are encoded once, and only while somebody watches; a slow client gets fewer.
    """

    takes_sound = False

    def __init__(self, picture: Picture, host: str, port: int, token: str | None = None) -> None:
        """Listen.

        Args:
            picture: what will come.
            host, port: where; port 0 takes a free one.
            token: what an address must carry as ?token=; needed on every host but loopback.

        Raises:
            ConfigError: no token where others can reach it, or the address cannot be had.
        """
        if not is_loopback(host) and not token:
            raise ConfigError(f"mjpeg:{host}:{port}: others could watch there; add ?token= and a secret of yours")
        self.width, self.height = picture.width, picture.height
        self._token = token
        self._came = threading.Condition()
        self._jpeg, self._number = b"", 0
        self._clients = 0
        self._closed = False
        try:
            self._server = _Server((host, port), self._handler())
        except OSError as error:
            raise ConfigError(f"mjpeg: cannot listen on {host}:{port} ({error.strerror}); give another port") from None
        self.port = int(self._server.server_address[1])
        self.name = f"mjpeg http://{host}:{self.port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, name="streamdiff-mjpeg", daemon=True)
        self._thread.start()

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        if not self._clients:
            return
        done, jpeg = cv2.imencode(".jpg", frame.pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
        if not done:
            raise DeviceError(f"{self.name}: the picture cannot be encoded")
        with self._came:
            self._jpeg, self._number = jpeg.tobytes(), self._number + 1
            self._came.notify_all()

    def write_sound(self, sound: Sound) -> None:
        """It has no sound."""
        raise NotImplementedError

    def close(self) -> None:
        """See ``Sink``."""
        if self._closed:
            return
        with self._came:
            self._closed = True
            self._came.notify_all()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _newer(self, number: int) -> tuple[bytes, int] | None:
        """The newest picture after one; None when none comes any more."""
        with self._came:
            self._came.wait_for(lambda: self._number > number or self._closed, PATIENCE)
            return (self._jpeg, self._number) if self._number > number and not self._closed else None

    def _admit(self, change: int) -> bool:
        with self._came:
            if change > 0 and self._clients >= CLIENTS:
                return False
            self._clients += change
            return True

    def _refusal(self, path: str, host: str) -> tuple[int, str] | None:
        """Why a request gets nothing: its status and a line."""
        if self._token is None:  # a page elsewhere whose name resolves to this machine brings that name
            return None if is_loopback(name_in(host)) else (421, "this address answers to localhost only")
        given = parse_qs(urlsplit(path).query).get("token", [""])[-1]
        return None if hmac.compare_digest(given.encode(), self._token.encode()) else (401, "?token= is needed")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        sink = self

        class Handler(BaseHTTPRequestHandler):
            timeout = PATIENCE

            def do_GET(self) -> None:
                refusal = sink._refusal(self.path, self.headers.get("Host", ""))
                place = urlsplit(self.path).path
                if refusal is None and place not in ("/", "/snapshot.jpg"):
                    refusal = (404, "there is / and /snapshot.jpg")
                if refusal is None and not sink._admit(1):
                    refusal = (503, "too many are watching")
                if refusal is not None:
                    self._text(*refusal)
                    return
                try:
                    self._stream() if place == "/" else self._snapshot()
                except OSError:
                    pass  # it went away
                finally:
                    sink._admit(-1)

            def _stream(self) -> None:
                self._head(200, f"multipart/x-mixed-replace; boundary={BOUNDARY}")
                number = sink._number
                while (found := sink._newer(number)) is not None:
                    jpeg, number = found
                    head = f"--{BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")

            def _snapshot(self) -> None:
                found = sink._newer(sink._number)
                if found is None:
                    self._text(503, "no picture has come")
                    return
                self._head(200, "image/jpeg", len(found[0]))
                self.wfile.write(found[0])

            def _text(self, status: int, text: str) -> None:
                body = f"{text}\n".encode()
                self._head(status, "text/plain; charset=utf-8", len(body))
                self.wfile.write(body)

            def _head(self, status: int, kind: str, length: int | None = None) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "no-store")
                self.send_header("X-Content-Type-Options", "nosniff")
                self.send_header("Cross-Origin-Resource-Policy", "same-site")
                if length is not None:
                    self.send_header("Content-Length", str(length))
                self.end_headers()

            def version_string(self) -> str:
                return "streamdiff"

            def log_message(self, format: str, *args: Any) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that is rude is no news."""
