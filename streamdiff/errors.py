"""The errors a user can meet.

Each message is one line: what was given, what is allowed, what to do. A program that shows them to a user shows
``str(error)`` and nothing more.
"""

from __future__ import annotations


class StreamdiffError(Exception):
    """Base of every error this package raises on purpose; engines, below it, raise ``EngineError``."""


class ConfigError(StreamdiffError, ValueError):
    """A setting has an unknown name or a value outside its bounds."""


class ModelError(StreamdiffError):
    """A model, LoRA or VAE cannot be found, read or used."""


class PictureError(StreamdiffError, ValueError):
    """A picture has a shape or type that cannot be read as an RGB picture."""


class MediaError(StreamdiffError):
    """A picture or video file cannot be read or written."""


class DeviceError(StreamdiffError):
    """A camera, screen, address or another live source or sink cannot be opened, or was lost."""


class ClosedError(StreamdiffError, RuntimeError):
    """The stream was used after it was closed."""
