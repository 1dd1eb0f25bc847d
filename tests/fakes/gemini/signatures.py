"""Signatures that prove themselves: a call and its signature show whether it was signed here."""

from base64 import b64encode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import orjson

BYPASS = "skip_thought_signature_validator"
"""Google's documented value for a call that has no signature to bring."""

_KEY = b"the fake gemini"


def signed(call: Mapping[str, Any]) -> str:
    """The signature of a `functionCall`: it is about the name and the arguments."""
    known = orjson.dumps([call.get("name"), call.get("args") or {}], option=orjson.OPT_SORT_KEYS)
    return b64encode(blake2b(known, key=_KEY, digest_size=48).digest()).decode()


def signed_text(text: str) -> str:
    """The signature of a text; blanks around it do not count, since clients trim."""
    return signed({"name": "", "args": {"text": text.strip()}})
