"""The runtime of a configuration: estimates that are corrected, and a `repr` without secrets."""

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
async def runtime() -> Runtime:
    settings = config(upstream("https://h", account("a@x")), auth=Auth(keys={"k": Secret("canary")}))
    return Gateway(settings, AccessLog(print), {}).runtime


def record_of(**counts: int | None) -> Record:
    record = Record(time=0.0, wire_model="m")
    record.output_tokens = 1
    for name, count in counts.items():
        setattr(record, name, count)
    return record


def test_token_estimate_without_corrections(runtime: Runtime) -> None:
    assert runtime.count("m", REQUEST) == ESTIMATE


def test_token_estimate_learns_from_responses(runtime: Runtime) -> None:
    runtime.count("m", REQUEST)
    for _ in range(50):
        runtime.learn(
            REQUEST,
            record_of(input_tokens=ESTIMATE, cache_read_tokens=ESTIMATE, cache_creation_tokens=None),
        )
    assert runtime.count("m", REQUEST) == pytest.approx(2 * ESTIMATE, rel=0.01)
    assert runtime.count("other", REQUEST) == ESTIMATE


def test_token_estimate_learns_only_from_estimated_models(runtime: Runtime) -> None:
    runtime.learn(REQUEST, record_of(input_tokens=2 * ESTIMATE))
    assert runtime.count("m", REQUEST) == ESTIMATE


def test_an_estimated_count_does_not_change_the_estimate(runtime: Runtime) -> None:
    runtime.count("m", REQUEST)
    record = record_of(input_tokens=2 * ESTIMATE)
    record.estimated = True
    runtime.learn(REQUEST, record)
    assert runtime.count("m", REQUEST) == ESTIMATE


@pytest.mark.parametrize("output", [None, 0])
def test_a_response_without_output_does_not_change_the_estimate(runtime: Runtime, output: int | None) -> None:
    runtime.count("m", REQUEST)
    record = record_of(input_tokens=2 * ESTIMATE)
    record.output_tokens = output
    runtime.learn(REQUEST, record)
    assert runtime.count("m", REQUEST) == ESTIMATE


def test_the_models_that_are_watched_are_bounded(runtime: Runtime) -> None:
    for index in range(3 * Correction.MAX_MODELS):
        runtime.count(f"m{index}", REQUEST)
        assert len(runtime.estimated) <= Correction.MAX_MODELS
    assert f"m{3 * Correction.MAX_MODELS - 1}" in runtime.estimated


def test_targets_of_a_model(runtime: Runtime) -> None:
    (target,) = runtime.targets("m")
    assert (target.upstream, target.account, target.wire_model) == ("up", "a@x", "m")
    assert target.lines == b"x-account-email: a@x\r\nx-mapped-model: m\r\n"
