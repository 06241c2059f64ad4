"""Diffusers' own image-to-image pipeline over the same weights, in the same process, taking turns with ours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from apps.benchmark import Timing, timed
from scripts.bench_gpu.measures import frames_per_second
from scripts.bench_gpu.models import TEXT_LENGTH, RandomModel
from streamdiff import Frame, Stream
from streamdiff.frame import Pixels
from streamdiff.models.quiet import quiet

TURN = 5
"""Frames of ours to one of theirs."""


class Pipeline:
    """AutoPipelineForImage2Image as it comes: no guidance, half precision on a GPU, PIL pictures in and out.

    The prompt is embedded beforehand, which is left out of every one of its times.
    """

    def __init__(self, random: RandomModel, device: torch.device) -> None:
        from diffusers.pipelines.auto_pipeline import AutoPipelineForImage2Image
        from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
        from diffusers.schedulers.scheduling_lcm import LCMScheduler

        dtype = torch.float16 if device.type == "cuda" else torch.float32
        scheduler: Any = LCMScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False, steps_offset=1
        )
        with quiet():
            text: Any = StableDiffusionPipeline(
                vae=random.vae(), unet=random.unet(), scheduler=scheduler, text_encoder=None, tokenizer=None,
                safety_checker=None, feature_extractor=None, requires_safety_checker=False,
            )  # fmt: skip
            self._pipe: Any = AutoPipelineForImage2Image.from_pipe(text).to(device, dtype)
        self._pipe.set_progress_bar_config(disable=True)
        self._embeds = torch.zeros(1, TEXT_LENGTH, random.shape.width, device=device, dtype=dtype)
        self.name = type(self._pipe).__name__

    def __call__(self, picture: Any, steps: int) -> Any:
        """A PIL picture to a PIL picture."""
        # Strength 1 is what makes it run all of its steps.
        return self._pipe(
            image=picture, prompt_embeds=self._embeds, num_inference_steps=steps, strength=1.0, guidance_scale=1.0
        ).images[0]


def against(
    stream: Stream, random: RandomModel, pictures: Sequence[Pixels], steps: Sequence[int], calls: int
) -> dict[str, Any]:
    """Milliseconds of both, and their ratio, at each number of steps.

    Args:
        stream: ours, of the same shape.
        random: that shape's weights.
        pictures: what both are given.
        steps: numbers of steps.
        calls: of the pipeline at each.
    """
    from PIL import Image

    pipe = Pipeline(random, stream.runtime.device)
    images = [Image.fromarray(picture) for picture in pictures[:8]]
    found: dict[str, Any] = {"pipeline": pipe.name}
    for n in steps:
        frames_per_second(stream, pictures, 1, steps=n)
        for i in range(3):
            pipe(images[i % len(images)], n)
        ours: list[float] = []
        theirs: list[float] = []

        def call(i: int, n: int = n) -> object:
            return pipe(images[i % len(images)], n)

        def push(i: int) -> object:
            return stream.push(Frame(pictures[i % len(pictures)], index=i))

        for i in range(calls):
            theirs += timed(_at(call, i), 1, warm=0).seconds
            # One of ours that does not count: the pipeline has just used the caches for other things.
            ours += timed(push, TURN, warm=1).seconds
        a, b = Timing(tuple(ours)), Timing(tuple(theirs))
        found[str(n)] = {
            "ours_ms": a.as_dict()["median_ms"],
            "diffusers_ms": b.as_dict()["median_ms"],
            "ratio": round(b.median / a.median, 2),
        }
    return found


def _at(call: Callable[[int], object], i: int) -> Callable[[int], object]:
    return lambda _: call(i)
