"""A self-signed certificate for the local network: browsers give their camera to HTTPS pages only."""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import os
import socket
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from platformdirs import user_data_path

DAYS = 365
RENEW_DAYS = 30


def local_addresses() -> list[str]:
    """This machine's addresses on its networks, without loopback; the one it reaches others by comes first."""
    found: list[str] = []
    for family, elsewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((elsewhere, 9))  # sends nothing: it only chooses the interface
                found.append(str(probe.getsockname()[0]))
        except OSError:
            continue
    with contextlib.suppress(OSError):
        found += [str(info[4][0]) for info in socket.getaddrinfo(socket.gethostname(), None, socket.AF_INET)]
    return [a for a in dict.fromkeys(found) if not ipaddress.ip_address(a.split("%")[0]).is_loopback]


def certificate_files(folder: Path | None = None) -> tuple[Path, Path]:
    """Certificate and key, made anew when there is none, it runs out, or this machine has another address.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = folder or user_data_path("streamdiff") / "https"
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    names = [n for n in dict.fromkeys(["localhost", socket.gethostname().lower()]) if n.isascii()]
    addresses = ["127.0.0.1", "::1", *local_addresses()]
    if _fits(certificate, key, names, addresses):
        return certificate, key
    folder.mkdir(parents=True, exist_ok=True)
    secret = ec.generate_private_key(ec.SECP256R1())
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "streamdiff on this network")])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives: list[x509.GeneralName] = [x509.DNSName(n) for n in names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(a.split("%")[0])) for a in addresses]
    made = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(secret, hashes.SHA256())
    )
    private = secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    descriptor = os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(private)
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    return certificate, key


def _fits(certificate: Path, key: Path, names: list[str], addresses: list[str]) -> bool:
    try:
        known = x509.load_pem_x509_certificate(certificate.read_bytes())
        held = known.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        secret = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError, x509.ExtensionNotFound):
        return False
    soon = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=RENEW_DAYS)
    has = {str(a) for a in held.get_values_for_type(x509.IPAddress)} | set(held.get_values_for_type(x509.DNSName))
    wanted = {*names, *(a.split("%")[0] for a in addresses)}
    return known.not_valid_after_utc > soon and wanted <= has and secret.public_key() == known.public_key()
