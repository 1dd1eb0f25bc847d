"""What the events of a relayed stream say: whether there is content, how it ended, what it cost."""

import orjson

from gateway.http1.heads import ResponseHead
from gateway.messages.errors import STATUS_OF_TYPE
from gateway.messages.sse import Event, EventDecoder
from gateway.routing.error_bodies import read_error
from gateway.routing.failures import Failure, FailureKind
from gateway.telemetry.access_log import Record
from gateway.telemetry.usage import usage_of_json_body, usage_of_message_start

MARKS = (b"event:", b"data:", b"id:", b"retry:", b":")
"""What lines of an event stream begin with."""

_BLANK = b"\xef\xbb\xbf \t\r\n"
"""A byte order mark, and what may stand before a first line."""


def is_event_stream(body: bytes) -> bool:
    """Return whether bytes begin as an event stream does."""
    return body[:64].lstrip(_BLANK).startswith(MARKS)


def may_become_event_stream(body: bytes) -> bool:
    """Return whether so few bytes have come that they may yet begin as an event stream does."""
    lead = body[:64].lstrip(_BLANK)
    return any(mark.startswith(lead) for mark in MARKS)


def kind_of(event: Event) -> str:
    """Return an event's type: its name, or for a server that names none, what its data says."""
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
    """Return whether a `message_delta` says why the response ended: nothing of its content is missing then."""
    try:
        return orjson.loads(event.data)["delta"]["stop_reason"] is not None
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False


def failure_of(event: Event, head: ResponseHead | None) -> Failure:
    """Return an `error` event as the failure that its type stands for.

    `head`: what the response began with, if the event followed at once, so that its fields are about the same moment.
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
    """What a stream's last events say."""

    __slots__ = ("complete", "error")

    def __init__(self, payload: bytes) -> None:
        self.complete = False
        """The upstream finished its response."""
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
    """Read the token counts out of the first and the last bytes of a stream, which may overlap."""
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
    # Written in some other way than one line of data each, or not at all.
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
