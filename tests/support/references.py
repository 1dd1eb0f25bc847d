"""Reference readers of the same bytes: h11 for a response, the standard's own words for an event stream."""

import re

import h11

from gateway.messages.json_documents import BOM
from gateway.messages.sse import Event, EventDecoder

Response = tuple[int, bytes] | None
"""Status and payload; None for a response that is refused, or cut."""


def by_h11(sent: bytes, method: str) -> tuple[Response, bytes]:
    """The response to a request of that method, and what follows it; the connection is closed behind all that."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(sent)
    response = _next_response(connection)
    return response, connection.trailing_data[0]


def _next_response(connection: h11.Connection) -> Response:
    status, payload, closed = 0, b"", False
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                payload += event.data
            elif event is h11.NEED_DATA and not closed:
                connection.receive_data(b"")
                closed = True
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None
    return status, payload


def received_events(sent: bytes) -> tuple[list[Event], bool]:
    """The events that a client finds in a streamed response that h11 reads to it, and whether the response is whole."""
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]))
    client.send(h11.EndOfMessage())
    client.receive_data(sent)
    decoder, events = EventDecoder(), list[Event]()
    assert isinstance(client.next_event(), h11.Response)
    while isinstance(item := client.next_event(), h11.Data):
        events += decoder.feed(bytes(item.data))
    return events, isinstance(item, h11.EndOfMessage)


def events_by_the_standard(sent: bytes) -> list[Event]:
    """WHATWG HTML, 9.2.6: lines, fields, and an event for each blank line behind data. Keeps all in memory."""
    lines = re.split(rb"\r\n|\n|\r", sent.removeprefix(BOM))[:-1]
    events, name, data = [], "", list[bytes]()
    for line in lines:
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ").decode("utf-8", "replace")
        elif not line:
            events += [Event(name, b"\n".join(data))] if data else []
            name, data = "", []
    return events
