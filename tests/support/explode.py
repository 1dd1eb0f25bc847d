"""A function that fails in place of another, with a text that only the test may read."""

from typing import Any

SECRET = "canary: the secret text of a request"


def explode(*_: object, **__: object) -> Any:
    """Raise KeyError for any arguments."""
    raise KeyError(SECRET)
