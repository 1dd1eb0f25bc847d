"""An upstream's answer, whatever its bytes: no exception, and its receiver hears one end, good or bad, with nothing
behind it. The end and the payload are the same however the bytes were cut, and for who wants the framing, too."""

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.driven import answered
from tests.support.strategies import ANSWERS, CUTS, METHODS, cut, singly


async def contract(sent: bytes, cuts: list[int], method: str) -> None:
    whole, _ = await answered([sent], method)
    for reads in (cut(sent, cuts), singly(sent)):
        assert (await answered(reads, method))[0] == whole
        as_it_came, _ = await answered(reads, method, decode=False)
        assert (as_it_came is None) == (whole is None)


def test_an_upstreams_answer() -> None:
    fuzz_in_loop(contract, ANSWERS, CUTS, METHODS, examples=120)
