"""What ``make demo-file`` shows: a moving picture stylised live, its prompt changing while it runs.

``python -m apps.demo [--input FILE] [--out-dir demo-output] [--prompt …]``
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import note, say, warn
from apps.cli.failures import guarded, set_up_logging
from apps.cli.progress import progress, waiting

PROMPTS = ("pencil sketch", "watercolor", "van gogh", "comic book")
SIZE = (256, 256)
SECONDS = 6.0


def demo(
    source: Annotated[
        Path | None, typer.Option("--input", help="A video or picture of your own; else photographs, panned over.")
    ] = None,
    out_dir: Annotated[Path, typer.Option("--out-dir", help="Folder for what is made.")] = Path("demo-output"),
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="May be given again: they take turns.")] = None,
    every: Annotated[float, typer.Option("--every", help="Seconds between changes of prompt.", min=0.1)] = 1.5,
    strength: options.Strength = None,
    steps: options.Steps = None,
    model: options.Model = None,
    engine: options.EngineName = None,
) -> None:
    """Stylise a moving picture and put before and after side by side: a video and a contact sheet."""
    choice = options.choose(strength=strength, steps=steps, model=model, engine=engine)
    prompts = prompt or list(PROMPTS)
    options.choose(**{"prompt": prompts[0]})
    from apps.media import check_output, open_writer, write_picture

    _make_folder(out_dir)
    video, picture = out_dir / "demo.mp4", out_dir / "demo.png"
    for output in (video, picture):
        check_output(output, source)
    with _footage(source) as reader:
        with waiting("loading the model (the first time, its engine is built too)"):
            from apps.loading import open_stream
            from apps.pipeline import stylise

            stream = open_stream(choice, (reader.width, reader.height))
        with stream:
            width, height = stream.config.width, stream.config.height
            with open_writer(video, 2 * width, height, reader) as writer:
                pair = BeforeAndAfter(writer, prompts, every)
                with progress(video.name, reader.frames) as advance:
                    totals = stylise(reader, stream, pair, on_input=pair.enter, on_output=advance)
                writer.finish()
            write_picture(picture, pair.sheet())
            for text in reader.warnings:
                warn(f"{source}: {text}")
            say(f"video, before | after:  {video}")
            say(f"contact sheet:          {picture}")
            say(f"{totals.frames} frames of {width}x{height} in {totals.seconds:.1f} s: {totals.fps:.1f} frames "
                f"per second, reading and encoding included")  # fmt: skip
            say(f"engine: {stream.runtime.description}")
            if totals.fps < 25 and stream.runtime.name == "openvino":
                note("this machine is slower than a camera at this size; streamdiff bench shows where the time goes")


class BeforeAndAfter:
    """Changes the prompt as time goes by, and writes each finished frame beside the one it came from."""

    def __init__(self, writer: Any, prompts: list[str], every: float) -> None:
        self._writer = writer
        self._prompts = prompts
        self._every = every
        self._before: dict[int, Any] = {}
        self._turn = -1
        self._kept: dict[int, tuple[float, Any, Any]] = {}

    def enter(self, frame: Any, live: Any) -> None:
        """A frame is about to go in."""
        turn = self._turn_of(frame)
        if turn != self._turn:
            self._turn = turn
            live.update(prompt=self._prompts[turn % len(self._prompts)])
        self._before[frame.index] = frame.pixels

    def write(self, frame: Any) -> None:
        """A frame has come out."""
        import numpy as np

        before = self._before.pop(frame.index)
        self._writer.write(frame.with_pixels(np.hstack([before, frame.pixels])))
        # For the sheet, the frame nearest to the middle of each prompt's first turn.
        turn = self._turn_of(frame)
        distance = abs(((frame.pts or 0.0) / self._every) % 1 - 0.6)
        if turn < len(self._prompts) and distance < self._kept.get(turn, (2.0,))[0]:
            self._kept[turn] = (distance, before, frame.pixels)

    def sheet(self) -> Any:
        """Before in the first row, after in the second, a column for each prompt."""
        from apps.sheet import contact_sheet

        before = [("before", self._kept[turn][1]) for turn in sorted(self._kept)]
        after = [(self._prompts[turn], self._kept[turn][2]) for turn in sorted(self._kept)]
        return contact_sheet(before + after, len(before))

    def _turn_of(self, frame: Any) -> int:
        return int((frame.pts or 0.0) / self._every + 1e-6)


def _footage(source: Path | None) -> Any:
    from apps.footage import PHOTOGRAPHS, Wander, photograph
    from apps.media import open_reader

    if source is None:
        return Wander([photograph(name) for name in PHOTOGRAPHS], *SIZE, seconds=SECONDS)
    reader = open_reader(source)
    if not reader.still:
        return reader
    with reader:
        picture = next(iter(reader)).pixels
    return Wander([picture], reader.width, reader.height, seconds=SECONDS)


def _make_folder(folder: Path) -> None:
    from streamdiff.errors import MediaError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"{folder}: the folder cannot be made ({error.strerror})") from error


def main() -> None:
    """Run the demo and leave with its exit code."""
    set_up_logging()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(demo)
    sys.exit(guarded(lambda: app(prog_name="python -m apps.demo", standalone_mode=False)))


if __name__ == "__main__":
    main()
