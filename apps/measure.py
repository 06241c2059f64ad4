"""Measuring a stream: each part, the whole, and diffusers' own pipeline beside it. Medians, everything warm."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from typing import Any

import torch

from apps.loading import Choice
from streamdiff.errors import MediaError, ModelError
from streamdiff.frame import Frame, Pixels
from streamdiff.stream import Stream

WARM_UP = 5
THRESHOLD = 0.98
"""Of the similarity filter, while it is measured."""

Calls = Callable[[], object]


@dataclass(frozen=True)
class Whole:
    """Frames through the whole step, uint8 in to uint8 out.

    Attributes:
        steps: denoising steps.
        ms, p95_ms: of one frame; the time from push to output with one step.
        fps: 1000 / ms.
        pipeline_ms: a frame through diffusers' own pipeline, None where it was not measured.
        ratio: pipeline_ms / ms.
    """

    steps: int
    ms: float
    p95_ms: float
    fps: float
    pipeline_ms: float | None = None
    ratio: float | None = None


@dataclass(frozen=True)
class Filtered:
    """The similarity filter at work, with one step.

    Attributes:
        fps: of the whole take.
        skipped: share of frames that were repeated, 0 to 1.
        skipped_ms, processed_ms: what one frame of each kind costs; None where there was none.
        cost: skipped_ms / processed_ms.
    """

    fps: float
    skipped: float
    skipped_ms: float | None
    processed_ms: float | None
    cost: float | None


def moving(width: int, height: int, count: int) -> list[Pixels]:
    """Footage: a camera over scikit-image's photographs where it is installed, else over coloured clouds."""
    from apps.footage import Wander, noise_picture, photograph

    try:
        pictures = [photograph("astronaut"), photograph("chelsea")]
    except MediaError:
        pictures = [noise_picture(2 * width, 2 * height)]
    take = Wander(pictures, width, height, seconds=max(count / 30, 4.0))
    return [take.view(index) for index in range(count)]


def parts(stream: Stream, pixels: Pixels, count: int) -> dict[str, float]:
    """Milliseconds of encoder, UNet and decoder alone, one row each."""
    engines, device = stream.engines, stream.runtime.device
    picture = torch.from_numpy(pixels)[None].to(device)
    model, config = stream.model, stream.config
    clean = engines.encoder(picture)
    x = torch.cat([clean, clean], 1) if model.image_conditioned else clean
    text = torch.zeros((1, model.text_length, model.text_width), device=device)
    t = torch.full((1,), round(999 * config.strength), dtype=torch.int64, device=device)
    calls: dict[str, Calls] = {
        "encode": lambda: engines.encoder(picture),
        "unet": lambda: engines.unet(x, t, text),
        "decode": lambda: engines.decoder(clean),
    }
    return {name: statistics.median(_timed(call, count, device)) for name, call in calls.items()}


def whole(
    stream: Stream, footage: Sequence[Pixels], steps: int, count: int, pipeline: Callable[[Pixels, int], object] | None
) -> Whole:
    """Time ``count`` frames through the stream, in turns with the pipeline, so that both see the same machine."""
    stream.update(steps=steps, similarity_threshold=None)
    pictures = cycle(footage)
    for pixels in islice(pictures, WARM_UP + steps):
        stream.push(Frame(pixels))
    ours: list[float] = []
    theirs: list[float] = []
    rounds = 6 if pipeline is not None else 1
    if pipeline is not None:
        pipeline(footage[0], steps)
    for _ in range(rounds):
        for pixels in islice(pictures, max(2, count // rounds)):
            ours.append(_once(lambda pixels=pixels: stream.push(Frame(pixels))))
        if pipeline is not None:
            theirs.append(_once(lambda: pipeline(next(pictures), steps)))
    stream.flush()
    ms = statistics.median(ours)
    # One turn of the pipeline is its several frames' worth of time: few are enough for a median.
    slow = statistics.median(theirs) if theirs else None
    return Whole(steps, ms, _percentile(ours, 95), 1000 / ms, slow, slow / ms if slow is not None else None)


def filtered(stream: Stream, footage: Sequence[Pixels], count: int) -> Filtered:
    """Time frames with the similarity filter on."""
    stream.update(steps=1, similarity_threshold=THRESHOLD)
    stream.push(Frame(footage[0]))
    skipped: list[float] = []
    processed: list[float] = []
    for pixels in islice(cycle(footage), count):
        started = time.perf_counter()
        repeated = stream.push(Frame(pixels))[-1].repeated
        (skipped if repeated else processed).append((time.perf_counter() - started) * 1000)
    stream.update(similarity_threshold=None)
    a = statistics.median(skipped) if skipped else None
    b = statistics.median(processed) if processed else None
    total = sum(skipped) + sum(processed)
    cost = a / b if a is not None and b is not None else None
    return Filtered(count / total * 1000, len(skipped) / count, a, b, cost)


def fresh_start(choice: Choice, width: int, height: int, count: int) -> dict[str, float]:
    """Seconds from starting a new process to its first frame, with a warm cache, and its peak memory in MB.

    Raises:
        ModelError: the process failed.
    """
    wanted = asdict(choice) | {"settings": {**choice.settings, "width": width, "height": height}}
    command = [sys.executable, "-m", "apps.first_frame", json.dumps({"choice": wanted, "frames": count})]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stderr is not None
        first = process.stdout.readline()
        seconds = time.perf_counter() - started
        rest, errors = process.communicate()
    if process.returncode or not first:
        raise ModelError(f"the fresh process failed: {errors.strip().splitlines()[-1:] or 'no output'}")
    return {"first_frame_s": seconds, "peak_memory_mb": float(json.loads(rest)["peak_memory_mb"])}


def diffusers_pipeline(model: str, image_conditioned: bool, prompt: str) -> Callable[[Pixels, int], object]:
    """Diffusers' own pipeline on the same weights: fp32, eager, LCM scheduler, no guidance, PIL in and out.

    Raises:
        ModelError: the weights are not in a folder.
    """
    from pathlib import Path

    from diffusers import LCMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInstructPix2PixPipeline
    from PIL import Image

    from streamdiff.models.load import TINY

    folder = TINY if model == "tiny" else Path(model).expanduser()
    if not (folder / "model_index.json").is_file():
        raise ModelError(f"{model} is not a diffusers folder on this disk; the comparison needs one (or --no-baseline)")
    made = StableDiffusionInstructPix2PixPipeline if image_conditioned else StableDiffusionImg2ImgPipeline
    pipe: Any = made.from_pretrained(folder, torch_dtype=torch.float32, safety_checker=None, local_files_only=True)
    pipe.scheduler = LCMScheduler.from_config(pipe.scheduler.config)
    pipe.set_progress_bar_config(disable=True)
    # At strength 1 the image-to-image pipeline takes as many steps as it is asked for, as the stream does.
    more = {"image_guidance_scale": 1.0} if image_conditioned else {"strength": 1.0}

    def call(pixels: Pixels, steps: int) -> object:
        generator = torch.Generator().manual_seed(0)
        picture = Image.fromarray(pixels)
        return pipe(
            prompt, image=picture, num_inference_steps=steps, guidance_scale=1.0, generator=generator, **more
        ).images[0]

    return call


def _timed(call: Calls, count: int, device: torch.device) -> list[float]:
    def synchronised() -> None:
        call()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(WARM_UP):
        synchronised()
    return [_once(synchronised) for _ in range(count)]


def _once(call: Calls) -> float:
    started = time.perf_counter()
    call()
    return (time.perf_counter() - started) * 1000


def _percentile(values: Sequence[float], percent: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
