"""The demo: an embedded upstream, so that everything can be tried without a key or network."""


def serve(port: int) -> int:
    """Serve on a port, in front of the embedded upstream, until a signal stops it; return the exit code."""
    # Imported here so that other commands do not pay for it.
    from gateway.demo.running import serve

    return serve(port)
