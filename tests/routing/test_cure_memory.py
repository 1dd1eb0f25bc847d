"""Which cures are remembered, for how long, and how many."""

from gateway.routing.cure_memory import MAX_CURES, MAX_KEPT, REMEMBERED_FOR, CureMemory, Remembered
from gateway.routing.cures import Cure
from tests.support.running import upstream

FIELDS, BETAS = Cure("fields", "tools.*.strict"), Cure("betas", "context-1m-2025-08-07")


def test_a_cure_is_remembered_for_an_hour_for_its_upstream_and_model() -> None:
    memory = CureMemory()
    assert not memory.active
    memory.learn("a", "m", [FIELDS], 0.0)
    memory.learn("a", "m", [BETAS], 600.0)
    assert memory.active
    assert memory.known("a", "m", 3599.0) == (FIELDS, BETAS)
    assert memory.known("a", "n", 0.0) == ()
    assert memory.known("b", "m", 0.0) == ()
    assert memory.remembered(0.0) == (
        Remembered("a", "m", FIELDS, REMEMBERED_FOR),
        Remembered("a", "m", BETAS, 600.0 + REMEMBERED_FOR),
    )
    assert memory.known("a", "m", REMEMBERED_FOR) == (BETAS,)
    assert [one.cure for one in memory.remembered(REMEMBERED_FOR)] == [BETAS]
    memory.learn("a", "m", [BETAS], 5000.0)
    assert memory.known("a", "m", 5000.0) == (BETAS,)


def test_bounds() -> None:
    memory = CureMemory()
    for index in range(MAX_KEPT + 1):
        memory.learn("a", f"m{index}", [FIELDS], 0.0)
    assert memory.known("a", "m0", 0.0) == ()
    assert len(memory.remembered(0.0)) == MAX_KEPT
    for index in range(MAX_CURES + 1):
        memory.learn("a", "m9", [Cure("fields", str(index))], 0.0)
    assert memory.known("a", "m9", 0.0) == tuple(Cure("fields", str(i)) for i in range(1, MAX_CURES + 1))


def test_the_configuration_states_cures_and_turns_some_off() -> None:
    memory = CureMemory()
    memory.configure(
        [
            upstream("http://a", name="a", cures=("user_id",), no_cures=("fields",)),
            upstream("http://b", name="b", drop_betas=("fast-*", "x"), drop_fields=("a", "tools.*.b")),
        ]
    )
    assert memory.active
    memory.learn("a", "m", [FIELDS, BETAS], 0.0)
    assert memory.known("a", "m", 0.0) == (Cure("user_id"), BETAS)
    assert memory.known("a", "other", 0.0) == (Cure("user_id"),)
    assert memory.never("a") == {"fields"}
    assert memory.never("b") == memory.never("c") == frozenset()
    assert memory.known("b", "m", 0.0) == (Cure("betas", "fast-*,x"), Cure("fields", "a,tools.*.b"))
    assert memory.remembered(0.0)[0] == Remembered("a", "", Cure("user_id"), float("inf"))


def test_a_reload_keeps_cures() -> None:
    old, new = CureMemory(), CureMemory()
    new.adopt(old)
    assert not new.active
    old.learn("a", "m", [FIELDS], 0.0)
    new.adopt(old)
    assert new.known("a", "m", 0.0) == (FIELDS,)
