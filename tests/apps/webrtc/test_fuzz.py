"""The HTTP interface, fuzzed from its own OpenAPI document: no server error, and nothing undocumented."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from apps.webrtc.limits import Limits
from apps.webrtc.sdpfrag import MEDIA_TYPE
from tests.apps.webrtc.serving import serving

for media_type in ("application/sdp", MEDIA_TYPE):
    schemathesis.serializer.alias(media_type, "text/plain")
CHECKS = [not_a_server_error, status_code_conformance, response_schema_conformance]
EXAMPLES = 30


def test_no_request_brings_a_server_error() -> None:
    with serving(Limits(sessions=50, creations=10_000_000)) as server:
        document = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        operations: list[Any] = [result.ok() for result in document.get_all_operations()]
        assert {"/whip", "/whep/{name}", "/api/sessions", "/api/sessions/{name}/settings"} <= {
            o.path for o in operations
        }
        for operation in operations:

            @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy())
            def fuzz(case: Any) -> None:
                case.validate_response(case.call(), checks=CHECKS)

            fuzz()
