"""Converts a chat.completions response to Messages events.

One decoder for each response: payload bytes in, calls to a StreamWriter out. The form is detected from the bytes, not
the content type: a stream, one JSON document, or an array of chunks. Promises that nothing is made up: a response that
breaks off, or ends for an unknown reason, is a StreamFailure.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.base import StreamFailure
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.dialects.openai.failures import incomplete, read_stream_error
from gateway.dialects.openai.output import Output
from gateway.dialects.openai.reasoning import text_of
from gateway.dialects.openai.usage import usage_in
from gateway.dialects.sniffer import Sniffer
from gateway.messages.json_documents import read_document
from gateway.messages.json_values import as_dict, as_list, dicts_in
from gateway.routing.error_bodies import is_error
from gateway.routing.failures import Failure, FailureKind

STOP_REASONS: Mapping[str, str] = {
    "stop": "end_turn",
    "eos": "end_turn",
    "eos_token": "end_turn",
    "end": "end_turn",
    "end_turn": "end_turn",
    "stop_sequence": "end_turn",
    "tool_calls": "end_turn",
    "function_call": "end_turn",
    "tool_use": "end_turn",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "model_length": "max_tokens",
    "content_filter": "refusal",
    "safety": "refusal",
    "sensitive": "refusal",
}
"""`finish_reason`, in front of a `:` -> `stop_reason`; with calls `end_turn` becomes `tool_use`. Other words are
failures. `model_length` is Mistral's word for a full context window, `sensitive` z.ai's for its filter."""

OVERFLOWED = "model_context_window_exceeded"
"""z.ai's `finish_reason` for a prompt that is too long."""

REASONING = ("reasoning_content", "reasoning", "reasoning_text")
"""Fields of a delta with reasoning; if there are several they have the same text."""

EARLY = "upstream ended the stream early"

_PLAIN_DELTA = frozenset({"content", "role"})
"""Keys of a delta that contains only text."""

_CHOICE_SAYS_MORE = frozenset({"error", "usage"})
_CHUNK_SAYS_MORE = frozenset({"error", "base_resp", "x_groq"})
"""Keys of a choice and of a chunk that need more than its text to be read."""

_HOLDS_OBJECT = re.compile(rb'"arguments":\s?\{')


