"""Refusals that have a cure, and those that look like one."""

from collections.abc import Sequence
from typing import Any

import orjson
import pytest

from gateway.routing.cures import MESSAGES_CURES, WITHOUT_THINKING, Cure, find_cure
from gateway.routing.failures import Failure, FailureKind
from gateway.routing.scheduler import Lease
from gateway.routing.sent import Sent
from tests.routing.transcript import MODEL, Stage

BETAS = "context-1m-2025-08-07,fast-mode-2026-02-01"

ID = "^[a-zA-Z0-9_-]+$"

RICH: dict[str, Any] = {
    "model": "m",
    "metadata": {"user_id": "user_1_account__session_2"},
    "thinking": {"type": "adaptive"},
    "context_management": {"edits": []},
    "system": [{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
    "tools": [
        {"name": "a", "defer_loading": True, "input_schema": {}, "cache_control": {"type": "ephemeral"}}
    ],
    "messages": [
        {"role": "user", "content": [{"type": "image"}, {"type": "document", "cache_control": {}}]},
        {"role": "system", "content": "be kind"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "Bash:0", "cache_control": {}}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": [{"type": "text", "cache_control": {}}]}],
        },
    ],
}
"""Everything that a host may refuse."""

POOR: dict[str, Any] = {
    "model": "m",
    "metadata": {},
    "thinking": {"type": "enabled"},
    "tools": [{"name": "a"}],
    "messages": [{"role": "user", "content": "hi"}],
}

CURED: list[tuple[int, str, str, str]] = [
    # status, message; the cure's name and detail
    (400, "tools.0.custom.defer_loading: Extra inputs are not permitted", "fields", "tools.*.defer_loading"),
    (400, "context_management: Extra inputs are not permitted", "fields", "context_management"),
    (400, 'Bedrock: {"message":"context_management: Extra inputs are not permitted"}', "fields", "context_management"),
    (422, 'json: unknown field "context_management"', "fields", "context_management"),
    (400, "Unrecognized request argument supplied: context_management", "fields", "context_management"),
    (400, "Unknown name \"context_management\": Cannot find field.", "fields", "context_management"),
    (400, "properties are not allowed ('context_management' was unexpected)", "fields", "context_management"),
    (400, "unknown field `defer_loading`, expected one of `name`", "fields", "tools.*.defer_loading"),
    (400, "invalid beta flag", "betas", BETAS),
    (400, "unexpected value(s) `fast-mode-2026-02-01` for the `anthropic-beta`", "betas", "fast-mode-2026-02-01"),
    (400, "thinking.type: Input tag 'adaptive' found using 'type' does not match", "adaptive_thinking", ""),
    (400, "messages.3.content.0: Invalid `signature` in `thinking` block", "without_thinking", ""),
    (400, "metadata.user_id: String should match pattern '^[a-zA-Z0-9_-]+$'", "user_id", ""),
    (422, "metadata.user_id must be at most 64 characters", "user_id", ""),
    (400, "A maximum of 4 blocks with cache_control may be provided. Found 5.", "cache_marks", ""),
    (400, "messages.1.content.0.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'", "tool_ids", ID),
    (400, "messages: `tool_use` ids must be unique", "tool_ids", ""),
    (400, 'messages: Unexpected role "system". The API accepts a top-level `system` parameter', "system_role", ""),
    (400, "messages.1.role: Input should be 'user' or 'assistant'", "system_role", ""),
    (400, "role 'system' is not supported on this model", "system_role", ""),
    (400, "messages[1].role must be either 'user' or 'assistant', but got 'system'", "system_role", ""),
    (400, "adaptive thinking is not supported on this model", "adaptive_thinking", ""),
    (400, "messages.4.content.0: Input tag 'tool_reference' found using 'type' is unknown", "deferred_tools", ""),
    (404, "No endpoints found that support image input", "images", ""),
    (415, "This model does not support images", "images", ""),
    (400, "document content blocks are not supported", "documents", ""),
]  # fmt: skip


def refused(status: int, message: str, **more: str) -> Failure:
    body = orjson.dumps({"error": {"message": message, **more}})
    return Failure(kind=FailureKind.STATUS, status=status, body=body)


def cure(failure: Failure, document: dict[str, Any] = RICH, *applied: Cure, never: str = "") -> Cure | None:
    sent = Sent(document, [(b"anthropic-beta", BETAS.encode())] if document is RICH else ())
    found = find_cure(MESSAGES_CURES, failure, sent, applied, frozenset({never}))
    return found[0] if found is not None else None


@pytest.mark.parametrize(("status", "message", "name", "detail"), CURED)
def test_a_refusal_of_something_that_was_sent(status: int, message: str, name: str, detail: str) -> None:
    failure = refused(status, message)
    assert cure(failure) == Cure(name, detail)
    assert cure(failure, RICH, Cure(name, detail)) is None, "a second time it is returned unchanged"
    assert cure(failure, POOR) is None, "it was not sent"
    other = cure(failure, never=name)
    assert other is None or other.name != name
    assert cure(refused(429, message)) is None
    assert cure(refused(500, message)) is None


ENABLED: dict[str, Any] = {"thinking": {"type": "enabled", "budget_tokens": 9000}, "temperature": 1}
DISABLED: dict[str, Any] = {"thinking": {"type": "disabled"}}
HIGH: dict[str, Any] = {"output_config": {"effort": "high"}}
MAX: dict[str, Any] = {"output_config": {"effort": "max"}}

TALK: dict[str, Any] = {
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "a", "input": "{"}]},
    ]
}

