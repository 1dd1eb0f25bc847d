"""Checks of certificates: the gateway's own, and those of other hosts."""

import ssl
import time
from typing import Any

from gateway.config import Config, Tls, is_loopback
from gateway.listening import StartError, server_context
from gateway.operator.doctor.findings import Fault, Finding, warn

FEW_DAYS = 14.0
"""Days left from which a certificate that lasts for months is overdue for renewal."""

LAST_THIRD = 1 / 3
"""Part of its life that may be left when a certificate that lasts for days only is renewed."""

DAY = 86400.0


def own_certificate(config: Config, tls: Tls) -> Finding | str:
    """Check that a certificate is valid, matches the names that clients use, and is trusted by them. Raises Fault."""
    try:
        context = server_context(config)
    except StartError as error:
        raise Fault(str(error), "openssl x509 -in CERT -noout -text shows what is in it") from None
    assert context is not None
    # It is trusted here as it stands, so only its dates can be wrong.
    found, wrong = _shown_by(context, _trusting(str(tls.certificate)))
    if found is None:
        raise Fault(f"{tls.certificate}: {wrong}", todo_for(wrong))
    lifetime = life_of(found)
    if isinstance(lifetime, Finding):
        return lifetime
    missing = _names_without(config, found)
    if missing:
        return warn(
            f"it is not for {', '.join(missing)}",
            "clients that come by these names refuse it: add them to its names",
        )
    if not _has_a_name(config, found):
        return warn(
            "no client can come by a name that it is for",
            "add that name to server.allowed_hosts, or 127.0.0.1 to the certificate",
        )
    _, wrong = _shown_by(context, _public())
    if wrong:
        return warn(
            f"{lifetime}; clients do not trust it by themselves: {wrong}",
            f"give clients NODE_EXTRA_CA_CERTS={tls.certificate}, or add the chain's other certificates to the file",
        )
    return lifetime


def life_of(certificate: dict[str, Any]) -> Finding | str:
    """Return how long a certificate is still valid; a warning if that is too short."""
    begins = ssl.cert_time_to_seconds(certificate["notBefore"])
    ends = ssl.cert_time_to_seconds(certificate["notAfter"])
    left = ends - time.time()
    shown = f"good for {left / DAY:.0f} days"
    if left < FEW_DAYS * DAY and left < LAST_THIRD * (ends - begins):
        return warn(shown, "renew it")
    return shown


def todo_for(words: str) -> str:
    """Return what to do about a refused certificate, by OpenSSL's message."""
    return next((todo for part, todo in _REFUSALS.items() if part in words.lower().replace("_", " ")), "")


_REFUSALS = {
    "not yet valid": "is this machine's clock right?",
    "expired": "renew it, or set this machine's clock",
    "self-signed": "if that is right there (a company's proxy, a host of your own): name its certificate in ca_file",
    "self signed": "if that is right there (a company's proxy, a host of your own): name its certificate in ca_file",
    "unable to get local issuer": "the chain is not whole, or its authority is a company's own: name that in ca_file",
    "mismatch": "the certificate is for another name: is base_url right?",
    "not valid for": "the certificate is for another name: is base_url right?",
    "wrong version number": "plain HTTP is spoken there: write http://, or another port",
}


def _trusting(file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=file)
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.check_hostname = False
    return context


def _public() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    return context


def _shown_by(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[dict[str, Any] | None, str]:
    """Do a TLS handshake in memory; return the certificate that the client accepted, or the reason why it did not."""
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    there = server.wrap_bio(up, down, server_side=True)
    here = client.wrap_bio(down, up)
    for _ in range(8):
        for side in (here, there):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                return None, getattr(error, "verify_message", "") or str(error.reason)
    return here.getpeercert(), ""


def _has_a_name(config: Config, certificate: dict[str, Any]) -> bool:
    """Return whether a certificate is for a name or an address by which the gateway may be reached."""
    wanted = [*config.server.allowed_hosts, config.server.host, "localhost"]
    return any(
        kind == "IP Address" or any(_covers(value.lower(), name) for name in wanted)
        for kind, value in certificate.get("subjectAltName", ())
    )


def _names_without(config: Config, certificate: dict[str, Any]) -> list[str]:
    """Return the names that clients use and the certificate lacks."""
    held = {value.lower() for _, value in certificate.get("subjectAltName", ())}
    server = config.server
    wanted = dict.fromkeys([*server.allowed_hosts, server.host])
    # An address for all interfaces is no name, and clients on loopback may use any.
    names = [name for name in wanted if name.strip("0.:") and not is_loopback(name)]
    return [name for name in names if not any(_covers(pattern, name) for pattern in held)]


def _covers(pattern: str, name: str) -> bool:
    return pattern == name or (pattern.startswith("*.") and name.partition(".")[2] == pattern[2:])
