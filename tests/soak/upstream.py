"""The soak's upstream for each behaviour that a wire model names, most of them bad: a table of scripts."""

import re
import time
from collections import Counter
from collections.abc import Callable, Iterator

from bench import responses
from tests.fakes.messages import (
    Close,
    Received,
    Reset,
    Script,
    ScriptedUpstream,
    Sleep,
    error_response,
    json_response,
)

EVENTS = 40
PAUSE = Sleep(0.02)
ENDLESS_SECONDS = 4.0
"""Its readers leave within a fraction of this, and the gateway should cancel at once: a stream that lasts so long has
overstayed."""
LARGE_WRITES = 200
"""Of 100 events each: about 4 MB, more than all socket buffers on the way."""
RETRY_AFTER = 3

_MODEL = re.compile(rb"soak-([a-z0-9-]+)")
_NONCE = re.compile(rb"nonce-([0-9]+)")


class Upstream:
    """Chooses the script of each request, and counts."""

    def __init__(self) -> None:
        self.played: Counter[str] = Counter()
        self.overstayed = 0
        """Streams that continued to their end although no client can have read them."""
        self._seen: set[bytes] = set()

    def serving(self) -> ScriptedUpstream:
        """Return the upstream, to be entered."""
        return ScriptedUpstream(respond=self.script, keeps=False)

    def script(self, request: Received) -> Script:
        """Return what a request is given: a behaviour's script, else what fits its path."""
        gemini = ":streamGenerateContent" in request.target
        found = _MODEL.search(request.target.encode() if gemini else request.body)
        behaviour = found[1].decode() if found else ""
        if "count" in request.target:
            return [_json(responses.COUNT)]
        if "/models" in request.target and not request.body:
            return [_json(responses.GEMINI_MODELS if "v1beta" in request.target else responses.MODELS)]
        self.played[behaviour] += 1
        return BEHAVIOURS[behaviour](self, request, responses.GEMINI if gemini else responses.MESSAGES)

    def first_time(self, request: Received) -> bool:
        """Return whether this request was not seen before; it is known by the number in its text."""
        found = _NONCE.search(request.body)
        new = found is not None and found[1] not in self._seen
        if found is not None:
            self._seen.add(found[1])
        return new


Behaviour = Callable[[Upstream, Received, responses.Dialect], Script]


def _json(body: bytes) -> bytes:
    return responses.json_head(1, len(body)) + body


def _opening(dialect: responses.Dialect, events: int = 5) -> bytes:
    return responses.stream_head(1) + dialect.start + dialect.delta * events


def _message(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return [_json(responses.MESSAGE)]


def _stream(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return [_opening(dialect, EVENTS) + dialect.end]


def _slow(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    paused: list[bytes | Sleep] = [dialect.delta, PAUSE]
    return [_opening(dialect, 0), *paused * EVENTS, dialect.end]


def _large(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return [_opening(dialect, 0), *[dialect.delta * 100] * LARGE_WRITES, dialect.end]


def _endless(up: Upstream, request: Received, dialect: responses.Dialect) -> Iterator[bytes | Sleep | Close]:
    yield _opening(dialect, 1)
    begun = time.monotonic()
    while time.monotonic() - begun < ENDLESS_SECONDS:
        yield PAUSE
        yield dialect.delta
    up.overstayed += 1
    yield Close()


def _limited(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    if dialect is responses.GEMINI:
        retry = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{RETRY_AFTER}s"}
        error = {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED", "details": [retry]}
        return json_response(429, {"error": error})
    return error_response(429, "rate_limit_error", "soak", [("retry-after", str(RETRY_AFTER))])


def _rotate(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    """The first account is limited, the others are not."""
    first = (request.key or "").endswith("-1")
    return (_limited if first else _stream)(up, request, dialect)


def _failing_once(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return (_failing if up.first_time(request) else _message)(up, request, dialect)


def _failing(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return error_response(500, "api_error", "soak")


def _overloaded(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return error_response(529, "overloaded_error", "soak")


def _refused(up: Upstream, request: Received, dialect: responses.Dialect) -> Script:
    return error_response(400, "invalid_request_error", "soak")


_ERROR = responses.chunk(
    b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"soak"}}\n\n'
)

BEHAVIOURS: dict[str, Behaviour] = {
    "json": _message,
    "stream": _stream,
    "slow": _slow,
    "large": _large,
    "endless": _endless,
    "limited": _limited,
    "rotate": _rotate,
    "failing": _failing,
    "failing-once": _failing_once,
    "overloaded": _overloaded,
    "refused": _refused,
    "broken": lambda up, request, dialect: [_opening(dialect), PAUSE, Reset()],
    "reset": lambda up, request, dialect: [Reset()],
    "cut": lambda up, request, dialect: [_opening(dialect), PAUSE, responses.LAST_CHUNK],
    "error-event": lambda up, request, dialect: [_opening(dialect), PAUSE, _ERROR + responses.LAST_CHUNK],
    "error-first": lambda up, request, dialect: [responses.stream_head(1) + _ERROR + responses.LAST_CHUNK],
    "empty": lambda up, request, dialect: [responses.stream_head(1) + responses.LAST_CHUNK],
    "bad-chunk": lambda up, request, dialect: [_opening(dialect), PAUSE, b"zz\r\nnothing\r\n", Close()],
}
