"""WHIP (RFC 9725): video into a session. WHEP (draft-ietf-wish-whep): its output to any number of viewers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from starlette.exceptions import HTTPException

from apps.webrtc import sdpfrag
from apps.webrtc.answers import responses
from apps.webrtc.api import MOST_SDP, Name, count_creation, session_of
from apps.webrtc.guard import Allowance
from apps.webrtc.peer import OfferError, Peer
from apps.webrtc.sessions import Sessions

SDP = "application/sdp"
IfMatch = Annotated[str | None, Header(alias="if-match", max_length=200)]
_BODY = {"requestBody": {"required": True, "content": {SDP: {"schema": {"type": "string"}}}}}
_FRAGMENT = {"requestBody": {"required": True, "content": {sdpfrag.MEDIA_TYPE: {"schema": {"type": "string"}}}}}
_ANSWER: dict[int | str, dict[str, Any]] = {201: {"description": "The answer", "content": {SDP: {}}}}
_DONE: dict[int | str, dict[str, Any]] = {204: {"description": "Taken"}}
_MISSING: dict[int | str, dict[str, Any]] = {
    428: {"description": "If-Match is missing"},
}


async def body_of(request: Request, media_type: str) -> str:
    """The body as text.

    Raises:
        HTTPException: another media type, or not UTF-8.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != media_type:
        raise HTTPException(415, f"the body has to be {media_type}")
    raw = await request.body()
    if len(raw) > MOST_SDP:
        raise HTTPException(413, "the body is too long")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise OfferError("the body is not UTF-8 text") from None


def answered(peer: Peer, sdp: str, place: str, sessions: Sessions) -> Response:
    """201 with the answer and the headers of the RFC: Location, ETag, and the ICE servers as Links (section 4.6)."""
    headers = {"Location": place, "ETag": peer.etag, "Accept-Patch": sdpfrag.MEDIA_TYPE}
    response = Response(sdp, 201, headers, SDP)
    for server in sessions.ice_servers:
        for url in [server.urls] if isinstance(server.urls, str) else server.urls:
            link = f'<{url}>; rel="ice-server"'
            if server.username:
                link += f'; username="{server.username}"; credential="{server.credential}"; credential-type="password"'
            response.headers.append("Link", link)
    return response


async def trickle(peer: Peer, request: Request, if_match: str | None) -> Response:
    """Candidates that come later (RFC 9725, section 4.3)."""
    fragment = await body_of(request, sdpfrag.MEDIA_TYPE)
    if if_match is None:
        raise HTTPException(428, "send the session's ETag as If-Match")
    if if_match.strip() == "*" or not peer.same_ice(fragment):
        raise HTTPException(422, "ICE restarts are not supported; open a new session")
    if if_match.strip() != peer.etag:
        raise HTTPException(412, "this ETag belongs to another ICE session")
    try:
        candidates = sdpfrag.parse(fragment)
    except ValueError as error:
        raise OfferError(str(error)) from None
    await peer.add_candidates(candidates)
    return Response(status_code=204, headers={"ETag": peer.etag})


def routes(sessions: Sessions, allowance: Allowance) -> APIRouter:
    """The endpoints of both."""
    router = APIRouter()

    @router.options("/whip", status_code=204, tags=["whip"], responses=responses())
    async def whip_options() -> Response:
        """What may be posted here."""
        return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})

    @router.post(
        "/whip",
        status_code=201,
        tags=["whip"],
        openapi_extra=_BODY,
        response_class=Response,
        responses={**_ANSWER, **responses(400, 415, 422, 429, 503)},
    )
    async def whip(request: Request) -> Response:
        """Send video. Fields of RunConfig may be given in the query, such as ?prompt=watercolor&strength=0.6."""
        offer = await body_of(request, SDP)
        count_creation(allowance, request)
        session, sdp = await sessions.open(offer, dict(request.query_params), answers_video=False)
        assert session.peer is not None
        response = answered(session.peer, sdp, f"/whip/{session.id}", sessions)
        response.headers.append("Link", f'</whep/{session.id}>; rel="alternate"; type="{SDP}"')
        return response

    @router.patch(
        "/whip/{name}",
        status_code=204,
        tags=["whip"],
        openapi_extra=_FRAGMENT,
        responses={**_DONE, **_MISSING, **responses(400, 404, 412, 415, 422)},
    )
    async def whip_trickle(name: Name, request: Request, if_match: IfMatch = None) -> Response:
        """Trickle ICE."""
        peer = session_of(sessions, name).peer
        if peer is None:
            raise HTTPException(404)
        return await trickle(peer, request, if_match)

    @router.delete("/whip/{name}", tags=["whip"], responses=responses(404, 422))
    async def whip_end(name: Name) -> dict[str, str]:
        """End the session."""
        if not await sessions.end(name):
            raise HTTPException(404)
        return {"ended": name}

    @router.options("/whep/{name}", status_code=204, tags=["whep"], responses=responses(422))
    async def whep_options(name: Name) -> Response:
        """What may be posted here."""
        del name
        return Response(status_code=204, headers={"Accept-Post": SDP, "Allow": "OPTIONS, POST"})

    @router.post(
        "/whep/{name}",
        status_code=201,
        tags=["whep"],
        openapi_extra=_BODY,
        response_class=Response,
        responses={**_ANSWER, **responses(400, 404, 415, 422, 429, 503)},
    )
    async def whep(name: Name, request: Request) -> Response:
        """Watch a session's output."""
        offer = await body_of(request, SDP)
        session = session_of(sessions, name)
        count_creation(allowance, request)
        viewer, sdp = await sessions.watch(session, offer)
        return answered(viewer, sdp, f"/whep/{session.id}/{viewer.id}", sessions)

    @router.patch(
        "/whep/{name}/{viewer}",
        status_code=204,
        tags=["whep"],
        openapi_extra=_FRAGMENT,
        responses={**_DONE, **_MISSING, **responses(400, 404, 412, 415, 422)},
    )
    async def whep_trickle(name: Name, viewer: Name, request: Request, if_match: IfMatch = None) -> Response:
        """Trickle ICE."""
        peer = session_of(sessions, name).viewers.get(viewer)
        if peer is None:
            raise HTTPException(404)
        return await trickle(peer, request, if_match)

    @router.delete("/whep/{name}/{viewer}", tags=["whep"], responses=responses(404, 422))
    async def whep_end(name: Name, viewer: Name) -> dict[str, str]:
        """Stop watching."""
        if not await session_of(sessions, name).drop_viewer(viewer):
            raise HTTPException(404)
        return {"ended": viewer}

    return router
