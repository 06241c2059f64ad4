"""What visitors may ask of the server: the operator's bounds, beside those of RunConfig itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from apps.run_config import RunConfig
from streamdiff import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds of the server.

    Attributes:
        sessions: streams at the same time.
        viewers: viewers of one session.
        pixels: most of a stream's picture.
        connect_seconds: time to connect after the answer.
        resize_seconds: least time between two changes of a stream's size, which may each compile for seconds.
        silence_seconds: time without a packet from the source, after which it is gone.
        creations: sessions that one address may open in a burst, and then one each `creation_seconds`.
    """

    sessions: int = 2
    viewers: int = 8
    pixels: int = 1024 * 1024
    connect_seconds: float = 20.0
    silence_seconds: float = 10.0
    resize_seconds: float = 2.0
    creations: int = 12
    creation_seconds: float = 2.0

    def check(self, config: RunConfig, settings: dict[str, Any]) -> RunConfig:
        """The configuration with these settings.

        Raises:
            ConfigError: not valid, or more than the server allows.
        """
        wanted = config.changed(**settings)
        if wanted.width * wanted.height > self.pixels:
            raise ConfigError(
                f"{wanted.width}x{wanted.height} is more than this server allows ({self.pixels:,} pixels); choose a "
                "smaller size"
            )
        if wanted.frame_buffer_size != 1:
            raise ConfigError("frame_buffer_size: a live session takes frames one by one")
        return wanted
