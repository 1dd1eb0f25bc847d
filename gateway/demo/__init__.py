"""An embedded upstream, so that every path works with no key and no network."""


def serve(port: int) -> int:
    """Serve on a port, in front of the embedded upstream, until a signal says stop; return the exit code."""
    # Imported now: other commands never pay for it.
    from gateway.demo.running import serve

    return serve(port)
