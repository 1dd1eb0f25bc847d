"""Converts Gemini's response to Messages events.

One decoder for each response: payload bytes of the event stream in, calls to a StreamWriter out. Promises that
nothing is made up: a response that breaks off, or ends for an unknown reason, is a StreamFailure. The message's end
is written when the upstream's body ends, because usage, and from some servers content, may follow the first event
with a finish reason.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from gateway.dialects.base import StreamFailure
from gateway.dialects.gemini.errors import translate_failure
from gateway.dialects.gemini.grounding import Grounding
from gateway.dialects.gemini.signatures import Signatures, add_mark
from gateway.dialects.gemini.usage import messages_usage
from gateway.dialects.ids import new_id
from gateway.dialects.sniffer import Sniffer
from gateway.dialects.tool_names import ToolNames
from gateway.dialects.usage import Place, completed
from gateway.messages.errors import error_type
from gateway.messages.json_documents import read_document, write_document
from gateway.messages.json_values import as_dict, as_text, dicts_in, json_in
from gateway.messages.stream import StreamWriter
from gateway.routing.failures import Failure, FailureKind

STOP_REASONS: Mapping[str, str] = {
    "STOP": "end_turn",
    "MAX_TOKENS": "max_tokens",
    "CONTINUATION": "max_tokens",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "LANGUAGE": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "MODEL_ARMOR": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "IMAGE_RECITATION": "refusal",
    "IMAGE_OTHER": "refusal",
    "NO_IMAGE": "refusal",
    "ESCALATION": "refusal",
}
"""`finishReason` -> `stop_reason`. With any other one (MALFORMED_FUNCTION_CALL, UNEXPECTED_TOOL_CALL, OTHER, ...) the
response has failed."""

REFUSALS: Mapping[str, tuple[int, str]] = {
    "MISSING_THOUGHT_SIGNATURE": (400, "a thought_signature is missing"),
    "PUP_LIMITED_DISABLED": (403, "the account may not be served"),
}
"""Reasons that replace an error response: its status, and its message."""

_PLAIN_CHUNK = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_PLAIN_CANDIDATE = frozenset({"content", "index", "safetyRatings"})
"""Keys of an event that contains only text."""

EARLY = "upstream ended the stream early"

LONGEST_REASON = 100
"""Characters shown of an unknown reason."""


class EncodedRequest(NamedTuple):
    """The part of a sent request that its decoder needs."""

    names: ToolNames
    """Those of its tools."""
    place: Place = ("", "")
    """The upstream's base URL and the wire model."""
    input_tokens: int = 0
    """The local estimate of the prompt; a rough one if the place is known to report usage."""


