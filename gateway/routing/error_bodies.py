"""Reads error bodies: converts every known form to one value.

    {"type": "error", "error": {"type", "message", "details": {"error_code"}}}      the Messages protocol
    {"error": {"message", "type", "code", "param", "metadata": {"raw"}}}            OpenAI and its likes, OpenRouter
    {"error": {"message", "type", "n_prompt_tokens", "n_ctx"}}                      llama.cpp
    {"error": {"code", "status", "message", "details": [{"reason"}]}}, [ {...} ]    Google
    {"error": "text"}, "text", {"object": "error", "message", "code"}               Ollama, Mistral, vLLM
    {"detail": "text"}, {"detail": [{"loc", "msg", "type"}]}, {"errors": [...]}     FastAPI
    {"code", "msg" or "message", "success": false}                                  z.ai, Spring
    {"base_resp": {"status_code", "status_msg"}}                                    MiniMax

`meanings` interprets it.
"""

from typing import Any, NamedTuple

import orjson

from gateway.messages.json_values import as_dict, as_list, as_text, dicts_in

CONTENT = ("content", "choices", "candidates", "output", "input_tokens", "totalTokens", "data", "models")
"""Keys of good responses; one of them means that a `code` beside it reports no error."""

FINE = (None, "", 0, 200, "0", "200", "ok", "success")
"""Codes that report success."""

DEEPEST = 3
"""Levels of errors inside errors that are read: a gateway's, its host's, and that host's upstream's."""

LONGEST = 8192
"""Characters kept of a message; the known messages have up to 500."""


class ErrorBody(NamedTuple):
    """The content of an error body. Missing fields are empty."""

    type: str = ""
    codes: tuple[str, ...] = ()
    """Codes and reasons, lower case, numbers as text. Those of MiniMax have the prefix `base_resp.`, since its numbers
    have other meanings than other hosts'."""
    param: str = ""
    """The field at fault, as a path with dots."""
    message: str = ""
    tokens: tuple[int, int] = (0, 0)
    """Tokens of the prompt and of the context window, which llama.cpp gives."""

    @property
    def words(self) -> tuple[str, ...]:
        """The codes, and the type in lower case."""
        return (*self.codes, self.type.lower())


def read_error(body: bytes) -> ErrorBody:
    """Return the content of an error body; an empty ErrorBody if it has no known form."""
    try:
        document: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        return ErrorBody()
    return _read(document, DEEPEST)


def is_error(document: Any) -> bool:
    """Return whether the JSON body of a 200, or one event of its stream, reports an error instead of a result."""
    if isinstance(document, list):
        return bool(document) and is_error(document[0])
    if not isinstance(document, dict):
        return False
    if document.get("error") or "error" in (document.get("type"), document.get("object")):
        return True
    if as_dict(document.get("base_resp")).get("status_code"):
        return True
    if any(document.get(name) for name in CONTENT):
        return False
    code = document.get("code")
    fails = document.get("success") is False or "detail" in document
    return fails or not (code in FINE or isinstance(code, dict | list))


def _read(document: Any, depth: int) -> ErrorBody:
    if isinstance(document, list) and document:
        document = document[0]
    if not isinstance(document, dict):
        return ErrorBody(message=as_text(document)[:LONGEST])
    error: Any = document.get("error") or document.get("errors") or document
    if isinstance(error, list):
        error = error[0] if error else document
    if isinstance(error, str):
        error = {**document, "message": as_text(document.get("message")) or error}
    if not isinstance(error, dict):
        return ErrorBody()
    resp = error.get("base_resp")
    if isinstance(resp, dict):
        return ErrorBody(
            "", (f"base_resp.{resp.get('status_code')}",), "", as_text(resp.get("status_msg"))[:LONGEST]
        )
    param = as_text(error.get("param"))
    said = (error.get("message"), error.get("msg"), error.get("errorMsg"), document.get("message"))
    message = next(filter(None, map(as_text, said)), "")
    if not message and "detail" in error:
        param, message = _detail(error["detail"])
    kind = as_text(error.get("type"))
    codes = [error.get("code"), error.get("status"), document.get("code"), *_reasons(error.get("details"))]
    inner = _inner(error.get("metadata"), depth) if depth else ErrorBody()
    if inner.message and inner.message not in message:
        message = f"{message}: {inner.message}" if message else inner.message
    named = (str(code).lower() for code in codes if code not in FINE and isinstance(code, str | int))
    prompt, window = error.get("n_prompt_tokens"), error.get("n_ctx")
    return ErrorBody(
        inner.type if kind in ("", "error") else kind,
        tuple(dict.fromkeys((*named, *inner.codes))),
        param or inner.param,
        message[:LONGEST],
        (prompt, window) if type(prompt) is int and type(window) is int else (0, 0),
    )


def _reasons(details: Any) -> list[object]:
    """Return the reasons in an error's details, in the form of Google or of the Messages protocol."""
    if isinstance(details, dict):
        return [details.get("error_code")]
    return [detail.get("reason") for detail in dicts_in(details)]


def _detail(detail: Any) -> tuple[str, str]:
    """Return field and message of FastAPI's `detail`: a text, an object or a list; the first field, all messages."""
    if isinstance(detail, str):
        return "", detail
    params, messages = [], []
    for mistake in dicts_in(detail if isinstance(detail, list) else [detail]):
        param = ".".join(str(part) for part in as_list(mistake.get("loc")) if part != "body")
        words = as_text(mistake.get("msg")) or as_text(mistake.get("message"))
        params.append(param)
        messages.append(f"{param}: {words}" if param else words)
    return next(filter(None, params), ""), "; ".join(messages)


def _inner(metadata: Any, depth: int) -> ErrorBody:
    """Return the inner host's error, which OpenRouter passes on as text in `metadata.raw`."""
    raw = as_dict(metadata).get("raw")
    if isinstance(raw, str):
        try:
            raw = orjson.loads(raw)
        except orjson.JSONDecodeError:
            return ErrorBody(message=raw)
    return _read(raw, depth - 1)
