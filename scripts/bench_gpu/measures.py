"""What is measured of one model on one engine: medians, warm, from uint8 picture to uint8 picture."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from apps.benchmark import STILL_THRESHOLD, Timing, timed
from engines import Recorder, Runtime
from scripts.bench_gpu.card import Energy
from streamdiff import Frame, Guidance, Stream, fused_step
from streamdiff.calm import Calm
from streamdiff.conditioning import Conditioning
from streamdiff.frame import Pixels
from streamdiff.schedule import plan_of, slot_noise
from streamdiff.stream_batch import Terms, advance, conditioning_of, enter, joined

WARM = fused_step.SETTLED + 16
"""Frames before the first that counts: slots fill, and the fused step is recorded."""

FRAME_RATE = 30.0
"""Of the footage that energy is measured on: a camera's."""

SCALE = 1.5
"""Guidance scale of every mode."""


def frames_per_second(stream: Stream, pictures: Sequence[Pixels], count: int, **settings: Any) -> Timing:
    """``Stream.push`` in its steady state under these settings."""
    stream.update(**settings)
    stream.reset()
    return timed(lambda i: stream.push(Frame(pictures[i % len(pictures)], index=i)), count, WARM)


class _OneByOne:
    """A runtime that does not record: encoder, UNet and decoder run each on its own, as outside the steady state."""

    def __init__(self, runtime: Runtime) -> None:
        self.name, self.device, self.description = runtime.name, runtime.device, runtime.description
        self.compile = runtime.compile


def one_by_one(stream: Stream, pictures: Sequence[Pixels], count: int, **settings: Any) -> Timing:
    """As ``frames_per_second``, on the same engines, without the fused step."""
    with Stream(stream.model, _OneByOne(stream.runtime), stream.config) as other:
        return frames_per_second(other, pictures, count, **settings)


def sequential(stream: Stream, pictures: Sequence[Pixels], count: int, steps: int) -> Timing:
    """Each frame denoised alone: n UNet calls of batch 1, without guidance; recorded as one where the engine can."""
    step = _sequential_step(stream, steps)
    return timed(lambda i: step([pictures[i % len(pictures)]]), count, WARM)


def _sequential_step(stream: Stream, steps: int) -> Callable[[Sequence[Pixels]], Pixels]:
    model, runtime, engines = stream.model, stream.runtime, stream.engines
    config = stream.config.changed(steps=steps, guidance=Guidance.none)
    plan = plan_of(config, model.alphas_cumprod, model.prediction)
    shape = model.latent_shape(config.width, config.height)
    noise = slot_noise(config.seed, plan, shape).to(runtime.device)
    terms = Terms(Conditioning(model, runtime).rows(plan.timesteps, config.prompt), (), noise)
    rows = [joined(conditioning_of([(i, 1, terms)])) for i in range(len(plan))]
    with torch.inference_mode():
        given = torch.zeros((1, config.height, config.width, 3), dtype=torch.uint8, device=runtime.device)
        made = torch.zeros_like(given)

    def work() -> None:
        slot = enter(plan, engines.encoder(given), terms)
        for i, row in enumerate(rows, 1):
            moved, finished = advance(
                engines.unet, plan, [slot], row, image_conditioned=model.image_conditioned, calm=Calm()
            )
            if finished is not None:
                made.copy_(engines.decoder(finished))
            else:
                slot = i, moved[0], terms

    if isinstance(runtime, Recorder):
        # Compiled and captured by themselves first, as a stream would have them.
        with torch.inference_mode():
            work()
        return runtime.record(work, given, made)

    @torch.inference_mode()
    def plainly(pixels: Sequence[Pixels]) -> Pixels:
        given.copy_(torch.from_numpy(np.stack(pixels)))
        work()
        return made.cpu().numpy()

    return plainly


def guidance(stream: Stream, pictures: Sequence[Pixels], count: int, steps: int) -> dict[str, Any]:
    """Each guidance mode, and how many times as fast as full classifier-free guidance it is."""
    found: dict[str, Any] = {}
    full = None
    for mode in sorted(Guidance, key=lambda mode: mode is not Guidance.full):
        timing = frames_per_second(
            stream, pictures, count, steps=steps, guidance=mode, guidance_scale=SCALE, negative_prompt="blurred"
        )
        full = full or timing
        found[mode.value] = timing.as_dict() | {"times_full": round(full.median / timing.median, 3)}
    stream.update(guidance=Guidance.none, guidance_scale=1.0)
    return found


def still_footage(stream: Stream, picture: Pixels, seconds: float, energy: Energy | None) -> dict[str, Any]:
    """A still scene at a camera's rate, with and without the similarity filter.

    Args:
        stream: at one step afterwards.
        picture: of the scene.
        seconds: for each.
        energy: the device's counter; without, only what was computed is told.
    """
    found: dict[str, Any] = {"frame_rate": FRAME_RATE, "seconds": seconds}
    for name, threshold in (("without", None), ("with", STILL_THRESHOLD)):
        stream.update(steps=1, similarity_threshold=threshold)
        stream.reset()
        for i in range(WARM):
            stream.push(Frame(picture, index=i))
        skipped, joules = stream.skipped, energy.joules() if energy else 0.0
        started = time.monotonic()
        count = max(1, round(seconds * FRAME_RATE))
        for i in range(count):
            stream.push(Frame(picture, index=i))
            time.sleep(max(0.0, started + (i + 1) / FRAME_RATE - time.monotonic()))
        elapsed = time.monotonic() - started
        found[name] = {"frames": count, "computed": count - (stream.skipped - skipped)}
        if energy:
            used = energy.joules() - joules
            found[name] |= {"watts": round(used / elapsed, 1), "joules_per_frame": round(used / count, 4)}
    stream.update(similarity_threshold=None)
    if energy:
        started, joules = time.monotonic(), energy.joules()
        time.sleep(seconds)
        found["idle_watts"] = round((energy.joules() - joules) / (time.monotonic() - started), 1)
        found["energy_ratio"] = round(found["without"]["joules_per_frame"] / found["with"]["joules_per_frame"], 2)
    return found
