"""What a gateway listens with: its address and its TLS context, and the error messages when either fails."""

import os
import ssl

from gateway.config import Config


class StartError(Exception):
    """The gateway cannot start. The message is one line for the operator."""


def server_context(config: Config) -> ssl.SSLContext | None:
    """Return the TLS context for clients; None for plain HTTP. Raises StartError naming the file at fault."""
    tls = config.server.tls
    if tls is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["http/1.1"])
    load_certificate(context, config)
    return context


def load_certificate(context: ssl.SSLContext, config: Config) -> None:
    """Load certificate and key for new connections. Raises StartError."""
    tls = config.server.tls
    assert tls is not None
    try:
        # Without a password OpenSSL would prompt on the terminal and block the gateway.
        context.load_cert_chain(tls.certificate, tls.private_key, password="")
    except OSError as error:
        reason = (error.reason or "not PEM") if isinstance(error, ssl.SSLError) else error.strerror
        raise StartError(
            f"server.tls: {tls.certificate} and {tls.private_key} cannot be used together: {reason}"
        ) from error


def listen_error(host: str, port: int, error: OSError) -> StartError:
    """Return a StartError for an address that cannot be bound."""
    # asyncio's own text repeats the address; an error of name resolution has nothing but its text.
    code = error.errno or 0
    reason = os.strerror(code) if code > 0 else error.strerror
    return StartError(f"cannot listen on {host} port {port}: {reason}")


def base_url(config: Config, port: int) -> str:
    """Return the base URL for a client on this machine."""
    host = config.server.host or "127.0.0.1"
    if host.strip("0.:") == "":
        # Bound to every address: a client on this machine can use loopback.
        host = "::1" if ":" in host else "127.0.0.1"
    if ":" in host:
        host = f"[{host}]"
    return f"http{'s' if config.server.tls is not None else ''}://{host}:{port}"
