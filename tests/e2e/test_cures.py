"""Cures that the configuration states: applied from the start, or never tried."""

from functools import partial
from typing import Any

import pytest

from tests.fakes.messages import Received, Script, error_response
from tests.support.clock import run
from tests.support.running import upstream
from tests.support.stage import good, staged

REQUEST: dict[str, Any] = {
    "model": "m",
    "max_tokens": 1000,
    "metadata": {"user_id": "user_1"},
    "context_management": {"edits": []},
    "messages": [{"role": "user", "content": "hi"}],
}
BETAS = "fast-mode-2026-02-01, context-1m-2025-08-07"
HASHED = "79b0aa0042b3c05617c378046a6553ec"
LEFT_OUT = {key: value for key, value in REQUEST.items() if key != "context_management"}


@pytest.mark.parametrize(
    ("stated", "body", "betas", "named"),
    [
        ({}, REQUEST, BETAS, ""),
        ({"cures": ("betas",)}, REQUEST, None, "cure:betas"),
        ({"cures": ("user_id",)}, REQUEST | {"metadata": {"user_id": HASHED}}, BETAS, "cure:user_id"),
        ({"drop_betas": ("fast-mode-*",)}, REQUEST, "context-1m-2025-08-07", "cure:betas"),
        ({"drop_betas": ("other-*",), "drop_fields": ("other",)}, REQUEST, BETAS, ""),
        ({"drop_fields": ("context_management",)}, LEFT_OUT, BETAS, "cure:fields"),
    ],
)
def test_configured_cures_are_applied_from_the_start(
    stated: dict[str, Any], body: dict[str, Any], betas: str | None, named: str
) -> None:
    async def scenario() -> None:
        async with staged(good, "a@x", made=partial(upstream, **stated)) as stage:
            response = await stage.running.post(REQUEST, anthropic_beta=BETAS)
            assert response.status == 200
            ((_, request),) = stage.requests
            assert (request.document, request.header("anthropic-beta")) == (body, betas)
            assert stage.running.lines[-1].partition(" repairs=")[2] == named

    run(scenario())


def test_a_cure_that_is_turned_off_is_not_tried() -> None:
    def refuse(request: Received) -> Script:
        return error_response(
            400, "invalid_request_error", "context_management: Extra inputs are not permitted"
        )

    async def scenario() -> None:
        async with staged(refuse, "a@x", made=partial(upstream, no_cures=("fields",))) as stage:
            response = await stage.running.post(REQUEST)
            assert (response.status, len(stage.requests)) == (400, 1)

    run(scenario())
