"""Reads error bodies in every form that hosts use."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from gateway.messages.json_values import as_dict, as_text

SHOWN_BODY = 500
"""Characters of a body that is no error object (a proxy's page) that become the message."""

RAW_LENGTH = 2000
"""Characters kept of an inner host's error text."""


class Said(NamedTuple):
    """The content of one error body."""

    message: str = ""
    type: str = ""
    """In lower case, like `code`."""
    code: str = ""
    param: str = ""
    error: Mapping[str, Any] = {}
    """The error object itself."""

    @property
    def words(self) -> tuple[str, str]:
        """Code and type."""
        return self.code, self.type


def is_error(document: Mapping[str, Any]) -> bool:
    """Return whether a chunk, or a whole response, is an error."""
    if document.get("error") or document.get("object") == "error" or document.get("type") == "error":
        return True
    base = document.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return True
    if "choices" in document or "output" in document:
        return False
    says = any(isinstance(document.get(key), str) for key in ("message", "msg"))
    return "detail" in document or (says and ("code" in document or document.get("success") is False))


def read_error(body: bytes) -> Said:
    """Read an error body; one that is no error object becomes the message."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        text = body[: 4 * SHOWN_BODY].decode("utf-8", "replace")[:SHOWN_BODY]
        return Said(message=text.strip())
    if isinstance(document, list) and document:
        document = document[0]
    if isinstance(document, str):
        return Said(message=document)
    return _of(document) if isinstance(document, dict) else Said()


def _of(document: Mapping[str, Any]) -> Said:
    error = document.get("error")
    if isinstance(error, str) and error:
        return Said(message=_joined(error, document.get("message")), code=_word(document.get("code")))
    base = document.get("base_resp")
    if isinstance(base, dict) and base.get("status_code"):
        return Said(message=as_text(base.get("status_msg")), code=_word(base["status_code"]), error=base)
    detail = document.get("detail")
    if not isinstance(error, dict) and detail is not None:
        return _of_detail(detail, document)
    if not isinstance(error, dict):
        error = document
    message = next(
        (as_text(error[key]) for key in ("message", "msg", "errorMsg") if as_text(error.get(key))), ""
    )
    if not message and error is not document:
        message = as_text(document.get("message"))
    inner = _of_raw(as_dict(error.get("metadata")).get("raw"))
    return Said(
        message=_joined(message, inner.message),
        type=_word(error.get("type")) or inner.type,
        code=_code(error.get("code"), inner.code),
        param=as_text(error.get("param")) or inner.param,
        error=error,
    )


def _of_raw(raw: object) -> Said:
    """Read the inner host's error, which OpenRouter passes on as JSON text."""
    if isinstance(raw, dict):
        return _of(raw)
    return read_error(raw[:RAW_LENGTH].encode("utf-8", "replace")) if isinstance(raw, str) and raw else Said()


def _of_detail(detail: object, document: Mapping[str, Any]) -> Said:
    """Read FastAPI's form: a text, an object, or a list of `{loc, msg, type}`."""
    if isinstance(detail, dict):
        return _of(detail)
    if not isinstance(detail, list):
        return Said(message=as_text(detail), error=document)
    parts, param, kind = [], "", ""
    for item in detail:
        if not isinstance(item, dict):
            continue
        loc = item.get("loc")
        place = ".".join(str(step) for step in loc if step != "body") if isinstance(loc, list) else ""
        parts.append(f"{place}: {as_text(item.get('msg'))}" if place else as_text(item.get("msg")))
        param, kind = param or place, kind or _word(item.get("type"))
    return Said(message="; ".join(parts), type=kind, param=param, error=document)


def _code(code: object, inner: str) -> str:
    """Return the code, or the inner host's if this one is only a status."""
    word = _word(code)
    return inner if inner and word.isdigit() and len(word) == 3 else word or inner


def _word(value: object) -> str:
    if type(value) is int:
        return str(value)
    return value.strip().lower() if isinstance(value, str) else ""


def _joined(message: str, more: object) -> str:
    if not isinstance(more, str) or not more or more == message:
        return message
    return f"{message}: {more}" if message else more
