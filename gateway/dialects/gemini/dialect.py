"""The Gemini dialect: where requests go, with which headers, in which envelope.

What a request says is request.py's work, what an answer means response.py's, errors are failures.py's.
Speaks to the Gemini API, to Vertex AI (`path` in the upstream's options) and to endpoints that wrap
requests and answers in the `code_assist` envelope.
"""

from collections.abc import Callable
from typing import Any

import orjson

from gateway import __version__
from gateway.config import Upstream
from gateway.dialects.base import Incoming, Outgoing
from gateway.dialects.gemini.errors import translated
from gateway.dialects.gemini.request import gemini_request
from gateway.dialects.gemini.response import GeminiDecoder
from gateway.dialects.gemini.schema.clean import SchemaCache
from gateway.dialects.gemini.signatures import MARK, SignatureStore
from gateway.messages.json_documents import write_document
from gateway.messages.repair import apply
from gateway.messages.stream import StreamWriter
from gateway.routing.credentials import Credential
from gateway.routing.failures import Failure

GENERATE = "streamGenerateContent"
COUNT = "countTokens"

CODE_ASSIST_VERSION = "v1internal"

MODELS_A_PAGE = 1000
"""The most that one page of the model list holds; 50 is the API's default."""

WARNINGS_KEPT = 1000
"""Different warnings that are said once; a client could make up any number of block types."""

USER_AGENT = f"messages-gateway/{__version__}".encode()

_JSON = (b"content-type", b"application/json")
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~/")


class GeminiDialect:
    """All gemini upstreams share one: it holds the schemas and signatures of every conversation."""

    relays = False

    def __init__(self, random: Callable[[], float], warn: Callable[[str], None]) -> None:
        """`random` gives [0, 1); `warn` gets each warning once."""
        self._random = random
        self._warn = warn
        self._warned: set[str] = set()
        self._schemas = SchemaCache()
        self._signatures = SignatureStore()

    def encode(
        self, upstream: Upstream, credential: Credential, wire_model: str, incoming: Incoming
    ) -> Outgoing:
        """The request for this upstream, always for a stream. Raises RequestError(400)."""
        original = incoming.request.exact()
        document, repairs = apply(original, upstream.repairs, own_mark=MARK)
        body, names = gemini_request(
            document,
            original,
            upstream=upstream,
            wire_model=wire_model,
            schemas=self._schemas,
            signatures=None if incoming.without_thinking else self._signatures,
            warn=self._warn_once,
        )
        counts = incoming.purpose == "count_tokens"
        method = COUNT if counts else GENERATE
        wrapped = _counted(body, upstream, wire_model) if counts else _wrapped(body, upstream, wire_model)
        return Outgoing(
            method="POST",
            target=_target(upstream, wire_model, method),
            headers=[_JSON, *_headers(credential)],
            body=write_document(wrapped, finite=incoming.request.by_orjson),
            repairs=repairs,
            names=names,
        )

    def decoder(self, incoming: Incoming, outgoing: Outgoing, writer: StreamWriter) -> GeminiDecoder:
        """A decoder for the answer to `outgoing`."""
        return GeminiDecoder(writer, outgoing.names, self._signatures, self._random)

    def failure(self, failure: Failure) -> Failure:
        """The same failure with status, type and message as the Messages protocol would say it."""
        return translated(failure)

    def count(self, body: bytes) -> int | None:
        """Input tokens from a countTokens answer; None if the body is not one."""
        document = _object(body)
        total = document.get("totalTokens")
        return total if type(total) is int and total >= 0 else None

    def models_request(self, upstream: Upstream, credential: Credential) -> Outgoing | None:
        """A GET for the upstream's own model list; Vertex AI and Code Assist have none that says what is served."""
        options = upstream.options
        if options.path is not None or options.envelope:
            return None
        path = f"{_base_path(upstream)}/{options.version}/models?pageSize={MODELS_A_PAGE}"
        return Outgoing(method="GET", target=path, headers=_headers(credential), body=b"")

    def models(self, body: bytes) -> list[tuple[str, str]]:
        """(id, display name) of each model that can generate content."""
        listed = _object(body).get("models")
        found = []
        for model in listed if isinstance(listed, list) else ():
            name = model.get("name") if isinstance(model, dict) else None
            if not isinstance(name, str):
                continue
            methods = model.get("supportedGenerationMethods")
            if isinstance(methods, list) and not {"generateContent", GENERATE} & set(map(str, methods)):
                continue
            id = name.removeprefix("models/")
            shown = model.get("displayName")
            found.append((id, shown if isinstance(shown, str) and shown else id))
        return found

    def _warn_once(self, message: str) -> None:
        if message not in self._warned and len(self._warned) < WARNINGS_KEPT:
            self._warned.add(message)
            self._warn(message)


def _wrapped(body: dict[str, Any], upstream: Upstream, wire_model: str) -> dict[str, Any]:
    if upstream.options.envelope == "code_assist":
        return {"model": wire_model, "project": upstream.options.project, "request": body}
    return body


def _counted(body: dict[str, Any], upstream: Upstream, wire_model: str) -> dict[str, Any]:
    """The body of a countTokens request; settings are left out, they hold no tokens."""
    counted = {key: value for key, value in body.items() if key not in ("generationConfig", "toolConfig")}
    if upstream.options.path is not None:
        return counted
    request = {"model": _resource(wire_model), **counted}
    return {"request" if upstream.options.envelope == "code_assist" else "generateContentRequest": request}


def _target(upstream: Upstream, wire_model: str, method: str) -> str:
    options = upstream.options
    base = _base_path(upstream)
    query = "?alt=sse" if method == GENERATE else ""
    if options.path is not None:
        path, asked, rest = options.path.partition("?")
        path = path.replace("{model}", _quoted(wire_model.removeprefix("models/")))
        if method == COUNT:
            path = f"{path.rpartition(':')[0]}:{COUNT}"
        if asked and query and "alt=" not in rest:
            query = f"?{rest}&alt=sse"
        elif asked:
            query = f"?{rest}" if method == GENERATE else ""
        return base + path + query
    if options.envelope == "code_assist":
        return f"{base}/{CODE_ASSIST_VERSION}:{method}{query}"
    return f"{base}/{options.version}/{_quoted(_resource(wire_model))}:{method}{query}"


def _resource(wire_model: str) -> str:
    """A model's resource name: tuned models have a collection of their own."""
    return wire_model if wire_model.startswith(("models/", "tunedModels/")) else f"models/{wire_model}"


def _base_path(upstream: Upstream) -> str:
    _, slash, path = upstream.base_url.partition("://")[2].partition("/")
    return slash + path


def _quoted(text: str) -> str:
    raw = text.encode("utf-8", "replace")
    return text if _PLAIN.issuperset(raw) else "".join(chr(c) if c in _PLAIN else f"%{c:02X}" for c in raw)


def _headers(credential: Credential) -> list[tuple[bytes, bytes]]:
    headers = [(b"user-agent", USER_AGENT)]
    if credential.kind == "api_key":
        headers.append((b"x-goog-api-key", credential.secret.reveal().encode()))
    elif credential.kind == "bearer":
        headers.append((b"authorization", b"Bearer " + credential.secret.reveal().encode()))
    return headers


def _object(body: bytes) -> dict[str, Any]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return document if isinstance(document, dict) else {}
