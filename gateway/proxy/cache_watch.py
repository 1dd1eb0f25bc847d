"""CacheWatch: which requests' prompt caches are followed, and when the work for it is done.

A response's usage says whether a cache was used at all, so that requests without one cost nothing. A stream's request
is let go of when its response begins: if that, or what is known of the upstream, speaks of a cache, the hashes are made
in the next turn of the loop, after the first bytes have left. All others' are made after the response.
"""

from typing import TYPE_CHECKING

from gateway.messages.request import MessagesRequest, conversation_id
from gateway.telemetry.access_log import Record

if TYPE_CHECKING:
    from gateway.messages.prompt_cache import PromptCaches
    from gateway.messages.prompt_prefix import Prefix
    from gateway.proxy.request import ClientRequest


LARGEST = 8 * 1024 * 1024
"""Bytes of a request that is followed: a million tokens of text have half of that, and hashing it holds the loop for
50 ms. What is larger is pictures."""


class CacheWatch:
    """What is followed, over reloads."""

    __slots__ = ("_caches", "_late", "_writers", "watched")

    def __init__(self) -> None:
        self.watched: set[str] = set()
        """Upstreams of which every request is followed: they cache by themselves, or tell of it only in the end."""
        self._late: set[str] = set()
        """Those that tell of it only at the end of a stream."""
        self._writers: set[str] = set()
        """Those that tell what they write to a cache: where they wrote and read nothing, nothing was asked of it."""
        self._caches: PromptCaches | None = None
        """Made with the first request that is followed."""

    def prompt_of(self, request: "ClientRequest", parsed: MessagesRequest) -> "tuple[str, Prefix]":
        """Return a request's conversation, and the hashes of its prompt."""
        from gateway.messages.prompt_prefix import prefix_of

        parsed.recall()
        document = parsed.document
        parsed.forget()
        entrance = request.entrance
        assert entrance is not None
        # Without a session the beginning of the messages names it: a system prompt that changes is what is looked for.
        conversation = entrance.conversation or (
            f"{entrance.key}/{conversation_id({name: document.get(name) for name in ('metadata', 'messages')})}"
        )
        return conversation, prefix_of(document)

    def follow(self, request: "ClientRequest", parsed: MessagesRequest, beginning: bytes) -> None:
        """Take the hashes of a request that was let go of, if its upstream or `beginning`, the first events of its
        response, tells of a cache."""
        record = request.record
        if record.bytes_in <= LARGEST and (record.upstream in self.watched or speaks_of_cache(beginning)):
            request.prompt = self.prompt_of(request, parsed)

    def judge(self, record: Record, followed: "tuple[str, Prefix] | None") -> None:
        """Note in a record what became of its cache, where `followed` says what its prompt was; learn from its usage
        how its upstream tells of caches."""
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


def speaks_of_cache(beginning: bytes) -> bool:
    """Return whether the first events of a stream tell of tokens that were read from a cache or written to one."""
    # It imports what imports this module.
    from gateway.proxy.responses.events import take_usage_of_stream

    record = Record(0.0)
    take_usage_of_stream(record, beginning, b"")
    return bool(record.cache_read_tokens or record.cache_creation_tokens)
