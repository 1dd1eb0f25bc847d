"""Members of the sharing: counted by their messages, for a limited time."""

from gateway.sharing.members import MOST_PROCESSES, Members

PATIENCE = 15.0


def test_a_member_counts_until_its_timeout_or_goodbye() -> None:
    members = Members(PATIENCE)
    members.note_alive(b"first", 0.0)
    members.note_alive(b"second", 10.0)
    members.drop_silent(14.9)
    assert len(members) == 2
    members.drop_silent(15.0)
    assert len(members) == 1
    members.forget(b"second")
    members.forget(b"stranger")
    assert len(members) == 0


def test_member_timeouts_restart_after_a_disconnect() -> None:
    members = Members(PATIENCE)
    members.note_alive(b"first", 0.0)
    members.restart(100.0)
    members.drop_silent(114.0)
    assert len(members) == 1


def test_names_are_bounded() -> None:
    members = Members(PATIENCE)
    for number in range(MOST_PROCESSES + 10):
        members.note_alive(number.to_bytes(4, "big"), 0.0)
    assert len(members) == MOST_PROCESSES
    # Known members are counted all the same.
    members.note_alive((0).to_bytes(4, "big"), 20.0)
    members.drop_silent(20.0)
    assert len(members) == 1
