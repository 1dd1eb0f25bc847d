"""What is still to be known of a request once it was sent: for its decoder, its failures and its cures."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from gateway.config.openai_traits import Traits
from gateway.dialects.base import Outgoing


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One encoded request, without its body."""

    traits: Traits
    """As the cures left them."""
    host: str = ""
    """Host and port of the upstream."""
    model: str = ""
    """The wire model."""
    url: str = ""
    """The whole URL that was asked."""
    names: Mapping[str, str] = field(default_factory=dict)
    """Tool names that were changed, the upstream's -> the client's."""
    fields: frozenset[str] = frozenset()
    """The body's top-level fields, and `features` of its messages, each as `messages.NAME`."""
    ids: frozenset[str] = frozenset()
    """Ids of the tool calls in the history, the client's."""
    stops: tuple[str, ...] = ()
    """Stop sequences that the decoder must cut, because the host does not."""
    stop_sequences: tuple[str, ...] = ()
    """All of the client's."""
    max_tokens: int = 0
    """The limit that was sent; 0 for none."""
    input_tokens: int = 0
    """The local estimate; a rough one where the host is known to report usage."""


def sent_of(outgoing: Outgoing) -> Sent:
    """Return what this dialect's `encode` left in a request."""
    return cast(Sent, outgoing.state)
