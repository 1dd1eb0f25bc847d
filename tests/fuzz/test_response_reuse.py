"""A connection to an upstream serves another request only when the response before was whole, and nothing followed it:
what came unasked is the response to no request."""

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.driven import responded
from tests.support.references import by_h11
from tests.support.strategies import CUTS, METHODS, RESPONSES, cut, singly


async def contract(sent: bytes, cuts: list[int], method: str) -> None:
    _, behind = by_h11(sent, method)
    for reads in ([sent], cut(sent, cuts), singly(sent)):
        response, kept = await responded(reads, method)
        assert not kept or (response is not None and not behind)


def test_bytes_behind_a_response() -> None:
    fuzz_in_loop(contract, RESPONSES, CUTS, METHODS)
