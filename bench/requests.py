"""The requests the load sends: bodies of the sizes the rows name, heads as real clients write them.

The bodies come from `fixtures/`, captured shapes of real clients with their prose replaced. The
large one is a Claude Code conversation continued by tool rounds up to the requested size.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
AGENT_FIXTURE = "claude_code_tool_round.json"
SDK_FIXTURE = "sdk_python.json"

SMALL_BYTES = 2 * 1024
AGENT_BYTES = 150 * 1000
ROUND_BYTES = 2_400
"""One tool round of an agent's history: a page of a source file comes back from a Read."""

API_KEY = "sk-bench-0123456789abcdef"
"""The key the load shows; peers that check one are configured with it."""

CREDENTIALS = frozenset({"x-api-key", "authorization", "x-goog-api-key"})
REPLACED = CREDENTIALS | {"host", "content-length", "connection", "accept-encoding"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A client's request without what changes per run: its body and the fields of its head."""

    path: str
    headers: tuple[tuple[str, str], ...]
    body: Mapping[str, Any]


def _fixture(name: str, index: int) -> Shape:
    entry = json.loads((FIXTURES / name).read_text("utf-8"))[index]
    headers = tuple((n, v) for n, v in entry["headers"] if n.lower() not in REPLACED)
    return Shape(entry["path"], headers, entry["body"])


def small() -> Shape:
    """An SDK's request of 2 KB: one question with some text to it."""
    shape = _fixture(SDK_FIXTURE, 0)
    body = dict(shape.body)
    body["system"] = "You response in one sentence."
    empty = len(encode({**body, "messages": [{"role": "user", "content": ""}]}))
    sentence = "Say which of these lines is the odd one out and why. "
    missing = SMALL_BYTES - empty
    text = (sentence * (missing // len(sentence) + 1))[:missing]
    return Shape(shape.path, shape.headers, {**body, "messages": [{"role": "user", "content": text}]})


def agent(size: int = AGENT_BYTES) -> Shape:
    """Claude Code's request in the middle of a task: `size` bytes or a little more."""
    shape = _fixture(AGENT_FIXTURE, 1)
    body = dict(shape.body)
    body["messages"] = list(body["messages"])
    missing = size - len(encode(body))
    while missing > 0:
        turns = _tool_round(len(body["messages"]))
        body["messages"] += turns
        missing -= len(encode(turns)) - 1
    return Shape(shape.path, shape.headers, body)


def _tool_round(number: int) -> list[dict[str, Any]]:
    call = f"toolu_{number:024d}"
    lines = [f"{n:6d}\tdef step_{number}_{n}(value: int) -> int:  # \u2192 next" for n in range(60)]
    page = "\n".join(lines)[:ROUND_BYTES]
    return [
        {
            "role": "assistant",
            "content": [
                {"type": "text", "text": "I look at the next module before I change anything."},
                {
                    "type": "tool_use",
                    "id": call,
                    "name": "Read",
                    "input": {"file_path": f"/home/user/project/src/part_{number}.py", "limit": 60},
                },
            ],
        },
        {
            "role": "user",
            "content": [{"type": "tool_result", "tool_use_id": call, "content": page, "is_error": False}],
        },
    ]


def encode(document: Any) -> bytes:
    """JSON as clients write it: no blanks, text as UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode("utf-8")


def body_for(shape: Shape, model: str, *, stream: bool, events: int | None = None) -> bytes:
    """Return the body of a request to `model`; `events` becomes max_tokens."""
    document = dict(shape.body)
    document.pop("stream", None)
    document["model"] = model
    if events is not None:
        document["max_tokens"] = events
    if stream:
        document["stream"] = True
    return encode(document)


def headers_for(shape: Shape, session: str, extra: Iterable[tuple[str, str]] = ()) -> list[tuple[str, str]]:
    """Return the head's fields without Host and Content-Length. `session` is the conversation's id."""
    extra = list(extra)
    taken = {name.lower() for name, _ in extra}
    own = [("x-api-key", API_KEY), ("Accept-Encoding", "identity"), ("Connection", "keep-alive")]
    fields = [*shape.headers, *own]
    kept = [
        (name, session if name.lower() == "x-claude-code-session-id" else value)
        for name, value in fields
        if name.lower() not in taken
    ]
    return kept + extra


def render(method: str, target: str, port: int, headers: Iterable[tuple[str, str]], body: bytes) -> bytes:
    """A whole request, ready for a socket."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


def session(number: int) -> str:
    """The id of conversation `number`."""
    return f"00000000-0000-4000-8000-{number:012d}"
