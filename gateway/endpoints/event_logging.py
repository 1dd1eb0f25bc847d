"""Clients' own telemetry: accepted, so that they do not retry, and discarded."""

from gateway.proxy.request import ClientRequest


def event_logging(request: ClientRequest) -> None:
    """Accept and discard client telemetry."""
    request.respond(200, b"{}")
