"""Who may speak to the server."""

from __future__ import annotations

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.webrtc.app import Access
from apps.webrtc.guard import COOKIE, MOST_BYTES, Allowance, fit_for_token, view_token
from apps.webrtc.limits import Limits
from apps.webrtc.server import Serving, ice_server, listen
from streamdiff import ConfigError
from tests.apps.webrtc.serving import serving


def test_only_loopback_names_are_answered_without_a_token() -> None:
    with serving(access=Access(hosts=frozenset({"studio.local"}))) as server, httpx.Client(base_url=server.url) as http:
        for host in (
            "localhost",
            f"localhost:{server.port}",
            "127.0.0.1:1",
            "[::1]:80",
            "studio.local:8000",
            "LOCALHOST",
        ):
            assert http.get("/healthz", headers={"host": host}).status_code == 200, host
        for host in ("evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "", "[", "192.168.0.1"):
            refused = http.get("/healthz", headers={"host": host})
            assert refused.status_code in (400, 421), host
        assert "localhost only" in http.get("/healthz", headers={"host": "evil.example"}).json()["error"]


def test_other_sites_are_refused() -> None:
    with serving() as server, httpx.Client(base_url=server.url) as http:
        own = {"origin": server.url}
        assert http.post("/api/sessions", json={"sdp": "x"}, headers=own).status_code == 400
        for headers in (
            {"origin": "https://evil.example"},
            {"origin": "null"},
            {"origin": "http://["},
            {"origin": f"http://localhost:{server.port + 1}"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            for method, path in (("POST", "/api/sessions"), ("DELETE", "/api/sessions/x"), ("POST", "/whip")):
                assert http.request(method, path, headers=headers).status_code == 403, (headers, method)
        assert (
            "access-control-allow-origin"
            not in http.get("/api/info", headers={"origin": "https://evil.example"}).headers
        )


def test_a_token_is_asked_for_everywhere() -> None:
    with serving(access=Access(token="abc123")) as server, httpx.Client(base_url=server.url) as http:
        for path in (
            "/",
            "/healthz",
            "/metrics",
            "/api/info",
            "/openapi.json",
            "/static/preview.jpg",
            "/view/x",
            "/none",
        ):
            refused = http.get(path)
            assert refused.status_code == 401 and "token" in refused.json()["error"], path
            assert http.get(path, headers={"authorization": "Bearer abc124"}).status_code == 401
            assert http.get(f"{path}?token=wrong").status_code == 401
        assert http.get("/healthz", headers={"authorization": "Bearer abc123"}).status_code == 200
        assert http.get("/healthz", headers={"authorization": "bearer abc123", "host": "any.name"}).status_code == 200
        moved = http.get("/healthz?a=1&token=abc123&b=%20")
        assert moved.status_code == 303 and moved.headers["location"] == "/healthz?a=1&b=+"
        cookie = moved.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
        assert http.get("/healthz").status_code == 200  # httpx keeps the cookie
        assert http.cookies[f"{COOKIE}_{server.port}_"] == "abc123"
        for odd in ("=;;=", "\xff", f"{COOKIE}_{server.port}_=", "a" * 4000):
            assert httpx.get(f"{server.url}/healthz", headers={"cookie": odd.encode("latin-1")}).status_code == 401


def test_bodies_are_bounded() -> None:
    with serving() as server, httpx.Client(base_url=server.url) as http:
        assert http.post("/api/sessions", content=b"x" * (MOST_BYTES + 1)).status_code == 413

        def pieces() -> object:
            for _ in range(100):
                yield b"x" * 4096

        assert http.post("/api/sessions", content=pieces()).status_code == 413  # type: ignore[arg-type]
        assert http.get("/healthz").status_code == 200


def test_answers_carry_the_policy_and_no_insides() -> None:
    with serving() as server, httpx.Client(base_url=server.url) as http:
        for path in ("/", "/api/info", "/nowhere", "/static/preview.jpg"):
            headers = http.get(path).headers
            assert "default-src 'none'" in headers["content-security-policy"], path
            assert headers["x-content-type-options"] == "nosniff"
        for path in ("/static/../server.py", "/static/%2e%2e/server.py", "/static/..%2f..%2fpyproject.toml"):
            assert http.get(path).status_code == 404
        for path in ("/api/sessions/..%2f", "/api/preview?style=%00", "/whep/%ff"):
            answer = http.get(path)
            assert (
                answer.status_code in (404, 405, 422) and "/work" not in answer.text and "Traceback" not in answer.text
            )


def test_sessions_cannot_be_opened_too_fast() -> None:
    with serving(Limits(creations=3, creation_seconds=60)) as server, httpx.Client(base_url=server.url) as http:
        answers = [http.post("/api/sessions", json={"sdp": "x"}) for _ in range(5)]
        assert [a.status_code for a in answers] == [400, 400, 400, 429, 429]
        assert 1 <= int(answers[-1].headers["retry-after"]) <= 60


@given(burst=st.integers(1, 5), gaps=st.lists(st.floats(0, 10), min_size=1, max_size=40))
def test_the_allowance_is_never_exceeded(burst: int, gaps: list[float]) -> None:
    allowance, now, allowed = Allowance(burst, 2.0), 0.0, []
    for gap in gaps:
        now += gap
        wait = allowance.wait("a", now)
        if not wait:
            allowed.append(now)
        else:
            assert 0 < wait <= 2.0
    for i, start in enumerate(allowed):  # within any span, no more than the burst and what the time has given
        for j in range(i, len(allowed)):
            assert j - i + 1 <= burst + (allowed[j] - start) / 2.0 + 1e-6


def test_the_allowance_forgets_addresses_beyond_its_bound() -> None:
    allowance = Allowance(1, 60.0, addresses=10)
    for i in range(1000):
        assert allowance.wait(str(i), float(i)) == 0
    assert len(allowance._left) == 10


def test_where_it_listens() -> None:
    assert Serving(host="127.0.0.1").loopback and Serving(host="localhost").loopback and Serving(host="::1").loopback
    assert not Serving(host="0.0.0.0").loopback and not Serving(host="studio").loopback
    with listen("127.0.0.1", 0) as taken:
        taken.listen()
        with pytest.raises(ConfigError, match="another program"):
            listen("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(ConfigError, match="no such address"):
        listen("no.such.host.invalid", 80)


def test_ice_servers_as_they_are_written() -> None:
    assert ice_server("stun:a:3478").urls == "stun:a:3478"
    turn = ice_server("turn:me:pass:word@b:3478?transport=tcp")
    assert (turn.urls, turn.username, turn.credential) == ("turn:b:3478?transport=tcp", "me", "pass:word")
    for bad in ("a", "http://a", "turn:b:3478", "stun:", ""):
        with pytest.raises(ConfigError, match="stun:HOST"):
            ice_server(bad)


def test_a_view_token_opens_one_view_and_nothing_else() -> None:
    token = view_token("abc123", "some-session")
    with serving(access=Access(token="abc123")) as server:
        with httpx.Client(base_url=server.url) as http:
            moved = http.get(f"/view/some-session?token={token}")
            assert moved.status_code == 303 and moved.headers["location"] == "/view/some-session"
            for path, status in (
                ("/view/some-session", 200),
                ("/static/view.js", 200),
                ("/api/info", 200),
                ("/view/other", 401),
                ("/", 401),
                ("/api/sessions", 401),
                ("/api/sessions/some-session", 401),
                ("/metrics", 401),
            ):
                assert http.get(path).status_code == status, path
            assert http.post("/whep/some-session").status_code == 415
            assert http.post("/whep/other").status_code == 401
        forged = f"view.other.{token.rpartition('.')[2]}"
        for wrong in (forged, token[:-1], "view.", "view..", "view.some-session."):
            assert httpx.get(f"{server.url}/view/other?token={wrong}").status_code == 401


def test_cookies_of_others_do_not_hide_ours() -> None:
    with serving(access=Access(token="abc123")) as server:
        ours = f"{COOKIE}_{server.port}_=abc123"
        for other in ('prefs={"a":1}', "foo=b\xe4r", "x=1,2 3", "path=1", f"{COOKIE}_1_=wrong"):
            for cookie in (f"{other}; {ours}", f"{ours}; {other}"):
                answer = httpx.get(f"{server.url}/healthz", headers={"cookie": cookie.encode("latin-1")})
                assert answer.status_code == 200, cookie
        moved = httpx.get(f"{server.url}//evil.example/%E2%82%AC?token=abc123")
        assert moved.status_code == 303 and moved.headers["location"] == "/evil.example/%E2%82%AC"


def test_tokens_that_may_be_chosen() -> None:
    assert fit_for_token("abcd") and fit_for_token("a-b_c.d~1")
    assert not any(fit_for_token(bad) for bad in ("", "abc", "a;bcd", "a&bcd", "\xe4bcde", "view.abcd", "a b c d"))
