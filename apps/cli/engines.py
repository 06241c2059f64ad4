"""``streamdiff engines``: what has been built, and deleting it."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from apps.cli.console import console, print_line
from streamdiff.errors import ConfigError

app = typer.Typer(name="engines", help="Engines that have been built and kept.", no_args_is_help=True)


@app.command("list")
def list_engines() -> None:
    """List them: model, network, size, engine, precision, bytes."""
    from rich.markup import escape
    from rich.table import Table

    from engines.cache import cache_directory
    from engines.notes import kept

    found = kept()
    if not found:
        print_line(f"no engines in {cache_directory()}", sys.stdout)
        return
    table = Table("name", "model", "first input", "engine", "precision", "MB", "made", box=None)
    for item in found:
        note, row = item.note, ("?", "", "?", "?", "")
        if note is not None:
            chosen = {True: ", used", False: ", on request", None: ""}[note.chosen]
            shape = "x".join(map(str, next(iter(note.shapes.values()), ())))
            row = (escape(note.model), shape, note.engine, note.precision + chosen, note.made[:10])
        table.add_row(_name(item.path.name), *row[:-1], f"{item.bytes / 1e6:.1f}", row[-1])
    console().print(table)
    total = sum(item.bytes for item in found) / 1e6
    print_line(f"{len(found)} engines, {total:.0f} MB in {cache_directory()}", sys.stdout)


@app.command("remove")
def remove_engines(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names from the list, or models.", show_default=False)
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
) -> None:
    """Delete some or all; they are built again when they are needed."""
    from engines.notes import kept, remove

    if everything == bool(names):
        raise ConfigError("give names from streamdiff engines list, or --all")
    found = kept()
    chosen = [
        item
        for item in found
        if everything
        or _name(item.path.name) in (names or ())
        or (item.note is not None and item.note.model in (names or ()))
    ]
    for name in names or ():
        if not any(name == _name(i.path.name) or (i.note is not None and i.note.model == name) for i in chosen):
            raise ConfigError(f"no engine and no model {name!r} is kept; streamdiff engines list shows what is")
    for item in chosen:
        remove(item)
    print_line(f"removed {len(chosen)} engines, {sum(i.bytes for i in chosen) / 1e6:.0f} MB", sys.stdout)


def _name(file: str) -> str:
    """Short enough to type: the network and eight digits of the digest."""
    network, _, digest = file.rpartition("-")
    return f"{network}-{digest[:8]}"
