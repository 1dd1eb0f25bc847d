"""Values of JSON documents that others wrote, read as what they should be: anything else is an empty one."""

from typing import Any

import orjson


def json_in(text: bytes | str) -> Any:
    """Return the value that is written there; None if it is no JSON."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def as_dict(value: object) -> dict[str, Any]:
    """Return an object."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return an array."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return a string."""
    return value if isinstance(value, str) else ""


def texts_in(parts: object) -> list[str]:
    """Return the texts of the blocks in an array."""
    return [text for part in dicts_in(parts) if isinstance(text := part.get("text"), str)]


def dicts_in(value: object) -> list[dict[str, Any]]:
    """Return the objects in an array."""
    return [one for one in as_list(value) if isinstance(one, dict)]
