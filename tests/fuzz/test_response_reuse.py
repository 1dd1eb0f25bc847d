"""A connection to an upstream serves another request only when the answer before was whole, and nothing followed it:
what came unasked is nobody's answer."""

from tests.fuzz.fuzz import fuzz_in_loop
from tests.support.driven import answered
from tests.support.references import by_h11
from tests.support.strategies import ANSWERS, CUTS, METHODS, cut, singly


async def contract(sent: bytes, cuts: list[int], method: str) -> None:
    _, behind = by_h11(sent, method)
    for reads in ([sent], cut(sent, cuts), singly(sent)):
        answer, kept = await answered(reads, method)
        assert not kept or (answer is not None and not behind)


def test_bytes_behind_an_answer() -> None:
    fuzz_in_loop(contract, ANSWERS, CUTS, METHODS, examples=150)
