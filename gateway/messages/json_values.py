"""Read values of foreign JSON documents by expected type; a value of another type counts as empty."""

from typing import Any

import orjson


def json_in(text: bytes | str) -> Any:
    """Parse JSON; return None if it is invalid."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return None


def as_dict(value: object) -> dict[str, Any]:
    """Return the value if it is an object, else an empty one."""
    return value if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value if it is an array, else an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: object) -> str:
    """Return the value if it is a string, else ""."""
    return value if isinstance(value, str) else ""


def texts_in(parts: object) -> list[str]:
    """Return the `text` of each object in an array that has one."""
    return [text for part in dicts_in(parts) if isinstance(text := part.get("text"), str)]


def dicts_in(value: object) -> list[dict[str, Any]]:
    """Return the objects in an array."""
    return [one for one in as_list(value) if isinstance(one, dict)]
