"""The page's own interface: sessions, settings, figures (JSON under /api)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Protocol

from aiortc import RTCIceServer
from fastapi import APIRouter, Body, Path, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from apps.run_config import Mode, RunConfig
from apps.webrtc.answers import Busy, responses
from apps.webrtc.guard import Allowance, view_token
from apps.webrtc.previews import Previews
from apps.webrtc.session import Session
from apps.webrtc.sessions import Sessions
from streamdiff import __version__

MOST_SDP = 48 * 1024
Name = Annotated[str, Path(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_-]+$")]
Settings = Annotated[
    dict[str, Any],
    Body(description="Any fields of RunConfig.", openapi_examples={"one": {"value": {"strength": 0.6}}}),
]


class Offer(BaseModel):
    """A page's offer: one video that is sent and received, and a data channel named control."""

    model_config = ConfigDict(extra="forbid")

    sdp: Annotated[str, Field(max_length=MOST_SDP, description="The offer.")]
    settings: Annotated[dict[str, Any], Field(description="Fields of RunConfig to begin with.")] = {}
    previous: Annotated[
        str | None,
        Field(max_length=64, description="The id of a session of this page that was lost: its links go on working."),
    ] = None


class Problem(BaseModel):
    """What went wrong, in one line for people."""

    error: str


def session_of(sessions: Sessions, name: str) -> Session:
    """The session of that id, or 404."""
    session = sessions.get(name)
    if session is None:
        raise HTTPException(404)
    return session


def count_creation(allowance: Allowance, request: Request) -> None:
    """Let an address open sessions only so fast."""
    wait = allowance.wait(request.client.host if request.client else "")
    if wait:
        raise Busy(wait)


def _ice_server(server: RTCIceServer) -> dict[str, Any]:
    """A server as browsers take it, where a member that is null is an error."""
    login = {"username": server.username, "credential": server.credential} if server.username else {}
    return {"urls": server.urls, **login}


def described(session: Session, token: str | None) -> dict[str, Any]:
    """A session's addresses and settings; the view's carries its own token where the server asks for one."""
    view = f"/view/{session.id}"
    return {
        "id": session.id,
        "settings": session.config.model_dump(mode="json"),
        "url": f"/api/sessions/{session.id}",
        "whep": f"/whep/{session.id}",
        "view": view if token is None else f"{view}?token={view_token(token, session.id)}",
    }


class Adjustable(Protocol):
    """What has settings: a session of the server, or a run of ``streamdiff live``."""

    @property
    def config(self) -> RunConfig:
        """The settings in use."""
        ...

    def update(self, settings: dict[str, Any], /) -> RunConfig:
        """Change some; ConfigError where they cannot be."""
        ...


def settings_routes(find: Callable[[str], Adjustable]) -> APIRouter:
    """The settings resource of what `find` gives for a name (or raises 404)."""
    router = APIRouter(tags=["api"])

    @router.get("/sessions/{name}/settings", responses=responses(404, 422))
    async def settings(name: Name) -> dict[str, Any]:
        """A session's settings."""
        return find(name).config.model_dump(mode="json")

    @router.patch("/sessions/{name}/settings", responses=responses(404, 422))
    async def change(name: Name, changes: Settings) -> dict[str, Any]:
        """Change any of them; answers with all."""
        return find(name).update(changes).model_dump(mode="json")

    return router


def routes(sessions: Sessions, allowance: Allowance, token: str | None) -> APIRouter:
    """The endpoints."""
    router = APIRouter(prefix="/api", tags=["api"])
    previews = Previews(sessions)

    @router.get("/info", responses=responses())
    async def info() -> dict[str, Any]:
        """What the server runs and allows."""
        model = sessions.model
        known = {
            kind: [{"name": s.name, "prompt": s.prompt, "synonyms": list(s.synonyms)} for s in listed]
            for kind, listed in (("styles", model.styles), ("moods", model.moods))
        }
        return {
            "version": __version__,
            "model": model.name,
            **known,
            "defaults": sessions.defaults.model_dump(mode="json"),
            "modes": [mode.value for mode in Mode if mode is Mode.stream or sessions.rolling is not None],
            "schema": RunConfig.model_json_schema(),
            "ice_servers": [_ice_server(server) for server in sessions.ice_servers],
            "max_sessions": sessions.limits.sessions,
            "sessions": len(sessions),
            "preview": bool(model.styles),
        }

    @router.get(
        "/preview",
        response_class=Response,
        responses={200: {"content": {"image/jpeg": {}}, "description": "The picture"}, **responses(404, 422)},
    )
    async def preview(style: Annotated[str, Query(max_length=100)]) -> Response:
        """A small picture in one of the model's styles."""
        picture = await previews.get(style)
        if picture is None:
            raise HTTPException(404)
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=3600"})

    @router.post("/sessions", status_code=201, responses=responses(400, 422, 429, 503))
    async def open_session(offer: Offer, request: Request) -> JSONResponse:
        """Send a camera, get it back stylised on the same connection."""
        count_creation(allowance, request)
        session, sdp = await sessions.open(offer.sdp, offer.settings, answers_video=True, previous=offer.previous)
        return JSONResponse({**described(session, token), "sdp": sdp}, 201, {"Location": f"/api/sessions/{session.id}"})

    @router.get("/sessions", responses=responses())
    async def list_sessions() -> dict[str, Any]:
        """The sessions that run now."""
        return {"sessions": [{**described(s, token), "stats": s.stats()} for s in sessions]}

    @router.get("/sessions/{name}", responses=responses(404, 422))
    async def stats(name: Name) -> dict[str, Any]:
        """A session's figures."""
        session = session_of(sessions, name)
        return {**described(session, token), "stats": session.stats()}

    @router.delete("/sessions/{name}", responses=responses(404, 422))
    async def end_session(name: Name) -> dict[str, str]:
        """End a session."""
        if not await sessions.end(name):
            raise HTTPException(404)
        return {"ended": name}

    router.include_router(settings_routes(lambda name: session_of(sessions, name)))
    return router