class GeminiDecoder:
    """Decodes one response."""

    __slots__ = (
        "_called",
        "_characters",
        "_empty",
        "_events",
        "_grounding",
        "_open",
        "_random",
        "_reporting",
        "_said",
        "_sent",
        "_signatures",
        "_signed",
        "_started",
        "_stop",
        "_stops_early",
        "_streams",
        "_text",
        "_text_signature",
        "_usage",
        "_writer",
    )

    def __init__(
        self,
        writer: StreamWriter,
        sent: EncodedRequest,
        signatures: Signatures,
        random: Callable[[], float],
        reporting: set[Place],
        *,
        streams: bool,
    ) -> None:
        """`random` returns [0, 1). `reporting`: places that report usage. `streams`: whether output is sent at once."""
        self._streams = streams
        self._writer = writer
        self._sent = sent
        self._reporting = reporting
        self._signatures = signatures
        self._random = random
        self._events = Sniffer()
        self._usage: dict[str, Any] = {}
        self._grounding: Grounding | None = None
        self._started = False
        self._open = ""
        """The kind of the last block: "text", "thinking" or "call"."""
        self._signed = False
        """Whether the open thinking block has its signature."""
        self._text: list[str] = []
        """The pieces of the open text block, in case a signature for it follows."""
        self._text_signature = ""
        self._characters = 0
        """Characters of all closed blocks."""
        self._called = False
        self._said = False
        """Whether a text or a call was written."""
        self._stop = ""
        self._stops_early = False
        """Whether content followed a finish reason: this upstream sends one with every event."""
        self._empty = False
        """Whether `end` has reported that the response is empty."""

    @property
    def complete(self) -> bool:
        """Whether the upstream has finished its response: then `end` may follow, even if the rest of the body is
        lost."""
        return bool(self._stop) and not self._stops_early

    def feed(self, data: bytes) -> None:
        """Decode payload bytes, cut anywhere. Raises StreamFailure."""
        try:
            events = self._events.feed(data)
        except ValueError as error:
            raise _failed(FailureKind.INCOMPLETE, str(error)) from None
        for _, event in events:
            if self._open != "text" or self._stop or not self._more_text(event):
                self._event(event)

    def end(self) -> None:
        """Finish at the end of the body. Raises StreamFailure if the response did not end.

        Also raises it, of kind EMPTY, for a response with nothing but thoughts, if none of them was sent; a second
        call of `end` then writes the response as it is.
        """
        for _, event in self._events.end():
            self._event(event)
        if not self._stop:
            raise _failed(FailureKind.INCOMPLETE, EARLY)
        said = self._said or (self._streams and self._writer.has_content)
        if self._stop == "end_turn" and not said and not self._empty:
            self._empty = True
            raise _failed(FailureKind.EMPTY, "the upstream sent an empty response")
        self._finish()

    def _more_text(self, data: bytes) -> bool:
        """Handle an event that only adds text, and perhaps usage, the most frequent one. Return False for any other."""
        try:
            document = orjson.loads(data)
            (candidate,) = document["candidates"]
            (part,) = candidate["content"]["parts"]
            text = part["text"]
        except (KeyError, TypeError, ValueError):
            return False
        if (
            len(part) > 1
            or type(text) is not str
            or not _PLAIN_CANDIDATE.issuperset(candidate)
            or not _PLAIN_CHUNK.issuperset(document)
            or candidate.get("index")
        ):
            return False
        usage = document.get("usageMetadata")
        if type(usage) is dict:
            self._usage.update(usage)
        if text:
            self._writer.text(text)
            self._text.append(text)
        return True

    def _event(self, data: bytes) -> None:
        document = self._read(data)
        for item in document if isinstance(document, list) else (document,):
            if isinstance(item, dict):
                inner = item.get("response")
                if isinstance(inner, dict):
                    # Its usage may stand beside it.
                    self._usage.update(as_dict(item.get("usageMetadata")))
                self._chunk(inner if isinstance(inner, dict) else item)

    def _read(self, data: bytes) -> Any:
        """Read an event's JSON; None for `[DONE]`, and for other text before the response begins."""
        try:
            # Arguments may contain integers that orjson would round.
            return read_document(data) if b'"args"' in data else orjson.loads(data)
        except ValueError:
            if data == b"[DONE]" or not self._started or self._stop:
                return None
        try:
            return read_document(data)
        except ValueError as error:
            raise _failed(
                FailureKind.INCOMPLETE, f"the upstream sent an event that cannot be read: {error}"
            ) from None

    def _chunk(self, chunk: dict[str, Any]) -> None:
        usage = chunk.get("usageMetadata")
        if isinstance(usage, dict):
            self._usage.update(usage)
        if chunk.get("error") and not self.complete:
            raise _read_stream_error(chunk)
        candidate = next((one for one in dicts_in(chunk.get("candidates")) if not one.get("index")), None)
        parts: list[Any] = []
        reason: object = None
        if candidate is not None:
            parts = dicts_in(as_dict(candidate.get("content")).get("parts"))
            reason = candidate.get("finishReason")
            grounding = candidate.get("groundingMetadata")
            if isinstance(grounding, dict):
                self._grounding = self._grounding or Grounding()
                self._grounding.add(grounding)
        stop = self._stop_reason(reason, chunk)
        if not self._started and (parts or stop or usage):
            self._started = True
            self._writer.start(messages_usage(self._usage) if self._usage else None)
        if self._stop and any(_says_something(part) for part in parts):
            self._stops_early = True
        for part in parts:
            self._part(part)
        self._stop = stop or self._stop

    def _stop_reason(self, reason: object, chunk: Mapping[str, Any]) -> str:
        """Return the stop reason, "" if the response continues.

        Raises StreamFailure for an unknown reason, before the event's content is written, since that is not to be kept.
        """
        if not isinstance(reason, str) or reason in ("", "FINISH_REASON_UNSPECIFIED"):
            feedback = chunk.get("promptFeedback")
            return "refusal" if isinstance(feedback, dict) and feedback.get("blockReason") else ""
        stop = STOP_REASONS.get(reason)
        if stop is None:
            message = f"the upstream stopped with {reason[:LONGEST_REASON]}"
            if reason in REFUSALS:
                status, why = REFUSALS[reason]
                raise _failed(FailureKind.STREAM_ERROR, f"{message}: {why}", status, error_type(status))
            raise _failed(FailureKind.UNUSABLE, message)
        return stop

    def _part(self, part: dict[str, Any]) -> None:
        signature = part.get("thoughtSignature")
        text = part.get("text")
        call = part.get("functionCall")
        if isinstance(call, dict) and call:
            self._call(call, signature)
        elif isinstance(text, str):
            if part.get("thought") is True:
                self._thinking(text, signature)
            else:
                self._say(text, signature)
        elif isinstance(part.get("inlineData"), dict) and part.get("thought") is not True:
            self._say(_markdown(part["inlineData"]), signature)
        elif signature:
            self._say("", signature)

    def _say(self, text: str, signature: object) -> None:
        if text:
            if self._open != "text":
                self._close()
                self._open = "text"
            self._said = True
            self._writer.text(text)
            self._text.append(text)
        if isinstance(signature, str) and signature:
            if self._open == "text":
                self._text_signature = signature
            else:
                self._sign(signature)

    def _thinking(self, text: str, signature: object) -> None:
        if text or signature:
            if self._open != "thinking" or (text and self._signed):
                self._close()
                self._open = "thinking"
            self._characters += len(text)
            self._writer.thinking(text)
            if isinstance(signature, str):
                self._sign(signature)

    def _sign(self, signature: str) -> None:
        """Sign the open thinking block, if there is one without a signature."""
        if self._open == "thinking" and not self._signed and signature:
            self._signed = True
            self._writer.signature(add_mark(signature))

    def _call(self, call: Mapping[str, Any], signature: object) -> None:
        name = self._sent.names.original(as_text(call.get("name")))
        if not name:
            raise _failed(FailureKind.UNUSABLE, "the upstream made a call without a name")
        args = _arguments(call.get("args"), name)
        id = new_id("toolu_", self._random)
        if isinstance(signature, str) and signature:
            self._signatures.remember_call(id, signature)
            self._sign(signature)
        self._close()
        self._open = "call"
        self._called = self._said = True
        self._characters += len(args)
        self._writer.tool_use(id, name, args)

    def _close(self) -> None:
        """Complete the open block: other content or the end follows."""
        if self._open == "thinking" and not self._signed:
            # Clients drop thinking without a signature, or send it back as prose.
            self._writer.signature(add_mark(""))
        if self._text_signature:
            self._signatures.remember_text("".join(self._text), self._text_signature)
            self._text_signature = ""
        self._characters += sum(map(len, self._text))
        self._text.clear()
        self._signed = False

    def _finish(self) -> None:
        if self._writer.finished:
            return
        self._close()
        usage, self._writer.estimated = completed(
            messages_usage(self._usage),
            self._sent.input_tokens,
            self._characters,
            self._sent.place,
            self._reporting,
        )
        if self._grounding is not None:
            searches = self._grounding.write(
                self._writer, lambda: new_id("srvtoolu_", self._random), cite=self._open == "text"
            )
            if searches:
                usage["server_tool_use"] = {"web_search_requests": searches}
        stop = "tool_use" if self._called and self._stop == "end_turn" else self._stop
        self._writer.finish(stop, usage)


