"""What ``streamdiff bench`` measures: medians, warm, from uint8 picture to uint8 picture, on this machine."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from apps.footage import Wander, noise_picture, photograph
from apps.machine import peak_memory_mb
from engines import EngineError
from streamdiff.conditioning import Conditioning
from streamdiff.errors import MediaError
from streamdiff.frame import Frame, Pixels
from streamdiff.models.load import TINY
from streamdiff.models.quiet import quiet
from streamdiff.stream import Stream

WARM = 10
"""Calls before the first one that counts."""

STILL_THRESHOLD = 0.9
"""The similarity filter's threshold here: a still scene is nearly always skipped at it."""


@dataclass(frozen=True)
class Timing:
    """Seconds of one repeated call."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)

    @property
    def p95(self) -> float:
        """In seconds; 95% of the calls took less."""
        return sorted(self.seconds)[min(len(self.seconds) - 1, int(0.95 * len(self.seconds)))]

    def as_dict(self) -> dict[str, float]:
        """Milliseconds and calls per second, rounded for people."""
        return {
            "median_ms": round(self.median * 1e3, 3),
            "p95_ms": round(self.p95 * 1e3, 3),
            "fps": round(1 / self.median, 2),
        }


def timed(call: Callable[[int], object], count: int, warm: int = WARM) -> Timing:
    """Time ``call(i)``, after some that do not count."""
    for i in range(warm):
        call(i)
    seconds: list[float] = []
    for i in range(count):
        started = time.perf_counter()
        call(warm + i)
        seconds.append(time.perf_counter() - started)
    return Timing(tuple(seconds))


def moving_pictures(width: int, height: int, count: int = 90) -> tuple[list[Pixels], str]:
    """A camera's slow way over a photograph, and what it shows."""
    try:
        source, name = photograph("astronaut"), "scikit-image's astronaut, panned"
    except MediaError:
        source, name = noise_picture(width * 2, height * 2), "soft noise, panned"
    return [frame.pixels for frame in Wander([source], width, height, seconds=count / 30)], name


def parts(stream: Stream, pictures: Sequence[Pixels], count: int) -> dict[str, Timing]:
    """The three networks of a frame's way, one by one."""
    device, engines, model = stream.runtime.device, stream.engines, stream.model
    batch = [torch.from_numpy(picture)[None].to(device) for picture in pictures]
    latent = engines.encoder(batch[0])
    sample = torch.cat([latent, latent], 1) if model.image_conditioned else latent
    (conditioning,) = Conditioning(model, stream.runtime).rows((499,), stream.config.prompt)
    synchronise = partial(torch.cuda.synchronize, device) if device.type == "cuda" else (lambda: None)

    def run(call: Callable[[int], object]) -> Timing:
        def whole(i: int) -> None:
            call(i)
            synchronise()

        return timed(whole, count)

    return {
        "encode": run(lambda i: engines.encoder(batch[i % len(batch)])),
        "unet": run(lambda _: engines.unet(sample, conditioning)),
        "decode": run(lambda _: engines.decoder(latent)),
    }


def whole_step(stream: Stream, pictures: Sequence[Pixels], count: int) -> Timing:
    """``Stream.push``: one picture in, one picture out, all slots full."""
    return timed(lambda i: stream.push(Frame(pictures[i % len(pictures)], index=i)), count)


def similarity(stream: Stream, pictures: Sequence[Pixels], count: int) -> dict[str, Any]:
    """The similarity filter on a still and on a moving scene."""
    stream.update(steps=1, similarity_threshold=None)
    stream.reset()
    processed = whole_step(stream, pictures, count)
    stream.update(similarity_threshold=STILL_THRESHOLD, max_skip=10_000)
    still = whole_step(stream, pictures[:1], max(count, 200))
    stream.update(max_skip=10)
    stream.reset()
    whole_step(stream, pictures, 1)
    before = stream.skipped
    moving = timed(lambda i: stream.push(Frame(pictures[(WARM + i) % len(pictures)])), count, warm=0)
    skipped = stream.skipped - before
    stream.update(similarity_threshold=None)
    return {
        "processed": processed.as_dict(),
        "skipped": still.as_dict(),
        "skipped_cost_percent": round(100 * still.median / processed.median, 3),
        "moving": {"mean_fps": round(count / sum(moving.seconds), 2), "skipped_frames": skipped, "frames": count},
    }


