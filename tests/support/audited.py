"""`python -m tests.support.audited`: a gateway that gets hostile requests of every kind, and its side effects.

An audit hook is called for each process, file, name and connection of Python code. It can never be removed, so this
is a separate process. It prints JSON: `responses` (how many), `paths` (at the upstreams), `deeds` (without those of
the requests themselves: connections of client and gateway, modules that are read), and `control`, the events of a
process that is started at the end.
"""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

from gateway.config import Retry
from gateway.config.values import REPAIRS_OF_KIND
from gateway.endpoints.router import MODEL, ROUTES
from tests.fakes.messages import Received, Script, ScriptedUpstream, json_response, stream_response
from tests.support.client import ask, fetch
from tests.support.running import config, running, upstream
from tests.support.stage import good

TEMPTATIONS = [
    *("http://127.0.0.1:1/x", "https://example.com/x.png", "file:///etc/passwd", "//127.0.0.1:1/"),
    *("$(touch x)", "`id`", "; id", "| id", "%s%n", "\\\\host\\x"),
    *("${HOME}", "${file:/etc/passwd}", "../../../../etc/passwd"),
]
METHODS = ("GET", "POST", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

DEEDS = (
    *("os.", "subprocess.", "pty.", "ctypes.", "open", "shutil.", "tempfile.", "mmap.", "fcntl."),
    *("socket.connect", "socket.get", "socket.send", "socket.bind"),
    *("urllib.", "http.", "ftplib.", "smtplib.", "webbrowser."),
)
HARMLESS = {"os.listdir", "os.scandir", "fcntl.ioctl"}
"""Python searches for modules; `backlog` queries a socket."""

OWN_STATE = {"/proc/self/stat", "/proc/self/statm", "/proc/stat"}
"""Files that `/metrics` reads about the process itself, for any request."""


def document(temptation: str, model: str, *, stream: bool) -> dict[str, Any]:
    """A request that names it wherever something could be fetched or run, and where a translator takes it."""
    source = {"type": "url", "url": temptation}
    blocks = [
        {"type": "text", "text": temptation},
        {"type": "image", "source": source},
        {"type": "document", "source": source, "title": temptation},
    ]
    call = {"type": "tool_use", "id": "t", "name": "bash", "input": {"command": temptation}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": source}]}
    schema = {"type": "object", "properties": {"a": {"$ref": temptation}}}
    more: dict[str, Any] = {}
    tools: list[dict[str, Any]] = [{"name": "bash", "input_schema": schema}]
    if model != "gemini":
        blocks.append({"type": "container_upload", "file_id": temptation})
        tools += [
            {"type": "web_fetch_20250910", "name": "web_fetch"},
            {"type": "bash_20250124", "name": "bash"},
        ]
        more = {"mcp_servers": [{"type": "url", "url": temptation, "name": "x"}], "container": temptation}
    return ask(
        model=model,
        stream=stream,
        system=temptation,
        messages=[
            {"role": "user", "content": blocks},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result]},
        ],
        tools=tools,
        metadata={"user_id": temptation},
        **more,
    )


def requests() -> Iterator[tuple[str, str, bytes | dict[str, Any]]]:
    """Method, target, body."""
    for temptation in TEMPTATIONS:
        quoted = quote(temptation, safe="")
        for path in (*ROUTES, MODEL + quoted, "/" + quoted, "/v1/v1/messages"):
            for method in METHODS if temptation == TEMPTATIONS[0] else ("GET", "POST"):
                yield method, f"{path}?url={quoted}", b""
        for path in ("/v1/messages", "/v1/messages/count_tokens", "/api/event_logging/batch"):
            for model in ("m", "gemini", temptation):
                for stream in (False, True):
                    yield "POST", path, document(temptation, model, stream=stream)

    yield "POST", "/v1/messages", document(TEMPTATIONS[0], "redirecting", stream=True)


def tempting(request: Received) -> Script:
    """An upstream that would like to be followed."""
    if b"redirecting" in request.body:
        return json_response(302, {}, [("location", TEMPTATIONS[0]), ("content-location", TEMPTATIONS[0])])
    if "streamGenerateContent" not in request.target:
        return good(request) if request.body else json_response(404, {})
    part = {"fileData": {"fileUri": TEMPTATIONS[0], "mimeType": "image/png"}}
    grounding = {"groundingChunks": [{"web": {"uri": TEMPTATIONS[0], "title": "x"}}]}
    content = {"role": "model", "parts": [{"text": TEMPTATIONS[0]}, part]}
    candidate = {"content": content, "finishReason": "STOP", "groundingMetadata": grounding}
    return stream_response([b"data: %b\r\n\r\n" % json.dumps({"candidates": [candidate]}).encode()])


def control() -> None:
    """The event that the hook must report."""
    os.system("true")


async def main() -> None:
    deeds: list[str] = []
    paths: set[str] = set()
    responses = 0

    def respond(request: Received) -> Script:
        paths.add(request.target.partition("?")[0])
        return tempting(request)

    async with ScriptedUpstream(respond=respond) as up:
        same = upstream(up.url, name="same", models={"m": "m", "redirecting": "redirecting"})
        other = upstream(
            up.url, name="other", kind="gemini", models={"gemini": "g"}, repairs=REPAIRS_OF_KIND["gemini"]
        )
        async with running(config(same, other, retry=Retry(max_attempts=1)), listing=True) as gateway:
            own = [("127.0.0.1", up.port), ("127.0.0.1", gateway.port)]

            def hook(event: str, arguments: tuple[Any, ...]) -> None:
                own_state = event == "open" and str(arguments[0]) in OWN_STATE
                module = event == "open" and str(arguments[0]).endswith((".py", ".pyc", "/page.html"))
                meant = event == "socket.connect" and arguments[1] in own
                if event.startswith(DEEDS) and event not in HARMLESS and not (module or own_state or meant):
                    deeds.append(f"{event}{arguments[:2]!r}")

            sys.addaudithook(hook)
            for method, target, body in requests():
                headers = [("referer", "http://127.0.0.1:1/")]
                if method == "GET" and target.startswith("/status/events"):
                    # Its response has no end.
                    async with await gateway.connect() as client:
                        client.send(method, target, body, headers)
                        assert b" 200 " in await client.receive()
                else:
                    await fetch(gateway.port, method, target, body, headers)
                responses += 1
            done = len(deeds)
            control()
    print(
        json.dumps(
            {"responses": responses, "paths": sorted(paths), "deeds": deeds[:done], "control": deeds[done:]}
        )
    )


if __name__ == "__main__":
    asyncio.run(main())
