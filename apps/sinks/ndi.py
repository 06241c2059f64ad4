"""NDI out: OBS (with its NDI plugin), vMix, TouchDesigner and what else speaks it see the picture on the network."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from typing import Any

import numpy as np

from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame


class Ndi:
    """A source on the network; see ``Sink``. NDI sends from a buffer of its own, whether or not anybody watches."""

    takes_sound = False

    def __init__(self, picture: Picture, name: str = "streamdiff") -> None:
        """Announce it.

        Args:
            picture: size and rate to announce.
            name: as others see it, behind this machine's name.

        Raises:
            ConfigError: cyndilib is not installed.
            DeviceError: NDI does not run here.
        """
        try:
            from cyndilib.sender import Sender
            from cyndilib.video_frame import VideoSendFrame
            from cyndilib.wrapper.ndi_structs import FourCC
        except ModuleNotFoundError:
            raise ConfigError(
                "NDI needs cyndilib (with NDI's own library, which has its own terms): pip install 'streamdiff[ndi]'"
            ) from None
        self.name, self.width, self.height = f"ndi {name}", picture.width, picture.height
        self._pixels = np.full((picture.height, picture.width, 4), 255, np.uint8)
        frame = VideoSendFrame()
        frame.set_resolution(picture.width, picture.height)
        frame.set_frame_rate(Fraction(picture.rate).limit_denominator(1001))
        frame.set_fourcc(FourCC.RGBX)
        try:
            self._sender: Any = Sender(name, clock_video=False)  # pictures come when they come
            self._sender.set_video_frame(frame)
            self._sender.open()
        except Exception as error:  # the library raises what it likes
            raise DeviceError(f"{self.name}: NDI does not run here ({error})") from error

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        self._pixels[..., :3] = frame.pixels
        try:
            self._sender.write_video(self._pixels.reshape(-1))
        except Exception as error:
            raise DeviceError(f"{self.name}: lost ({error})") from error

    def write_sound(self, sound: Sound) -> None:
        """It has no sound."""
        raise NotImplementedError

    def close(self) -> None:
        """See ``Sink``."""
        with contextlib.suppress(Exception):
            self._sender.close()
