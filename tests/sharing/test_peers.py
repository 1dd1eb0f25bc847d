"""Who shares: by what was heard, and for how long."""

from gateway.sharing.peers import MOST_PROCESSES, Peers

PATIENCE = 15.0


def test_a_process_counts_until_it_was_silent_for_too_long_or_says_goodbye() -> None:
    peers = Peers(PATIENCE)
    peers.heard(b"first", 0.0)
    peers.heard(b"second", 10.0)
    peers.look(14.9)
    assert len(peers) == 2
    peers.look(15.0)
    assert len(peers) == 1
    peers.gone(b"second")
    peers.gone(b"stranger")
    assert len(peers) == 0


def test_after_a_time_in_which_nobody_could_be_heard_all_have_time_again() -> None:
    peers = Peers(PATIENCE)
    peers.heard(b"first", 0.0)
    peers.excuse(100.0)
    peers.look(114.0)
    assert len(peers) == 1


def test_names_are_bounded() -> None:
    peers = Peers(PATIENCE)
    for number in range(MOST_PROCESSES + 10):
        peers.heard(number.to_bytes(4, "big"), 0.0)
    assert len(peers) == MOST_PROCESSES
    # Those that are known are heard all the same.
    peers.heard((0).to_bytes(4, "big"), 20.0)
    peers.look(20.0)
    assert len(peers) == 1
