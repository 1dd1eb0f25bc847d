"""An upstream's response with any bytes: no exception, and its receiver gets one end, good or bad, with nothing
after it. The end and the payload are the same for any cuts, and for a receiver that wants the framing, too."""

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.driven import responded
from tests.support.strategies import CUTS, METHODS, RESPONSES, cut, singly


async def contract(sent: bytes, cuts: list[int], method: str) -> None:
    whole, _ = await responded([sent], method)
    for reads in (cut(sent, cuts), singly(sent)):
        assert (await responded(reads, method))[0] == whole
        as_it_came, _ = await responded(reads, method, decode=False)
        assert (as_it_came is None) == (whole is None)


def test_an_upstreams_response() -> None:
    fuzz_in_loop(contract, RESPONSES, CUTS, METHODS)