def _says_something(part: Mapping[str, Any]) -> bool:
    """Return whether a part is content. An empty text, which may carry a signature, is not."""
    return bool(part.get("text") or part.get("functionCall") or part.get("inlineData"))


def _arguments(args: object, name: str) -> bytes:
    """Return a call's arguments as JSON text. Some proxies send that text itself. Raises StreamFailure."""
    if not args:
        return b"{}"
    if isinstance(args, str) and isinstance(json_in(args), dict):
        return args.encode()
    if not isinstance(args, dict):
        raise _failed(
            FailureKind.UNUSABLE,
            f"the upstream made a call of {name!r} with arguments that are no JSON object",
        )
    return write_document(args)


def _markdown(data: Mapping[str, Any]) -> str:
    kind = str(data.get("mimeType", ""))
    uri = f"data:{kind};base64,{data.get('data', '')}"
    return f"![image]({uri})" if kind.startswith("image/") else f"[{kind}]({uri})"


def _failed(kind: FailureKind, message: str, status: int = 0, type: str = "api_error") -> StreamFailure:
    return StreamFailure(Failure(kind=kind, status=status, message=message, type=type))


def _read_stream_error(chunk: Mapping[str, Any]) -> StreamFailure:
    """Return the failure for an error object inside the stream, judged by the status that it names."""
    return StreamFailure(
        translate_failure(Failure(kind=FailureKind.STREAM_ERROR, body=write_document(chunk)))
    )
