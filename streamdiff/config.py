"""StreamConfig: every setting of a running stream, validated, with its unit and bounds.

The command line, the configuration file, the HTTP interface, the page and the Python API all speak this object.
Every field may be changed while the stream runs. What names files (model, LoRA, VAE, engine) is chosen once, when the
stream is made, and is not part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from streamdiff.errors import ConfigError

if TYPE_CHECKING:
    from typing_extensions import Self

MAX_STEPS = 8
"""Most denoising steps a plan may have."""


class Guidance(str, Enum):
    """How the negative prompt takes part (ALGORITHMS 2, StreamDiffusion section 3.2)."""

    none = "none"
    full = "full"
    self_negative = "self"
    onetime_negative = "onetime"


class Settings(BaseModel):
    """Immutable settings; ``changed`` gives a validated copy."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def make(cls, /, **settings: Any) -> Self:
        """Validate settings.

        Raises:
            ConfigError: unknown name or value out of bounds, in one line for all of them.
        """
        try:
            return cls.model_validate(settings)
        except ValidationError as error:
            raise ConfigError(_one_line(error, cls)) from None

    def changed(self, /, **settings: Any) -> Self:
        """A copy with some settings changed, validated as a whole.

        Raises:
            ConfigError: as ``make``; the configuration itself is left as it was.
        """
        # The fields themselves, not model_dump: that would walk every value on each live change.
        return type(self).make(**{**dict(self), **self.implied(settings)})

    def implied(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """What a change of settings means in full: itself, and what must give way so that it has an effect."""
        return dict(settings)


class StreamConfig(Settings):
    """Settings of one stream."""

    prompt: str = Field("", description="What the output should look like.")
    second_prompt: str = Field("", description="Another look, to blend with the first.")
    blend: Annotated[float, Field(ge=0, le=1, description="Share of the second prompt, 0 to 1.")] = 0.0
    negative_prompt: str = Field(
        "", description="What it should not look like; for guidance full and onetime, at a scale above 1."
    )
    strength: Annotated[
        float,
        Field(gt=0, le=1, description="Freedom from the input, above 0 to 1: near 0 keeps it, 1 starts from noise."),
    ] = 0.5
    steps: Annotated[
        int, Field(ge=1, le=MAX_STEPS, description="Denoising steps, 1 to 8; on a CPU each costs its time.")
    ] = 1
    timesteps: tuple[int, ...] | None = Field(
        None, description="Raw timesteps, falling; takes the place of strength and steps."
    )
    guidance: Guidance = Field(
        Guidance.none,
        description="Away from the negative prompt: full (twice the work), onetime; from the input: self.",
    )
    guidance_scale: Annotated[float, Field(ge=0, le=30, description="0 to 30; 1 and below means no guidance.")] = 1.0
    delta: Annotated[float, Field(ge=0, le=5, description="Of the residual in self and onetime, 0 to 5.")] = 1.0
    seed: Annotated[int, Field(ge=0, lt=2**63, description="Everything random comes from it.")] = 0
    width: Annotated[int, Field(ge=64, le=4096, description="Pixels, 64 to 4096, a multiple of 8.")] = 256
    height: Annotated[int, Field(ge=64, le=4096, description="Pixels, 64 to 4096, a multiple of 8.")] = 256
    frame_buffer_size: Annotated[int, Field(ge=1, le=16, description="1 to 16 frames enter the denoiser together.")] = 1
    similarity_threshold: (
        Annotated[
            float, Field(ge=0, lt=1, description="Skip frames more alike than this, such as 0.95; left out: skip none.")
        ]
        | None
    ) = None
    reuse_every: Annotated[
        int, Field(ge=1, le=8, description="1 to 8: the whole UNet every N-th frame, its outer blocks in between.")
    ] = 1
    max_skip: Annotated[int, Field(ge=1, le=10_000, description="Most frames skipped in a row, to 10000.")] = 10
    calm: Annotated[
        float,
        Field(
            ge=0,
            le=0.95,
            description="0 to 0.95 of what was drawn is kept where nothing moves, against flicker; try 0.7.",
        ),
    ] = 0.0

    @field_validator("width", "height")
    @classmethod
    def _multiple_of_8(cls, value: int) -> int:
        if value % 8:
            raise ValueError(f"must be a multiple of 8 (nearest: {max(64, round(value / 8) * 8)})")
        return value

    @model_validator(mode="after")
    def _timesteps_fall(self) -> StreamConfig:
        steps = self.timesteps
        if steps is None:
            return self
        if not 1 <= len(steps) <= MAX_STEPS:
            raise ValueError(f"timesteps: between 1 and {MAX_STEPS} values")
        if any(a <= b for a, b in pairwise(steps)) or not all(0 <= t <= 999 for t in steps):
            raise ValueError("timesteps: whole numbers from 999 down to 0, each smaller than the one before")
        return self

    def implied(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Settings.implied``: raw timesteps give way to a new strength or number of steps."""
        given = dict(settings)
        gives_way = self.timesteps is not None and bool({"strength", "steps"} & given.keys())
        return {"timesteps": None, **given} if gives_way else given

    @property
    def guidance_in_use(self) -> Guidance:
        """The mode that has an effect: a scale of 1 or less is no guidance and costs no negative evaluation."""
        return self.guidance if self.guidance_scale > 1 else Guidance.none


def _one_line(error: ValidationError, config: type[Settings]) -> str:
    parts: list[str] = []
    for item in error.errors():
        name = str(item["loc"][0]) if item["loc"] else ""
        if item["type"] == "extra_forbidden":
            parts.append(f"unknown setting {name!r} (known: {', '.join(config.model_fields)})")
            continue
        message = str(item["msg"]).removeprefix("Value error, ")
        given = repr(item["input"])
        given = given if len(given) <= 60 else given[:57] + "..."
        parts.append(f"{name} = {given}: {message[0].lower()}{message[1:]}" if name else message)
    return "; ".join(dict.fromkeys(parts))
