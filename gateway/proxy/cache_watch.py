"""CacheWatch: decides which requests' prompt caches are watched, and when that work is done.

A response's usage says whether a cache was used at all, so that requests without one cost nothing. A streaming
request is dropped when its response begins: if the response's first events, or what is known of the upstream,
indicate a cache, the hashes are made in the next turn of the loop, after the first bytes are sent. All others are
made after the response.
"""

from typing import TYPE_CHECKING

from gateway.messages.request import MessagesRequest, conversation_id
from gateway.telemetry.access_log import Record

if TYPE_CHECKING:
    from gateway.messages.prompt_cache import PromptCaches
    from gateway.messages.prompt_prefix import Prefix
    from gateway.proxy.request import ClientRequest


LARGEST = 8 * 1024 * 1024
"""Bytes of a request that is watched, at most: a million tokens of text have half of that, and hashing it blocks the
loop for 50 ms. Larger requests consist of pictures."""


class CacheWatch:
    """The state of watching, kept over reloads."""

    __slots__ = ("_caches", "_late", "_writers", "watched")

    def __init__(self) -> None:
        self.watched: set[str] = set()
        """Upstreams whose requests are all watched: they cache by themselves, or report it only at the end."""
        self._late: set[str] = set()
        """Upstreams that report caching only at the end of a stream."""
        self._writers: set[str] = set()
        """Upstreams that report cache writes: if they neither wrote nor read, no cache was requested."""
        self._caches: PromptCaches | None = None
        """Created for the first watched request."""

    def prompt_of(self, request: "ClientRequest", parsed: MessagesRequest) -> "tuple[str, Prefix]":
        """Return a request's conversation, and the hashes of its prompt."""
        from gateway.messages.prompt_prefix import prefix_of

        parsed.recall()
        document = parsed.document
        parsed.forget()
        entrance = request.entrance
        assert entrance is not None
        # Without a session the messages' beginning is the name: a changed system prompt must not change it.
        conversation = entrance.conversation or (
            f"{entrance.key}/{conversation_id({name: document.get(name) for name in ('metadata', 'messages')})}"
        )
        return conversation, prefix_of(document)

    def follow(self, request: "ClientRequest", parsed: MessagesRequest, beginning: bytes) -> None:
        """Hash a request that is about to be dropped, if its upstream, or `beginning`, the first events of its
        response, indicate a cache."""
        record = request.record
        if record.bytes_in <= LARGEST and (record.upstream in self.watched or mentions_cache(beginning)):
            request.prompt = self.prompt_of(request, parsed)

    def judge(self, record: Record, followed: "tuple[str, Prefix] | None") -> None:
        """Record what happened to a request's cache, given its prompt (`followed`); learn from its usage how its
        upstream reports caches."""
        if record.bytes_in > LARGEST:
            return
        upstream = record.upstream
        if record.cache_creation_tokens:
            self._writers.add(upstream)
            if upstream not in self._late:
                self.watched.discard(upstream)
        elif record.cache_read_tokens and upstream not in self._writers:
            self.watched.add(upstream)
        if followed is None:
            self._late.add(upstream)
            self.watched.add(upstream)
            return
        if self._caches is None:
            from gateway.messages.prompt_cache import PromptCaches

            self._caches = PromptCaches()
        self._caches.judge(*followed, record)


def mentions_cache(beginning: bytes) -> bool:
    """Return whether the first events of a stream report tokens read from a cache or written to one."""
    # Imported here since it imports this module.
    from gateway.proxy.responses.events import take_usage_of_stream

    record = Record(0.0)
    take_usage_of_stream(record, beginning, b"")
    return bool(record.cache_read_tokens or record.cache_creation_tokens)
