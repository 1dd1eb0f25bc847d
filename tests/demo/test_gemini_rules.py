from typing import Any, Literal

import pytest

from gateway.demo.gemini_rules import BYPASS, GoogleError, check, limited, parts_of, signed, signed_text

HI = {"role": "user", "parts": [{"text": "hi"}]}


def call(name: str = "Bash", **args: Any) -> dict[str, Any]:
    return {"name": name, "args": args}


def model(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"role": "model", "parts": list(parts)}


def called(*, sign: str | None = None, **args: Any) -> dict[str, Any]:
    made = call(**args)
    signature = signed(made) if sign is None else sign
    return {"functionCall": made, "thoughtSignature": signature} if signature else {"functionCall": made}


def answered(count: int = 1, *more: dict[str, Any]) -> dict[str, Any]:
    return {"role": "user", "parts": [{"functionResponse": {"name": "Bash"}}] * count + list(more)}


THOUGHT = {"text": "hm", "thought": True, "thoughtSignature": signed(call(a=1))}

GOOD: list[tuple[str, list[dict[str, Any]]]] = [
    ("a prompt", [HI]),
    ("a talk", [HI, model({"text": "ho"}), HI]),
    ("a call", [HI, model(called(a=1)), answered()]),
    (
        "arguments in another order",
        [HI, model({**called(a=1, b=[2]), "functionCall": call(b=[2], a=1)}), answered()],
    ),
    ("calls side by side", [HI, model(called(a=1), called(sign="")), answered(2)]),
    ("steps", [HI, model(called(a=1)), answered(), model(called(a=2)), answered()]),
    ("the documented way around", [HI, model(called(sign=BYPASS)), answered()]),
    ("thinking", [HI, model(THOUGHT, called(a=1)), answered()]),
    ("a signed text", [HI, model({"text": "ho\n", "thoughtSignature": signed_text("ho")}), HI]),
    ("an older turn is not looked at", [HI, model(called(sign="")), answered(), model({"text": "x"}), HI]),
    ("words beside a result do not end the turn", [HI, model(called(a=1)), answered(1, {"text": "hi"})]),
    ("results alone", [answered(0, {"functionResponseX": 1})]),
]


@pytest.mark.parametrize("contents", [case[1] for case in GOOD], ids=[case[0] for case in GOOD])
def test_good_histories(contents: list[dict[str, Any]]) -> None:
    check(contents)


BAD: list[tuple[str, list[dict[str, Any]], str]] = [
    ("none", [], "contents is not specified"),
    ("the model first", [model({"text": "x"})], "alternate between user and model"),
    ("one role twice", [HI, HI], "alternate between user and model"),
    ("no parts", [{"role": "user", "parts": []}], "at least one parts field"),
    ("parts that are none", [{"role": "user", "parts": [5]}], "at least one parts field"),
    ("parts of another kind", [{"role": "user", "parts": 5}], "at least one parts field"),
    ("a call without its answer", [HI, model(called()), HI], "function response parts is equal"),
    ("an answer without its call", [answered()], "function response parts is equal"),
    ("one answer for two", [HI, model(called(), called()), answered()], "function response parts is equal"),
    (
        "no signature",
        [HI, model(called(sign="")), answered()],
        r"missing a thought_signature in functionCall parts.*`default_api:Bash` , position 2\.",
    ),
    (
        "no signature in the second step",
        [HI, model(called(a=1)), answered(), model(called(sign="")), answered(1, {"text": "hi"})],
        r"missing a thought_signature.* position 4\.",
    ),
    (
        "only the second is signed",
        [HI, model(called(sign=""), called()), answered(2)],
        "missing a thought_signature",
    ),
    ("a changed one", [HI, model(called(sign="AAAA")), answered()], "Corrupted thought signature"),
    ("a changed second one", [HI, model(called(), called(sign="AAAA")), answered(2)], "Corrupted"),
    ("the one of another call", [HI, model(called(sign=signed(call(a=2)))), answered()], "Corrupted"),
    ("a thought of another call", [HI, model(THOUGHT, called(a=2)), answered()], "Corrupted"),
    ("a text signed elsewhere", [HI, model({"text": "x", "thoughtSignature": "AAAA"})], "Corrupted"),
]


@pytest.mark.parametrize(("contents", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_histories(contents: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(GoogleError, match=message) as caught:
        check(contents)
    assert (caught.value.status, caught.value.code) == (400, "INVALID_ARGUMENT")
    assert caught.value.document() == {
        "error": {"code": 400, "message": caught.value.message, "status": "INVALID_ARGUMENT"}
    }


def test_signatures_tell_calls_apart() -> None:
    calls = [call(), call("Read"), call(a=1), call(a=[1]), call(a={}), call(a=[]), call(a="1"), call(b=1)]
    assert len({signed(one) for one in calls}) == len(calls)
    assert signed({"name": "Bash"}) == signed(call())


@pytest.mark.parametrize(
    ("how", "detail"),
    [
        ("retry_info", {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}),
        (
            "quota_reset",
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "RATE_LIMIT_EXCEEDED",
                "domain": "cloudcode-pa.googleapis.com",
                "metadata": {"quotaResetDelay": "7s"},
            },
        ),
    ],
)
def test_limited(how: Literal["retry_info", "quota_reset"], detail: dict[str, Any]) -> None:
    error = limited(7, how)
    assert error.status == 429
    assert error.document()["error"]["status"] == "RESOURCE_EXHAUSTED"
    assert error.document()["error"]["details"] == [detail]


def test_parts_of() -> None:
    assert parts_of(model({"text": "x"})) == [{"text": "x"}]
    assert parts_of({}) == []
