"""RollingConfig: every setting of a rolling stream, validated, with its unit and bounds. All may change live."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from streamdiff.config import Settings

MULTIPLE = 16
"""Pixels: a latent is 8 of them, a token 2 latents."""


class RollingConfig(Settings):
    """Settings of one rolling stream."""

    prompt: str = Field("", description="What the video should show, or should look like.")
    second_prompt: str = Field("", description="Another look, to blend with the first.")
    blend: Annotated[float, Field(ge=0, le=1, description="Share of the second prompt: 0 is the first alone.")] = 0.0
    level: Annotated[
        int,
        Field(ge=1, description="Where camera pictures enter the ladder: 1 is the freest, the last keeps the most."),
    ] = 3
    recache: bool = Field(True, description="A change of prompt is shown to the history too.")
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Everything random comes from it.")] = 0
    width: Annotated[int, Field(ge=64, le=4096, description="Pixels, a multiple of 16.")] = 832
    height: Annotated[int, Field(ge=64, le=4096, description="Pixels, a multiple of 16.")] = 480

    @field_validator("width", "height")
    @classmethod
    def _multiple_of_16(cls, value: int) -> int:
        if value % MULTIPLE:
            raise ValueError(f"must be a multiple of {MULTIPLE} (nearest: {max(64, round(value / 16) * 16)})")
        return value
