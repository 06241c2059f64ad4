"""Spout (Windows) and Syphon (macOS): the picture as a texture that other programs on the same machine use."""

from __future__ import annotations

import contextlib
import importlib
from typing import Any

import numpy as np

from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame

GL_RGBA = 0x1908


class SharedTexture:
    """What both have in common; see ``Sink``. The graphics context belongs to the thread that writes: it is made there.

    Raises:
        ConfigError: the library is not installed.
    """

    kind: str
    library: str
    package: str
    takes_sound = False

    def __init__(self, picture: Picture, name: str = "streamdiff") -> None:
        self.name, self.width, self.height = f"{self.kind} {name}", picture.width, picture.height
        self._announced = name
        try:
            self._library: Any = importlib.import_module(self.library)
        except ModuleNotFoundError:
            where = "Windows" if self.kind == "spout" else "macOS"
            raise ConfigError(f"{self.kind} needs {where} and {self.package}: pip install {self.package}") from None
        self._pixels = np.full((picture.height, picture.width, 4), 255, np.uint8)
        self._sender: Any = None

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        self._pixels[..., :3] = frame.pixels
        try:
            self._sender = self._sender or self._begin()
            sent = self._send(self._sender)
        except Exception as error:  # drivers raise what they like
            raise DeviceError(f"{self.name}: cannot be sent ({error})") from error
        if not sent:
            raise DeviceError(f"{self.name}: the graphics driver refused the picture")

    def write_sound(self, sound: Sound) -> None:
        """It has no sound."""
        raise NotImplementedError

    def close(self) -> None:
        """See ``Sink``."""
        sender, self._sender = self._sender, None
        if sender is not None:
            with contextlib.suppress(Exception):
                self._end(sender)

    def _begin(self) -> Any:
        raise NotImplementedError

    def _send(self, sender: Any) -> bool:
        raise NotImplementedError

    def _end(self, sender: Any) -> None:
        raise NotImplementedError


class Spout(SharedTexture):
    """A Spout sender, by SpoutGL."""

    kind, library, package = "spout", "SpoutGL", "SpoutGL"

    def _begin(self) -> Any:
        sender = self._library.SpoutSender()
        if not sender.createOpenGL():
            raise OSError("no OpenGL")
        sender.setSenderName(self._announced)
        return sender

    def _send(self, sender: Any) -> bool:
        # Upright, into no framebuffer of ours.
        return bool(sender.sendImage(self._pixels.tobytes(), self.width, self.height, GL_RGBA, False, 0))

    def _end(self, sender: Any) -> None:
        sender.releaseSender()
        sender.closeOpenGL()


class Syphon(SharedTexture):
    """A Syphon server, by syphon-python (Metal)."""

    kind, library, package = "syphon", "syphon", "syphon-python"

    def _begin(self) -> Any:
        raw = importlib.import_module("syphon.utils.raw")
        server = self._library.SyphonMetalServer(self._announced)
        self._texture = raw.create_mtl_texture(server.device, self.width, self.height)
        return server

    def _send(self, sender: Any) -> bool:
        importlib.import_module("syphon.utils.numpy").copy_image_to_mtl_texture(self._pixels, self._texture)
        sender.publish_frame_texture(self._texture)
        return True

    def _end(self, sender: Any) -> None:
        sender.stop()
