"""A virtual camera, by pyvirtualcam: what Zoom, Meet, Discord and OBS see."""

from __future__ import annotations

import sys

import numpy as np

from apps.sinks.sink import Picture
from apps.sources.source import Sound
from streamdiff.errors import ConfigError, DeviceError
from streamdiff.frame import Frame

SET_UP = {
    "linux": "sudo apt install v4l2loopback-dkms && sudo modprobe v4l2loopback exclusive_caps=1 card_label=streamdiff",
    "darwin": "install OBS 30 or newer, start it, press Start Virtual Camera once, and close it",
    "win32": "install OBS (its virtual camera comes with it)",
}


class VirtualCamera:
    """A camera for other programs; see ``Sink``. Its size stays as it was opened.

    A picture is sent when it comes, without waiting for a beat: the drivers keep the last one for whoever asks.
    """

    takes_sound = False

    def __init__(self, picture: Picture, device: str | None = None, backend: str | None = None) -> None:
        """Open it.

        Args:
            picture: size and rate to announce.
            device: "/dev/video10", "OBS Virtual Camera"; the first free one for None.
            backend: pyvirtualcam's name of one.

        Raises:
            ConfigError: pyvirtualcam is not installed.
            DeviceError: there is no virtual camera, with the command that makes one.
        """
        try:
            import pyvirtualcam
        except ModuleNotFoundError:
            raise ConfigError("the virtual camera needs pyvirtualcam: pip install 'streamdiff[live]'") from None
        try:
            self._camera = pyvirtualcam.Camera(
                picture.width,
                picture.height,
                picture.rate,
                fmt=pyvirtualcam.PixelFormat.RGB,
                device=device,
                backend=backend,
            )
        except (RuntimeError, ValueError, OSError) as error:
            why = " ".join(str(error).split())
            hint = SET_UP.get(sys.platform, "see pyvirtualcam's documentation")
            raise DeviceError(f"no virtual camera can be opened ({why[:200]}); to have one: {hint}") from error
        self.width, self.height = picture.width, picture.height
        self.name = f"virtual camera {self._camera.device}"

    def write(self, frame: Frame) -> None:
        """See ``Sink``."""
        try:
            self._camera.send(np.ascontiguousarray(frame.pixels))
        except (RuntimeError, OSError) as error:
            raise DeviceError(f"{self.name}: lost ({error})") from error

    def write_sound(self, sound: Sound) -> None:
        """It has no sound."""
        raise NotImplementedError

    def close(self) -> None:
        """See ``Sink``."""
        self._camera.close()
