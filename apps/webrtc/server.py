"""Running the application: sockets, addresses, and what is told at the start."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import uvicorn
from aiortc import RTCIceServer

from apps.addresses import LOOPBACK, is_loopback
from apps.certificate import certificate_files, local_addresses
from apps.loading import Choice, open_run, rolling_of
from apps.webrtc.app import Access, make_app
from apps.webrtc.guard import fit_for_token
from apps.webrtc.limits import Limits
from apps.webrtc.sessions import Sessions
from streamdiff import ConfigError

STOP_SECONDS = 5


@dataclass(frozen=True)
class Serving:
    """How the server is reached.

    Attributes:
        host, port: where it listens; port 0 takes a free one.
        https: serve HTTPS with a certificate made for this machine.
        token: what visitors must bring; made up where the host is not loopback and none is given.
        names: further host names it answers to without a token.
        ice_servers: STUN and TURN servers.
        limits: the operator's bounds.
    """

    host: str = "127.0.0.1"
    port: int = 8000
    https: bool = False
    token: str | None = None
    names: tuple[str, ...] = ()
    ice_servers: tuple[RTCIceServer, ...] = ()
    limits: Limits = field(default_factory=Limits)

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)


def ice_server(text: str) -> RTCIceServer:
    """A STUN or TURN server as it is written on the command line: stun:HOST[:PORT], turn:USER:PASSWORD@HOST[:PORT].

    Raises:
        ConfigError: written otherwise.
    """
    kind, _, rest = text.partition(":")
    credentials, at, place = rest.rpartition("@")
    if kind not in ("stun", "stuns", "turn", "turns") or not place or (kind.startswith("turn") and not at):
        raise ConfigError(f"ice = {text!r}: write stun:HOST:PORT or turn:USER:PASSWORD@HOST:PORT")
    if not at:
        return RTCIceServer(urls=text)
    user, _, password = credentials.partition(":")
    return RTCIceServer(urls=f"{kind}:{place}", username=user, credential=password)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ConfigError: the address is not this machine's, or is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError):
        raise ConfigError(f"host = {host!r}: there is no such address; use 127.0.0.1, or 0.0.0.0 for all") from None
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        raise ConfigError(
            f"cannot listen on {host}:{port} ({error.strerror}); another program uses it? choose another --port"
        ) from None
    return made


def serve(choice: Choice, serving: Serving, ready: Callable[[str], Any] = lambda _: None) -> None:
    """Load the model and serve until stopped.

    Args:
        choice: model, engine and the settings that sessions begin with.
        serving: how it is reached.
        ready: called with the address to open, token included, once visitors are answered.

    Raises:
        ConfigError, ModelError, EngineError: in one line, what to do.
    """
    if serving.token is not None and not fit_for_token(serving.token):
        raise ConfigError("token: letters, digits, and . _ ~ - only, 4 to 200 of them")
    listening = listen(serving.host, serving.port)
    with listening:
        token = serving.token or (None if serving.loopback else secrets.token_urlsafe(16))
        files = _certificate() if serving.https else None
        rolling = rolling_of(choice)
        rolling()  # what is wrong with it the operator hears now, and no visitor later
        with open_run(choice, rolling) as stream:
            defaults = stream.config
            if not defaults.prompt and len(stream.model.styles) > 1:
                # The first style is the photograph itself: a visitor who only presses start should see more than that.
                defaults = defaults.changed(prompt=stream.model.styles[1].prompt)
            # What the operator begins with is allowed; what no session could begin with is said now.
            limits = replace(serving.limits, pixels=max(serving.limits.pixels, defaults.width * defaults.height))
            limits.check(defaults, {})
            sessions = Sessions(stream.model, stream.runtime, defaults, limits, serving.ice_servers, rolling)
            asyncio.run(_serve(listening, sessions, serving, token, files, ready))


async def _serve(
    listening: socket.socket,
    sessions: Sessions,
    serving: Serving,
    token: str | None,
    files: tuple[Path, Path] | None,
    ready: Callable[[str], Any],
) -> None:
    port = int(listening.getsockname()[1])
    scheme = "https" if files else "http"
    shown = _shown_host(serving)
    names = frozenset(name.lower() for name in (*serving.names, *([serving.host] if serving.loopback else [])))
    app = make_app(sessions, Access(token, names))
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
        ssl_certfile=str(files[0]) if files else None,
        ssl_keyfile=str(files[1]) if files else None,
    )
    server = uvicorn.Server(config)

    async def tell() -> None:
        while not server.started:
            await asyncio.sleep(0.02)
        address = f"{scheme}://{shown}:{port}/"
        ready(f"{address}?token={token}" if token else address)

    telling = asyncio.ensure_future(tell())
    try:
        await server.serve(sockets=[listening])
    finally:
        telling.cancel()


def _shown_host(serving: Serving) -> str:
    host = serving.host
    if host in ("0.0.0.0", "::", ""):
        host = next(iter(local_addresses()), "localhost")
    elif host in LOOPBACK:
        host = "localhost"
    return f"[{host}]" if ":" in host else host


def _certificate() -> tuple[Path, Path]:
    try:
        return certificate_files()
    except OSError as error:
        raise ConfigError(f"no certificate can be written: {error}") from None
