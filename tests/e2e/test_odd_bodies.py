"""Bodies that JSON readers disagree about, and bodies that want to crash one."""

import pytest

from tests.fakes.messages import ScriptedUpstream, json_response, message
from tests.support.running import config, running, upstream

HEAD = b'{"model":"m","max_tokens":10,"messages":[{"role":"user","content":'

READ_BY_ALL = {
    "a lone surrogate": HEAD + b'"\\ud83d"}]}',
    "a lone surrogate in a key of a tool argument": HEAD
    + b'"x"},{"role":"assistant","content":[{"type":"tool_use","id":"t","name":"n","input":{"\\udc00":1}}]},'
    b'{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":"r"}]}]}',
    "an integer of 65 bits": HEAD + b'"x"}],"metadata":{"n":18446744073709551616}}',
    "an integer of 400 digits": HEAD + b'"x"}],"metadata":{"n":' + b"9" * 400 + b"}}",
    "a negative one": HEAD + b'"x"}],"metadata":{"n":-9223372036854775809}}',
    "NaN and infinities": HEAD + b'"x"}],"temperature":NaN,"top_p":Infinity,"top_k":-Infinity}',
    "a float with many digits": HEAD + b'"x"}],"temperature":0.1000000000000000055511151231257827}',
    "odd blanks": b' {\n"model" :\t"m" , "messages":[ {"role":"user","content":"x"} ] }\r\n ',
    "a byte order mark": b"\xef\xbb\xbf" + HEAD + b'"x"}]}',
    "nested 150 deep": HEAD + b'"x"}],"metadata":' + b"[" * 147 + b"]" * 147 + b"}",
}

REFUSED = {
    "nothing": (b"", "empty"),
    "broken JSON": (HEAD + b'"x"}', "JSON"),
    "not UTF-8": (HEAD + b'"\xff"}]}', "UTF-8"),
    "nested 10,000 deep": (HEAD + b'"x"}],"metadata":' + b"[" * 10_000 + b"]" * 10_000 + b"}", "200"),
    "nested 10,000 deep and broken": (b"[" * 10_000, "JSON"),
    "a list": (b"[]", "object"),
    "no model": (b'{"messages":[]}', "model"),
    "an empty model": (b'{"model":"","messages":[]}', "model"),
    "a model that is a number": (b'{"model":4,"messages":[]}', "model"),
    "no messages": (b'{"model":"m"}', "messages"),
    "messages that are no objects": (b'{"model":"m","messages":["hi"]}', "messages.0"),
}


@pytest.mark.parametrize("name", READ_BY_ALL)
async def test_odd_bodies_are_forwarded_byte_for_byte(name: str) -> None:
    body = READ_BY_ALL[name]
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as gateway:
        up.script(json_response(200, message()))
        response = await gateway.post(body)
        assert response.status == 200, response.body
    assert up.requests[0].body == body.removeprefix(b"\xef\xbb\xbf")


@pytest.mark.parametrize("name", READ_BY_ALL)
async def test_only_the_model_is_replaced(name: str) -> None:
    body = READ_BY_ALL[name].removeprefix(b"\xef\xbb\xbf")
    async with (
        ScriptedUpstream() as up,
        running(config(upstream(up.url, models={"*": "glm-4.7"}))) as gateway,
    ):
        up.script(json_response(200, message()))
        assert (await gateway.post(body)).status == 200
    assert up.requests[0].body == body.replace(b'"m"', b'"glm-4.7"', 1)


@pytest.mark.parametrize("target", ["/v1/messages", "/v1/messages/count_tokens"])
@pytest.mark.parametrize("name", REFUSED)
async def test_invalid_bodies_are_refused(name: str, target: str) -> None:
    body, word = REFUSED[name]
    async with ScriptedUpstream() as up, running(config(upstream(up.url))) as gateway:
        response = await gateway.post(body, target)
        assert response.status == 400
        assert response.error_type == "invalid_request_error"
        assert word in response.message
        assert response.document["request_id"] == response.header("request-id")
        assert (await gateway.get("/healthz")).status == 200
    assert not up.requests
