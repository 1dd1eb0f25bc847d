"""A response that is translated from an upstream's bytes of any kind has the grammar of events: one start, blocks
one after the other, and one end. It ends as a message only if the upstream's response ended well."""

import orjson

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.delivered import delivered
from tests.support.references import received_events
from tests.support.strategies import streams


async def contract(reads: list[bytes]) -> None:
    end, written = await delivered(reads, "gemini", stream=True)
    if end == "failed":
        return
    events = [event for event in received_events(written)[0] if event.name != "ping"]
    names = [event.name for event in events]
    assert names[0] == "message_start"
    assert names.count("message_start") == 1
    assert names.count("message_stop") == (end == "done")
    assert names.count("error") == (end == "broke")
    assert names[-1] == ("message_stop" if end == "done" else "error")
    indexes = [orjson.loads(e.data)["index"] for e in events if e.name == "content_block_start"]
    assert indexes == list(range(len(indexes)))
    assert len(indexes) - names.count("content_block_stop") in ((0,) if end == "done" else (0, 1))


def test_a_translated_response() -> None:
    fuzz_in_loop(contract, streams("gemini"))
