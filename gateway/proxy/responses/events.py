"""Interprets the events of a relayed stream: whether there is content, how it ended, its usage."""

import orjson

from gateway.http1.heads import ResponseHead
from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.sse import Event, EventDecoder
from gateway.routing.error_bodies import read_error
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import Record
from gateway.telemetry.usage import usage_of_json_body, usage_of_message_start

MARKS = (b"event:", b"data:", b"id:", b"retry:", b":")
"""Beginnings of lines of an event stream."""

_BLANK = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark, and blanks that may precede the first line."""


def is_event_stream(body: bytes) -> bool:
    """Return whether bytes begin like an event stream."""
    return body[:64].lstrip(_BLANK).startswith(MARKS)


def may_become_event_stream(body: bytes) -> bool:
    """Return whether the bytes are too few to tell, and may become an event stream."""
    lead = body[:64].lstrip(_BLANK)
    return any(mark.startswith(lead) for mark in MARKS)


def kind_of(event: Event) -> str:
    """Return an event's type: its name, or if it has none, the one in its data."""
    if event.name:
        return event.name
    try:
        document = orjson.loads(event.data)
        kind = document.get("type", "error" if "error" in document else "")
    except (orjson.JSONDecodeError, AttributeError):
        return ""
    return kind if isinstance(kind, str) else ""


def has_content(event: Event) -> bool:
    """Return whether a client would lose something if the response began again after this event."""
    kind = kind_of(event)
    if kind in {"message_start", "ping", "content_block_stop"} or event.data.strip() == b"[DONE]":
        return False
    if kind in {"content_block_start", "message_delta"}:
        try:
            document = orjson.loads(event.data)
            if kind == "message_delta":
                return bool(document["usage"]["output_tokens"])
            block = document["content_block"]
            return bool(block[block["type"]]) if block["type"] in {"text", "thinking"} else True
        except (orjson.JSONDecodeError, KeyError, TypeError):
            return True
    return True


def names_stop_reason(event: Event) -> bool:
    """Return whether a `message_delta` has a stop reason: then its content is complete."""
    try:
        return orjson.loads(event.data)["delta"]["stop_reason"] is not None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


def failure_of(event: Event, head: ResponseHead | None) -> Failure:
    """Return the failure for an `error` event, by its type.

    `head`: the response's, if the event came first, so that the head's fields are about the same error.
    """
    error = read_error(event.data)
    return Failure(
        kind=FailureKind.STREAM_ERROR,
        status=STATUS_OF_TYPE.get(error.type, 0),
        headers=tuple(head.headers) if head is not None else (),
        body=event.data,
        message=error.message or event.data.decode("utf-8", "replace"),
        type=error.type,
    )


class Ending:
    """The last events of a stream, interpreted."""

    __slots__ = ("complete", "error")

    def __init__(self, payload: bytes) -> None:
        self.complete = False
        """Whether the upstream finished its response."""
        self.error: Event | None = None
        for event in _events(payload):
            kind = kind_of(event)
            if kind == "message_stop":
                self.complete = True
            elif kind == "message_delta":
                self.complete = self.complete or names_stop_reason(event)
            elif kind == "error":
                self.error = event


def take_usage_of_stream(record: Record, first: bytes, last: bytes) -> None:
    """Read the token counts from the first and the last bytes of a stream, which may overlap."""
    start, delta = first.find(b'"message_start"'), last.rfind(b'"message_delta"')
    if start >= 0 and delta >= 0:
        start_line = first[first.rfind(b"\n", 0, start) + 1 : first.find(b"\n", start)]
        delta_line = last[last.rfind(b"\n", 0, delta) + 1 : last.find(b"\n", delta)]
        if start_line[:5] == delta_line[:5] == b"data:":
            usage = usage_of_message_start(start_line[5:])
            total = usage_of_json_body(delta_line[5:])
            if usage is not None and total is not None:
                record.take_usage(usage)
                record.take_usage(total)
                return
    # The events are not in the usual form, one line of data each, or are missing.
    for event in (*_events(first), *_events(last)):
        if kind_of(event) == "message_start":
            record.take_usage(usage_of_message_start(event.data))
        elif kind_of(event) == "message_delta":
            record.take_usage(usage_of_json_body(event.data))


def _events(payload: bytes) -> list[Event]:
    try:
        return EventDecoder().feed(payload)
    except ValueError:
        return []
