"""Setting: all that follows from a stream's configuration, computed before anything changes, so that a failure changes
nothing."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from engines import Runtime
from streamdiff.conditioning import Conditioning
from streamdiff.config import Guidance, StreamConfig
from streamdiff.guidance import needs_negative
from streamdiff.models.base import Model
from streamdiff.networks import Engines, engines_for
from streamdiff.schedule import Plan, plan_of, slot_noise
from streamdiff.stream_batch import Terms


@dataclass(frozen=True)
class Setting:
    """What a frame that enters is made with.

    Attributes:
        config: what was asked for.
        plan: the timesteps of its way.
        engines: the networks at its size.
        terms: what it is denoised by.
    """

    config: StreamConfig
    plan: Plan
    engines: Engines
    terms: Terms

    @cached_property
    def load(self) -> tuple[int, int, int]:
        """How large a step is: pixels of a picture, pictures in the UNet at once, networks kept for it."""
        config = self.config
        each = sum(1 + needs_negative(self.terms.guidance, slot) for slot in range(len(self.plan)))
        return config.width * config.height, each * config.frame_buffer_size, 2 if config.reuse_every > 1 else 1


SHAPE = ("width", "height", "steps", "timesteps", "frame_buffer_size", "guidance", "reuse_every")
"""Settings that say how large a step is: what may turn out not to fit only when it is first run."""


class Proof:
    """Which size of a step has run whole, so that one can go back to it."""

    def __init__(self, setting: Setting) -> None:
        self._proven, self._load = setting.config, setting.load
        self._missing = 0

    def begin(self, setting: Setting) -> None:
        """Another setting has become the active one."""
        # All slots full, and each kind of network has had its turn.
        self._missing = len(setting.plan) + setting.config.reuse_every - 1

    def ran(self, setting: Setting) -> None:
        """A full buffer of frames went in, and the step was run."""
        if self._proven is setting.config:
            return
        self._missing -= 1
        if self._missing <= 0:
            self._proven, self._load = setting.config, setting.load

    def back(self, setting: Setting) -> dict[str, Any]:
        """After a failure: what a setting is to go back to; nothing where as much has run before."""
        if all(now <= before for now, before in zip(setting.load, self._load, strict=True)):
            return {}
        return {name: getattr(self._proven, name) for name in SHAPE}


def prepare(
    model: Model, runtime: Runtime, conditioning: Conditioning, config: StreamConfig, before: Setting | None
) -> Setting:
    """Compute what a configuration needs, taking over what has not changed.

    Args:
        model: the model.
        runtime: what runs its networks.
        conditioning: embeds its prompts.
        config: the configuration.
        before: the setting that it follows, if it follows one.

    Raises:
        ConfigError: the model cannot run this configuration.
        EngineError: an engine cannot be built here.
    """
    plan = plan_of(config, model.alphas_cumprod, model.prediction)
    size = config.width, config.height
    guidance = config.guidance_in_use
    positive = conditioning.rows(plan.timesteps, config.prompt, config.second_prompt, config.blend)
    negative = conditioning.rows(plan.timesteps, config.negative_prompt) if needs_negative(guidance, 0) else ()
    same_size = before is not None and size == (before.config.width, before.config.height)
    if before is not None and same_size and (config.reuse_every > 1) == (before.config.reuse_every > 1):
        engines = before.engines
    else:
        engines = engines_for(model, runtime, config, positive[0].shape[1])
    if before is not None and same_size and (config.seed, len(plan)) == (before.config.seed, len(before.plan)):
        noise = before.terms.noise  # a change of prompt draws nothing
    else:
        noise = slot_noise(config.seed, plan, model.latent_shape(*size)).to(runtime.device)
    made = Terms(
        positive=positive,
        negative=negative,
        noise=noise,
        guidance=guidance,
        # What has no effect in this mode does not count as a change.
        scale=1.0 if guidance is Guidance.none else config.guidance_scale,
        delta=config.delta if guidance in (Guidance.self_negative, Guidance.onetime_negative) else 1.0,
    )
    # The same object where nothing has changed that is drawn by: a recorded step and the filter against flicker go on.
    terms = before.terms if before is not None and _same(made, before.terms) else made
    return Setting(config, plan, engines, terms)


def _same(a: Terms, b: Terms) -> bool:
    if len(a.positive) != len(b.positive) or len(a.negative) != len(b.negative) or a.noise is not b.noise:
        return False
    rows = zip((*a.positive, *a.negative), (*b.positive, *b.negative), strict=True)
    return all(x is y for x, y in rows) and (a.guidance, a.scale, a.delta) == (b.guidance, b.scale, b.delta)
