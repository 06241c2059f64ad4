"""``streamdiff bench``: how fast this machine is, and what takes the time."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import console, print_line
from apps.cli.progress import waiting
from streamdiff.errors import ConfigError, MediaError

SIZE = "256x256"


def bench(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
    size: Annotated[str, typer.Option(metavar="WxH", help="Pixels, multiples of 8.")] = SIZE,
    frames: Annotated[int, typer.Option(min=5, max=10_000, help="Timed frames for each figure.")] = 100,
    baseline: Annotated[bool, typer.Option(help="Compare with diffusers' own pipeline.")] = True,
    every: Annotated[
        bool, typer.Option("--all", help="Every engine and precision of this machine in one table.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write the JSON object there too.")
    ] = None,
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
    if every:
        if engine or device or precision or reuse_every:
            raise ConfigError(
                "--all measures every engine: leave --engine, --device, --precision and --reuse-every out"
            )
        _all(choice.model, (width, height), frames, baseline=baseline, as_json=as_json, output=output)
        return
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
    _write(report, output)
    if as_json:
        print_line(json.dumps(report), sys.stdout)
    else:
        _show(report)


def _all(model: str, size: tuple[int, int], frames: int, *, baseline: bool, as_json: bool, output: Path | None) -> None:
    from apps.comparison import compare

    rows = compare(
        model, size, frames, baseline=baseline, say=lambda text: print_line(f"measuring: {text}", sys.stderr)
    )
    report = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "machine": _machine()}
    report |= {"model": model, "size": f"{size[0]}x{size[1]}", "frames": frames, "engines": rows}
    _write(report, output)
    if as_json:
        print_line(json.dumps(report), sys.stdout)
        return
    from rich.table import Table

    machine = report["machine"]
    console().print(
        f"{machine['cpu']}, {machine['cores']} cores; {model}, {report['size']}; ms are medians of {frames}"
    )
    columns = ("engine", "enc", "unet", "dec", "1 st", "2", "4", "fps", "re 2", "MB", "dB", "x")
    table = Table(*columns, box=None, padding=(0, 1, 0, 0))  # 80 columns hold it
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        name = f"{row['engine']} {row['precision']}"
        if "failed" in row:
            console().print(f"{name}: {row['failed']}")
            continue
        ms = [row["parts"][part] for part in ("encode", "unet", "decode")]
        ms += [row["steps"][n]["median_ms"] for n in ("1", "2", "4")]
        reuse = "" if row["reuse"] is None else f"{row['reuse']['mean_fps']:.1f}"
        ratio = row.get("baseline", {}).get("1_step", {}).get("ratio")
        table.add_row(
            name, *(f"{value:.1f}" if value < 100 else f"{value:.0f}" for value in ms),
            f"{row['steps']['1']['fps']:.1f}", reuse,
            str(row["peak_memory_mb"]), f"{row['psnr_db']:.1f}", "" if ratio is None else f"{ratio:.1f}",
        )  # fmt: skip
    console().print(table)
    print_line(
        "ms: encoder, UNet, decoder, and picture to picture at 1, 2, 4 steps; fps at one step, and with features\n"
        "reused every second frame; dB: PSNR against torch fp32; x: times as fast as diffusers' pipeline, in turns",
        sys.stdout,
    )


def _write(report: dict[str, Any], output: Path | None) -> None:
    if output is not None:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            output.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        except OSError as error:
            raise MediaError(f"{output} cannot be written: {error.strerror}") from None


def _machine(stream: Any = None) -> dict[str, Any]:
    from apps import machine

    return {
        "cpu": machine.cpu_name(),
        "cores": machine.cores(),
        "memory_gb": round(machine.memory_gb(), 1),
        "gpus": machine.gpus(),
        "system": machine.system(),
        **({} if stream is None else {"engine": stream.runtime.description}),
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
