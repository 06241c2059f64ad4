"""Setting: all that follows from a stream's configuration, computed before anything changes, so that a failure changes
nothing."""

from __future__ import annotations

from dataclasses import dataclass

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

    @property
    def load(self) -> tuple[int, int, int]:
        """How large a step is: pixels of a picture, pictures in the UNet at once, networks kept for it."""
        config = self.config
        each = len(self.plan) * (2 if self.terms.guidance is Guidance.full else 1)
        return config.width * config.height, each * config.frame_buffer_size, 2 if config.reuse_every > 1 else 1


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
