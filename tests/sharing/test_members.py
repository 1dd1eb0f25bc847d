"""Who shares: by what was heard, and for how long."""

from gateway.sharing.members import MOST_PROCESSES, Members

PATIENCE = 15.0


def test_a_process_counts_until_it_was_silent_for_too_long_or_says_goodbye() -> None:
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


def test_after_a_time_in_which_nobody_could_be_heard_all_have_time_again() -> None:
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
    # Those that are known are heard all the same.
    members.note_alive((0).to_bytes(4, "big"), 20.0)
    members.drop_silent(20.0)
    assert len(members) == 1
