"""What the embedded Gemini upstream refuses, in Google's words: the rules that a translator trips over.

Signatures prove themselves, as those of the other embedded upstream do: who knows a call can tell whether it
was signed here, so a session outlives a restart.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Literal

from gateway.messages.json_documents import write_document

Turn = Mapping[str, Any]

BYPASS = "skip_thought_signature_validator"
"""Google's documented value for a call that has no signature to bring."""

CODES = {"INVALID_ARGUMENT": 400, "UNAUTHENTICATED": 401, "NOT_FOUND": 404, "RESOURCE_EXHAUSTED": 429}
"""google.rpc code -> HTTP status, of what is answered here."""

_KEY = b"gateway demo, gemini"
"""Public, as the calls are: this is a demonstration of a signature, not a protection."""

_SEE = "Please refer to https://ai.google.dev/gemini-api/docs/thought-signatures for more details."


class GoogleError(Exception):
    """A refusal: the code of google.rpc, what is said, and the details with retry hints."""

    def __init__(self, code: str, message: str, *details: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.status = CODES[code]
        self.code = code
        self.message = message
        self.details = details

    def document(self) -> dict[str, Any]:
        """The JSON body."""
        document = error_document(self.status, self.code, self.message)
        if self.details:
            document["error"]["details"] = list(self.details)
        return document


def error_document(status: int, code: str, message: str) -> dict[str, Any]:
    """A refusal as JSON: HTTP status, code of google.rpc, words."""
    return {"error": {"code": status, "message": message, "status": code}}


def signed(call: Mapping[str, Any]) -> str:
    """The signature of a `functionCall`: it is about the name and the arguments, in whatever order these are."""
    args = call.get("args") or {}
    known = write_document([call.get("name"), sorted(_flat("", args))])
    return b64encode(blake2b(known, key=_KEY, digest_size=48).digest()).decode()


def signed_text(text: str) -> str:
    """The signature of a text; blanks around it do not count, since clients trim."""
    return signed({"name": "", "args": {"text": text.strip()}})


def limited(seconds: int, how: Literal["retry_info", "quota_reset"]) -> GoogleError:
    """A 429 that says when to come back: as `RetryInfo`, as the Gemini API does, or as `quotaResetDelay` in an
    `ErrorInfo`, as Code Assist does."""
    message = f"Resource has been exhausted (e.g. check quota). Please retry in {seconds}s."
    if how == "retry_info":
        detail: dict[str, Any] = {
            "@type": "type.googleapis.com/google.rpc.RetryInfo",
            "retryDelay": f"{seconds}s",
        }
    else:
        detail = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": "RATE_LIMIT_EXCEEDED",
            "domain": "cloudcode-pa.googleapis.com",
            "metadata": {"quotaResetDelay": f"{seconds}s"},
        }
    return GoogleError("RESOURCE_EXHAUSTED", message, detail)


def check(contents: Sequence[Turn]) -> None:
    """Raises GoogleError (400) for a history that the API would not take."""
    if not contents:
        raise GoogleError(
            "INVALID_ARGUMENT", "* GenerateContentRequest.contents: contents is not specified\n"
        )
    for index, turn in enumerate(contents):
        if turn.get("role") != ("user" if index % 2 == 0 else "model"):
            raise GoogleError(
                "INVALID_ARGUMENT", "Please ensure that multiturn requests alternate between user and model."
            )
        if not parts_of(turn):
            raise GoogleError(
                "INVALID_ARGUMENT",
                "Unable to submit request because it must include at least one parts field.",
            )
    _check_answers(contents)
    _check_signatures(contents)


def parts_of(turn: Turn) -> list[dict[str, Any]]:
    """A turn's parts."""
    parts = turn.get("parts")
    return [part for part in parts if isinstance(part, dict)] if isinstance(parts, list) else []


def _check_answers(contents: Sequence[Turn]) -> None:
    """Each call is answered in the next turn, and nothing else is."""
    called = 0
    for turn in contents:
        if sum("functionResponse" in part for part in parts_of(turn)) != called:
            raise GoogleError(
                "INVALID_ARGUMENT",
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
            )
        called = sum("functionCall" in part for part in parts_of(turn))


def _check_signatures(contents: Sequence[Turn]) -> None:
    """In the turn that is still open, the first call of each step has the signature that it came with, and
    no signature is one that was not given here for what it stands on."""
    for position in range(_start_of_turn(contents), len(contents)):
        parts = parts_of(contents[position])
        calls = [part for part in parts if isinstance(part.get("functionCall"), dict)]
        if calls and not calls[0].get("thoughtSignature"):
            raise _missing(calls[0]["functionCall"], position + 1)
        for part in parts:
            if part.get("thoughtSignature", BYPASS) not in (BYPASS, *_signatures_for(part, calls)):
                raise GoogleError("INVALID_ARGUMENT", "Corrupted thought signature.")


def _start_of_turn(contents: Sequence[Turn]) -> int:
    """Where the last turn of a person's begins: one without a function's response. The first is always one."""
    return max(
        position
        for position, turn in enumerate(contents)
        if turn.get("role") == "user" and not any("functionResponse" in part for part in parts_of(turn))
    )


def _signatures_for(part: Mapping[str, Any], calls: list[dict[str, Any]]) -> list[str]:
    """What may stand on a part: a thought may bring the signature of the call that it led to."""
    if isinstance(part.get("functionCall"), dict):
        return [signed(part["functionCall"])]
    if part.get("thought") is True:
        return [signed(call["functionCall"]) for call in calls]
    return [signed_text(str(part.get("text", "")))]


def _missing(call: Mapping[str, Any], position: int) -> GoogleError:
    return GoogleError(
        "INVALID_ARGUMENT",
        "Function call is missing a thought_signature in functionCall parts. This is required for tools to work "
        "correctly, and missing thought_signature may lead to degraded model performance. Additional data, "
        f"function call `default_api:{call.get('name')}` , position {position}. {_SEE}",
    )


def _flat(path: str, value: object) -> list[tuple[str, str]]:
    """A document as its leaves, each with its place."""
    if isinstance(value, dict) and value:
        return [leaf for key, inner in value.items() for leaf in _flat(f"{path}/{key}", inner)]
    if isinstance(value, list) and value:
        return [leaf for n, inner in enumerate(value) for leaf in _flat(f"{path}/{n}", inner)]
    return [(path, write_document(value).decode())]
