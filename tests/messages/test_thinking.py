"""messages/thinking.py: whose thinking stays, what a refusal of it sounds like, and the request after it."""

from typing import Any

import pytest
from hypothesis import given

from gateway.messages.thinking import foreign_thinking, mentions_signature, without_thinking
from tests.messages.samples import documents, frozen

TEXT = {"type": "text", "text": "a"}
CALL = {"type": "tool_use", "id": "t1", "name": "Read", "input": {"type": "thinking", "signature": ""}}
RESULT = {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "thinking"}]}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "abc"}


def thought(**fields: Any) -> dict[str, Any]:
    return {"type": "thinking", "thinking": "hm", **fields}


def redacted(**fields: Any) -> dict[str, Any]:
    return {"type": "redacted_thinking", **fields}


def history(*content: Any, **more: Any) -> dict[str, Any]:
    user = {"role": "user", "content": "go"}
    return {"messages": [user, {"role": "assistant", "content": list(content)}], **more}


@pytest.mark.parametrize(
    ("block", "own", "geminis"),
    [
        (thought(signature="abc"), True, False),
        (thought(signature="gemini:abc"), False, True),
        (thought(signature=""), False, False),
        (thought(signature=None), False, False),
        (thought(signature=7), False, False),
        (thought(), False, False),
        (thought(signature="abc gemini:"), True, False),
        (redacted(data="abc"), True, False),
        (redacted(data="gemini:abc"), False, True),
        (redacted(), False, False),
        (TEXT, True, True),
        ({**CALL, "signature": "gemini:abc"}, True, True),
        (RESULT, True, True),
        ("thinking", True, True),
    ],
)
def test_thinking_stays_where_it_was_made(block: Any, own: bool, geminis: bool) -> None:
    for mark, stays in (("", own), ("gemini:", geminis)):
        document = history(TEXT, block)
        out = foreign_thinking(document, mark)
        if stays:
            assert out is document
        else:
            assert out == history(TEXT)


def test_a_message_of_foreign_thinking_only_disappears() -> None:
    document = {
        "messages": [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": [thought(signature="gemini:x")]},
            {"role": "user", "content": "b"},
        ]
    }
    assert foreign_thinking(document) == {"messages": [{"role": "user", "content": "a\n\nb"}]}


ADAPTIVE = {"type": "adaptive", "display": "omitted"}
ENABLED = {"type": "enabled", "budget_tokens": 1024}
CLEAR = {"type": "clear_thinking_20251015", "keep": "all"}
CLEAR_TOOLS = {"type": "clear_tool_uses_20250919"}


@pytest.mark.parametrize(
    ("content", "thinking", "stays"),
    [
        ([THOUGHT, CALL], ENABLED, False),
        ([THOUGHT, CALL], ADAPTIVE, False),
        ([redacted(data="x"), THOUGHT, TEXT, CALL], ADAPTIVE, False),
        ([CALL], ENABLED, False),
        ([THOUGHT, CALL], {"type": "disabled"}, True),
        ([THOUGHT, CALL], None, True),
        ([THOUGHT, TEXT], ENABLED, True),
        (["tool_use", TEXT], ENABLED, True),
    ],
)
def test_thinking_is_turned_off_where_a_call_would_need_it(
    content: list[Any], thinking: Any, stays: bool
) -> None:
    document = history(*content, thinking=thinking, max_tokens=5)
    document["messages"].append({"role": "user", "content": [RESULT]})
    before = frozen(document)
    out = without_thinking(document)
    kept = [block for block in content if block not in (THOUGHT, redacted(data="x"))]
    expected = history(*kept, max_tokens=5, **({"thinking": thinking} if stays else {}))
    assert out == {**expected, "messages": [*expected["messages"], {"role": "user", "content": [RESULT]}]}
    assert frozen(document) == before


