"""The whole way of a frame, from bytes to bytes, as one recorded step, while nothing unusual happens.

Encoder, noise, denoiser, guidance, the slots' moving on, decoder: the functions of ``stream_batch``, recorded once by a
runtime that can (CUDA graphs) and replayed for each push. Whatever is not the steady state (slots that fill or drain,
frames of other terms among them, reused features) goes the way that is not fused, and from and to the same slots.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from engines import EngineError, Recorder, Runtime
from streamdiff.calm import Calm
from streamdiff.config import StreamConfig
from streamdiff.frame import Pixels
from streamdiff.models.base import Model
from streamdiff.networks import Engines
from streamdiff.schedule import Plan
from streamdiff.stream_batch import Latents, Terms, advance, conditioning_of, enter, joined

log = logging.getLogger("streamdiff")

SETTLED = 8
"""Pushes in the steady state before it is recorded: a slider that is being dragged is not recorded at every stop."""


class FusedStep:
    """The steady state of one plan, guidance and number of frames; prompt and seed may change."""

    @torch.inference_mode()
    def __init__(
        self, recorder: Recorder, model: Model, engines: Engines, plan: Plan, config: StreamConfig, terms: Terms,
        frames: int, calm: Calm,
    ) -> None:  # fmt: skip
        """Record it.

        Args:
            recorder: the runtime of the engines.
            model: for shapes.
            engines: for the config's size, no shallow UNet among them.
            plan: of all slots.
            config: for its size.
            terms: of all slots.
            frames: F, that enter together and are in each slot.
            calm: filters what is finished.

        Raises:
            EngineError: it cannot be recorded, or does not fit the memory.
        """
        self._plan, self._frames = plan, frames
        zeros = partial(torch.zeros, device=terms.noise.device)
        pictures = zeros((frames, config.height, config.width, 3), dtype=torch.uint8)
        shape = frames, *model.latent_shape(config.width, config.height)
        # The first slot is empty between two steps and needs no place.
        slots = self._slots = [Latents(zeros(shape), zeros(shape), zeros(shape)) for _ in plan.timesteps[1:]]
        conditioning = self._conditioning = self._joined(terms)
        self._noise = terms.noise.clone()
        self._terms = terms
        self._calm = calm
        fixed, made = replace(terms, noise=self._noise), torch.zeros_like(pictures)

        def work() -> None:
            held = [(i, latents, fixed) for i, latents in enumerate(slots, 1)]
            entering = enter(plan, engines.encoder(pictures), fixed)
            moved, finished = advance(
                engines.unet,
                plan,
                [entering, *held],
                conditioning,
                image_conditioned=model.image_conditioned,
                calm=calm,
            )
            assert finished is not None
            made.copy_(engines.decoder(finished))
            # From the last one backwards: what a slot passes on as it is must be read before it is written.
            for slot, latents in reversed(list(zip(slots, moved, strict=True))):
                _put(slot, latents)

        with calm.aside(zeros(shape)):
            self._step = recorder.record(work, pictures, made)
        self._memory = calm.memory  # its tensors are a part of what was recorded

    @torch.inference_mode()
    def __call__(
        self, pixels: Sequence[Pixels], terms: Terms, held: Sequence[Latents]
    ) -> tuple[Pixels, Sequence[Latents]]:
        """Push.

        Args:
            pixels: F pictures, uint8 [H, W, 3].
            terms: of all slots, equal to those recorded but for rows and noise.
            held: what the slots after the first hold.

        Returns:
            The finished pictures, uint8 [F, H, W, 3], and what those slots hold now: written over by the next call.
        """
        self._calm.of(terms)
        if terms is not self._terms:
            self._conditioning.copy_(self._joined(terms))
            self._noise.copy_(terms.noise)
            self._terms = terms
        if any(given is not slot for given, slot in zip(held, self._slots, strict=True)):
            # Copies, since some may still be tensors of the slot before.
            copies = [Latents(h.x.clone(), h.clean.clone(), h.anchor.clone()) for h in held]
            for slot, latents in zip(self._slots, copies, strict=True):
                _put(slot, latents)
        return self._step(pixels), self._slots

    def _joined(self, terms: Terms) -> Tensor:
        return joined(conditioning_of([(i, self._frames, terms) for i in range(len(self._plan))]))


def _put(slot: Latents, latents: Latents) -> None:
    slot.x.copy_(latents.x)
    slot.clean.copy_(latents.clean)
    slot.anchor.copy_(latents.anchor)


class Fusing:
    """A stream's fused step: made when the steady state has lasted a while, dropped when it is another one."""

    def __init__(self, runtime: Runtime, model: Model, calm: Calm) -> None:
        self._calm = calm
        self._recorder = runtime if isinstance(runtime, Recorder) else None
        self._model = model
        self.forget()

    def forget(self) -> None:
        """Give back the step and its memory."""
        self._state: object = None
        self._step: FusedStep | None = None
        self._pushes = 0

    def step(self, engines: Engines, plan: Plan, config: StreamConfig, terms: Terms, frames: int) -> FusedStep | None:
        """The fused step for a push in the steady state; arguments as ``FusedStep``.

        Returns:
            None where the runtime records nothing, the state is new, or recording it failed, which is said once.
        """
        if self._recorder is None:
            return None
        state = engines, plan, terms.guidance, terms.scale, terms.delta, frames
        state = *state, self._calm.on, (self._calm.memory if self._calm.on else None)
        if state != self._state:
            self.forget()
            self._state = state
        self._pushes += 1
        # Tried once: what does not fit the memory would not fit at the next push either.
        if self._pushes == SETTLED:
            try:
                self._step = FusedStep(self._recorder, self._model, engines, plan, config, terms, frames, self._calm)
            except (EngineError, torch.OutOfMemoryError) as error:
                log.warning("the networks go on running one by one, somewhat slower: %s", error)
        return self._step
