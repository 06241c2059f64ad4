"""python -m scripts.bench_gpu [--toy]: the GPU's figures, as JSON under the device's name in benchmarks/.

SD-Turbo's and Stable Diffusion 1.5's shapes at 512x512 with random weights, on every engine that is installed. Nothing
else should run meanwhile. --toy goes the same way at toy size, on a CPU too, in less than a minute.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from apps.benchmark import moving_pictures, parts
from engines import available, choose
from scripts.bench_gpu import measures
from scripts.bench_gpu.baseline import against
from scripts.bench_gpu.card import Energy, file_name, peak_flops
from scripts.bench_gpu.models import SHAPES, TOYS, RandomModel, Shape
from scripts.bench_gpu.report import Report
from streamdiff import Frame, Stream, StreamConfig
from streamdiff.frame import Pixels

STEPS = (1, 4)


@dataclass(frozen=True)
class Scale:
    """How large and how long.

    Attributes:
        shapes: of models.
        frames: timed for each figure.
        calls: of diffusers' pipeline for each figure.
        seconds: of still footage.
        side: of the matrices that give the peak.
    """

    shapes: Sequence[Shape] = SHAPES
    frames: int = 200
    calls: int = 20
    seconds: float = 10.0
    side: int = 8192


TOY = Scale(TOYS, frames=6, calls=2, seconds=0.5, side=256)


def main(
    toy: Annotated[bool, typer.Option("--toy", help="Try this program at toy size, on a CPU too.")] = False,
    output: Annotated[Path | None, typer.Option(help="Default: benchmarks/DEVICE.json; none with --toy.")] = None,
    engine: Annotated[list[str] | None, typer.Option(help="Only this one; may be given again.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cuda:1; the CPU with --toy alone.")] = None,
) -> None:
    """Measure the GPU."""
    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if where.type != "cuda" and not toy:
        raise typer.BadParameter("no CUDA device is usable here; --toy tries this program on the CPU")
    if output is None and not toy:
        output = Path("benchmarks") / f"{file_name(where)}.json"
    scale, report = TOY if toy else Scale(), Report(where, output, toy)
    names = engine or _engines(where, toy, report)
    with report.part("the peak of matrix multiplication"):
        peak = peak_flops(where, scale.side)
        report.data["peak_tflops"] = round(peak / 1e12, 3)
    for shape in scale.shapes:
        random = RandomModel(shape)
        entry: dict[str, Any] = {
            "parameters": random.parameters,
            "size": shape.size,
            "flops": random.flops(),
            "engines": {},
        }
        report.data["models"][shape.name] = entry
        for name in names:
            found: dict[str, Any] = {}
            with report.part(f"{shape.name} on {name}"):
                runtime = choose(name, str(where))
                found["description"] = runtime.description
                entry["engines"][name] = found
                size = {"width": shape.size, "height": shape.size}
                with Stream(random.model(), runtime, StreamConfig.make(**size, prompt="a pencil sketch")) as stream:
                    _measure(stream, random, scale, report, found, f"{shape.name} on {name}")
            if found.get("steps") and "peak_tflops" in report.data:
                found["share_of_peak"] = _share(entry["flops"], found["steps"], peak)
    if not toy:
        report.judge()
    report.write()
    for missing in report.data["not_measured"]:
        print(f"not measured: {missing['what']}: {missing['why']}")
    print(f"written to {output}" if output else "tried; nothing is written without --output")


def _engines(device: torch.device, toy: bool, report: Report) -> list[str]:
    """Those installed that run on this device; the others are written down."""
    names: list[str] = []
    for candidate in available():
        if candidate.name == "openvino" and device.type != "cpu":
            continue  # it is the CPU's
        # On a CPU their builds take longer than all the rest, and measure nothing of a GPU.
        if toy and device.type == "cpu" and candidate.name in ("openvino", "onnxruntime"):
            report.not_measured(candidate.name, "left out of a trial on a CPU")
        elif candidate.usable:
            names.append(candidate.name)
        else:
            report.not_measured(candidate.name, candidate.why)
    return names


def _measure(stream: Stream, random: RandomModel, scale: Scale, report: Report, found: dict[str, Any], on: str) -> None:
    """All that is measured of one model on one engine."""
    pictures: list[Pixels] = moving_pictures(stream.config.width, stream.config.height)[0]
    few = max(1, scale.frames // 4)
    if stream.runtime.device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(stream.runtime.device)
    started = time.perf_counter()
    stream.push(Frame(pictures[0]))
    found["first_frame_s"] = round(time.perf_counter() - started, 2)
    found["steps"], found["one_by_one"], found["sequential"] = {}, {}, {}
    for n in STEPS:
        with report.part(f"{on}: {n} steps"):
            timing = measures.frames_per_second(stream, pictures, scale.frames, steps=n)
            found["steps"][str(n)] = timing.as_dict()
            found["one_by_one"][str(n)] = measures.one_by_one(stream, pictures, few, steps=n).as_dict()
            if n > 1:
                alone = measures.sequential(stream, pictures, few, n)
                ratio = round(alone.median / timing.median, 3)
                found["sequential"][str(n)] = alone.as_dict() | {"stream_batch_ratio": ratio}
    with report.part(f"{on}: the networks, one by one"):
        found["parts"] = {part: timing.as_dict() for part, timing in parts(stream, pictures, few).items()}
    with report.part(f"{on}: guidance"):
        found["guidance"] = measures.guidance(stream, pictures, few, STEPS[-1])
    # Before the pipeline, which brings its own copy of the weights.
    if stream.runtime.device.type == "cuda":
        found["peak_memory_mb"] = round(torch.cuda.max_memory_allocated(stream.runtime.device) / 1e6)
        # With what the graphs keep for themselves.
        found["reserved_memory_mb"] = round(torch.cuda.max_memory_reserved(stream.runtime.device) / 1e6)
    with report.part(f"{on}: diffusers' pipeline"):
        found["diffusers"] = against(stream, random, pictures, STEPS, scale.calls)
    energy = None
    with report.part(f"{on}: energy"):
        energy = Energy(stream.runtime.device)
    with report.part(f"{on}: still footage"):
        found["still_footage"] = measures.still_footage(stream, pictures[0], scale.seconds, energy)


def _share(flops: dict[str, float], steps: dict[str, Any], peak: float) -> dict[str, float]:
    """Of the peak, what a frame's operations take at each number of steps."""
    each = {n: flops["encoder"] + int(n) * flops["unet"] + flops["decoder"] for n in steps}
    return {n: round(each[n] * timing["fps"] / peak, 4) for n, timing in steps.items()}


if __name__ == "__main__":
    typer.run(main)
