"""Every form in which an upstream states when to retry."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.routing.retry_after import LONGEST, UNKNOWN_DAY, duration, http_date, read_hint

WALL = 1_800_000_000.0  # 2027-01-15T08:00:00Z

HEADERS: list[tuple[dict[str, str], float | None]] = [
    ({}, None),
    # retry-after-ms
    ({"retry-after-ms": "1500"}, 1.5),
    ({"retry-after-ms": "250.5"}, 0.2505),
    ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
    ({"retry-after-ms": "x", "retry-after": "9"}, 9.0),
    # retry-after in seconds
    ({"retry-after": "0"}, 0.0),
    ({"retry-after": "12"}, 12.0),
    ({"retry-after": " 12 "}, 12.0),
    ({"retry-after": "1.25"}, 1.25),
    ({"retry-after": "999999999999"}, LONGEST),
    ({"retry-after": "9" * 400}, None),
    ({"retry-after": "-1"}, None),
    ({"retry-after": "+1"}, None),
    ({"retry-after": "1e3"}, None),
    ({"retry-after": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "0x10"}, None),
    ({"retry-after": "١٢"}, None),
    ({"retry-after": "12 seconds"}, None),
    ({"retry-after": ""}, None),
    # retry-after as a date
    ({"retry-after": "Fri, 15 Jan 2027 08:00:30 GMT"}, 30.0),
    ({"retry-after": "Friday, 15-Jan-27 08:00:30 GMT"}, 30.0),
    ({"retry-after": "Fri Jan 15 08:00:30 2027"}, 30.0),
    ({"retry-after": "Fri, 15 Jan 2027 07:59:30 GMT"}, 0.0),
    ({"retry-after": "Fri, 15 Jan 2027 08:00:30 PST"}, None),
    ({"retry-after": "2027-01-15T08:00:30Z"}, None),
    # anthropic-ratelimit-*-reset
    ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z"}, 60.0),
    ({"anthropic-ratelimit-requests-reset": "2027-01-15T09:01:00+01:00"}, 60.0),
    ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00.500000123Z"}, 60.5),
    ({"anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00"}, 60.0),
    ({"anthropic-ratelimit-requests-reset": "2027-01-15T07:00:00Z"}, 0.0),
    ({"anthropic-ratelimit-requests-reset": "tomorrow"}, None),
    ({"anthropic-ratelimit-requests-reset": "0001-01-01T00:00:00+23:59"}, 0.0),
    ({"anthropic-ratelimit-unified-5h-reset": "1800000100"}, 100.0),
    ({"retry-after": "5", "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z"}, 5.0),
    ({"retry-after": "soon", "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z"}, 60.0),
    (
        {
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
            "anthropic-ratelimit-tokens-reset": "2027-01-15T08:02:00Z",
        },
        120.0,
    ),
    (
        {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
            "anthropic-ratelimit-tokens-remaining": "900",
            "anthropic-ratelimit-tokens-reset": "2027-01-15T08:02:00Z",
        },
        60.0,
    ),
    (
        {
            "anthropic-ratelimit-requests-remaining": "4",
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
        },
        None,
    ),
    (
        {
            "anthropic-ratelimit-unified-5h-status": "rejected",
            "anthropic-ratelimit-unified-5h-reset": "1800009000",
            "anthropic-ratelimit-unified-7d-status": "allowed",
            "anthropic-ratelimit-unified-7d-reset": "1800400000",
        },
        9000.0,
    ),
    (
        {
            "anthropic-ratelimit-requests-remaining": "0",
            "anthropic-ratelimit-requests-reset": "2027-01-15T08:01:00Z",
            "anthropic-ratelimit-tokens-reset": "2027-01-15T08:02:00Z",
        },
        60.0,
    ),
    ({"anthropic-ratelimit-requests-limit": "50"}, None),
    # the overage ends later than the window that is waited for
    (
        {
            "anthropic-ratelimit-unified-5h-status": "rejected",
            "anthropic-ratelimit-unified-5h-reset": "1800007200",
            "anthropic-ratelimit-unified-overage-status": "rejected",
            "anthropic-ratelimit-unified-overage-reset": "1801728000",
        },
        7200.0,
    ),
    (
        {
            "anthropic-ratelimit-unified-5h-status": "allowed",
            "anthropic-ratelimit-unified-5h-reset": "1800007200",
            "anthropic-ratelimit-unified-overage-status": "rejected",
            "anthropic-ratelimit-unified-overage-reset": "1801728000",
        },
        1728000.0,
    ),
    # x-ratelimit-reset-*
    ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360.0),
    ({"x-ratelimit-reset-tokens": "1.5", "x-ratelimit-remaining-tokens": "0"}, 1.5),
    (
        {
            "x-ratelimit-reset-requests": "10s",
            "x-ratelimit-remaining-requests": "0",
            "x-ratelimit-reset-tokens": "20s",
            "x-ratelimit-remaining-tokens": "0",
        },
        20.0,
    ),
    ({"x-ratelimit-reset-tokens": "6m0s", "x-ratelimit-remaining-tokens": "12"}, None),
    ({"x-ratelimit-reset-tokens": "-1", "x-ratelimit-remaining-tokens": "0"}, None),
    ({"x-ratelimit-reset-tokens": "0", "x-ratelimit-remaining-tokens": "0"}, None),
    ({"x-ratelimit-reset-tokens": "soon", "x-ratelimit-remaining-tokens": "0"}, None),
    ({"x-ratelimit-reset": "1800000060000", "x-ratelimit-remaining": "0"}, 60.0),
    ({"x-ratelimit-reset": "1799999999000", "x-ratelimit-remaining": "0"}, None),
    ({"retry-after": "3", "x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 3.0),
    # never read
    ({"x-ratelimit-reset": "60", "date": "Fri, 15 Jan 2027 08:00:30 GMT"}, None),
]


@pytest.mark.parametrize(("headers", "expected"), HEADERS)
def test_headers(headers: dict[str, str], expected: float | None) -> None:
    fields = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert read_hint(fields, b"", WALL) == expected


def test_the_errors_type_names_the_bucket() -> None:
    headers = [(b"x-ratelimit-reset-tokens", b"20s"), (b"x-ratelimit-reset-requests", b"90s")]
    assert read_hint(headers, b"", WALL, type="tokens") == 20.0
    assert read_hint(headers, b"", WALL) is None


INNER = [
    ({"metadata": {"headers": {"X-RateLimit-Reset": "1800000060000", "X-RateLimit-Remaining": "0"}}}, 60.0),
    ({"metadata": {"headers": {"Retry-After": 7}}}, 7.0),
    ({"metadata": {"headers": []}}, None),
    ({"metadata": "none"}, None),
    ({"message": '"metadata"'}, None),
]


@pytest.mark.parametrize(("error", "expected"), INNER)
def test_headers_of_an_inner_host(error: dict[str, object], expected: float | None) -> None:
    assert read_hint([], orjson.dumps({"error": error}), WALL) == expected
    assert read_hint([(b"retry-after", b"3")], orjson.dumps({"error": error}), WALL) == 3.0


def google(*details: object) -> bytes:
    return orjson.dumps({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": list(details)}})


def retry_info(delay: object) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}


def error_info(**metadata: object) -> dict[str, object]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "metadata": metadata}


def quota(*ids: object) -> dict[str, object]:
    violations = [{"quotaMetric": "m", "quotaId": name} for name in ids]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
MINUTE = "GenerateContentInputTokensPerModelPerMinute-FreeTier"

BODIES: list[tuple[bytes, float | None]] = [
    (google(error_info(quota_limit="GenerateRequestsPerDayPerProject")), UNKNOWN_DAY),
    (google(error_info(quota_limit="RequestsPerMinute")), None),
    (google(retry_info("42s")), 42.0),
    (google(retry_info("1.5s")), 1.5),
    (google(retry_info({"seconds": 3, "nanos": 500_000_000})), 3.5),
    (google(retry_info({"seconds": "3"})), 3.0),
    (google(retry_info("soon")), None),
    (google(retry_info(None)), None),
    (b"[" + google(retry_info("42s")) + b"]", 42.0),
    (google(error_info(quotaResetDelay="2h21m5.2s")), 8465.2),
    (google(error_info(quotaResetDelay="500ms")), 0.5),
    (google(error_info(quotaResetTimeStamp="2027-01-15T08:10:00Z")), 600.0),
    (google(error_info(quotaResetTimeStamp="2027-01-15T07:10:00Z")), 0.0),
    (google(error_info(quotaResetDelay="60s", quotaResetTimeStamp="2027-01-15T08:10:00Z")), 600.0),
    (google(error_info(quotaResetTimeStamp=5)), 0.0),
    (google(error_info(reason="RATE_LIMIT_EXCEEDED")), None),
    (google({"@type": "type.googleapis.com/google.rpc.ErrorInfo"}), None),
    (google(retry_info("5s"), error_info(quotaResetDelay="60s")), 60.0),
    (google(quota(MINUTE), retry_info("42s")), 42.0),
    (google(quota(MINUTE)), None),
    # a day's quota: the short delay beside it is wrong
    (google(quota(DAY)), UNKNOWN_DAY),
    (google(quota("requests-per-day")), UNKNOWN_DAY),
    (google(quota("requests_per_day")), UNKNOWN_DAY),
    (google(quota(MINUTE, DAY), retry_info("42s")), UNKNOWN_DAY),
    (google(quota(DAY), retry_info("7200s")), 7200.0),
    (google(quota(DAY), error_info(quotaResetDelay="30m")), 1800.0),
    (google(quota(DAY), quota(MINUTE)), UNKNOWN_DAY),
    # odd shapes
    (google(quota(None, 7)), None),
    (google({"@type": "google.rpc.QuotaFailure", "violations": {"quotaId": DAY}}), None),
    (google({"@type": "google.rpc.QuotaFailure", "violations": [DAY]}), None),
    (google("google.rpc.RetryInfo", 5, None, {"retryDelay": "42s"}), None),
    (b'{"error":{"details":"google.rpc.RetryInfo"}}', None),
    (b'{"error":"google.rpc.RetryInfo"}', None),
    (b'["google.rpc.RetryInfo"]', None),
    (b"[]google.rpc.", None),
    # free text is not searched
    (b'{"error":{"message":"Please retry in 42.5s. google.rpc.RetryInfo retryDelay 42s"}}', None),
    (b'{"error":{"message":"Your limit resets in 5 minutes"}}', None),
]


@pytest.mark.parametrize(("body", "expected"), BODIES)
def test_bodies(body: bytes, expected: float | None) -> None:
    assert read_hint((), body, WALL) == pytest.approx(expected)


MIXED: list[tuple[str, bytes, float]] = [
    ("7", google(retry_info("42s")), 7.0),
    ("soon", google(retry_info("42s")), 42.0),
    ("7", google(quota(DAY)), UNKNOWN_DAY),
    ("7200", google(quota(DAY)), 7200.0),
    ("7", google(quota(DAY), error_info(quotaResetDelay="30m")), 1800.0),
]


@pytest.mark.parametrize(("after", "body", "expected"), MIXED)
def test_headers_and_body(after: str, body: bytes, expected: float) -> None:
    assert read_hint([(b"retry-after", after.encode())], body, WALL) == expected


DURATIONS: list[tuple[Any, float | None]] = [
    ("0s", 0.0),
    ("1h", 3600.0),
    ("1m30s", 90.0),
    ("250us", 250e-6),
    ("250µs", 250e-6),
    ("9ns", 9e-9),
    (" 5s ", 5.0),
    ("", None),
    ("5", None),
    ("s", None),
    ("-5s", None),
    ("5s6", None),
    ("1h 5m", None),
    (5, None),
    ({}, None),
    ({"nanos": 5}, 5e-9),
    ({"seconds": "x"}, None),
    ({"seconds": 1, "nanos": []}, None),
    ({"seconds": True}, None),
    ({"seconds": -1}, None),
]


@pytest.mark.parametrize(("value", "expected"), DURATIONS)
def test_duration(value: object, expected: float | None) -> None:
    assert duration(value) == pytest.approx(expected)


DATES: list[tuple[str, float | None]] = [
    ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777.0),
    ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777.0),
    ("Sun Nov  6 08:49:37 1994", 784111777.0),
    ("Sunday, 06-Nov-77 08:49:37 GMT", 3403414177.0),
    ("Sunday, 06-Nov-78 08:49:37 GMT", 279190177.0),
    ("Sun, 06 Nov 1994 08:49:60 GMT", 784111799.0),
    ("Sun, 06 Nov 1994 24:00:00 GMT", None),
    ("Sun, 31 Feb 1994 08:49:37 GMT", None),
    ("Sun, 06 Xyz 1994 08:49:37 GMT", None),
    ("Sun, 06 Nov 0000 08:49:37 GMT", None),
    ("06 Nov 1994 08:49:37 GMT", None),
    ("", None),
]


@pytest.mark.parametrize(("text", "expected"), DATES)
def test_http_date(text: str, expected: float | None) -> None:
    assert http_date(text, WALL) == expected


names = st.sampled_from(
    ["retry-after", "retry-after-ms", "anthropic-ratelimit-x-reset", "anthropic-ratelimit-x-remaining"]
)
json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
details = st.fixed_dictionaries(
    {"@type": st.sampled_from(["google.rpc.RetryInfo", "google.rpc.ErrorInfo", "google.rpc.QuotaFailure"])},
    optional={"retryDelay": json, "metadata": json, "violations": json},
)


@given(
    headers=st.lists(st.tuples(names.map(str.encode), st.text(max_size=12).map(str.encode))),
    body=st.binary(max_size=20) | st.lists(details | json, max_size=3).map(lambda all_: google(*all_)),
    wall=st.floats(0, 4e9),
)
def test_any_headers_give_a_plausible_hint(
    headers: list[tuple[bytes, bytes]], body: bytes, wall: float
) -> None:
    hint = read_hint(headers, body, wall)
    assert hint is None or 0.0 <= hint <= LONGEST
