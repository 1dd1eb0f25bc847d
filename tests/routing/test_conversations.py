"""Where conversations live, and for how long."""

from gateway.routing.conversations import BOUND_FOR, MAX_CONVERSATIONS, Conversations
from gateway.routing.rendezvous import point_of
from tests.routing.test_scheduler import made


def test_bindings_end() -> None:
    account = made("A")[1]["A"].state
    conversations = Conversations()
    assert conversations.home("talk", 0.0) is None
    conversations.bind("talk", account, 0.0)
    assert conversations.home("talk", BOUND_FOR) is account
    assert conversations.home("talk", BOUND_FOR + 1) is None


def test_the_least_recently_used_binding_goes_first() -> None:
    account = made("A")[1]["A"].state
    conversations = Conversations()
    for index in range(MAX_CONVERSATIONS):
        conversations.bind(f"talk {index}", account, 0.0)
    conversations.bind("talk 0", account, 1.0)
    conversations.bind("one more", account, 1.0)
    assert conversations.home("talk 0", 1.0) is account
    assert conversations.home("talk 1", 1.0) is None
    assert conversations.home("talk 2", 1.0) is account


def test_remote_bindings_are_bounded() -> None:
    """The bound counts both kinds together."""
    account = made("A")[1]["A"].state
    conversations = Conversations()
    conversations.publish = lambda point, account: None
    names = [f"talk {index}" for index in range(MAX_CONVERSATIONS)]
    half = MAX_CONVERSATIONS // 2
    for name in (*names, *names[:half], *(f"new {index}" for index in range(half))):
        conversations.bind(name, account, 0.0)
    for name in names[half:]:
        conversations.bind_remotely(point_of(name), account, 1.0, 100.0)
    assert all(conversations.home(name, 1.0) is account for name in names[half:])
    assert conversations.home(names[0], 1.0) is None
    first, *others = [point_of(f"elsewhere {index}") for index in range(MAX_CONVERSATIONS)]
    for point in (first, *others, first, 0):
        conversations.bind_remotely(point, account, 1.0, 100.0)
    assert conversations.home("elsewhere 0", 1.0) is account
    assert conversations.home("elsewhere 1", 1.0) is None


def test_a_binding_that_no_success_has_proven_ends_with_a_failure() -> None:
    cast = made("A B")[1]
    a, b = cast["A"].state, cast["B"].state
    conversations = Conversations()
    conversations.bind("talk", a, 0.0, proven=False)
    conversations.unbind_unproven("talk", b)
    conversations.unbind_unproven("other", a)
    assert conversations.home("talk", 1.0) is a
    conversations.unbind_unproven("talk", a)
    assert conversations.home("talk", 1.0) is None
    conversations.bind("talk", a, 0.0)
    conversations.unbind_unproven("talk", a)
    assert conversations.home("talk", 1.0) is a


def test_an_account_can_lose_all_its_bindings() -> None:
    cast = made("A B")[1]
    conversations = Conversations()
    for name in "AB":
        conversations.bind(f"with {name}", cast[name].state, 0.0)
    conversations.forget(cast["A"].state)
    assert conversations.home("with A", 0.0) is None
    assert conversations.home("with B", 0.0) is cast["B"].state


def test_home_does_not_change_bindings() -> None:
    """Also where another process has bound it: only a request that is served there makes it live on."""
    state = made("A")[1]["A"].state
    conversations, points = Conversations(), list[int]()
    conversations.publish = lambda point, account: points.append(point)
    point = point_of("talk")
    conversations.bind_remotely(point, state, 0.0, 100.0)
    assert [conversations.home("talk", now) for now in (0.0, 99.0, 100.0)] == [state, state, None]
    conversations.bind("talk", state, 99.0)
    assert conversations.home("talk", 99.0 + BOUND_FOR) is state
    # Everybody knows.
    assert points == []
    conversations.bind_remotely(point_of("other"), state, 0.0, 100.0)
    conversations.bind("other", made("B")[1]["B"].state, 0.0)
    assert points == [point_of("other")]
