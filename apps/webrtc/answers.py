"""How the server says no: one line of JSON for people, never a trace or a path."""

from __future__ import annotations

import math
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from apps.webrtc.logs import log
from apps.webrtc.peer import OfferError
from apps.webrtc.sessions import RETRY_SECONDS, Full
from streamdiff import ConfigError, EngineError, ModelError


class Busy(Exception):
    """Too many sessions opened by one address; the seconds to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = max(1, math.ceil(seconds))


def error(status: int, text: str, **headers: str) -> JSONResponse:
    """An error's answer."""
    return JSONResponse({"error": text}, status, {name.replace("_", "-"): value for name, value in headers.items()})


def install(app: FastAPI) -> None:
    """Turn every exception into such an answer."""

    @app.exception_handler(Full)
    async def full(_: Request, exception: Full) -> JSONResponse:
        return error(503, str(exception), Retry_After=str(RETRY_SECONDS))

    @app.exception_handler(Busy)
    async def busy(_: Request, exception: Busy) -> JSONResponse:
        text = "too many sessions were opened from this address; wait a moment"
        return error(429, text, Retry_After=str(exception.seconds))

    @app.exception_handler(ConfigError)
    async def config(_: Request, exception: ConfigError) -> JSONResponse:
        return error(422, str(exception))

    @app.exception_handler(EngineError)
    @app.exception_handler(ModelError)
    async def model(_: Request, exception: Exception) -> JSONResponse:
        # The model cannot run so: with the same settings it never will, and its words say what would help.
        return error(422, str(exception))

    @app.exception_handler(OfferError)
    async def offer(_: Request, exception: OfferError) -> JSONResponse:
        return error(400, str(exception))

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, exception: RequestValidationError) -> JSONResponse:
        told = [f"{'.'.join(map(str, item['loc'][1:])) or 'body'}: {item['msg']}" for item in exception.errors()[:3]]
        return error(422, "; ".join(told))

    @app.exception_handler(HTTPException)
    async def http(_: Request, exception: HTTPException) -> JSONResponse:
        known = {404: "there is nothing here (any more)", 405: "this cannot be done here"}
        response = error(exception.status_code, known.get(exception.status_code, str(exception.detail)))
        response.headers.update(exception.headers or {})
        return response

    @app.exception_handler(Exception)
    async def internal(_: Request, exception: Exception) -> JSONResponse:
        log.error("a request failed", exc_info=exception)
        return error(500, "the server ran into an error; its log says more")


RESPONSES: dict[int | str, dict[str, Any]] = {
    code: {"description": text, "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    for code, text in {
        400: "The offer, fragment or body cannot be used",
        401: "A token is needed",
        403: "Cross-site request",
        404: "No such session",
        405: "Not possible here",
        412: "Another ICE session",
        413: "The body is too long",
        415: "Another media type is wanted",
        421: "Another host name",
        422: "Settings out of bounds",
        429: "Too many sessions from one address",
        503: "The server is full",
    }.items()
}


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What an endpoint may answer beside success, for the OpenAPI document."""
    return {code: RESPONSES[code] for code in (401, 403, 413, 421, *codes)}
