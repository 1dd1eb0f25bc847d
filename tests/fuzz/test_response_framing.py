"""An upstream's response that is taken for whole has the status and the payload that h11 finds in the same bytes; what
h11 refuses, or finds cut, is refused."""

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.driven import responded
from tests.support.references import by_h11
from tests.support.strategies import CUTS, METHODS, RESPONSES, cut

GOOD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


async def contract(sent: bytes, cuts: list[int], method: str) -> None:
    ours, _ = await responded(cut(sent, cuts), method)
    theirs, _ = by_h11(sent, method)
    assert ours in (theirs, None)


def test_h11_reads_the_same() -> None:
    fuzz_in_loop(contract, RESPONSES, CUTS, METHODS)


async def test_whole_responses_are_accepted_and_cut_ones_are_not() -> None:
    """Else it would do to refuse everything."""
    assert (await responded([GOOD]))[0] == by_h11(GOOD, "GET")[0] == (200, b"hello")
    assert (await responded([GOOD[:-1]]))[0] is by_h11(GOOD[:-1], "GET")[0] is None