class ChatDecoder:
    """Decodes one response."""

    __slots__ = ("_has_deltas", "_output", "_over", "_sent", "_sniffer", "_stop", "_stop_sequence", "_usage")

    def __init__(self, output: Output, sent: EncodedRequest) -> None:
        self._output = output
        self._sent = sent
        self._sniffer = Sniffer()
        self._usage: Mapping[str, Any] | None = None
        self._stop = ""
        self._stop_sequence = ""
        self._over = False
        self._has_deltas = False
        """Whether the message came in deltas; then any `message` only repeats them."""

    @property
    def complete(self) -> bool:
        """Whether the upstream has finished a sound response, so that `end` may follow."""
        is_ended = bool(self._stop or self._output.cut)
        return self._over or (is_ended and self._output.is_sound(self._stop, self._usage))

    def feed(self, data: bytes) -> None:
        """Decode payload bytes, cut anywhere. Raises StreamFailure."""
        try:
            events = self._sniffer.feed(data)
        except ValueError as error:
            raise incomplete(str(error)) from None
        output = self._output
        for name, data in events:
            if name or not output.in_text or not self._more_text(data):
                self._event(name, data)

    def end(self) -> None:
        """Finish at the end of the payload. Raises StreamFailure if the response did not end."""
        for name, data in self._sniffer.end():
            self._event(name, data)
        self._finish()

    def _more_text(self, data: bytes) -> bool:
        """Handle a chunk that only adds text, the most frequent one. Return False for any other."""
        try:
            document = orjson.loads(data)
            (choice,) = document["choices"]
            delta = choice["delta"]
            text = delta["content"]
        except (KeyError, TypeError, ValueError):
            return False
        if (
            type(text) is not str
            or not text
            or choice.get("finish_reason")
            or (len(delta) > 1 and not _PLAIN_DELTA.issuperset(delta))
            or not _CHOICE_SAYS_MORE.isdisjoint(choice)
            or not _CHUNK_SAYS_MORE.isdisjoint(document)
            or document.get("usage")
        ):
            return False
        self._output.more_text(text)
        return True

    def _event(self, name: str, data: bytes) -> None:
        if self._over:
            return
        if name == "error":
            raise read_stream_error(data, self._sent)
        data = data.strip()
        if not data:
            return
        if data == b"[DONE]":
            self._done()
            return
        try:
            # Arguments may be an object with integers that orjson would round.
            document = read_document(data) if _HOLDS_OBJECT.search(data) else orjson.loads(data)
        except ValueError:
            document = read_oddly(data, needed=self._output.started and not self.complete)
        for item in document if isinstance(document, list) else (document,):
            if isinstance(item, dict):
                self._chunk(item, data)

    def _chunk(self, chunk: Mapping[str, Any], data: bytes) -> None:
        if self._output.cut:
            self._usage = usage_in(chunk, {}) or self._usage
            return
        if is_error(chunk):
            raise read_stream_error(data, self._sent)
        choices = chunk.get("choices")
        choice = as_dict(choices[0]) if isinstance(choices, list) and choices else {}
        if choice.get("error"):
            raise read_stream_error(orjson.dumps({"error": choice["error"]}), self._sent)
        usage = usage_in(chunk, choice)
        if usage is not None:
            self._usage = usage
        delta = choice.get("delta")
        message = choice.get("message")
        if isinstance(delta, dict) and delta:
            self._delta(delta, whole=False)
            self._has_deltas = self._output.started
        elif isinstance(message, dict) and not self._has_deltas:
            # Perplexity sends the message so far beside each delta, and MiniMax the whole one behind them.
            self._delta(message, whole=True)
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason and not self._stop:
            self._stop = self._stop_reason(reason, data)
            self._stop_sequence = self._matched(choice)
        if self._stop or usage is not None:
            self._output.start(self._usage)

    def _delta(self, delta: Mapping[str, Any], *, whole: bool) -> None:
        output = self._output
        self._reasoning(delta)
        content = delta.get("content")
        for part in content if isinstance(content, list) else (content,):
            self._part(part)
        for image in dicts_in(delta.get("images")):
            url = image.get("image_url")
            url = url.get("url") if isinstance(url, dict) else url
            if isinstance(url, str) and url:
                output.text(f"![image]({url})")
        if isinstance(delta.get("refusal"), str) and delta["refusal"]:
            output.refuse(delta["refusal"])
        for annotation in as_list(delta.get("annotations")):
            output.annotate(annotation)
        legacy = delta.get("function_call")
        if isinstance(legacy, dict):
            output.call({"function": legacy}, 0)
        for place, call in enumerate(as_list(delta.get("tool_calls"))):
            if isinstance(call, dict):
                # A whole message's elements are separate calls, whatever their index says.
                output.call(call, place if whole else call.get("index"))

    def _reasoning(self, delta: Mapping[str, Any]) -> None:
        entries = dicts_in(delta.get("reasoning_details"))
        field, text = "", ""
        for field in REASONING:
            value = delta.get(field)
            if isinstance(value, str) and value:
                text = value
                break
        said = "".join(text_of(entry) for entry in entries)
        if entries:
            self._output.think(
                said or text, "details", [*entries, *([len(text)] if text and not said else [])]
            )
        elif text:
            self._output.think(text, field)

    def _part(self, part: object) -> None:
        """Add a content string, or a part of a content list."""
        if isinstance(part, str):
            self._output.add_tagged(part)
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            self._output.text(part["text"])
        elif isinstance(part, dict) and part.get("type") == "thinking":
            thinking = part.get("thinking")
            for inner in thinking if isinstance(thinking, list) else (thinking,):
                text = inner.get("text") if isinstance(inner, dict) else inner
                if isinstance(text, str):
                    self._output.think(text, "parts")

    def _stop_reason(self, reason: str, data: bytes) -> str:
        """Return the stop reason. Raises StreamFailure for an unknown word."""
        word = reason.lower()
        if word == OVERFLOWED:
            message = "prompt is too long: the upstream's context window is exceeded"
            failure = Failure(
                kind=FailureKind.STREAM_ERROR,
                status=400,
                message=message,
                type="invalid_request_error",
                body=data,
            )
            raise StreamFailure(failure)
        # Google adds its own reason, as in "content_filter: PROHIBITED_CONTENT".
        stop = STOP_REASONS.get(word.partition(":")[0])
        if stop is None:
            raise incomplete(f"the upstream stopped with {reason!r}")
        return stop

    def _matched(self, choice: Mapping[str, Any]) -> str:
        """Return the client's stop sequence that the host reports, as vLLM and SGLang do; "" for none."""
        for key in ("stop_reason", "matched_stop"):
            if choice.get(key) in self._sent.stop_sequences:
                return str(choice[key])
        return ""

    def _done(self) -> None:
        """Handle `[DONE]`: after a finish reason the response is complete, even if the body breaks off."""
        if not self._stop and not self._output.cut and not self._sent.traits.finish and self._output.started:
            self._stop = "end_turn"
        self._finish()

    def _finish(self) -> None:
        if self._over:
            return
        if not self._stop and not self._output.cut:
            raise incomplete(EARLY)
        self._over = True
        self._output.finish(self._stop, self._stop_sequence, self._usage)


def read_oddly(data: bytes, *, needed: bool) -> Any:
    """Parse an event that orjson refuses. Invalid: raises StreamFailure if it is `needed`, else None."""
    try:
        return read_document(data)
    except ValueError as error:
        if not needed:
            # E.g. a greeting of a proxy (if nothing else follows, the empty response is reported), or usage that was
            # cut off behind a complete response.
            return None
        raise incomplete(f"the upstream sent an event that cannot be read: {error}") from None
