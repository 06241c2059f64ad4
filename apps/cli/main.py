"""The program ``streamdiff`` and its commands."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from apps.cli import bench, build, doctor, engines, live, run, serve, styles
from apps.cli.console import print_line
from apps.cli.failures import guarded, set_up_logging
from streamdiff import __version__

app = typer.Typer(
    name="streamdiff",
    help="Real-time streaming img2img: camera, screen, video or picture in, stylised by a diffusion model, out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
# Each command imports what is heavy only when it runs: --help has to be quick.
app.command("run")(run.run)
app.command("webcam")(live.webcam)
app.command("virtual-camera")(live.virtual_camera)
app.command("live")(live.live)
app.command("serve")(serve.serve)
app.command("styles")(styles.styles)
app.command("build")(build.build)
app.add_typer(engines.app)
app.command("bench")(bench.bench)
app.command("doctor")(doctor.doctor)


def _version(wanted: bool) -> None:
    if wanted:
        print_line(f"streamdiff {__version__}", sys.stdout)
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show what is logged, and where an error comes from.")] = False,
) -> None:
    """Options of all commands."""
    if debug:
        os.environ["STREAMDIFF_DEBUG"] = "1"
    set_up_logging()


def main() -> None:
    """Run the program and leave with its exit code."""
    sys.exit(guarded(lambda: app(prog_name="streamdiff", standalone_mode=False)))


if __name__ == "__main__":
    main()
