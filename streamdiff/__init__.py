"""streamdiff: real-time streaming img2img: video in, stylised video out, live, by a diffusion model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streamdiff._version import __version__

if TYPE_CHECKING:
    from streamdiff.config import Guidance, StreamConfig
    from streamdiff.errors import (
        ClosedError,
        ConfigError,
        MediaError,
        ModelError,
        PictureError,
        StreamdiffError,
    )
    from streamdiff.frame import Frame
    from streamdiff.live import LiveStream
    from streamdiff.metrics import Metrics
    from streamdiff.models import load_model
    from streamdiff.stream import Stream

_HOMES = {
    "Guidance": "config",
    "StreamConfig": "config",
    "ClosedError": "errors",
    "ConfigError": "errors",
    "MediaError": "errors",
    "ModelError": "errors",
    "PictureError": "errors",
    "StreamdiffError": "errors",
    "Frame": "frame",
    "LiveStream": "live",
    "Metrics": "metrics",
    "load_model": "models",
    "Stream": "stream",
}

__all__ = [
    "ClosedError",
    "ConfigError",
    "Frame",
    "Guidance",
    "LiveStream",
    "MediaError",
    "Metrics",
    "ModelError",
    "PictureError",
    "Stream",
    "StreamConfig",
    "StreamdiffError",
    "__version__",
    "load_model",
]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import: a program that only asks for --help must not wait for it.
    if name in _HOMES:
        return getattr(importlib.import_module(f"streamdiff.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'streamdiff' has no attribute {name!r}")
