"""The part of a sent request that its decoder, its failures and its cures need."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple, cast

from gateway.config.openai_traits import Traits
from gateway.dialects.base import Outgoing


class EncodedRequest(NamedTuple):
    """One encoded request, without its body."""

    traits: Traits
    """After the cures."""
    host: str = ""
    """Host and port of the upstream."""
    model: str = ""
    """The wire model."""
    url: str = ""
    """The whole URL of the request."""
    names: Mapping[str, str] = MappingProxyType({})
    """Changed tool names, the upstream's -> the client's."""
    fields: frozenset[str] = frozenset()
    """The body's top-level fields, and `features` of its messages, each as `messages.NAME`."""
    ids: frozenset[str] = frozenset()
    """The client's ids of the tool calls in the history."""
    stops: tuple[str, ...] = ()
    """Stop sequences at which the decoder must cut, because the host does not."""
    stop_sequences: tuple[str, ...] = ()
    """All of the client's stop sequences."""
    max_tokens: int = 0
    """The limit that was sent; 0 for none."""
    input_tokens: int = 0
    """The local estimate of the prompt; a rough one if the host is known to report usage."""


def encoded_request_of(outgoing: Outgoing) -> EncodedRequest:
    """Return what `encode` of this dialect stored with a request."""
    return cast(EncodedRequest, outgoing.state)