OF_MODELS: list[tuple[dict[str, Any], str, str, str]] = [
    # document, message of the refusal; name and detail of the cure
    # Anthropic, Bedrock, Vertex, LiteLLM.
    (ENABLED, '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and '
     '"output_config.effort" to control thinking behavior.', "enabled_thinking", ""),
    (ENABLED, "thinking: Input tag 'enabled' found using 'type' does not match any of the expected tags: 'adaptive'",
     "enabled_thinking", ""),
    (ENABLED, "`thinking.type` must be `adaptive` or `disabled`", "enabled_thinking", ""),
    (ENABLED, "this model only supports adaptive thinking", "enabled_thinking", ""),
    (ENABLED, "thinking.budget_tokens is no longer accepted by this model", "enabled_thinking", ""),
    (ENABLED, "Unsupported thinking type for the current model: enabled", "enabled_thinking", ""),
    (DISABLED, "Unsupported thinking type for the current model: disabled Request id: 02175", "disabled_thinking", ""),
    (DISABLED, '"thinking.type.disabled" is not supported for this model.', "disabled_thinking", ""),
    (DISABLED, "Thinking cannot be disabled for this model", "disabled_thinking", ""),
    (MAX, "This model does not support the effort parameter.", "effort", ""),
    (HIGH, 'output_config.effort "high" was provided, but model m does not support reasoning effort', "effort", ""),
    (MAX, "This model does not support effort level 'max'. Supported levels: high, low, medium.", "effort",
     "high,low,medium"),
    (HIGH, 'output_config.effort "high" is not supported by model m; supported values: [medium]', "effort", "medium"),
    (MAX, "output_config.effort: Input should be 'low', 'medium' or 'high'", "effort", "low,medium,high"),
    (ENABLED, "`temperature` is deprecated for this model.", "fields", "temperature"),
    ({**ENABLED, "top_p": 0.9}, "`temperature` and `top_p` cannot both be specified for this model.", "fields",
     "top_p"),
    (ENABLED, "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode.", "fields",
     "temperature"),
    ({**ENABLED, "top_p": 0.5}, "`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.",
     "fields", "top_p"),
    ({**ENABLED, "top_k": 5}, "`top_k` must be unset when thinking is enabled or in adaptive mode.", "fields", "top_k"),
    (ENABLED, "Thinking may not be enabled when tool_choice forces tool use.", "thinking_off", ""),
    (TALK, "The `content[].thinking` in the thinking mode must be passed back to the API.", "thinking_off", ""),
    (TALK, "thinking is enabled but reasoning_content is missing in assistant tool call message at index 2",
     "thinking_off", ""),
    (TALK, "This model does not support assistant message prefill. The conversation must end with a user message.",
     "prefill", ""),
    (TALK, "messages: final assistant content cannot end with trailing whitespace", "trailing_space", ""),
    (TALK, "messages.1.content.0.tool_use.input: Input should be a valid dictionary", "tool_inputs", ""),
    ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0.image.source.base64.data: "
     "At least one of the image dimensions exceed max allowed size for many-image requests: 2000 pixels",
     "many_images", "2000"),
    ({"tools": [{"name": "a", "input_schema": {"anyOf": []}}]}, "tools.47.custom.input_schema: input_schema does not "
     "support oneOf, allOf, or anyOf at the top level", "tool_schemas", ""),
    ({"tools": [{"name": "a", "input_schema": {}}]}, "tools.0.custom.input_schema.type: Field required", "tool_schemas",
     ""),
    ({"system": [{"cache_control": {}}]}, "No endpoints found that support cache control", "cache_control", ""),
    ({"cache_control": {}}, "cache_control is not supported by this model", "cache_control", ""),
    ({"tools": [{"name": "a"}, {"name": "a"}]}, "tools: Tool names must be unique.", "tool_names", ""),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "message", "name", "detail"), OF_MODELS)
