"""streamdiff: real-time streaming img2img: video in, stylised video out, live, by a diffusion model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from streamdiff._version import __version__

if TYPE_CHECKING:
    from engines.errors import EngineError
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
    from streamdiff.rolling import RollingConfig, RollingStream, load_rolling
    from streamdiff.stream import Stream

_HOMES = {
    "Guidance": "streamdiff.config",
    "StreamConfig": "streamdiff.config",
    "ClosedError": "streamdiff.errors",
    "EngineError": "engines.errors",
    "ConfigError": "streamdiff.errors",
    "MediaError": "streamdiff.errors",
    "ModelError": "streamdiff.errors",
    "PictureError": "streamdiff.errors",
    "StreamdiffError": "streamdiff.errors",
    "Frame": "streamdiff.frame",
    "LiveStream": "streamdiff.live",
    "Metrics": "streamdiff.metrics",
    "load_model": "streamdiff.models",
    "RollingConfig": "streamdiff.rolling",
    "RollingStream": "streamdiff.rolling",
    "load_rolling": "streamdiff.rolling",
    "Stream": "streamdiff.stream",
}

__all__ = [
    "ClosedError",
    "ConfigError",
    "EngineError",
    "Frame",
    "Guidance",
    "LiveStream",
    "MediaError",
    "Metrics",
    "ModelError",
    "PictureError",
    "RollingConfig",
    "RollingStream",
    "Stream",
    "StreamConfig",
    "StreamdiffError",
    "__version__",
    "load_model",
    "load_rolling",
]


def __getattr__(name: str) -> Any:
    # PyTorch takes seconds to import: a program that only asks for --help must not wait for it.
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'streamdiff' has no attribute {name!r}")
