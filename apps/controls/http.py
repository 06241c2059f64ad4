"""HTTP: the server's settings resource for a run of ``streamdiff live``, which is the session named "live"."""

from __future__ import annotations

import secrets
import threading
import time
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.exceptions import HTTPException

from apps.addresses import is_loopback
from apps.controls.actions import Actions
from apps.webrtc.answers import install, responses
from apps.webrtc.api import Name, Problem, settings_routes
from apps.webrtc.guard import Guard, fit_for_token
from apps.webrtc.server import listen
from streamdiff import ConfigError, __version__

NAME = "live"
BEGINNING = 5.0
STOPPING = 5.0


class Http:
    """Serves while it is entered: GET and PATCH /api/sessions/live/settings, GET /api/presets, POST /api/presets/NAME,
    GET /api/sessions/live for the figures, DELETE to end the run; described at /openapi.json."""

    def __init__(self, actions: Actions, host: str, port: int, token: str | None = None) -> None:
        """Listen.

        Args:
            actions: what the requests do.
            host, port: where; port 0 takes a free one.
            token: what requests must bring as a bearer; made up where others can reach it.

        Raises:
            ConfigError: the address cannot be had, or the token cannot be one.
        """
        if token is not None and not fit_for_token(token):
            raise ConfigError("token: letters, digits, and . _ ~ - only, 4 to 200 of them")
        loopback = is_loopback(host)
        self._listening = listen(host, port)
        self.token = token or (None if loopback else secrets.token_urlsafe(16))
        self.address = f"http://{host}:{self._listening.getsockname()[1]}/"
        names = frozenset({host}) if loopback else frozenset[str]()
        app = Guard(_application(actions), token=self.token, hosts=names)
        config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False, lifespan="off")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._serve, name="streamdiff-http", daemon=True)

    def __enter__(self) -> Http:
        """Begin."""
        self._thread.start()
        until = time.monotonic() + BEGINNING
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until:
            time.sleep(0.01)
        return self

    def __exit__(self, *_: object) -> None:
        """Close the port."""
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(STOPPING)
        self._listening.close()

    def _serve(self) -> None:
        self._server.run(sockets=[self._listening])


def _application(actions: Actions) -> FastAPI:
    app = FastAPI(title="streamdiff live", version=__version__, docs_url=None, redoc_url=None, redirect_slashes=False)
    install(app)
    controlled = actions.controlled

    def find(name: str) -> Any:
        if name != NAME:
            raise HTTPException(404)
        return controlled

    app.include_router(settings_routes(find), prefix="/api")

    def described() -> dict[str, Any]:
        return {
            "id": NAME,
            "settings": controlled.config.model_dump(mode="json"),
            "stats": controlled.figures(),
            "messages": controlled.messages(),
        }

    @app.get("/api/sessions", responses=responses(), tags=["api"])
    async def list_sessions() -> dict[str, Any]:
        """The run."""
        return {"sessions": [described()]}

    @app.get("/api/sessions/{name}", responses=responses(404, 422), tags=["api"])
    async def session(name: Name) -> dict[str, Any]:
        """Its settings, figures and last messages."""
        find(name)
        return described()

    @app.delete("/api/sessions/{name}", responses=responses(404, 422), tags=["api"])
    async def end(name: Name) -> dict[str, str]:
        """End it."""
        find(name)
        actions.stop()
        return {"ended": name}

    @app.get("/api/presets", responses=responses(), tags=["api"])
    async def presets() -> dict[str, Any]:
        """The presets' names, in order, and the model's styles."""
        return {"presets": list(actions.presets.names), "styles": list(actions.styles)}

    @app.post("/api/presets/{name}", responses=responses(404, 422), tags=["api"])
    async def preset(name: str) -> dict[str, Any]:
        """Change to a preset; answers with all settings."""
        if name not in actions.presets.names:
            raise HTTPException(404)
        return controlled.update(actions.presets.settings(name)).model_dump(mode="json")

    schema = app.openapi()
    schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = Problem.model_json_schema()
    return app
