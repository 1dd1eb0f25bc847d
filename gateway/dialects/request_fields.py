"""Checks the fields of a request before it is translated.

An upstream of the same protocol checks a request itself; one of another protocol would complain about fields that the
client never sent. So a value of the wrong kind is a 400 of the gateway's own, with its place. Fields that no dialect
reads are not checked; null counts as absent.
"""

from collections.abc import Callable, Mapping
from math import isfinite
from typing import Any

from gateway.messages.errors import THREAD_UNSUPPORTED, RequestError

Check = Callable[[str, Any], None]

MAX_TOOLS = 2048
"""Tools of one request, at most. Hosts accept 128 to 512; even an empty one costs some microseconds."""

_KINDS = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}


def check_fields(document: Mapping[str, Any]) -> None:
    """Check a Messages request. Raises RequestError(400) with the place of the first mistake."""
    if document.get("thread") is not None:
        # Its later requests hold only what is new, which is not enough without a stored history.
        raise RequestError(
            400,
            "thread: this model keeps no conversation; send the whole of it without `thread`",
            details=THREAD_UNSUPPORTED,
        )
    _check_object("", document, _FIELDS)
    for i, message in enumerate(document["messages"]):
        place = f"messages.{i}"
        _check_object(f"{place}.", message, _MESSAGE)
        content = message.get("content")
        if isinstance(content, list):
            _check_blocks(f"{place}.content", content)


def _check_object(prefix: str, value: Mapping[str, Any], checks: Mapping[str, Check]) -> None:
    for key, check in checks.items():
        field = value.get(key)
        if field is not None:
            check(prefix + key, field)


def _check_blocks(place: str, blocks: list[Any]) -> None:
    for j, block in enumerate(blocks):
        if block is None or isinstance(block, str):
            continue
        where = f"{place}.{j}"
        _object(where, block)
        kind = block.get("type")
        if kind is not None:
            _string(f"{where}.type", kind)
            checks = _BLOCKS.get(kind)
            if checks is not None:
                _check_object(f"{where}.", block, checks)
            if kind == "tool_use":
                _name(f"{where}.name", block.get("name"))


def _wrong(place: str, value: object, expected: str) -> RequestError:
    return RequestError(400, f"{place}: must be {expected}, not {_KINDS.get(type(value), 'a number')}")


def _must_be(kind: type | tuple[type, ...], words: str) -> Check:
    """Return a check of a value's type, which `words` name."""

    def check(place: str, value: object) -> None:
        if not isinstance(value, kind):
            raise _wrong(place, value, words)

    return check


_string = _must_be(str, "a string")
_boolean = _must_be(bool, "a boolean")
_object = _must_be(dict, "an object")
_array = _must_be(list, "an array")
_content = _must_be((str, list), "a string or an array")


def _name(place: str, value: object) -> None:
    if value is None:
        raise RequestError(400, f"{place}: is required and must be a string")
    _string(place, value)
    if not value:
        raise RequestError(400, f"{place}: must not be empty")


def _integer(place: str, value: object) -> None:
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if not whole or isinstance(value, bool):
        raise _wrong(place, value, "an integer")


def _number(place: str, value: object) -> None:
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise _wrong(place, value, "a number")
    if isinstance(value, float) and not isfinite(value):
        raise RequestError(400, f"{place}: must be a finite number")


def _strings(place: str, value: object) -> None:
    _array(place, value)
    assert isinstance(value, list)
    for i, item in enumerate(value):
        _string(f"{place}.{i}", item)


def _blocks(place: str, value: object) -> None:
    _content(place, value)
    if isinstance(value, list):
        _check_blocks(place, value)


def _tools(place: str, value: object) -> None:
    _array(place, value)
    assert isinstance(value, list)
    if len(value) > MAX_TOOLS:
        raise RequestError(400, f"{place}: {len(value)} given, but at most {MAX_TOOLS} can be translated")
    for i, tool in enumerate(value):
        _object(f"{place}.{i}", tool)
        _check_object(f"{place}.{i}.", tool, _TOOL)
        if "input_schema" in tool or tool.get("type") in (None, "custom"):
            _name(f"{place}.{i}.name", tool.get("name"))


def _fields(checks: Mapping[str, Check]) -> Check:
    def check(place: str, value: object) -> None:
        _object(place, value)
        assert isinstance(value, dict)
        _check_object(f"{place}.", value, checks)

    return check


def _tool_choice(place: str, value: object) -> None:
    _object(place, value)
    assert isinstance(value, dict)
    kind = value.get("type")
    _name(f"{place}.type", kind)
    if kind == "tool":
        _name(f"{place}.name", value.get("name"))


_FORMAT = {"type": _string, "schema": _object}

_FIELDS: Mapping[str, Check] = {
    "max_tokens": _integer,
    "temperature": _number,
    "top_p": _number,
    "top_k": _integer,
    "stop_sequences": _strings,
    "stream": _boolean,
    "system": _blocks,
    "tools": _tools,
    "tool_choice": _tool_choice,
    "thinking": _fields({"type": _string, "budget_tokens": _integer}),
    "output_config": _fields({"effort": _string, "format": _fields(_FORMAT)}),
    "output_format": _fields(_FORMAT),
}
"""The request's own fields."""

_TOOL: Mapping[str, Check] = {"type": _string, "name": _name, "description": _string, "input_schema": _object}

_MESSAGE: Mapping[str, Check] = {"role": _string, "content": _content}

_BLOCKS: Mapping[str, Mapping[str, Check]] = {
    "text": {"text": _string},
    "image": {"source": _object},
    "document": {"source": _object},
    "thinking": {"thinking": _string, "signature": _string},
    "redacted_thinking": {"data": _string},
    "tool_use": {"id": _string, "name": _name},
    "tool_result": {"tool_use_id": _string, "content": _blocks, "is_error": _boolean},
    "tool_reference": {"tool_name": _string},
}
"""Type of a content block -> its fields."""
