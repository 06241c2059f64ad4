"""Guard: who may speak to the server at all. One ASGI layer in front of every endpoint."""

from __future__ import annotations

import contextlib
import hmac
import json
import re
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.requests import cookie_parser

from apps.addresses import LOOPBACK, name_in

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

COOKIE = "streamdiff"
VIEW = "view"
MOST_BYTES = 64 * 1024
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)
HEADERS = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(self), display-capture=(self), microphone=()"),
)


class Refused(Exception):
    """A request that goes no further: status, what to tell, and headers."""

    def __init__(self, status: int, text: str, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        super().__init__(text)
        self.status, self.text, self.headers = status, text, headers


class TooLong(Exception):
    """A body beyond the limit."""


def fit_for_token(token: str) -> bool:
    """Whether a token may stand in an address and in a cookie as it is, and is not taken for a view's."""
    return re.fullmatch(r"[A-Za-z0-9._~-]{4,200}", token) is not None and not token.startswith(f"{VIEW}.")


def cookie_name(token: str, scope: Scope) -> str:
    """A cookie for each server of a host (cookies are shared by its ports), and one for each session's view."""
    name = f"{COOKIE}_{(scope.get('server') or ('', 0))[1]}_"
    return f"{name}{token.split('.')[1]}" if token.startswith(f"{VIEW}.") else name


def view_token(token: str, session: str) -> str:
    """A token for watching one session and nothing else: what a link for OBS carries instead of the server's own."""
    proof = hmac.new(token.encode(), session.encode(), "sha256").hexdigest()[:32]
    return f"{VIEW}.{session}.{proof}"


class Guard:
    """Checks the host (DNS rebinding), the origin (cross-site use), the token, and the size of the body.

    Without a token only loopback names are answered: a page elsewhere that has its own name resolve to this machine
    brings that name in the Host header. With a token, which such a page cannot know, any name is.
    """

    def __init__(self, app: App, *, token: str | None, hosts: frozenset[str] = frozenset()) -> None:
        self._app = app
        self._token = token
        self._hosts = LOOPBACK | hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it here."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(h for h in HEADERS if h[0] not in present)]
            await send(message)

        try:
            self._check_host(headers)
            self._check_origin(scope, headers)
            self._check_token(scope, headers)
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > MOST_BYTES:
                raise Refused(413, f"the body is too long; at most {MOST_BYTES // 1024} KB are taken")
        except Refused as refused:
            await _answer(send_guarded, refused)
            return
        taken = 0
        started = False

        async def receive_limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MOST_BYTES:
                raise TooLong
            return message

        async def send_noting(message: Message) -> None:
            nonlocal started
            if taken <= MOST_BYTES or started:  # else: what the application made of the cut body
                started = True
                await send_guarded(message)

        with contextlib.suppress(TooLong):
            await self._app(scope, receive_limited, send_noting)
        if taken > MOST_BYTES and not started:
            await _answer(
                send_guarded, Refused(413, f"the body is too long; at most {MOST_BYTES // 1024} KB are taken")
            )

    def _check_host(self, headers: dict[str, str]) -> None:
        if self._token is None and name_in(headers.get("host", "")) not in self._hosts:
            raise Refused(421, "this server answers to localhost only; start it with --host to let others in")

    def _check_origin(self, scope: Scope, headers: dict[str, str]) -> None:
        origin, site = headers.get("origin"), headers.get("sec-fetch-site")
        if scope["method"] in SAFE:
            return
        try:
            same = origin is None or urlsplit(origin).netloc == headers.get("host", "")
        except ValueError:
            same = False
        if not same or site in ("cross-site", "same-site"):
            raise Refused(403, "this request comes from another site; open the server's own page")

    def _check_token(self, scope: Scope, headers: dict[str, str]) -> None:
        if self._token is None:
            return
        path = str(scope["path"])
        asked = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        if "token" in asked and scope["method"] == "GET" and self._fits(given_token := asked.pop("token"), path):
            # Out of the address bar and into a cookie that no script can read and no other site's request brings along.
            # Lax, not Strict: the link may be opened from a mail, and the next page has to have it.
            place = "/" + quote(path.lstrip("/")) + (f"?{urlencode(asked)}" if asked else "")
            secure = "; Secure" if scope.get("scheme") == "https" else ""
            name = cookie_name(given_token, scope)
            cookie = f"{name}={given_token}; Path=/; HttpOnly; SameSite=Lax; Max-Age=2592000{secure}"
            raise Refused(303, "", ((b"location", place.encode()), (b"set-cookie", cookie.encode())))
        kind, _, bearer = headers.get("authorization", "").partition(" ")
        given = [bearer.strip()] if kind.lower() == "bearer" else []
        ours = cookie_name("", scope)
        given += [value for name, value in cookie_parser(headers.get("cookie", "")).items() if name.startswith(ours)]
        matches = [self._fits(value, path) for value in given]  # all of them: the time tells nothing
        if not any(matches):
            text = "a token is needed: open the address that the server printed at its start, or send it as a bearer"
            raise Refused(401, text, ((b"www-authenticate", b'Bearer realm="streamdiff"'),))

    def _fits(self, given: str, path: str) -> bool:
        """Whether a token opens a path: the server's own any, a view token its session's view and the page's files."""
        assert self._token is not None
        kind, _, rest = given.partition(".")
        session = rest.partition(".")[0]
        if kind == VIEW and session and hmac.compare_digest(given.encode(), view_token(self._token, session).encode()):
            pages = (f"/view/{session}", f"/whep/{session}", "/api/info")
            return path in pages or path.startswith((f"/whep/{session}/", "/static/"))
        return hmac.compare_digest(given.encode(), self._token.encode())


class Allowance:
    """So many at once for each address, then one each `seconds`: a token bucket, for a bounded number of addresses."""

    def __init__(self, burst: int, seconds: float, addresses: int = 4096) -> None:
        self._burst, self._seconds, self._addresses = burst, seconds, addresses
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, now: float | None = None) -> float:
        """0 when this one is allowed (and counted), else the seconds until one will be."""
        now = time.monotonic() if now is None else now
        left, then = self._left.pop(address, (float(self._burst), now))
        left = min(self._burst, left + (now - then) / self._seconds)
        allowed = left >= 1
        self._left[address] = (left - 1 if allowed else left, now)
        if len(self._left) > self._addresses:
            self._left.popitem(last=False)
        return 0.0 if allowed else (1 - left) * self._seconds


async def _answer(send: Send, refused: Refused) -> None:
    body = json.dumps({"error": refused.text}).encode() if refused.text else b""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": refused.status, "headers": [*headers, *refused.headers]})
    await send({"type": "http.response.body", "body": body})