def baseline(stream: Stream, name: str, pictures: Sequence[Pixels], steps: Sequence[int], calls: int) -> dict[str, Any]:
    """The same weights through diffusers' own pipeline, as it comes, taking turns with ours in this process.

    Args:
        stream: ours.
        name: what it was loaded from: "tiny" or a folder.
        pictures: what both are given.
        steps: numbers of steps to compare.
        calls: of the pipeline for each, in turns of one with five of ours.
    """
    from PIL import Image

    folder = TINY if name == "tiny" else Path(name)
    if not (folder / "model_index.json").is_file():
        return {"left_out": "only the embedded model and diffusers folders can be loaded by diffusers itself"}
    pipe, which = _pipeline(stream, folder)
    images = [Image.fromarray(picture) for picture in pictures[:8]]
    found: dict[str, Any] = {"pipeline": which}
    for n in steps:
        stream.update(steps=n)
        stream.reset()

        def call(i: int, n: int = n) -> object:
            return pipe(image=images[i % len(images)], num_inference_steps=n)

        timed(call, 0, warm=1)
        whole_step(stream, pictures, 1)
        ours: list[float] = []
        theirs: list[float] = []
        for i in range(calls):
            theirs += timed(lambda _, i=i: call(i), 1, warm=0).seconds
            # One of ours that does not count: the pipeline has just emptied the processor's caches.
            ours += timed(lambda j: stream.push(Frame(pictures[j % len(pictures)])), 5, warm=1).seconds
        a, b = Timing(tuple(ours)), Timing(tuple(theirs))
        found[f"{n}_step"] = {
            "ours_ms": a.as_dict()["median_ms"],
            "diffusers_ms": b.as_dict()["median_ms"],
            "ratio": round(b.median / a.median, 2),
        }
    return found


def start_to_first_frame(name: str, width: int, height: int, engine: str) -> float:
    """Seconds from starting Python to the first finished picture, in a fresh process with a warm engine cache."""
    code = (
        "import numpy as np; from streamdiff import Stream; "
        f"s = Stream.from_pretrained({name!r}, engine={engine!r}, width={width}, height={height}, prompt='photo'); "
        f"s(np.zeros(({height}, {width}, 3), np.uint8)); print('done', flush=True)"
    )
    best = float("inf")
    for _ in range(2):  # the first may still have to read the files from the disk
        started = time.perf_counter()
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            line = child.stdout.readline()
            elapsed = time.perf_counter() - started
        if line.strip() != b"done":
            raise EngineError("a fresh process could not start the stream; streamdiff doctor may tell why")
        best = min(best, elapsed)
    return best


def measure(
    stream: Stream,
    name: str,
    frames: int,
    *,
    with_baseline: bool,
    say: Callable[[str], None],
) -> dict[str, Any]:
    """All of it; the stream must have been made from ``name``, whose guidance is none.

    Returns:
        Plain numbers and texts, ready for JSON.
    """
    config = stream.config
    width, height = config.width, config.height
    pictures, footage = moving_pictures(width, height)
    say("the networks, one by one")
    result: dict[str, Any] = {
        "footage": footage,
        "parts": {part: timing.as_dict() for part, timing in parts(stream, pictures, frames).items()},
        "steps": {},
    }
    for n in (1, 2, 4):
        say(f"the whole step at {n} step{'s' * (n > 1)}")
        stream.update(steps=n)
        stream.reset()
        result["steps"][str(n)] = whole_step(stream, pictures, frames).as_dict()
    say("the similarity filter")
    result["similarity"] = similarity(stream, pictures, frames)
    # Before diffusers is loaded: what a program that uses this package needs.
    result["peak_memory_mb"] = round(peak_memory_mb())
    say("a start in a fresh process")
    result["start_to_first_frame_s"] = round(start_to_first_frame(name, width, height, stream.runtime.name), 2)
    if with_baseline:
        say("diffusers' own pipeline, in turns with ours")
        result["baseline"] = baseline(stream, name, pictures, (1, 2, 4), max(5, frames // 10))
    return result


def _pipeline(stream: Stream, folder: Path) -> tuple[Callable[..., object], str]:
    """Diffusers' pipeline for these weights: same scheduler, guidance off, float32, a PIL image in and out."""
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_img2img import StableDiffusionImg2ImgPipeline
    from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_instruct_pix2pix import (
        StableDiffusionInstructPix2PixPipeline,
    )
    from diffusers.schedulers.scheduling_lcm import LCMScheduler

    conditioned = stream.model.image_conditioned
    made: Any = StableDiffusionInstructPix2PixPipeline if conditioned else StableDiffusionImg2ImgPipeline
    with quiet():
        pipe = made.from_pretrained(str(folder), safety_checker=None, torch_dtype=torch.float32)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    pipe = pipe.to(stream.runtime.device)
    pipe.set_progress_bar_config(disable=True)
    options: dict[str, Any] = {"guidance_scale": 1.0, "prompt": "pencil sketch"}
    options |= {"image_guidance_scale": 1.0} if conditioned else {"strength": 1.0}
    return (lambda **call: pipe(**options, **call)), made.__name__
