"""Refusals of the fake, in Google's words."""

from collections.abc import Mapping
from typing import Any

CODES = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
}
"""google.rpc code -> HTTP status."""


class Refusal(Exception):
    """A refusal: the code of google.rpc, the message, and the details with retry hints."""

    def __init__(self, message: str, *details: Mapping[str, Any], code: str = "INVALID_ARGUMENT") -> None:
        super().__init__(message)
        self.status = CODES[code]
        self.code = code
        self.message = message
        self.details = details

    def document(self) -> dict[str, Any]:
        """The JSON body."""
        error: dict[str, Any] = {"code": self.status, "message": self.message, "status": self.code}
        return {"error": {**error, "details": list(self.details)} if self.details else error}


def refuse_unless(holds: object, message: str) -> None:
    """Raise a 400 if something does not hold."""
    if not holds:
        raise Refusal(message)
