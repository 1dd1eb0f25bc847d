"""Messages in the store: only wrapped messages are unwrapped."""

import os

from hypothesis import given
from hypothesis import strategies as st

from gateway.sharing.envelope import MAX_MESSAGE, PLAIN, PROCESS, Envelopes
from gateway.sharing.seal import Seal

ME = b"m" * PROCESS

SECRET = "correct horse battery staple"

FRAMES = st.lists(st.binary(min_size=1, max_size=40), max_size=5)


def sealed(secret: str = SECRET) -> Envelopes:
    return Envelopes(ME, Seal(secret, os.urandom))


@given(frames=FRAMES, secret=st.booleans())
def test_wrapped_messages_are_unwrapped(frames: list[bytes], secret: bool) -> None:
    envelopes = sealed() if secret else Envelopes(ME, None)
    assert envelopes.unwrap(envelopes.wrap(frames)) == (ME, frames)


@given(data=st.binary(max_size=100), behind_mark=st.booleans())
def test_arbitrary_bytes_are_ignored(data: bytes, behind_mark: bool) -> None:
    found = Envelopes(ME, None).unwrap(PLAIN + data if behind_mark else data)
    if found is not None:
        assert Envelopes(found[0], None).wrap(found[1]) == PLAIN + data
    assert sealed().unwrap(data) is None


def test_a_truncated_message_is_refused() -> None:
    message = Envelopes(ME, None).wrap([b"one", b"two"])
    whole = {len(Envelopes(ME, None).wrap([b"one"])), len(Envelopes(ME, None).wrap([]))}
    for size in set(range(len(message))) - whole:
        assert Envelopes(ME, None).unwrap(message[:size]) is None, size


def test_many_news_are_messages_of_a_good_size() -> None:
    plain = Envelopes(ME, None)
    frames = [bytes([number + 1]) * 60_000 for number in range(20)]
    messages = list(plain.messages(frames))
    assert len(messages) == 5
    assert [frame for message in messages for frame in (plain.unwrap(message) or (b"", []))[1]] == frames


def test_with_a_secret_only_sealed_ones_without_only_plain_ones() -> None:
    plain = Envelopes(ME, None)
    assert sealed().unwrap(plain.wrap([b"one"])) is None
    assert plain.unwrap(sealed().wrap([b"one"])) is None
    assert sealed("another secret, as long").unwrap(sealed().wrap([b"one"])) is None


def test_a_message_beyond_all_measure_is_not_looked_at() -> None:
    plain = Envelopes(ME, None)
    room = MAX_MESSAGE - len(plain.wrap([b""]))
    assert plain.unwrap(plain.wrap([bytes(room)])) is not None
    assert plain.unwrap(plain.wrap([bytes(room + 1)])) is None


def test_names_are_hashed_where_messages_are_sealed() -> None:
    assert Envelopes(ME, None).name("cooling", "zai/me") == "cooling:zai/me"
    assert "zai" not in sealed().name("cooling", "zai/me")
    assert sealed().name("cooling", "zai/me") == sealed().name("cooling", "zai/me")
