"""Live status: one event stream for each watcher, all fed by one timer that runs while there are any.

The first event of a stream, `status`, holds the whole document, each later one, `change`, the difference to the
last; comments in between keep the stream alive. A client that reads too slowly gets nothing until it has caught up,
then the whole document, so that at most one document waits for it.
"""

import asyncio
from collections.abc import Iterable

import orjson

from gateway.config import Config
from gateway.messages.errors import RequestError
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import EVENT_STREAM, STREAM_LINES
from gateway.proxy.runtime import ProcessState
from gateway.status.changes import find_changes
from gateway.status.document import Document, collect, merge

EVERY = 1.0
"""Seconds between two documents: soon enough for a person."""

PING_AFTER = 5.0
"""Seconds of silence before a comment: proxies cut off a silent response after 30 s and more, and a reader wants
to know whether nothing happens or the connection is dead."""

MOST = 32
"""Streams at once: each costs a connection and a few KB a second."""

PING = b": nothing has changed\n\n"


class Watcher:
    """One watching client; the worker of its request."""

    def __init__(self, request: ClientRequest, watchers: "LiveWatchers") -> None:
        self.request = request
        self._watchers = watchers
        self._ready = True
        self._behind = True
        """Whether it missed a change, so that it needs a whole document."""
        self._last = request.exchange.received_at

    def start(self) -> None:
        """Start the response."""
        request = self.request
        request.worker = self
        id_line = b"request-id: %b\r\n" % request.request_id.encode()
        request.exchange.start(200, EVENT_STREAM + STREAM_LINES + id_line)
        request.exchange.write(PING)

    def show(self, whole: Document, change: Document | None, now: float) -> None:
        """Send the document or the change that it lacks, or a comment after silence."""
        if not self._ready:
            self._behind = self._behind or change is not None
            return
        if self._behind:
            self._behind = False
            data = b"event: status\ndata: %b\n\n" % orjson.dumps(whole)
        elif change is not None:
            data = b"event: change\ndata: %b\n\n" % orjson.dumps(change)
        elif now - self._last >= PING_AFTER:
            data = PING
        else:
            return
        self._last = now
        self.request.exchange.write(data)

    # See `proxy.request.Worker`.

    def client_left(self) -> bool:
        """Forget a client that has left."""
        self._watchers.forget(self)
        return True

    def cancel(self) -> None:
        """Forget a client that was cut off."""
        self._watchers.forget(self)

    def break_off(self, message: str) -> bool:
        """End the stream; the client reconnects."""
        self._watchers.forget(self)
        self.request.exchange.finish()
        return True

    def flow(self, ready: bool) -> None:
        """Pause writing while the client does not read."""
        self._ready = ready


def _who_may_look(config: Config) -> tuple[object, ...]:
    """Return the rules of access: a long stream ends when they change, so that the client is checked by new ones."""
    return config.auth, config.status, config.server.allowed_hosts, config.server.allowed_origins


class LiveWatchers:
    """All watchers of a process. Costs nothing while there are none."""

    def __init__(self, process_state: ProcessState) -> None:
        self._process_state = process_state
        self._watchers: set[Watcher] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last: Document | None = None
        """The last document shown."""

    def add(self, request: ClientRequest) -> None:
        """Start a stream. Raises RequestError (503) if there are too many."""
        if len(self._watchers) >= MOST:
            raise RequestError(
                503, "too many watch this gateway's status already", headers=[(b"retry-after", b"10")]
            )
        watcher = Watcher(request, self)
        watcher.start()
        self._watchers.add(watcher)
        if self._timer is not None:
            self._timer.cancel()
        self._look()

    def end(self) -> None:
        """End all streams."""
        for watcher in list(self._watchers):
            watcher.break_off("")

    def forget(self, watcher: Watcher) -> None:
        """Drop a watcher, and stop the timer after the last."""
        self._watchers.discard(watcher)
        if not self._watchers and self._timer is not None:
            self._timer.cancel()
            self._timer = self._last = None

    def _look(self) -> None:
        loop, runtime = asyncio.get_running_loop(), self._process_state.current
        self._timer = loop.call_later(EVERY, self._look)
        for watcher in list(self._watchers):
            if _who_may_look(watcher.request.runtime.config) != _who_may_look(runtime.config):
                watcher.break_off("")
        if self._watchers:
            collect(runtime, loop.time(), self._show)

    def _show(self, parts: Iterable[Document]) -> None:
        """Send the merged document to all. Watchers that are not behind have the last document."""
        document = merge(parts)
        change = None if self._last is None else find_changes(self._last, document)
        self._last = document
        now = asyncio.get_running_loop().time()
        for watcher in list(self._watchers):
            watcher.show(document, change, now)
