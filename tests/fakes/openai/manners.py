"""One reply in every form that hosts use: as their stream, or whole."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import orjson

USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


@dataclass(frozen=True, kw_only=True)
class Reply:
    """The content of a host's reply."""

    reasoning: str = ""
    text: str = ""
    calls: tuple[tuple[str, str, str], ...] = ()
    """(id, name, arguments)."""
    finish: str = ""
    """Empty: `stop`, or `tool_calls`."""
    usage: dict[str, Any] = field(default_factory=lambda: dict(USAGE))

    @property
    def ending(self) -> str:
        return self.finish or ("tool_calls" if self.calls else "stop")


def chunk(delta: dict[str, Any] | None, finish: str | None = None, **fields: Any) -> dict[str, Any]:
    choice: dict[str, Any] = {"index": 0, "finish_reason": finish}
    if delta is not None:
        choice["delta"] = delta
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **fields,
    }


def pieces(text: str, size: int = 3) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def call_delta(
    index: int | None, id: str | None = None, name: str | None = None, arguments: object = None
) -> dict[str, Any]:
    function = {k: v for k, v in (("name", name), ("arguments", arguments)) if v is not None}
    given = (("index", index), ("id", id), ("type", "function" if id else None), ("function", function))
    return {"tool_calls": [{k: v for k, v in given if v is not None}]}


def calls_in_sequence(reply: Reply) -> Iterator[dict[str, Any]]:
    for index, (id, name, arguments) in enumerate(reply.calls):
        yield chunk(call_delta(index, id, name, ""))
        yield from (chunk(call_delta(index, None, None, piece)) for piece in pieces(arguments))


def calls_interleaved(reply: Reply) -> Iterator[dict[str, Any]]:
    yield from (chunk(call_delta(index, id, name, "")) for index, (id, name, _) in enumerate(reply.calls))
    rest = [pieces(arguments) for _, _, arguments in reply.calls]
    for at in range(max(map(len, rest), default=0)):
        yield from (
            chunk(call_delta(index, None, None, left[at]))
            for index, left in enumerate(rest)
            if at < len(left)
        )


def openai(reply: Reply) -> Iterator[Any]:
    """OpenAI itself, and most others."""
    yield chunk({"role": "assistant", "content": ""})
    yield from (chunk({"content": piece}) for piece in pieces(reply.text))
    yield from calls_interleaved(reply)
    yield chunk({}, reply.ending)
    yield {**chunk(None), "choices": [], "usage": reply.usage}
    yield "[DONE]"


def azure(reply: Reply) -> Iterator[Any]:
    yield {"id": "", "choices": [], "prompt_filter_results": [{"prompt_index": 0}]}
    yield chunk(None)
    yield from openai(reply)


def deepseek(reply: Reply) -> Iterator[Any]:
    """Reasoning first, null content beside it, usage with the finish, comments while one waits."""
    yield ": keep-alive"
    yield from (
        chunk({"content": None, "reasoning_content": piece}, usage=None) for piece in pieces(reply.reasoning)
    )
    yield from (
        chunk({"content": piece, "reasoning_content": None}, usage=None) for piece in pieces(reply.text)
    )
    yield from calls_in_sequence(reply)
    yield chunk({"content": ""}, reply.ending, usage=reply.usage)
    yield "[DONE]"


def vllm(reply: Reply) -> Iterator[Any]:
    yield from (chunk({"reasoning": piece}) for piece in pieces(reply.reasoning))
    yield from openai(reply)


def moonshot(reply: Reply) -> Iterator[Any]:
    """Usage in the choice, no index in the calls, no `[DONE]`."""
    yield from (chunk({"reasoning_content": piece}) for piece in pieces(reply.reasoning))
    yield from (chunk({"content": piece}) for piece in pieces(reply.text))
    for id, name, arguments in reply.calls:
        yield chunk(call_delta(None, id, name, arguments))
    last = chunk({}, reply.ending)
    last["choices"][0]["usage"] = reply.usage
    yield last


def mistral(reply: Reply) -> Iterator[Any]:
    if reply.reasoning:
        yield chunk(
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": reply.reasoning}]}]}
        )
    yield from (chunk({"content": piece}) for piece in pieces(reply.text))
    yield chunk(
        {"tool_calls": [{"id": id, "function": {"name": n, "arguments": a}} for id, n, a in reply.calls]}
        if reply.calls
        else {},
        reply.ending,
        usage=reply.usage,
    )
    yield "[DONE]"


def openrouter(reply: Reply) -> Iterator[Any]:
    yield ": OPENROUTER PROCESSING"
    for piece in pieces(reply.reasoning):
        entry = {"type": "reasoning.text", "text": piece, "format": "anthropic-claude-v1", "index": 0}
        yield chunk({"content": "", "reasoning": piece, "reasoning_details": [entry]})
    if reply.reasoning:
        yield chunk(
            {
                "content": "",
                "reasoning_details": [{"type": "reasoning.text", "text": "", "signature": "SIG", "index": 0}],
            }
        )
    yield from openai(reply)


def minimax(reply: Reply) -> Iterator[Any]:
    for piece in pieces(reply.reasoning):
        yield chunk(
            {"reasoning_details": [{"type": "reasoning.text", "text": piece, "index": 0}]}, base_resp=None
        )
    yield from openai(reply)


