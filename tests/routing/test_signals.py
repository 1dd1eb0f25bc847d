"""Every signal with the texts it was seen in, and texts that look like one and are none."""

from typing import Any

import orjson
import pytest

from gateway.routing.failures import Failure, FailureKind
from gateway.routing.meanings import meaning_of
from gateway.routing.policy import RULES
from gateway.routing.signals import SIGNALS

WALL = 1_800_000_000.0

MODEL = "claude-opus-4-8"

ALL = frozenset({"context-1m", "fast", "images", "documents", "audio"})

NONE: frozenset[str] = frozenset()


def refused(status: int, error: Any) -> Failure:
    """An error response: an error object, or the words of one."""
    if isinstance(error, str):
        error = {"error": {"message": error}}
    return Failure(kind=FailureKind.STATUS, status=status, body=orjson.dumps(error))


def code(code: Any, message: str = "x", **more: str) -> Any:
    return {"error": {"code": code, "message": message, **more}}


SPEAKS: list[tuple[int, Any, str]] = [
    # status, error; the row it leads to
    # billing, by code or type
    (429, code("insufficient_quota", type="insufficient_quota"), "billing"),
    (403, code(None, type="exceeded_current_quota_error"), "billing"),
    (402, code(None, type="insufficient_balance_error"), "billing"),
    (500, code(None, type="insufficient_balance_error"), "billing"),
    (400, code("Arrearage", "Access denied, please make sure your account is in good standing."), "billing"),
    (429, code("1113", "balance exhausted"), "billing"),
    (429, code(1304, "the plan's calls of the day are used up"), "billing"),
    (429, code("1309", "the plan is over"), "billing"),
    (429, {"error": {"type": "billing_error", "message": "x"}}, "billing"),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, "billing"),
    (403, [{"error": {"code": 403, "message": "x", "details": [{"reason": "BILLING_DISABLED"}]}}], "billing"),
    (403, {"error": {"code": 403, "details": [{"reason": "SERVICE_DISABLED"}], "message": "API off"}}, "billing"),
    (400, {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "not in your region"}}, "billing"),
    # billing, by the message, with any status
    (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing.", "billing"),
    (400, "This organization has been disabled.", "billing"),
    (403, "This organisation has been disabled", "billing"),
    (400, "You have reached your API usage limits. You will regain access on 2026-12-01.", "billing"),
    (429, "You're out of extra usage. Add more at claude.ai/settings/usage", "billing"),
    (402, "Insufficient credits. Add more at the credits page", "billing"),
    (500, "Insufficient Balance", "billing"),
    (429, "Your account has been suspended due to insufficient funds", "billing"),
    (401, "Your account has been deactivated", "billing"),
    (400, "The account org-abc is temporarily disabled", "billing"),
    (429, "Your GLM Coding Plan has expired", "billing"),
    (429, "No resource package. Please recharge.", "billing"),
    (403, {"code": "no permission", "error": "Your newly created team doesn't have any credits yet."}, "billing"),
    (403, "Your team x has either used all available credits or reached its spending limit.", "billing"),
    # login
    (400, [{"error": {"status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}], "login"),
    (403, code("invalid_api_key"), "login"),
    (400, code(1001, "no token"), "login"),
    (200, {"base_resp": {"status_code": 1004, "status_msg": "login fail"}}, "login"),
    # limits
    (429, code("1308", "5-hour limit; will reset at 2026-12-31 21:31:39"), "limit"),
    (200, code("1310", "weekly limit"), "limit"),
    (429, code("1302", "rate limit reached"), "limit without hint"),
    (200, code(1305, "busy"), "limit without hint"),
    (200, {"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, "limit without hint"),
    # overload
    (429, code(None, type="engine_overloaded_error"), "overloaded"),
    (498, "Flex tier capacity exceeded", "overloaded"),
    (200, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "failure in a 200"),
    # the model
    (400, "Model Not Exist", "missing"),
    (400, "anthropic/claude-x is not a valid model ID", "missing"),
    (404, code("model_not_found"), "missing"),
    (400, code("bad_response_status_code", "Unsupported model: 'deepseek-r1'."), "missing"),
    (400, code("model_not_supported", "The requested model is not supported."), "missing"),
    (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}, "missing"),
    (400, code("1211"), "missing"),
    (404, "model: claude-opus-9", "missing"),
    (404, f"nothing here called {MODEL}", "missing"),
    (404, f"models/{MODEL.upper()} gone", "missing"),
    (404, "The model `x` does not exist or you do not have access to it.", "missing"),
    (404, "model 'x' not found, try pulling it first", "missing"),
    (404, "models/gemini-9 is not found for API version v1beta", "missing"),
    (404, "This model has been retired", "missing"),
    (404, "No such model: x", "missing"),
    # 403
    (403, f"Your plan does not include {MODEL}.", "forbidden"),
    (403, "Your organization does not have access to this model", "forbidden"),
    (403, "not allowed", "forbidden"),
    (403, "Your API key does not have permission for this", "billing"),
    (403, "OAuth authentication is currently not allowed for this organization.", "billing"),
    (403, "Generative Language API has not been used in project 7 before or it is disabled.", "billing"),
    (403, "User location is not supported for the API use.", "billing"),
    # the upstream
    (503, "Loading model", "unavailable"),
    (500, "Model is unloaded.", "unavailable"),
    (502, "<h1>We are under maintenance</h1>", "unavailable"),
    # the request
    (404, {"error": {"type": "not_found_error", "details": {"error_code": "thread_not_found"}}}, "request"),
    (404, "File not found: file_gone", "request"),
    (404, "No endpoints found that support tool use", "request"),
    (404, "No endpoints found that can handle the requested parameters.", "request"),
    (402, "You requested up to 32000 tokens, but can only afford 3000.", "request"),
    (402, {"error": {"type": "billing_error", "message": "can only afford 3000"}}, "request"),
    (404, {"detail": "Not Found"}, "request"),
    (400, "messages.2: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1", "pairing"),
    (400, "messages.0.content.0: unexpected `tool_use_id` found in `tool_result` blocks: toolu_2.", "pairing"),
    (400, "Conversation roles must alternate user/assistant/user/assistant/...", "pairing"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "rule"), SPEAKS)
def test_meaning_of_error_messages(status: int, error: Any, rule: str) -> None:
    assert meaning_of(refused(status, error), WALL, wire_model=MODEL).rule.name == rule


FEATURES: list[tuple[int, Any, str]] = [
    (429, "Extra usage is required for long context requests.", "context-1m"),
    (400, "The long context beta is not yet available for this subscription.", "context-1m"),
    (429, "This request would exceed the rate limit for 1M context requests", "context-1m"),
    (400, "This authentication style is incompatible with the long context beta header.", "context-1m"),
    (403, "context-1m-2025-08-07 is not enabled for your tier", "context-1m"),
    (403, "Fast mode is not included in your plan.", "fast"),
    (429, "Number of requests with speed set to fast exceeded", "fast"),
    (404, "No endpoints found that support image input", "images"),
    (400, "Image input is not supported by this model", "images"),
    (415, "This model does not support images", "images"),
    (400, "Model do not support image input. Request id: 02", "images"),
    (400, "messages[62]: unknown variant `image_url`, expected `text`", "images"),
    (422, "this model doesn't support image_url content", "images"),
    (400, "unsupported content type 'image_url'", "images"),
    (400, "At most 0 image(s) may be provided in one request.", "images"),
    (404, "No endpoints found that support file input", "documents"),
    (400, "document content blocks are not supported", "documents"),
    (400, "PDF inputs are currently unsupported", "documents"),
    (404, "No endpoints found that support audio input", "audio"),
]


@pytest.mark.parametrize(("status", "error", "feature"), FEATURES)
def test_a_feature_that_was_used(status: int, error: Any, feature: str) -> None:
    meaning = meaning_of(refused(status, error), WALL, features=frozenset({feature}))
    assert (meaning.rule.name, meaning.feature) == ("feature", feature)
    others = ALL - {feature}
    if status in (400, 404, 415, 422) and feature != "context-1m":
        assert meaning_of(refused(status, error), WALL, features=others).rule.name == "request"


SILENT: list[tuple[int, Any, frozenset[str], str]] = [
    # texts that resemble a signal and are none; their origin
    (429, "You exceeded your quota, please check your plan and billing details.", NONE, "limit without hint"),
    (429, {"error": {"status": "RESOURCE_EXHAUSTED", "message": "Quota exceeded"}}, NONE, "limit without hint"),
    (429, "This request would exceed your organization's rate limit", ALL - {"fast"}, "limit without hint"),
    (429, "Extra usage", ALL - {"fast"}, "limit without hint"),
    (429, "1m requests per day reached: 1,000,000 tokens", NONE, "limit without hint"),
    (400, "prompt is too long: 1000001 tokens > 1000000 maximum", ALL, "request"),
    (400, "prompt is too long: 250000 tokens > 200000 maximum. Use a 1M model", ALL, "request"),
    (400, "max_tokens: 64000 > 32000, which is the maximum allowed number of output tokens", ALL, "request"),
    (400, "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum", ALL, "request"),
    (400, "Could not process image", ALL, "request"),
    (400, "image/tiff is not supported, use image/png", ALL, "request"),
    (415, "Unsupported media type: image/tiff", ALL, "request"),
    (400, "The PDF specified is password protected.", ALL, "request"),
    (400, "tools.0.name: the account tool is not available", NONE, "request"),
    (400, "insufficient arguments: balance", NONE, "request"),
    (400, "a limit on usage of tools", NONE, "request"),
    (404, "The file used by this model's tool: not here", NONE, "request"),
    (404, "Not found", NONE, "request"),
    (404, "claude-opus-4-80 or x-claude-opus-4-8", NONE, "request"),
    (400, "this model is not available", NONE, "request"),
    (400, "unknown model parameter", NONE, "request"),
    (403, "Request not allowed", NONE, "forbidden"),
    (403, "Just a moment...", NONE, "forbidden"),
    (500, "account service failed", NONE, "server"),
    (500, "failed to load model config", NONE, "server"),
    (529, "Overloaded", NONE, "overloaded"),
    (413, code("rate_limit_exceeded", "Request too large: Limit 6000, Requested 9000", type="tokens"), NONE, "request"),
    (400, code("content_filter", "1113 and 1308 are numbers in the text"), NONE, "request"),
    (400, code("1301", "sensitive"), NONE, "request"),
]  # fmt: skip


@pytest.mark.parametrize(("status", "error", "features", "rule"), SILENT)
def test_messages_without_a_signal(status: int, error: Any, features: frozenset[str], rule: str) -> None:
    meaning = meaning_of(refused(status, error), WALL, wire_model=MODEL, features=features)
    assert meaning.rule.name == rule


def test_the_table_is_consistent() -> None:
    for signal in SIGNALS:
        assert signal.rule in RULES
        assert signal.codes or signal.words
        assert signal.seen
        assert bool(signal.feature) == (signal.rule == "feature")
        assert all(code == code.lower() for code in signal.codes)
    codes = [code for signal in SIGNALS for code in signal.codes]
    assert len(codes) == len(set(codes)), "a code belongs to one row"
