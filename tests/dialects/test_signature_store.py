import pytest

from gateway.dialects.signature_store import ENTRY, SignatureStore, text_key


def test_the_newest_win() -> None:
    store = SignatureStore(2)
    for id in ("1", "2", "1", "3"):
        store.remember(id, "s" + id)
    assert [store.get(id) for id in ("1", "2", "3")] == ["s1", "", "s3"]
    store.remember("1", "again")
    assert (store.get("1"), len(store)) == ("again", 2)


def test_ten_thousand_by_default() -> None:
    store = SignatureStore()
    for n in range(10_001):
        store.remember(str(n), "s")
    assert (store.get("0"), store.get("1"), len(store)) == ("", "s", 10_000)


def test_bytes_are_bounded() -> None:
    store = SignatureStore(max_bytes=10_000)
    for n in range(100):
        store.remember(f"{n:03}", "s" * 997)
    assert len(store) == 10_000 // (ENTRY + 1000)
    assert store.get("099")
    store.remember("099", "s" * 3000)
    assert store.get("099") == "", "one that would push out all others is not kept"
    assert store.get("098")
    store.forget(f"{n:03}" for n in range(100))
    assert repr(store) == "<SignatureStore 0 signatures, 0 bytes>"


@pytest.mark.parametrize("text", ["hello", " hello\n", "\thello "])
def test_blanks_around_a_text_do_not_count(text: str) -> None:
    assert text_key(text) == text_key("hello")


def test_text_keys_differ() -> None:
    assert len({text_key(text) for text in ("hello", "hell", "", "\ud800")}) == 4
