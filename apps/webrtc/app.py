"""The application: everything above put together behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import FileResponse
from fastapi.staticfiles import StaticFiles

from apps.webrtc import answers, api, figures, low_latency, whip
from apps.webrtc.guard import Allowance, Guard
from apps.webrtc.sessions import Sessions
from streamdiff import __version__

PAGE = Path(__file__).with_name("page")
NO_CACHE = {"Cache-Control": "no-cache"}


@dataclass(frozen=True)
class Access:
    """Who may use the server.

    Attributes:
        token: what everybody has to bring; None: whoever can reach it, by a loopback name only.
        hosts: further names it answers to without a token.
    """

    token: str | None = None
    hosts: frozenset[str] = frozenset()


class Page(StaticFiles):
    """The page's files, asked anew each time: they change with the server."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        """As StaticFiles, with no-cache."""
        response = super().file_response(*args, **kwargs)
        response.headers.update(NO_CACHE)
        return response


def make_app(sessions: Sessions, access: Access) -> Guard:
    """The ASGI application; starting and stopping it starts and stops the sessions."""
    low_latency.install()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await sessions.start()
        try:
            yield
        finally:
            await sessions.stop()

    app = FastAPI(
        title="streamdiff",
        version=__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    answers.install(app)
    allowance = Allowance(sessions.limits.creations, sessions.limits.creation_seconds)
    app.include_router(api.routes(sessions, allowance, access.token))
    app.include_router(whip.routes(sessions, allowance))

    @app.get("/healthz", tags=["server"], responses=answers.responses())
    async def healthz() -> dict[str, Any]:
        """Whether it works."""
        return {"ok": True, "sessions": len(sessions), "model": sessions.model.name}

    @app.get("/metrics", tags=["server"], response_class=Response, responses=answers.responses())
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(figures.exposition(sessions), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/", include_in_schema=False)
    async def index() -> FileResponse:
        return FileResponse(PAGE / "index.html", headers=NO_CACHE)

    @app.get("/view/{name}", include_in_schema=False)
    async def view(name: str) -> FileResponse:
        del name  # the page reads it from its own address
        return FileResponse(PAGE / "view.html", headers=NO_CACHE)

    app.mount("/static", Page(directory=PAGE))
    schema = app.openapi()
    schema.setdefault("components", {}).setdefault("schemas", {})["Problem"] = api.Problem.model_json_schema()
    return Guard(app, token=access.token, hosts=access.hosts)
