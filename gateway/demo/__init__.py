"""Embedded upstreams, so that every path works with no key and no network."""

from gateway.config.values import Kind


def serve(port: int, upstream: Kind) -> int:
    """Serve on a port, in front of an embedded upstream of this kind, until a signal says stop; returns the
    exit code. What is needed for that is imported now: other commands never pay for it."""
    from gateway.demo.running import serve

    return serve(port, upstream)
