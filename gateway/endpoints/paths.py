"""What of a path makes no difference."""


def plain(path: str) -> str:
    """Return a path without the slashes that make no difference."""
    if path.startswith("//"):
        path = path[1:]
    return path[:-1] if len(path) > 1 and path.endswith("/") else path
