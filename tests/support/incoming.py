"""A client's request as dialects see it."""

from dataclasses import dataclass

from gateway.dialects.base import Headers, Purpose
from gateway.messages.request import MessagesRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """Everything that `gateway.dialects.base.Incoming` promises."""

    parsed: MessagesRequest
    purpose: Purpose = "messages"
    query: str = ""
    headers: Headers = ()
