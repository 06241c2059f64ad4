"""``streamdiff styles``: the prompts a model is known to follow, as a list and as pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from apps.cli import options
from apps.cli.console import console, note, say
from apps.cli.progress import progress, waiting

COLUMNS = 4


def styles(
    image: Annotated[
        Path | None,
        typer.Option(
            "--image",
            metavar="FILE",
            help="Picture (or a video's first frame) to show them on.",
            show_default="an astronaut, of scikit-image",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Contact sheet to draw: .png .jpg .webp.")
    ] = None,
    strength: options.Strength = None,
    steps: options.Steps = None,
    seed: options.Seed = None,
    width: options.Width = None,
    height: options.Height = None,
    model: options.Model = None,
    engine: options.EngineName = None,
    device: options.Device = None,
) -> None:
    """List the prompts that the model was taught; with -o, draw each of them on a picture."""
    from apps.media import check_output
    from streamdiff.errors import ConfigError

    choice = options.choose(
        strength=strength, steps=steps, seed=seed, width=width, height=height, model=model, engine=engine, device=device
    )
    if output is None:
        if image is not None:
            raise ConfigError("say where the contact sheet goes: -o styles.png")
        from streamdiff import load_model

        with waiting(f"loading {choice.model}"):
            known = load_model(choice.model)
        _list(known)
        return
    check_output(output, image, still=True)
    pixels = _picture(image)
    from apps.loading import open_stream
    from apps.media import write_picture
    from apps.sheet import contact_sheet

    with waiting(f"loading {choice.model}"):
        stream = open_stream(choice, (pixels.shape[1], pixels.shape[0]))
    with stream:
        _list(stream.model)
        if not stream.model.styles:
            return
        with progress(output.name, len(stream.model.styles)) as advance:
            pictures = each_style(stream, pixels, advance)
    write_picture(output, contact_sheet(pictures, COLUMNS))
    say(f"{output}: {len(pictures) - 1} styles beside the original")


def each_style(stream: Any, pixels: Any, advance: Any = lambda _: None) -> list[tuple[str, Any]]:
    """The original and the picture in every style of the stream's model, with their names."""
    from streamdiff.frame import Frame
    from streamdiff.picture import cover

    config = stream.config
    pictures = [("original", cover(pixels, config.width, config.height))]
    for style in stream.model.styles:
        stream.update(prompt=style.prompt)
        finished = [*stream.push(Frame(pixels)), *stream.flush()]
        pictures.append((style.prompt, finished[-1].pixels))
        advance(None)
    return pictures


def _picture(image: Path | None) -> Any:
    if image is not None:
        from apps.media import read_picture

        return read_picture(image)
    from apps.footage import photograph

    return photograph("astronaut")


def _list(model: Any) -> None:
    from rich.markup import escape
    from rich.table import Table

    if not model.styles:
        note(f"{model.name} follows free text; it has no list of styles")
        return
    for title, prompts in (("style", model.styles), ("mood, with any style", model.moods)):
        if prompts:
            table = Table(title, "also understood", box=None, pad_edge=False, header_style="bold")
            for style in prompts:
                others = [name for name in (style.name, *style.synonyms) if name != style.prompt]
                table.add_row(escape(style.prompt), escape(", ".join(dict.fromkeys(others))))
            console().print(table)
