"""``streamdiff serve``: the page, WHIP and WHEP."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from apps.cli import options
from apps.cli.console import note, say
from apps.cli.progress import waiting
from apps.loading import Choice

_NETWORK = "Who may come"
_MADE = "made up where other machines can reach it"


def serve(
    host: Annotated[
        str, typer.Option("--host", help="Where to listen; 0.0.0.0 lets the network in.", rich_help_panel=_NETWORK)
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="0: a free one.", rich_help_panel=_NETWORK)
    ] = 8000,
    https: Annotated[
        bool,
        typer.Option("--https", help="HTTPS with a certificate made for this machine.", rich_help_panel=_NETWORK),
    ] = False,
    token: Annotated[
        str | None,
        typer.Option("--token", help="What visitors must bring.", rich_help_panel=_NETWORK, show_default=_MADE),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", metavar="NAME", help="Another name it answers to.", rich_help_panel=_NETWORK),
    ] = None,
    ice: Annotated[
        list[str] | None,
        typer.Option(
            "--ice",
            metavar="SERVER",
            help="stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT; may be given again.",
            rich_help_panel=_NETWORK,
        ),
    ] = None,
    max_sessions: Annotated[
        int, typer.Option("--max-sessions", min=1, max=64, help="Visitors at the same time.", rich_help_panel=_NETWORK)
    ] = 2,
    max_viewers: Annotated[
        int, typer.Option("--max-viewers", min=0, max=64, help="Viewers of one session.", rich_help_panel=_NETWORK)
    ] = 8,
    json_log: Annotated[bool, typer.Option("--json-log", help="Log JSON, one object a line.")] = False,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
    prompt: options.Prompt = None,
    second_prompt: options.SecondPrompt = None,
    blend: options.Blend = None,
    negative_prompt: options.NegativePrompt = None,
    strength: options.Strength = None,
    steps: options.Steps = None,
    width: options.Width = None,
    height: options.Height = None,
    guidance: options.GuidanceMode = None,
    guidance_scale: options.GuidanceScale = None,
    delta: options.Delta = None,
    seed: options.Seed = None,
    similarity_threshold: options.SimilarityThreshold = None,
    max_skip: options.MaxSkip = None,
    reuse_every: options.ReuseEvery = None,
    calm: options.Calm = None,
    mode: options.Mode = None,
    model: options.Model = None,
    vae: options.Vae = None,
    lora: options.Lora = None,
    engine: options.EngineName = None,
    device: options.Device = None,
    precision: options.Precision = None,
    rolling_model: options.RollingModel = None,
    checkpoint: options.Checkpoint = None,
    decoder: options.Decoder = None,
    config: options.ConfigFile = None,
) -> None:
    """Start the server: a page that turns the camera into a stylised stream, and WHIP and WHEP for other programs."""
    choice = options.choose(
        config,
        prompt=prompt,
        second_prompt=second_prompt,
        blend=blend,
        negative_prompt=negative_prompt,
        strength=strength,
        steps=steps,
        width=width,
        height=height,
        guidance=guidance,
        guidance_scale=guidance_scale,
        delta=delta,
        seed=seed,
        similarity_threshold=similarity_threshold,
        max_skip=max_skip,
        reuse_every=reuse_every,
        calm=calm,
        mode=mode,
        model=model,
        vae=vae,
        lora=lora,
        engine=engine,
        device=device,
        precision=precision,
        rolling_model=rolling_model,
        checkpoint=checkpoint,
        decoder=decoder,
    )
    try:
        from apps.webrtc import logs
        from apps.webrtc.limits import Limits
        from apps.webrtc.server import Serving, ice_server
        from apps.webrtc.server import serve as run
    except ModuleNotFoundError as error:
        from streamdiff.errors import ConfigError

        raise ConfigError(f"serve needs more packages ({error.name}): pip install 'streamdiff[serve]'") from None
    serving = Serving(
        host=host,
        port=port,
        https=https,
        token=token,
        names=tuple(allow_host or ()),
        ice_servers=tuple(ice_server(text) for text in ice or ()),
        limits=Limits(sessions=max_sessions, viewers=max_viewers),
    )

    loading = ExitStack()

    def ready(address: str) -> None:
        loading.close()
        say(f"open {address}")
        if not serving.loopback and not https:
            note("browsers hide the camera from other machines without HTTPS: add --https")
        if _could_be_faster(choice):
            note("streamdiff build --precision int8 may make this up to 1.5 times as fast (some minutes, once)")
        say("Ctrl-C ends it")
        if open_page:
            import webbrowser

            webbrowser.open(address)

    logs.install(as_json=json_log)
    with loading:
        loading.enter_context(waiting(f"loading {choice.model}"))
        run(choice, serving, ready)


def _could_be_faster(choice: Choice) -> bool:
    """Whether eight bits would be used here, and have never been built for the model."""
    from engines import choose
    from engines.notes import kept

    if choice.precision is not None or choose(choice.engine, choice.device).name != "openvino":
        return False
    notes = [item.note for item in kept() if item.note is not None]
    ours = [note for note in notes if (note.engine, note.precision) == ("openvino", "int8")]
    return not any(note.model == choice.model for note in ours)
