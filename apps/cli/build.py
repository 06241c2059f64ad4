"""``streamdiff build``: make engines ahead of time."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.cli import options
from apps.cli.console import console, print_line
from streamdiff.errors import ConfigError

if TYPE_CHECKING:
    from apps.building import Verdict, Watch
    from engines.precision import Eight
    from streamdiff.frame import Pixels

FRAMES = 64
"""Pictures that the calibration draws from."""


def build(
    model: Annotated[str, typer.Argument(help="tiny, a diffusers folder, a .safetensors file, or a hub id.")] = "tiny",
    size: Annotated[
        str | None, typer.Option(metavar="WxH", help="Pixels, multiples of 8.", show_default="the model's own")
    ] = None,
    batch: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Most rows of the UNet at once to be ready for: steps times pictures; twice as many with full "
            "guidance, one more with onetime.",
        ),
    ] = 1,
    precision: Annotated[
        str | None,
        typer.Option(help="fp32, bf16, fp16, int8 or fp8, as the engine can.", show_default="its best full one"),
    ] = None,
    footage: Annotated[
        Path | None,
        typer.Option("--input", metavar="FILE", help="int8, fp8: a video or picture like those you will use."),
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="int8, fp8: build anew what is there.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Compare every network with float32 afterwards.")] = False,
    vae: options.Vae = None,
    lora: options.Lora = None,
    engine: options.EngineName = None,
    device: options.Device = None,
) -> None:
    """Build a model's engines ahead of time; eight bits are measured, and on a CPU used from then on where good."""
    from engines.precision import EIGHT_BITS

    eight = next((e for e in EIGHT_BITS if e == precision), None)
    width, height = options.size(size) if size else (None, None)
    choice = options.choose(
        model=model, vae=vae, lora=lora, engine=engine, device=device, width=width, height=height,
        precision=precision if eight is None else None,
    )  # fmt: skip
    if eight is not None and check:
        raise ConfigError(f"{eight} is always compared with full precision: leave --check out")
    from apps import building
    from engines import choose
    from streamdiff import load_model

    with _watching() as watch:
        runtime = choose(choice.engine, choice.device, choice.precision, watch.share)
        using = building.precisions(runtime, eight) if eight is not None else None
        loaded = load_model(choice.model, lora=choice.lora, vae=choice.vae)
        pixels = (width, height) if width and height else loaded.default_size
        if using is not None:
            with _lock():
                known = None if again else building.built_eight(loaded, pixels, using)
                verdict = known or building.build_eight(loaded, pixels, _pictures(footage, pixels), watch, using)
                if using.eight is using.quantiser:
                    # What was quantised are graphs: plans that the comparison had no need of, or that were removed.
                    building.build(loaded, using.eight, pixels, watch, batch)
            found: list[tuple[str, float, float]] = []
        else:
            building.build(loaded, runtime, pixels, watch, batch)
            found = building.check(loaded, runtime, pixels) if check else []
            known = verdict = None
    if verdict is not None and using is not None and eight is not None:
        _say(eight, verdict, known is not None, None if using.by_itself else runtime.name)
        return
    print_line(f"built {model} at {pixels[0]}x{pixels[1]} for {runtime.description}", sys.stdout)
    for name, largest, relative in found:
        print_line(f"{name}: at most {largest:.3g} off, {relative:.2g} relative", sys.stdout)


def _say(eight: Eight, verdict: Verdict, before: bool, asked_for: str | None) -> None:
    """Say what eight bits cost and bring; ``asked_for``: the engine, where it is used only when it is asked for."""
    console().print(
        f"{eight}{' (built before; --again builds anew)' if before else ''}: "
        f"{verdict.eight_ms:.1f} ms a frame against {verdict.full_ms:.1f}, {verdict.speedup:.2f} times as fast\n"
        f"loss {verdict.loss_db:+.2f} dB against the input; against fp32 {verdict.eight_psnr:.1f} dB "
        f"(full precision: {verdict.full_psnr:.1f})"
    )
    worth = "" if verdict.good else "it loses more than 1 dB or gains nothing; "
    if asked_for is not None:
        console().print(f"{worth}--engine {asked_for} --precision {eight} takes it")
    elif verdict.good:
        console().print("it is used from now on; --precision bf16 or fp32 goes without")
    else:
        console().print(f"it is not used by itself: {worth}--precision {eight} takes it")


def _pictures(footage: Path | None, size: tuple[int, int]) -> list[Pixels]:
    """Frames to calibrate on.

    Raises:
        MediaError: the file cannot be read, or none is given and there are no example photographs.
    """
    from apps.footage import PHOTOGRAPHS, Wander, photograph
    from apps.media import open_reader

    if footage is None:
        photographs = [photograph(name) for name in PHOTOGRAPHS]
        return [frame.pixels for frame in Wander(photographs, *size, seconds=FRAMES / 30)]
    with open_reader(footage) as reader:
        every = max(1, (reader.frames or FRAMES) // FRAMES)
        frames = [frame.pixels for i, frame in enumerate(reader) if i % every == 0]
    return frames[:FRAMES]


@contextmanager
def _lock() -> Iterator[None]:
    """One build in eight bits at a time: two would measure each other."""
    from filelock import FileLock, Timeout

    from engines.cache import cache_directory

    folder = cache_directory()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "build.lock", timeout=0):
            yield
    except Timeout:
        raise ConfigError("another streamdiff build is running; wait for it to end") from None


@contextmanager
def _watching() -> Iterator[Watch]:
    """A bar with the time left, or a line for each stage where nobody watches."""
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    screen = console(stderr=True)

    class Lines:
        def stage(self, text: str, total: int | None = None) -> None:
            print_line(text, sys.stderr)

        def part(self) -> None: ...

        def share(self, phase: str, share: float) -> None: ...

    if not screen.is_terminal:
        yield Lines()
        return
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=screen, transient=True) as bars:

        class Bars:
            task = bars.add_task("starting", total=None)

            def stage(self, text: str, total: int | None = None) -> None:
                bars.reset(self.task, description=text, total=total)

            def part(self) -> None:
                bars.advance(self.task)

            def share(self, phase: str, share: float) -> None:
                bars.update(self.task, description=phase, total=1.0, completed=share)

        yield Bars()
