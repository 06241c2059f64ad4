"""RunConfig: the settings of a run that is steered; those of ``StreamConfig``, and the mode."""

from __future__ import annotations

from enum import Enum
from typing import Any

from pydantic import Field

from streamdiff.config import StreamConfig


class Mode(str, Enum):
    """How video is made."""

    stream = "stream"
    rolling = "rolling"


class RunConfig(StreamConfig):
    """Settings of one run. In the rolling mode ``strength`` chooses the level, and what only the picture stream knows
    has no effect."""

    mode: Mode = Field(
        Mode.stream, description="stream: picture by picture; rolling: Rolling Forcing, a window of video at once."
    )

    @property
    def of_pictures(self) -> dict[str, Any]:
        """The settings of the picture stream."""
        return {name: value for name, value in self if name != "mode"}
