"""Requests of real clients reach the upstream byte for byte."""

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Intercept
from tests.fakes.messages import ScriptedUpstream
from tests.support.client import fetch
from tests.support.running import config, running, upstream
from tests.support.stage import good

FIXTURES = sorted((Path(__file__).parents[2] / "fixtures").glob("*.json"))

NO_INTERCEPT = Intercept(warmup=False)

Recorded = dict[str, Any]


def requests(path: Path) -> list[Recorded]:
    """The recorded requests that go to an upstream."""
    return [request for request in json.loads(path.read_bytes()) if "/v1/messages" in request["path"]]


def compact(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def spacious(document: Any) -> bytes:
    text = json.dumps(document, ensure_ascii=False, indent=" \t", separators=(" ,", "\t: "))
    return f"\r\n {text} \n".encode()


def escaped(document: Any) -> bytes:
    return json.dumps(document).replace("/", "\\/").encode()


def reordered(document: Any) -> bytes:
    return json.dumps(dict(reversed(document.items())), ensure_ascii=False).encode()


FORMS = {"compact": compact, "spacious": spacious, "escaped": escaped, "reordered": reordered}


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
async def test_recorded_requests_pass_unchanged(path: Path) -> None:
    async with (
        ScriptedUpstream(respond=good) as up,
        running(config(upstream(up.url, "a@x"), intercept=NO_INTERCEPT)) as g,
        await g.connect() as client,
    ):
        for form in FORMS.values():
            for request in requests(path):
                body = form(request["body"])
                target = request["path"].removeprefix("/prefix")
                response = await client.request("POST", target, body)
                assert response.status == 200
                received = up.requests.pop()
                assert sha256(received.body).digest() == sha256(body).digest()
                assert received.target == target
        assert g.lines
        assert not any("repairs=" in line for line in g.lines)


@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
async def test_only_a_mapped_model_changes(path: Path) -> None:
    wire = 'wire/"mödel"'
    async with (
        ScriptedUpstream(respond=good) as up,
        running(config(upstream(up.url, "a@x", models={"*": wire}), intercept=NO_INTERCEPT)) as g,
        await g.connect() as client,
    ):
        for name, form in FORMS.items():
            for request in requests(path):
                document = request["body"]
                body = form(document)
                await client.request("POST", request["path"].removeprefix("/prefix"), body)
                expected = form(document | {"model": wire})
                if name == "escaped":
                    # The name is written in JSON's normal form, whatever form the client used.
                    expected = expected.replace(b"wire\\/", b"wire/").replace(b"\\u00f6", "ö".encode())
                assert up.requests.pop().body == expected


MODEL_SCHEMA = '{"type":"object","properties":{"model":{"type":"string","enum":["m"]}},"required":["model"]}'

TRICKY = {
    # what the client sends, with the value of its model as %s
    "in a schema": '{"tools":[{"name":"t","input_schema":' + MODEL_SCHEMA + '}],"model":%s,"messages":[]}',
    "in an input": '{"model": %s ,"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"1",'
    '"content":"\\"model\\":\\"m\\""}]}],"metadata":{"model":"m"}}',
    "behind text that looks like it": '{"system":"\\"model\\":\\"m\\",","messages":[],"model":%s}',
    "in a nested list": '{"x":[[{"model":"m"}],{"model":"m"}],"model":%s,"messages":[]}',
    "an escaped key": '{"\\u006dodel":%s,"messages":[]}',
    "given twice": '{"model":%s,"messages":[],"model":%s}',
    "numbers that readers change": '{"model":%s,"messages":[],"temperature":1.0,"top_p":1e-0,'
    '"seed":123456789012345678901234567890}',
    "half of a surrogate pair": '{"model":%s,"messages":[],"system":"\\ud83d"}',
}


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("template", TRICKY.values(), ids=TRICKY)
async def test_models_that_are_not_the_model(template: str, mapped: bool) -> None:
    def with_model(model: str) -> bytes:
        return template.replace("%s", json.dumps(model)).encode()

    models = {"m": "wire"} if mapped else {}
    async with (
        ScriptedUpstream(respond=good) as up,
        # Repairs change messages, and are off here: these documents are not conversations.
        running(config(upstream(up.url, "a@x", models=models, repairs=frozenset()))) as g,
    ):
        response = await g.post(with_model("m"))
        assert response.status == 200
        assert up.requests[0].body == with_model("wire" if mapped else "m")


async def test_forwarded_headers_of_real_clients() -> None:
    recorded = requests(Path(FIXTURES[0].parent / "claude_code_say_hi.json"))[0]
    headers = [(name, value) for name, value in recorded["headers"] if name.lower() not in OWN]
    headers += [
        ("Authorization", "Bearer client-secret"),
        ("x-api-key", "client-secret"),
        ("Cookie", "c=client-secret"),
        ("X-Forwarded-For", "10.0.0.1"),
    ]
    async with ScriptedUpstream(respond=good) as up, running(config(upstream(up.url, "a@x"))) as g:
        await fetch(g.port, "POST", recorded["path"], compact(recorded["body"]), headers)
    received = dict(up.requests[0].headers)
    for name, value in headers:
        passes = name.lower().startswith(("anthropic-", "x-stainless-", "x-claude-code-")) or (
            name.lower() in {"accept", "user-agent", "x-app"}
        )
        got = received.get(name.lower().encode())
        assert got == (value.encode() if passes else {"x-api-key": b"key-of-a@x"}.get(name.lower())), name
    assert received[b"accept-encoding"] == b"identity"
    assert received[b"host"] == up.url.removeprefix("http://").encode()
    assert "client-secret" not in repr(received)


OWN = {
    "host",
    "content-length",
    "content-type",
    "connection",
    "accept-encoding",
    "authorization",
    "x-api-key",
}
"""Fields that the test's client writes itself."""
