"""``streamdiff doctor``: what this machine has, what will be used, and what is missing for a better one."""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import console, say
from apps.cli.progress import waiting


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    engine: options.EngineName = None,
    device: options.Device = None,
) -> None:
    """Say what this machine has, which engine will be used and why, and what is missing for a better one.

    The exit code is 0 when the embedded model runs here.
    """
    with waiting("looking"):
        found = examine(engine or "auto", device)
    if as_json:
        say(json.dumps(found, ensure_ascii=False))
    else:
        _show(found)
    if not found["usable"]:
        raise typer.Exit(1)


def examine(engine: str = "auto", device: str | None = None) -> dict[str, Any]:
    """Look at everything; nothing is raised for what is missing, it is told."""
    from apps import machine
    from engines.cache import cache_directory

    chosen, why = _engine(engine, device)
    model = _model()
    cache = cache_directory()
    found: dict[str, Any] = {
        "system": machine.system(),
        "python": platform.python_version(),
        "cpu": machine.cpu_name(),
        "cpu_flags": machine.cpu_flags(),
        "cores": machine.cores(),
        "memory_gb": round(machine.memory_gb(), 1),
        "gpus": machine.gpus(),
        "versions": machine.versions(),
        "engine": chosen,
        "engine_why": why,
        "engines": _engines(),
        "model": model,
        "cache": str(cache),
        "cache_mb": round(_size(cache) / 1e6, 1),
        "encoders": _encoders(),
    }
    found["advice"] = _advice(found)
    found["usable"] = chosen is not None and model["ok"]
    return found


def _engine(name: str, device: str | None) -> tuple[str | None, str]:
    from engines import EngineError, available, choose

    try:
        runtime = choose(name, device)
    except EngineError as error:
        return None, str(error)
    if name != "auto":
        return runtime.description, "asked for"
    others = [c.name for c in available() if c.usable and c.name != runtime.name]
    better = f"; {', '.join(others)} would work too" if others else ""
    return runtime.description, f"the fastest that runs on {runtime.device.type} here{better}"


def _engines() -> list[dict[str, Any]]:
    from engines import available

    return [{"name": c.name, "usable": c.usable, "why": c.why} for c in available()]


def _model() -> dict[str, Any]:
    from streamdiff import StreamdiffError, load_model

    try:
        model = load_model("tiny")
        model.tokenize("photo")
    except (StreamdiffError, OSError) as error:
        return {"ok": False, "why": str(error)}
    width, height = model.default_size
    return {"ok": True, "why": f"{len(model.styles)} styles, made for {width}x{height}", "key": model.key}


def _encoders() -> dict[str, bool]:
    from av import codec

    return {name: name in codec.codecs_available for name in ("libx264", "libvpx-vp9", "aac", "libopus")}


def _advice(found: dict[str, Any]) -> list[str]:
    advice = [f"{entry['name']}: {entry['why']}" for entry in found["engines"] if not entry["usable"]]
    flags = found["cpu_flags"]
    if not found["gpus"]:
        advice.append("no GPU that PyTorch can use: larger models will run far below camera rate here")
    if flags and not found["gpus"] and not {"amx_bf16", "avx512_bf16", "avx512bw"} & set(flags):
        advice.append("this CPU has no AVX-512: the model runs in 32 bits, at about half the speed of one that has it")
    if found["cores"] < 2:
        advice.append("one core only: decoding, the model and encoding take turns")
    missing = [name for name, there in found["encoders"].items() if not there]
    if missing:
        advice.append(f"this PyAV cannot encode {', '.join(missing)}; pip install av, rather than a system package")
    return advice


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) if folder.is_dir() else 0


def _show(found: dict[str, Any]) -> None:
    from rich.markup import escape
    from rich.table import Table

    screen = console()
    table = Table.grid(padding=(0, 2))
    rows: list[tuple[str, str]] = [
        ("system", f"{found['system']}, Python {found['python']}"),
        ("processor", f"{found['cpu']}, {found['cores']} cores"),
        ("its units", " ".join(found["cpu_flags"]) or "unknown"),
        ("memory", f"{found['memory_gb']} GB"),
        ("GPU", ", ".join(found["gpus"]) or "none that PyTorch can use"),
        ("engine", f"{found['engine'] or 'none'} ({found['engine_why']})"),
        ("model tiny", ("present, " if found["model"]["ok"] else "not usable: ") + found["model"]["why"]),
        ("engine cache", f"{found['cache']}, {found['cache_mb']} MB"),
        ("video", " ".join(f"{name}{'' if there else ' (missing)'}" for name, there in found["encoders"].items())),
        ("packages", ", ".join(f"{name} {version or '(missing)'}" for name, version in found["versions"].items())),
    ]
    for name, text in rows:
        table.add_row(f"[bold]{name}", escape(text))
    screen.print(table)
    for text in found["advice"]:
        say(f"for more: {text}")
    say("ready" if found["usable"] else "not ready: see above")
