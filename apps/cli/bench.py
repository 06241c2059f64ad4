"""``streamdiff bench``: what this machine does, part by part, beside diffusers' own pipeline."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import console, say
from apps.cli.progress import loading, waiting

STEPS = (1, 2, 4)


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    size: Annotated[str, typer.Option("--size", metavar="WxH", help="Size of the frames.")] = "256x256",
    frames: Annotated[int, typer.Option("--frames", min=4, help="Frames for each figure.")] = 120,
    baseline: Annotated[
        bool, typer.Option("--baseline/--no-baseline", help="Compare with diffusers' own pipeline.")
    ] = True,
    prompt: options.Prompt = None,
    model: options.Model = None,
    engine: options.EngineName = None,
    device: options.Device = None,
) -> None:
    """Measure this machine: each part, the whole step, the similarity filter, start and memory, and the same weights
    through diffusers' own pipeline in the same process.
    """
    width, height = _size(size)
    choice = options.choose(prompt=prompt, model=model, engine=engine, device=device, width=width, height=height)
    with loading(choice):
        from apps.loading import open_stream

        stream = open_stream(choice)
    with stream:
        found = measure(stream, choice, frames, baseline)
    if as_json:
        say(json.dumps(found, ensure_ascii=False))
    else:
        _show(found)


def measure(stream: Any, choice: Any, frames: int, baseline: bool) -> dict[str, Any]:
    """Measure everything; the keys are those of ``--json``. Times in milliseconds where they do not say otherwise."""
    from apps import machine
    from apps import measure as m
    from streamdiff import StreamdiffError

    config = stream.config
    width, height = config.width, config.height
    if not config.prompt and stream.model.styles:
        stream.update(prompt=stream.model.styles[0].prompt)
    with waiting("measuring the parts"):
        footage = m.moving(width, height, max(frames, 30))
        parts = m.parts(stream, footage[0], frames)
    pipeline, pipeline_note = None, "left out"
    if baseline:
        try:
            with waiting("loading diffusers' pipeline"):
                pipeline = m.diffusers_pipeline(choice.model, stream.model.image_conditioned, stream.config.prompt)
            pipeline_note = "diffusers' own, fp32, PyTorch eager, same weights and steps, no guidance"
        except StreamdiffError as error:
            pipeline_note = str(error)
    whole: list[m.Whole] = []
    for steps in STEPS:
        with waiting(f"measuring {steps} step(s)"):
            whole.append(m.whole(stream, footage, steps, frames, pipeline))
    with waiting("measuring the similarity filter"):
        still = m.filtered(stream, footage[:1], frames)
        moving = m.filtered(stream, footage, frames)
    with waiting("measuring a fresh start"):
        m.fresh_start(choice, width, height, 1)  # warms the caches of disk and engines
        start = m.fresh_start(choice, width, height, frames)
    return {
        "machine": {
            "cpu": machine.cpu_name(),
            "cpu_flags": machine.cpu_flags(),
            "cores": machine.cores(),
            "memory_gb": round(machine.memory_gb(), 1),
            "gpus": machine.gpus(),
            "system": machine.system(),
            "versions": machine.versions(),
        },
        "model": choice.model,
        "engine": stream.runtime.description,
        "width": width,
        "height": height,
        "frames": frames,
        "parts_ms": parts,
        "whole": [asdict(entry) for entry in whole],
        "filter_threshold": m.THRESHOLD,
        "filter_still": asdict(still),
        "filter_moving": asdict(moving),
        **start,
        "pipeline": pipeline_note,
    }


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise typer.BadParameter(f"{text!r}: give width x height, such as 256x256", param_hint="--size")
    return int(width), int(height)


def _show(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    about, versions = found["machine"], found["machine"]["versions"]
    screen.print(f"[bold]machine[/]  {escape(about['cpu'])}, {about['cores']} cores, {about['memory_gb']} GB, "
                 f"{escape(about['system'])}")  # fmt: skip
    screen.print(f"[bold]engine[/]   {escape(found['engine'])}; torch {versions['torch']}")
    screen.print(f"[bold]model[/]    {escape(found['model'])} at {found['width']}x{found['height']}; "
                 f"medians of {found['frames']} frames")  # fmt: skip
    screen.print()
    parts = found["parts_ms"]
    screen.print(f"encode {parts['encode']:.2f} ms   UNet {parts['unet']:.2f} ms   decode {parts['decode']:.2f} ms")
    screen.print()
    table = Table("steps", "ms a frame", "95% within", "fps", "diffusers ms", "times faster", box=None, pad_edge=False)
    for column in table.columns:
        column.justify = "right"
    for entry in found["whole"]:
        table.add_row(
            str(entry["steps"]),
            f"{entry['ms']:.1f}",
            f"{entry['p95_ms']:.1f}",
            f"{entry['fps']:.1f}",
            f"{entry['pipeline_ms']:.0f}" if entry["pipeline_ms"] else "-",
            f"{entry['ratio']:.1f}" if entry["ratio"] else "-",
        )
    screen.print(table)
    screen.print(f"[dim]diffusers: {escape(found['pipeline'])}[/]")
    screen.print()
    for name in ("still", "moving"):
        entry = found[f"filter_{name}"]
        text = f"similarity filter, {name}: {entry['fps']:.1f} fps, {entry['skipped']:.0%} skipped"
        if entry["cost"] is not None:
            text += f", a skipped frame {entry['skipped_ms']:.3f} ms = {entry['cost']:.1%} of a processed one"
        screen.print(text)
    screen.print(f"new process to first frame {found['first_frame_s']:.1f} s with a warm cache; "
                 f"peak memory {found['peak_memory_mb']:.0f} MB")  # fmt: skip
