"""Normalization of request paths."""


def plain(path: str) -> str:
    """Return a path without a doubled slash at its start and one at its end."""
    if path.startswith("//"):
        path = path[1:]
    return path[:-1] if len(path) > 1 and path.endswith("/") else path