def groq(reply: Reply) -> Iterator[Any]:
    yield from (chunk({"reasoning": piece}) for piece in pieces(reply.reasoning))
    yield from (chunk({"content": piece}) for piece in pieces(reply.text))
    yield from calls_in_sequence(reply)
    yield chunk({}, reply.ending, x_groq={"id": "x", "usage": reply.usage})
    yield "[DONE]"


def ollama(reply: Reply) -> Iterator[Any]:
    """Index 0 and objects for all calls, `stop` and an empty finish everywhere, no usage."""
    yield from (chunk({"role": "assistant", "content": piece}, "") for piece in pieces(reply.text))
    yield from (
        chunk(call_delta(0, id, name, orjson.loads(arguments)), "") for id, name, arguments in reply.calls
    )
    yield chunk({"content": ""}, "stop")
    yield "[DONE]"


def tags(reply: Reply) -> Iterator[Any]:
    """A local server without a parser for reasoning."""
    thought = f"<think>{reply.reasoning}</think>" if reply.reasoning else ""
    yield from (chunk({"content": piece}) for piece in pieces(thought + reply.text))
    yield from calls_in_sequence(reply)
    yield chunk({}, reply.ending)
    yield {**chunk(None), "choices": [], "usage": reply.usage}


MANNERS: dict[str, Callable[[Reply], Iterator[Any]]] = {
    "openai": openai,
    "azure": azure,
    "openrouter-openai": openrouter,
    "deepseek-openai": deepseek,
    "moonshot-openai": moonshot,
    "zai-openai": deepseek,
    "minimax-openai": minimax,
    "qwen": deepseek,
    "mistral": mistral,
    "groq": groq,
    "cerebras": groq,
    "xai": openai,
    "together": tags,
    "vllm": vllm,
    "sglang": deepseek,
    "llamacpp-openai": deepseek,
    "ollama-openai": ollama,
    "lmstudio-openai": tags,
    "litellm": vllm,
}
"""Preset -> how its host streams."""


def streamed(events: Iterator[Any]) -> bytes:
    """Write events; a str that begins with ":" is a comment."""
    out = []
    for event in events:
        if isinstance(event, str) and event.startswith(":"):
            out.append(event.encode() + b"\n\n")
        else:
            out.append(
                b"data: " + (event.encode() if isinstance(event, str) else orjson.dumps(event)) + b"\n\n"
            )
    return b"".join(out)


def whole(reply: Reply) -> bytes:
    """Write the reply as one document."""
    calls = [
        {"id": id, "type": "function", "function": {"name": n, "arguments": a}} for id, n, a in reply.calls
    ]
    message: dict[str, Any] = {"role": "assistant", "content": reply.text or None}
    message.update(
        {"reasoning_content": reply.reasoning} if reply.reasoning else {},
        **({"tool_calls": calls} if calls else {}),
    )
    choice = {"index": 0, "message": message, "finish_reason": reply.ending}
    return orjson.dumps({"object": "chat.completion", "choices": [choice], "usage": reply.usage})


def responses_items(reply: Reply) -> list[dict[str, Any]]:
    """The reply as items of the Responses wire."""
    items: list[dict[str, Any]] = []
    if reply.reasoning:
        summary = [{"type": "summary_text", "text": reply.reasoning}]
        items.append({"type": "reasoning", "id": "rs_1", "summary": summary, "encrypted_content": "gAAA"})
    if reply.text:
        content = [{"type": "output_text", "text": reply.text, "annotations": []}]
        items.append({"type": "message", "id": "msg_1", "role": "assistant", "content": content})
    for id, name, arguments in reply.calls:
        items.append(
            {"type": "function_call", "id": f"fc_{id}", "call_id": id, "name": name, "arguments": arguments}
        )
    return items


def responses_stream(reply: Reply) -> bytes:
    """The reply as the Responses wire streams it."""
    usage = {"input_tokens": 100, "output_tokens": 20}
    events: list[dict[str, Any]] = [{"type": "response.created", "response": {"status": "in_progress"}}]
    for index, item in enumerate(responses_items(reply)):
        where = {"output_index": index, "item_id": item["id"]}
        empty = {"content": [], "summary": [], "arguments": ""}
        events.append(
            {
                "type": "response.output_item.added",
                "output_index": index,
                "item": {**item, **{k: v for k, v in empty.items() if k in item}},
            }
        )
        if item["type"] == "message":
            events += [
                {"type": "response.output_text.delta", "delta": p, **where} for p in pieces(reply.text)
            ]
        elif item["type"] == "reasoning":
            events.append({"type": "response.reasoning_summary_part.added", **where})
            events += [
                {"type": "response.reasoning_summary_text.delta", "delta": p, **where}
                for p in pieces(reply.reasoning)
            ]
        else:
            events += [
                {"type": "response.function_call_arguments.delta", "delta": p, **where}
                for p in pieces(item["arguments"])
            ]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append(
        {
            "type": "response.completed",
            "response": {"object": "response", "status": "completed", "usage": usage},
        }
    )
    return b"".join(b"event: " + e["type"].encode() + b"\ndata: " + orjson.dumps(e) + b"\n\n" for e in events)