def test_a_refusal_of_a_parameter_of_another_model(
    sent: dict[str, Any], message: str, name: str, detail: str
) -> None:
    failure = refused(400, message)
    assert cure(failure, sent) == Cure(name, detail)
    assert cure(failure, sent, Cure(name, detail)) is None
    assert cure(failure, sent, never=name) is None
    assert cure(failure, {"model": "m"}) is None
    other = cure(failure, {**sent, "thinking": {"type": "adaptive"}, "output_config": {}})
    assert name not in ("enabled_thinking", "disabled_thinking", "effort") or other in (
        None,
        Cure("adaptive_thinking"),
    )


def test_a_refused_combination_is_not_remembered() -> None:
    for message in (
        "`temperature` may only be set to 1 when thinking is enabled",
        "Thinking may not be enabled when",
    ):
        found = find_cure(MESSAGES_CURES, refused(400, message), Sent(ENABLED), (), frozenset())
        assert found is not None
        assert found[1] is False
    for message in (
        "final assistant content cannot end with trailing whitespace",
        "must end with a user message",
    ):
        document = {"messages": [{"role": "assistant", "content": "a "}, {"role": "user", "content": "b"}]}
        assert cure(refused(400, message), document) is None


@pytest.mark.parametrize(
    "message",
    [
        "`max_tokens` must be greater than `thinking.budget_tokens`",
        "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024",
        "`clear_thinking_20251015` strategy requires `thinking` to be enabled or adaptive",
        "output_config.effort: Input should be a valid string",
    ],
)
def test_a_refusal_of_one_value(message: str) -> None:
    for sent in ({**ENABLED, **MAX}, {**DISABLED, **HIGH}):
        assert cure(refused(400, message), sent) is None


INCURABLE = [
    'messages: Unexpected role "tool". Allowed roles are "user" or "assistant".',
    "messages.0.content: Input should be a valid list",
    "model: Extra inputs are not permitted",
    "tools.0.input_schema: Extra inputs are not permitted",
    "messages.0.content.0.type: Extra inputs are not permitted",
    "unheard_of: Extra inputs are not permitted",
    "prompt is too long: 250000 tokens > 200000 maximum",
    "max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens",
    "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'",
    "thinking.budget_tokens: Input should be greater than or equal to 1024",
    "messages: at least one message is required",
    "image exceeds 5 MB maximum",
]


@pytest.mark.parametrize("message", INCURABLE)
def test_a_refusal_without_a_cure(message: str) -> None:
    assert cure(refused(400, message)) is None


def test_the_field_may_stand_beside_the_message() -> None:
    failure = refused(400, "Unknown parameter: see `param`.", param="context_management")
    assert cure(failure) == Cure("fields", "context_management")
    read = Failure(
        kind=FailureKind.STATUS, status=400, message="extra input is not permitted", param="metadata"
    )
    assert cure(read) == Cure("fields", "metadata")


def test_several_fields_at_once() -> None:
    message = "context_management: Extra inputs are not permitted; metadata: Extra inputs are not permitted"
    assert cure(refused(400, message)) == Cure("fields", "context_management,metadata")


def test_an_error_event_is_a_refusal_too() -> None:
    event = Failure(
        kind=FailureKind.STREAM_ERROR, status=200, type="invalid_request_error", message="invalid beta flag"
    )
    assert cure(event) == Cure("betas", BETAS)
    assert cure(Failure(kind=FailureKind.INCOMPLETE, status=400, message="invalid beta flag")) is None


def test_a_signature_is_not_remembered() -> None:
    failure = refused(400, "Invalid `signature` in `thinking` block")
    assert find_cure(MESSAGES_CURES, failure, Sent(RICH), (), frozenset()) == (WITHOUT_THINKING, False)


def test_a_dialect_with_its_own_cures() -> None:
    stage = Stage("A")
    stage.play("0 r -> A")
    request = stage.requests["r"]

    def find(sent: Sent, applied: Sequence[Cure], never: frozenset[str]) -> tuple[Cure, bool] | None:
        cure = Cure("echo", "none")
        return None if cure in applied else (cure, True)

    for number in range(2):
        request.retries.failed(request.lease, refused(500, "template raised"), 0.0, 0.0, find)
        assert isinstance(request.next(0.0), Lease) == (number == 0)
    assert request.lease.cures == (Cure("echo", "none"),)


def test_a_lease_has_the_cures_to_apply() -> None:
    stage = Stage("A* | F")
    stage.play("0 r -> A")
    request = stage.requests["r"]
    steps = []
    for outcome in ("401", "signature", "403"):
        request.report(0.0, [outcome])
        lease = request.next(0.0)
        assert isinstance(lease, Lease)
        target = lease.target
        steps.append((target.upstream, target.account, target.wire_model, lease.cures))
    assert steps == [
        ("a", "A", MODEL, ()),
        ("a", "A", MODEL, (WITHOUT_THINKING,)),
        ("f", "F", MODEL, (WITHOUT_THINKING,)),
    ]
    assert request.retries.tried == (("A", "a", 401), ("A", "a", 403))
