"""What other programs need of us: DTLS with FFmpeg's WHIP muxer.

An FFmpeg built with GnuTLS makes itself a certificate on the curve P-224, which OpenSSL refuses unless the curve
is named among the groups. Its last place in the list keeps every other choice as it was. OpenSSL 4 has dropped
the curve; there FFmpeg has to be given a certificate (``-cert_file``, ``-key_file``), as docs/obs.md says.
"""

from __future__ import annotations

from typing import Any

from aiortc.rtcdtlstransport import RTCCertificate
from OpenSSL import SSL

GROUPS = b"X25519:P-256:X448:P-384:P-521:P-224"


def install() -> None:
    """Put it in place, once for the process; may be called again."""
    original = RTCCertificate._create_ssl_context
    if getattr(original, "takes_p224", False):
        return

    def create(self: RTCCertificate, srtp_profiles: list[Any]) -> SSL.Context:
        context = original(self, srtp_profiles=srtp_profiles)
        # pyOpenSSL has no name for it. 0 means that this OpenSSL does not know one of the groups: then all stays.
        bindings: Any = getattr(SSL, "_lib", None)
        if hasattr(bindings, "SSL_CTX_set1_curves_list"):
            bindings.SSL_CTX_set1_curves_list(context._context, GROUPS)
            bindings.ERR_clear_error()
        return context

    create.takes_p224 = True  # type: ignore[attr-defined]
    RTCCertificate._create_ssl_context = create  # type: ignore[method-assign]
