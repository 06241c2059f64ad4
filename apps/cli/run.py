"""``streamdiff run``: a picture or video file in, the same stylised out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import note, say, warn
from apps.cli.progress import progress, waiting
from apps.loading import Choice
from streamdiff.errors import ConfigError

if TYPE_CHECKING:
    from apps.media import Reader
    from apps.pipeline import Totals
    from apps.rolling import RollingChoice
    from streamdiff.config import StreamConfig
    from streamdiff.frame import Frame
    from streamdiff.live import LiveStream
    from streamdiff.streaming import Streaming


def run(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="Any picture or video file.", show_default=False)],
    output: Annotated[
        Path,
        typer.Option(
            "-o",
            "--output",
            metavar="OUTPUT",
            help="Video: .mp4 .m4v .mov .mkv .webm; picture: .png .jpg .webp.",
            show_default=False,
        ),
    ],
    prompt: options.Prompt = None,
    second_prompt: options.SecondPrompt = None,
    blend: options.Blend = None,
    negative_prompt: options.NegativePrompt = None,
    strength: options.Strength = None,
    steps: options.Steps = None,
    timesteps: options.Timesteps = None,
    width: options.Width = None,
    height: options.Height = None,
    guidance: options.GuidanceMode = None,
    guidance_scale: options.GuidanceScale = None,
    delta: options.Delta = None,
    seed: options.Seed = None,
    frame_buffer_size: options.FrameBufferSize = None,
    similarity_threshold: options.SimilarityThreshold = None,
    max_skip: options.MaxSkip = None,
    reuse_every: options.ReuseEvery = None,
    calm: options.Calm = None,
    model: options.Model = None,
    vae: options.Vae = None,
    lora: options.Lora = None,
    engine: options.EngineName = None,
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.ConfigFile = None,
    mode: options.Mode = None,
    rolling_model: options.RollingModel = None,
    checkpoint: options.Checkpoint = None,
    decoder: options.Decoder = None,
    level: options.Level = None,
    timeline: options.Timeline = None,
    no_overwrite: Annotated[bool, typer.Option("--no-overwrite", help="Refuse to replace an existing OUTPUT.")] = False,
) -> None:
    """Stylise a picture or a video: every frame, with its own time, and the sound as it was.

    The size follows the input's aspect at the area the model was made for; --width or --height choose another.
    """
    given: dict[str, Any] = {
        "prompt": prompt, "second_prompt": second_prompt, "blend": blend, "negative_prompt": negative_prompt,
        "strength": strength, "steps": steps, "timesteps": timesteps, "width": width, "height": height,
        "guidance": guidance, "guidance_scale": guidance_scale, "delta": delta, "seed": seed,
        "frame_buffer_size": frame_buffer_size, "similarity_threshold": similarity_threshold, "max_skip": max_skip,
        "reuse_every": reuse_every, "calm": calm, "model": model, "vae": vae, "lora": lora, "engine": engine,
        "device": device, "precision": precision,
    }  # fmt: skip
    rolling = {"level": level, "rolling_model": rolling_model, "checkpoint": checkpoint, "decoder": decoder}
    if options.mode_of(config, mode) is options.VideoMode.rolling:
        from apps.rolling import choose_rolling

        roll_file(source, output, choose_rolling(config, **given, **rolling, timeline=timeline), not no_overwrite)
        return
    foreign = [name for name, value in rolling.items() if value is not None]
    if foreign:
        raise ConfigError(f"--{foreign[0].replace('_', '-')} is for --mode rolling")
    stylise_file(source, output, options.choose(config, **given), replace=not no_overwrite, timeline=timeline)


def stylise_file(
    source: Path, output: Path, choice: Choice, *, replace: bool = True, timeline: Path | None = None
) -> None:
    """Do what ``streamdiff run`` does.

    Raises:
        StreamdiffError, EngineError: in one line, what is wrong; the output is then as it was before.
    """
    from apps.controls.timeline import Player, Timeline

    # What costs nothing to check comes before the seconds that a model takes to load.
    read = None if timeline is None else Timeline.read(timeline)
    if read is not None and any("mode" in point.settings for point in read.points):
        raise ConfigError(f"{timeline}: mode: a file is made in one mode, that of --mode")
    with opened(source, output, choice.model, replace=replace) as (reader, loading):
        with loading:
            from apps.loading import open_stream
            from apps.prompts import about_settings

            stream = open_stream(choice, (reader.width, reader.height))
        with stream:
            player = None if read is None else Player(read, dict(stream.config))

            def on_input(frame: Frame, live: LiveStream[StreamConfig]) -> None:
                changes = player.changes(frame.pts or 0.0) if player is not None else {}
                if changes:
                    live.update(**changes)

            for text in about_settings(stream.model, stream.config) if player is None else ():
                note(text)
            totals = convert(reader, stream, output, on_input)
            if stream.config.similarity_threshold is not None:
                say(f"repeated by the similarity filter: {totals.skipped}")
            say(f"engine: {stream.runtime.description}")


def roll_file(source: Path, output: Path, choice: RollingChoice, replace: bool = True) -> None:
    """Do what ``streamdiff run --mode rolling`` does.

    Raises:
        StreamdiffError, EngineError: as ``stylise_file``.
    """
    with opened(source, output, choice.model, replace=replace) as (reader, loading):
        if reader.still:
            raise ConfigError(f"{source}: --mode rolling makes video of video; a picture goes without --mode")
        with loading:
            from apps.rolling import open_rolling

            stream = open_rolling(choice, (reader.width, reader.height))
        with stream:
            convert(reader, stream, output)
            say(f"engine: {stream.model.runtime.description}")


@contextmanager
def opened(source: Path, output: Path, model: str, *, replace: bool) -> Iterator[tuple[Reader, Any]]:
    """The input, once it is known that the output can be written, and what to wait in while the model is loaded."""
    from apps.media import check_output, open_reader

    check_output(output, source, replace=replace)
    with open_reader(source) as reader:
        check_output(output, source, still=reader.still, replace=replace)
        yield reader, waiting(f"loading {model}")


def convert(
    reader: Reader,
    stream: Streaming[Any],
    output: Path,
    on_input: Callable[[Frame, LiveStream[Any]], None] | None = None,
) -> Totals:
    """Send a file through a stream into another, and tell what became of it."""
    from apps.media import open_writer
    from apps.pipeline import stylise

    width, height = stream.config.width, stream.config.height
    with open_writer(output, width, height, reader) as writer:
        with progress(output.name, reader.frames) as advance:
            totals = stylise(reader, stream, writer, on_input=on_input, on_output=advance)
        writer.finish()
    for text in reader.warnings:
        warn(f"{reader.path}: {text}")
    plural = "" if totals.frames == 1 else "s"
    speed = "" if reader.still else f", {totals.fps:.1f} frames per second"
    say(f"{output}: {totals.frames} frame{plural}, {width}x{height}, in {totals.seconds:.1f} s{speed}")
    if not reader.still:
        say(f"sound: {writer.sound}")
    return totals
