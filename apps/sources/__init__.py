"""Where live pictures come from: one small class for each kind of source, behind the protocol ``Source``."""

from apps.sources.source import OpenSource, Sound, Source

__all__ = ["OpenSource", "Sound", "Source"]
