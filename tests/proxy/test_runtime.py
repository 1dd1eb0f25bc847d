"""What a configuration builds: estimates that are corrected, and a `repr` without secrets."""

import orjson
import pytest

from gateway.app import Gateway
from gateway.config import Auth, Secret
from gateway.messages.request import read_request
from gateway.messages.token_estimate import Correction, estimate
from gateway.proxy.runtime import Runtime
from gateway.telemetry.access_log import AccessLog, Record
from tests.support.client import ask
from tests.support.running import account, config, upstream

REQUEST = read_request(orjson.dumps(ask("hello world " * 500)))
ESTIMATE = estimate(REQUEST.document)


@pytest.fixture
async def services() -> Runtime:
    settings = config(upstream("https://h", account("a@x")), auth=Auth(keys={"k": Secret("canary")}))
    return Gateway(settings, AccessLog(print), {}).services


def answered(**counts: int | None) -> Record:
    record = Record(time=0.0, wire_model="m")
    record.output_tokens = 1
    for name, count in counts.items():
        setattr(record, name, count)
    return record


def test_an_estimate_is_the_requests_own_at_first(services: Runtime) -> None:
    assert services.count("m", REQUEST) == ESTIMATE


def test_answers_teach(services: Runtime) -> None:
    services.count("m", REQUEST)
    for _ in range(50):
        services.learn(
            REQUEST,
            answered(input_tokens=ESTIMATE, cache_read_tokens=ESTIMATE, cache_creation_tokens=None),
        )
    assert services.count("m", REQUEST) == pytest.approx(2 * ESTIMATE, rel=0.01)
    assert services.count("other", REQUEST) == ESTIMATE


def test_only_what_was_estimated_is_worth_learning(services: Runtime) -> None:
    services.learn(REQUEST, answered(input_tokens=2 * ESTIMATE))
    assert services.count("m", REQUEST) == ESTIMATE


@pytest.mark.parametrize("output", [None, 0])
def test_what_was_no_answer_teaches_nothing(services: Runtime, output: int | None) -> None:
    services.count("m", REQUEST)
    record = answered(input_tokens=2 * ESTIMATE)
    record.output_tokens = output
    services.learn(REQUEST, record)
    assert services.count("m", REQUEST) == ESTIMATE


def test_the_models_that_are_watched_are_bounded(services: Runtime) -> None:
    for index in range(3 * Correction.MAX_MODELS):
        services.count(f"m{index}", REQUEST)
        assert len(services.estimated) <= Correction.MAX_MODELS
    assert f"m{3 * Correction.MAX_MODELS - 1}" in services.estimated


def test_nothing_secret_is_shown(services: Runtime) -> None:
    shown = repr(services)
    assert "a@x" in shown
    assert "canary" not in shown
    assert "key-of" not in shown
