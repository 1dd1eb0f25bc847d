from typing import Any

import pytest

from gateway.dialects.gemini.parts import PartMaker, may_stand_in_result

KNOWN = [
    ("image/png", "image/png"),
    ("IMAGE/PNG; q=1", "image/png"),
    ("image/jpg", "image/jpeg"),
    ("image/heif", "image/heif"),
    ("audio/mp3", "audio/mp3"),
    ("video/quicktime", "video/quicktime"),
    ("text/plain", "text/plain"),
]


def base64(mime: Any, kind: str = "image") -> dict[str, Any]:
    return {"type": kind, "source": {"type": "base64", "media_type": mime, "data": "eA=="}}


@pytest.mark.parametrize(("given", "sent"), KNOWN)
def test_documented_types_are_sent(given: str, sent: str) -> None:
    warnings: list[str] = []
    assert PartMaker(warnings.append).parts(base64(given)) == [
        {"inlineData": {"mimeType": sent, "data": "eA=="}}
    ]
    assert warnings == []


@pytest.mark.parametrize(
    ("block", "note"),
    [
        (base64("image/gif"), "(an image/gif, which this model cannot read)"),
        (base64("image/svg+xml"), "(an image/svg+xml, which this model cannot read)"),
        (base64("image/tiff"), "(an image/tiff, which this model cannot read)"),
        (base64("text/html", "document"), "(a text/html, which this model cannot read)"),
        (base64("", "document"), "(a document, which this model cannot read)"),
        (
            {"type": "image", "source": {"type": "url", "url": "https://x/a.gif"}},
            "(an image/gif, which this model cannot read)",
        ),
    ],
)
def test_other_types_become_a_note(block: dict[str, Any], note: str) -> None:
    warnings: list[str] = []
    assert PartMaker(warnings.append).parts(block) == [{"text": note}]
    assert len(warnings) == 1
    assert "replaced by a note" in warnings[0]


@pytest.mark.parametrize(
    ("part", "expected"),
    [
        ({"inlineData": {"mimeType": "image/png"}}, True),
        ({"inlineData": {"mimeType": "image/heic"}}, False),
        ({"fileData": {"mimeType": "image/png"}}, False),
    ],
)
def test_blocks_of_a_tool_result(part: dict[str, Any], expected: bool) -> None:
    assert may_stand_in_result(part) is expected
