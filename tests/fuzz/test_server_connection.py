"""A client's connection with any bytes, cut into any reads: each request that was accepted gets
one response, in order; after a refusal nothing is sent, and the connection ends. Nothing raises or is left."""

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.driven import visit
from tests.support.strategies import CUTS, REQUESTS, cut, singly


async def outcome(reads: list[bytes]) -> tuple[list[int], list[tuple[str, bytes | None]], bool]:
    made = await visit(reads)
    statuses = made.statuses()
    assert all(status == 200 for status in statuses[:-1])
    assert len(statuses) - made.responses in (0, made.over)
    return statuses, made.received, made.over


async def contract(sent: bytes, cuts: list[int]) -> None:
    assert await outcome(cut(sent, cuts)) == await outcome(singly(sent)) == await outcome([sent])


def test_a_clients_connection() -> None:
    fuzz_in_loop(contract, REQUESTS, CUTS)
