from typing import Any

import orjson
import pytest

from gateway.routing.cures import Cure
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.sent import Sent
from tests.dialects.gemini.support import MODEL, body, dialect, encoded, upstream, validate_request

PNG = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aWs="}}
DOCUMENT: dict[str, Any] = {
    "model": "claude",
    "max_tokens": 50_000,
    "thinking": {"type": "adaptive"},
    "output_config": {
        "format": {"type": "json_schema", "schema": {"type": "object", "properties": {"a": {}}}}
    },
    "tools": [
        {"name": "Read", "input_schema": {"type": "object", "properties": {"path": {"type": "string"}}}}
    ],
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Read", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [PNG]}]},
    ],
}
HI = {"model": "claude", "messages": [{"role": "user", "content": [PNG]}]}

LEARN = " Learn more: https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/gemini"

REFUSED: list[tuple[str, Cure]] = [
    # As users of Vertex AI have met them: pydantic-ai 5081, gemini-cli 19436 and 14025, opencode-gemini-auth 14,
    # Roo-Code 10700.
    (
        "Invalid JSON payload received. Unknown name \"id\" at 'contents[1].parts[0].function_call': Cannot find "
        "field.\nInvalid JSON payload received. Unknown name \"id\" at 'contents[2].parts[0].function_response'",
        Cure("call_ids"),
    ),
    (
        "Unable to submit request because `function_response.parts` is not supported for this model." + LEARN,
        Cure("result_media"),
    ),
    (
        "Unable to submit request because thinking_level is not supported by this model.." + LEARN,
        Cure("thinking_config"),
    ),
    (
        "Unable to submit request because thinking_level MEDIUM is not supported by this model.",
        Cure("thinking_config"),
    ),
    ("Thinking level is not supported for this model.", Cure("thinking_config")),
    (
        "The thinking budget 5 is invalid. Please choose a value between 512 and 24576.",
        Cure("thinking_config"),
    ),
    (
        "Function calling with a response mime type: 'application/json' is unsupported",
        Cure("form_beside_tools"),
    ),
    (
        "Unknown name \"thoughtSignature\" at 'contents[1].parts[0]': Cannot find field.",
        Cure("signatures"),
    ),
    (
        "it has a maxOutputTokens value of 50000 but the supported range is from 1 (inclusive) to 8193 (exclusive).",
        Cure("max_tokens", "8192"),
    ),
    ("Function call is missing a thought_signature in functionCall parts.", Cure("without_thinking")),
]


def failed(text: str, status: int = 400) -> Failure:
    error = {"code": status, "message": text, "status": "INVALID_ARGUMENT"}
    return Failure(kind=FailureKind.STATUS, status=status, body=orjson.dumps({"error": error}))


def cure_of(text: str, document: Any = DOCUMENT, *applied: Cure, never: str = "", status: int = 400) -> Any:
    outgoing = encoded(document)
    return dialect().cure(failed(text, status), outgoing, Sent(document), applied, frozenset({never}))


@pytest.mark.parametrize(("text", "cure"), REFUSED)
def test_a_refusal_has_a_cure_once(text: str, cure: Cure) -> None:
    assert cure_of(text) == (cure, cure.name != "without_thinking")
    assert cure_of(text, DOCUMENT, cure) is None
    other = cure_of(text, never=cure.name)
    assert other is None or other[0].name == "without_thinking"
    assert cure_of(text, status=503) is None


@pytest.mark.parametrize(("text", "cure"), [case for case in REFUSED if case[1].name != "thinking_config"])
def test_parameters_that_were_not_sent_are_not_cured(text: str, cure: Cure) -> None:
    found = cure_of(text, {**HI, "max_tokens": 100})
    assert found is None or found[0].name == "result_media"


@pytest.mark.parametrize(
    "text",
    [
        "Request contains an invalid argument.",
        "Invalid JSON payload received. Unknown name \"ids\" at 'x': Cannot find field.",
        "* GenerateContentRequest.tools[0].function_declarations[3].name: Invalid function name.",
        "I was thinking about the level of support",
    ],
)
def test_other_refusals_have_no_cure(text: str) -> None:
    assert cure_of(text) is None


EFFECTS: list[tuple[Cure, str, str]] = [
    # the removed field, and its replacement
    (Cure("call_ids"), '"id"', ""),
    (Cure("result_media"), '"parts":[{"inlineData"', "[from tool result Read:]"),
    (Cure("signatures"), "thoughtSignature", ""),
    (Cure("form_beside_tools"), "responseJsonSchema", "fits this JSON Schema"),
    (Cure("thinking_config"), "thinkingConfig", ""),
    (Cure("max_tokens", "8192"), ":50000", '"maxOutputTokens":8192'),
]


@pytest.mark.parametrize(("cure", "gone", "instead"), EFFECTS)
def test_effects_of_cures(cure: Cure, gone: str, instead: str) -> None:
    before, after = (encoded(DOCUMENT, cures=cures) for cures in ((), (cure,)))
    assert gone.encode() in before.body.replace(b'"parts":[{"functionResponse"', b"")
    text = after.body.decode()
    assert gone not in text if cure.name != "result_media" else '"response":{"result":"(see below)"}' in text
    assert instead in text


def test_cures_go_together() -> None:
    cures = [cure for cure, _, _ in EFFECTS if cure.name != "signatures"]
    found = body(DOCUMENT, upstream(path="/x/{model}:generate"), cures=cures)
    validate_request(found, MODEL, vertex=True)
    assert found["generationConfig"] == {"maxOutputTokens": 8192}
