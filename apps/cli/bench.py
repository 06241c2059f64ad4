"""``streamdiff bench``: how fast this machine is, and what takes the time."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import console, print_line
from apps.cli.progress import waiting

SIZE = "256x256"


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels, multiples of 8.")] = SIZE,
    frames: Annotated[int, typer.Option(min=5, max=10_000, help="Timed frames for each figure.")] = 100,
    baseline: Annotated[bool, typer.Option(help="Compare with diffusers' own pipeline.")] = True,
    model: options.Model = None,
    engine: options.EngineName = None,
    device: options.Device = None,
    precision: options.Precision = None,
    reuse_every: options.ReuseEvery = None,
) -> None:
    """Measure this machine: milliseconds, frames per second, memory, and a ratio to diffusers' own pipeline."""
    width, height = options.size(size)
    choice = options.choose(
        model=model, engine=engine, device=device, precision=precision,
        width=width, height=height, prompt="pencil sketch", reuse_every=reuse_every,
    )  # fmt: skip
    with waiting("loading"):
        from apps.benchmark import measure
        from apps.loading import open_stream

        stream = open_stream(choice)
    with stream:
        # A line for each thing measured: minutes of silence look like a program that hangs.
        result = measure(
            stream,
            choice.model,
            frames,
            with_baseline=baseline,
            say=lambda text: print_line(f"measuring: {text}", sys.stderr),
        )
        report = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": _machine(stream)}
        report |= {"model": choice.model, "size": f"{width}x{height}", "frames": frames, **result}
    if as_json:
        print_line(json.dumps(report), sys.stdout)
    else:
        _show(report)


def _machine(stream: Any) -> dict[str, Any]:
    from apps import machine

    return {
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "memory_gb": round(machine.memory_gb(), 1),
        "gpus": machine.gpus(),
        "system": machine.system(),
        "engine": stream.runtime.description,
        "versions": machine.versions(),
    }


def _show(report: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    machine, screen = report["machine"], console()
    screen.print(f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; {machine['engine']}")
    screen.print(
        f"model {escape(report['model'])}, {report['size']}, medians of {report['frames']}, {report['footage']}"
    )
    table = Table("", "ms", "p95 ms", "per second")
    for name, timing in report["parts"].items():
        table.add_row(name, *(f"{timing[key]:.1f}" for key in ("median_ms", "p95_ms", "fps")))
    table.add_section()
    for n, timing in report["steps"].items():
        name = f"picture to picture, {n} step{'' if n == '1' else 's'}"
        table.add_row(name, *(f"{timing[key]:.1f}" for key in ("median_ms", "p95_ms", "fps")))
    skipped = report["similarity"]["skipped"]
    table.add_row("skipped frame (still scene)", f"{skipped['median_ms']:.3f}", f"{skipped['p95_ms']:.3f}", "")
    screen.print(table)
    moving = report["similarity"]["moving"]
    screen.print(f"a skipped frame costs {report['similarity']['skipped_cost_percent']:.2f}% of a processed one; "
                 f"moving footage with the filter on: {moving['mean_fps']:.1f} per second, "
                 f"{moving['skipped_frames']} of {moving['frames']} skipped")  # fmt: skip
    screen.print(f"start to first frame, warm cache: {report['start_to_first_frame_s']:.1f} s; "
                 f"peak memory: {report['peak_memory_mb']} MB")  # fmt: skip
    compared = report.get("baseline", {})
    if "left_out" in compared:
        screen.print(f"no comparison: {compared['left_out']}")
    elif compared:
        for n in (1, 2, 4):
            row = compared[f"{n}_step"]
            screen.print(
                f"{compared['pipeline']}, same weights, {n} step{'s' * (n > 1)}: {row['diffusers_ms']:.0f} ms against "
                f"{row['ours_ms']:.0f} ms: {row['ratio']:.1f} times"
            )
