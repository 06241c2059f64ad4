"""``streamdiff run``: a picture or video file in, the same stylised out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from apps.cli import options
from apps.cli.console import note, say, warn
from apps.cli.progress import progress, waiting
from apps.loading import Choice

if TYPE_CHECKING:
    from streamdiff.frame import Frame
    from streamdiff.live import LiveStream


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
    model: options.Model = None,
    vae: options.Vae = None,
    lora: options.Lora = None,
    engine: options.EngineName = None,
    device: options.Device = None,
    precision: options.Precision = None,
    config: options.ConfigFile = None,
    timeline: options.Timeline = None,
    no_overwrite: Annotated[bool, typer.Option("--no-overwrite", help="Refuse to replace an existing OUTPUT.")] = False,
) -> None:
    """Stylise a picture or a video: every frame, with its own time, and the sound as it was.

    The size follows the input's aspect at the area the model was made for; --width or --height choose another.
    """
    choice = options.choose(
        config,
        prompt=prompt,
        second_prompt=second_prompt,
        blend=blend,
        negative_prompt=negative_prompt,
        strength=strength,
        steps=steps,
        timesteps=timesteps,
        width=width,
        height=height,
        guidance=guidance,
        guidance_scale=guidance_scale,
        delta=delta,
        seed=seed,
        frame_buffer_size=frame_buffer_size,
        similarity_threshold=similarity_threshold,
        max_skip=max_skip,
        reuse_every=reuse_every,
        model=model,
        vae=vae,
        lora=lora,
        engine=engine,
        device=device,
        precision=precision,
    )
    stylise_file(source, output, choice, replace=not no_overwrite, timeline=timeline)


def stylise_file(
    source: Path, output: Path, choice: Choice, *, replace: bool = True, timeline: Path | None = None
) -> None:
    """Do what ``streamdiff run`` does.

    Raises:
        StreamdiffError, EngineError: in one line, what is wrong; the output is then as it was before.
    """
    # What costs nothing to check comes before the seconds that a model takes to load.
    from apps.controls.timeline import Player, Timeline
    from apps.media import check_output, open_reader, open_writer

    check_output(output, source, replace=replace)
    player = Player(Timeline.read(timeline)) if timeline is not None else None

    def on_input(frame: Frame, live: LiveStream) -> None:
        changes = player.changes(frame.pts or 0.0) if player is not None else {}
        if changes:
            live.update(**changes)

    with open_reader(source) as reader:
        check_output(output, source, still=reader.still, replace=replace)
        with waiting(f"loading {choice.model}"):
            from apps.loading import open_stream
            from apps.pipeline import stylise
            from apps.prompts import about_prompt

            stream = open_stream(choice, (reader.width, reader.height))
        with stream:
            settings = stream.config
            for text in about_prompt(stream.model, settings.prompt) if player is None else ():
                note(text)
            with open_writer(output, settings.width, settings.height, reader) as writer:
                with progress(output.name, reader.frames) as advance:
                    totals = stylise(reader, stream, writer, on_input=on_input, on_output=advance)
                writer.finish()
            for text in reader.warnings:
                warn(f"{source}: {text}")
            plural = "" if totals.frames == 1 else "s"
            speed = "" if reader.still else f", {totals.fps:.1f} frames per second"
            say(f"{output}: {totals.frames} frame{plural}, {settings.width}x{settings.height}, "
                f"in {totals.seconds:.1f} s{speed}")  # fmt: skip
            if settings.similarity_threshold is not None:
                say(f"repeated by the similarity filter: {totals.skipped}")
            if not reader.still:
                say(f"sound: {writer.sound}")
            say(f"engine: {stream.runtime.description}")