@pytest.mark.parametrize(
    ("management", "expected"),
    [
        ({"edits": [CLEAR]}, None),
        ({"edits": [CLEAR, CLEAR_TOOLS]}, {"edits": [CLEAR_TOOLS]}),
        ({"edits": [CLEAR], "other": 1}, {"edits": [], "other": 1}),
        ({"edits": [CLEAR_TOOLS, "odd"]}, {"edits": [CLEAR_TOOLS, "odd"]}),
        ({"edits": {}}, {"edits": {}}),
        ("odd", "odd"),
    ],
)
def test_edits_that_need_thinking_go_with_it(management: Any, expected: Any) -> None:
    document = history(THOUGHT, CALL, thinking=ADAPTIVE, context_management=management)
    before = frozen(document)
    assert without_thinking(document).get("context_management") == expected
    assert frozen(document) == before


def test_edits_stay_where_thinking_stays() -> None:
    document = history(THOUGHT, TEXT, thinking=ADAPTIVE, context_management={"edits": [CLEAR]})
    assert without_thinking(document) == {**document, "messages": history(TEXT)["messages"]}


@pytest.mark.parametrize(
    "messages", [[], [{"role": "user", "content": "a"}], [{"role": "assistant", "content": "a"}]]
)
def test_a_history_without_thinking_is_the_same_object(messages: list[Any]) -> None:
    document = {"messages": messages, "thinking": ENABLED}
    assert without_thinking(document) is document


@given(documents())
def test_no_thinking_is_left_and_the_original_is_untouched(document: dict[str, Any]) -> None:
    before = frozen(document)
    out = without_thinking(document)
    for message in out["messages"]:
        for block in message["content"] if isinstance(message["content"], list) else ():
            assert not isinstance(block, dict) or block.get("type") not in ("thinking", "redacted_thinking")
    assert without_thinking(out) is out
    assert frozen(document) == before


SIGNATURE = [
    "messages.1.content.0: Invalid `signature` in `thinking` block",
    "messages.3.content.0: Invalid signature in thinking block (Service: BedrockRuntime, Status Code: 400)",
    '{\\"error\\":{\\"message\\":\\"messages.1.content.0: Invalid `signature` in `thinking`\\n  block\\"}}',
    "messages.1.content.0: Invalid `data` in `redacted_thinking` block",
    "The model returned the following errors: messages.369.content.0.thinking.signature: Field required",
    "messages.1.content.0.thinking.signature.str: Input should be a valid string",
    "messages.5.content.2.signature: Field required",
    "messages.5.content.1: `thinking` or `redacted_thinking` blocks in the latest assistant message cannot be "
    "modified. These blocks must remain as they were in the original response.",
    "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`. When `thinking` "
    "is enabled, a final `assistant` message must start with a thinking block",
    "messages.5.content.0.type: Expected thinking or redacted_thinking, but found text.",
    "messages.5.content.0.type: EXPECTED REDACTED_THINKING, BUT FOUND TEXT",
    "Function call is missing a thought_signature in functionCall parts. This is required for tools to work",
    "Corrupted thought signature.",
    "Thought signature is not valid",
    "Invalid value at 'contents[1].parts[0].thoughtSignature'",
    "THOUGHT_SIGNATURE missing",
    "The signature of this reasoning cannot be verified",
]

OTHER = [
    "",
    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation",
    "adaptive thinking is not supported on this model",
    '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive"',
    "Thinking may not be enabled when tool_choice forces tool use.",
    "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive",
    "thinking.adaptive.display: Extra inputs are not permitted",
    "Expected thinking.budget_tokens to be less than max_tokens",
    "`temperature` may only be set to 1 when thinking is enabled.",
    "tools.3.custom.input_schema.properties.signature: JSON schema is invalid",
    "tools.0.name: verify_signature is not unique",
    "prompt is too long: 212000 tokens > 200000 maximum",
    "messages.1.role: Input should be 'user' or 'assistant'",
    "messages: text content blocks must be non-empty",
    "x" * 8192 + " signature",
]


@pytest.mark.parametrize("text", SIGNATURE)
def test_known_wordings_speak_of_a_signature(text: str) -> None:
    assert mentions_signature(text)
    assert mentions_signature(text.upper())


@pytest.mark.parametrize("text", OTHER)
def test_other_refusals_do_not(text: str) -> None:
    assert not mentions_signature(text)
    assert not mentions_signature(text.upper())
