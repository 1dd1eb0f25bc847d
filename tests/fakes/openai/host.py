"""A strict OpenAI-compatible host: refuses what its vendor refuses, replies in its vendor's manner.

It takes nothing that the types of the `openai` package do not know, and nothing that its traits do not. By
itself it plays an agent's model: reasoning and two calls each turn, a text at the end.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from gateway.config.openai_presets import PRESETS
from gateway.config.openai_traits import Traits
from tests.fakes.openai.manners import MANNERS, Reply, responses_stream, streamed, whole
from tests.fakes.openai.rules import Refusal, header_of, refusal_of

TURNS = 10
"""Turns with calls after which the model ends its task."""


def traits_of(preset: str, **own: Any) -> Traits:
    """Return a preset's traits ("" for none), overridden by a configuration's own."""
    return Traits(**{**(PRESETS[preset].traits if preset else {}), **own})


@dataclass
class UpstreamRequest:
    """One request to the host, and what became of it."""

    method: str
    target: str
    headers: dict[str, str]
    body: Any
    status: int = 0


class Host:
    """One host, with its traits and its manner."""

    def __init__(self, preset: str = "openai", traits: Traits | None = None, manner: str = "") -> None:
        self.traits = traits or traits_of(preset)
        self._manner = MANNERS[manner or preset]
        self.requests: list[UpstreamRequest] = []
        self.refusals: list[Refusal] = []
        self.scripted: deque[Refusal | bytes | Reply] = deque()
        """Responses that replace the host's own, in order."""

    def respond(
        self, method: str, target: str, headers: dict[str, str], raw: bytes
    ) -> tuple[int, str, bytes]:
        """Return (status, content type, body)."""
        request = UpstreamRequest(method, target, headers, orjson.loads(raw) if raw else None)
        self.requests.append(request)
        request.status, kind, body = self._respond(request)
        return request.status, kind, body

    def _respond(self, request: UpstreamRequest) -> tuple[int, str, bytes]:
        refused = header_of(request.headers, self.traits)
        if refused is None and request.method == "GET":
            return (
                200,
                "application/json",
                orjson.dumps({"object": "list", "data": [{"id": "m-1", "object": "model"}]}),
            )
        scripted = self.scripted.popleft() if self.scripted else None
        if isinstance(scripted, bytes):
            return 200, "text/event-stream", scripted
        if isinstance(scripted, Refusal):
            return scripted.status, "application/json", orjson.dumps(scripted.body)
        refused = refused or refusal_of(request.body, self.traits)
        if refused is not None:
            self.refusals.append(refused)
            return refused.status, "application/json", orjson.dumps(refused.body)
        reply = scripted or self.play(request.body)
        if "input" in request.body:
            return 200, "text/event-stream", responses_stream(reply)
        if not request.body.get("stream"):
            return 200, "application/json", whole(reply)
        return 200, "text/event-stream", streamed(self._manner(reply))

    def play(self, body: dict[str, Any]) -> Reply:
        """Return the agent's model's reply to this history."""
        messages = body.get("messages", body.get("input", []))
        turn = sum(
            1 for m in messages if m.get("role") == "assistant" and (m.get("tool_calls") or "input" in body)
        )
        names = [tool.get("function", tool)["name"] for tool in body.get("tools", ())]
        if not names or turn >= TURNS:
            return Reply(reasoning="Enough.", text="All done.")
        calls = tuple(
            (f"call_{turn}_{at}", name, f'{{"path": "file {turn}", "n": {at}}}')
            for at, name in enumerate(names[:2])
        )
        return Reply(reasoning=f"Turn {turn}: I look.\n", text=f"Looking {turn}.", calls=calls)


Responder = Callable[[str, str, dict[str, str], bytes], tuple[int, str, bytes]]
