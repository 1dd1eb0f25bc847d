"""How one process's news change the state of another."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import Retry
from gateway.routing.accounts import Target
from gateway.routing.circuit_breaker import PROBE_PATIENCE
from gateway.routing.conversations import MAX_CONVERSATIONS, PUBLISH_AGAIN
from gateway.routing.cures import Cure
from gateway.routing.lease import Lease
from gateway.routing.policy import RULES
from gateway.routing.retries import Retries
from gateway.routing.scheduler import Scheduler
from gateway.routing.status import Scope
from gateway.sharing import facts
from gateway.sharing.facts import AHEAD, Facts
from gateway.sharing.news import BOUND, COOLING, CURE, OPEN, PROBE, SIGNATURE, News, encode, key_of
from gateway.sharing.state import MAX_DETAIL
from tests.routing.test_scheduler import made
from tests.routing.transcript import candidates, cast
from tests.sharing.team import WALL, Team, team
from tests.support.calls import calls


@pytest.mark.parametrize(
    ("outcome", "seconds"),
    [
        ("429 retry-after=90", 90.0),
        ("429", 5.0),
        ("401", 600.0),
        ("403", 60.0),
        ("connect", 1.0),
    ],
)
def test_cool_downs_are_shared(outcome: str, seconds: float) -> None:
    together, here, there = team()
    here.fails("A", outcome)
    together.spread()
    assert here.shut("A") == there.shut("A") == seconds
    together.later(seconds)
    assert there.shut("A") == 0.0


def test_ends_of_cool_downs_are_shared() -> None:
    together, here, there = team()
    for outcome in ("429 retry-after=90", "401", "connect"):
        here.fails("A", outcome)
    together.spread()
    together.later(1)
    there.succeeds("A")
    woken: list[str] = []
    here.scheduler.on_free(lambda: woken.append("here"))
    together.spread()
    assert here.shut_all() == there.shut_all() == {}
    assert woken == ["here"]


def test_a_failure_after_a_remote_success_keeps_its_cool_down() -> None:
    together, here, there = team()
    here.fails("A", "401")
    together.spread()
    together.later(1)
    there.succeeds("A")
    together.later(1)
    here.fails("A", "429 retry-after=90")
    together.spread()
    assert here.shut("A") == there.shut("A") == 90.0


def test_failures_in_a_row_are_counted_by_all() -> None:
    together, here, there = team()
    here.fails("A", "429")
    together.spread()
    together.later(5)
    there.fails("A", "429")
    assert there.shut("A") == 10.0
    together.spread()
    together.later(10)
    here.fails("A", "429")
    assert here.shut("A") == 20.0


def test_one_process_probes_and_the_others_wait() -> None:
    together, here, there = team("A")
    here.fails("A", "429 retry-after=9")
    together.spread()
    together.later(9)
    lease = here.takes("A")
    together.spread()
    assert there.shut("A") == PROBE_PATIENCE <= 30.0
    lease.succeeded(here.now())
    together.spread()
    assert there.shut("A") == 0.0
    assert not there.takes("A").probes


def test_remote_probe_timeout() -> None:
    together, here, there = team("A")
    here.fails("A", "429 retry-after=9")
    together.spread()
    together.later(9)
    here.takes("A")
    together.spread()
    together.later(PROBE_PATIENCE)
    assert there.shut("A") == 0.0
    lease = there.takes("A")
    assert lease.probes
    together.spread()
    lease.succeeded(there.now())


def test_a_failed_probe_is_shared() -> None:
    together, here, there = team("A")
    here.fails("A", "429 retry-after=20000")
    together.spread()
    together.later(3600)
    assert here.shut("A") == there.shut("A") == 0.0
    here.takes("A")
    together.spread()
    here.fails("A", "429 retry-after=16400")
    together.spread()
    assert here.shut("A") == there.shut("A") == 3600.0


def test_a_remote_probe_without_a_cool_down_changes_nothing() -> None:
    together, here, there = team("A")
    here.fails("A", "429 retry-after=9")
    here.news.clear()
    together.later(9)
    here.takes("A")
    together.spread()
    assert there.shut("A") == 0.0


# Conversations.


def test_processes_choose_the_same_account_without_news() -> None:
    _, here, there = team("A B C D")
    names = [f"talk {n}" for n in range(400)]
    homes = [here.goes_to(name) for name in names]
    assert [there.goes_to(name) for name in reversed(names)] == homes[::-1]
    assert here.news == there.news == []
    assert all(70 < homes.count(account) < 130 for account in "ABCD")


def test_when_one_account_is_shut_only_its_conversations_move_and_to_the_same_places() -> None:
    together, here, there = team("A B C D")
    names = [f"talk {n}" for n in range(200)]
    alone = Team("A B C D", 0.0).members[0]
    before = {name: alone.goes_to(name) for name in names}
    here.fails("A", "401")
    together.spread()
    after = {name: here.goes_to(name) for name in names}
    assert {name: there.goes_to(name) for name in names} == after
    moved = {name for name in names if before[name] != after[name]}
    assert moved == {name for name in names if before[name] == "A"}
    assert len({after[name] for name in moved}) == 3


def test_an_account_with_two_more_requests_in_flight_is_not_equally_free() -> None:
    _, here, _ = team("A B")
    talks = [f"talk {n}" for n in range(99)]
    name = next(talk for talk in talks if Team("A B", 0.0).members[0].goes_to(talk) == "A")
    here.takes("A")
    assert here.lease(name).target.account == "A"
    _, here, _ = team("A B")
    for _ in range(2):
        here.takes("A")
    assert here.goes_to(name) == "B"
    # It lives elsewhere than others would look for it.
    (news,) = here.news
    assert (news.kind, dict(news.data)) == (BOUND, {"upstream": "a", "account": "B"})
    assert name not in encode(news).decode()


def test_requests_without_a_conversation_go_to_the_least_recently_used() -> None:
    together, here, _ = team("A B C")
    accounts = []
    for _ in range(6):
        together.later(1)
        accounts.append(here.goes_to(""))
    assert accounts == [*"ABCABC"]


@pytest.mark.parametrize("known", [False, True])
def test_a_moved_conversation_is_followed_by_other_processes(known: bool) -> None:
    together, here, there = team("A B C")
    home = here.goes_to("talk")
    if known:
        assert there.goes_to("talk") == home
    here.fails(home, "429 retry-after=5")
    there_to = here.goes_to("talk")
    assert there_to != home
    together.spread()
    together.later(6)
    # The limit is over, and yet it stays where its prompt cache is.
    assert here.goes_to("talk") == there.goes_to("talk") == there_to
    assert there.goes_to("another talk") in "ABC"


def test_bindings_are_published_again_while_they_last() -> None:
    together, here, there = team("A B")
    home = here.goes_to("talk")
    here.fails(home, "429 retry-after=1")
    moved = here.goes_to("talk")
    published = []
    for _ in range(int(4 * 3600 / 60)):
        together.later(60)
        assert here.goes_to("talk") == moved
        published += [news for news in here.news if news.kind == BOUND]
        together.spread()
    assert len(published) == 1 + 4 * 3600 / PUBLISH_AGAIN
    assert there.goes_to("talk") == moved


def test_remote_bindings_expire() -> None:
    together, here, there = team("A B")
    home = here.goes_to("talk")
    here.fails(home, "429 retry-after=1")
    here.goes_to("talk")
    together.spread()
    together.later(3601)
    assert there.goes_to("talk") == home


def test_a_refused_account_loses_its_remote_bindings() -> None:
    together, here, there = team("A B C")
    home = here.goes_to("talk")
    here.fails(home, "429 retry-after=1")
    moved = here.goes_to("talk")
    together.spread()
    there.fails(moved, "401")
    assert there.goes_to("talk") != moved


@pytest.mark.parametrize("key", ["f" * 4000, "0x" + "f" * 14, "-" + "f" * 15, "f_" * 8, "f" * 15, "é" * 16])
def test_a_conversation_is_named_by_its_point_alone(key: str) -> None:
    _, here, _ = team("A")
    where = {"upstream": here.targets["A"].upstream, "account": "A"}
    here.state.receive(News(BOUND, "f" * 16, here.wall() + 60, here.wall(), where))
    assert here.state.ignored == 0
    here.state.receive(News(BOUND, key, here.wall() + 60, here.wall(), where))
    assert here.state.ignored == 1


def test_remote_bindings_are_bounded() -> None:
    _, here, _ = team("A B")
    account = here.targets["A"].state
    for point in range(MAX_CONVERSATIONS + 5):
        here.scheduler.conversations.bind_remotely(point, account, 0.0, 9.0)
    for number in range(MAX_CONVERSATIONS + 5):
        here.scheduler.conversations.bind(f"{number}", account, 0.0)
    kept = (here.scheduler.conversations._remote, here.scheduler.conversations._names)
    assert [len(each) for each in kept] == [MAX_CONVERSATIONS] * 2


# Other facts.


def test_a_signature_given_here_is_known_there() -> None:
    together, here, there = team()
    here.calls.remember("toolu_1", "signed")
    together.spread()
    assert there.calls.get("toolu_1") == "signed"
    assert there.news == []


def test_a_cure_learnt_here_is_applied_there() -> None:
    together, here, there = team()
    lease = here.takes("A")
    lease.fresh_cures = (Cure("betas", "x-2026"), Cure("user_id"))
    lease.succeeded(here.now())
    together.spread()
    assert there.takes("A").cures == (Cure("betas", "x-2026"), Cure("user_id"))
    together.later(3601)
    assert there.takes("A").cures == ()


@pytest.mark.parametrize("detail", ["says sk-key", "x" * (MAX_DETAIL + 1)])
def test_a_cure_with_a_secret_or_a_page_of_text_is_learnt_by_each_itself(detail: str) -> None:
    together, here, there = team()
    here.scheduler.cures.learn("a", "m", [Cure("tool_ids", detail)], here.now())
    together.spread()
    assert here.takes("A").cures
    assert not there.takes("A").cures


def test_shared_messages_have_no_secrets() -> None:
    together, here, there = team()
    here.fails("A", "401")
    breaker = here.targets["A"].state.breaker
    assert breaker is not None
    assert breaker.cause is not None
    here.news.clear()
    breaker.cause = breaker.cause._replace(message="your key sk-key is wrong")
    here.state._publish_breaker(COOLING, Scope("a", "A"), breaker)
    together.spread()
    (published,) = there.scheduler.snapshot(there.now())[0].cool_downs
    assert published.words == "your key *** is wrong"


# How many there are.


def test_limits_are_divided_among_those_that_live() -> None:
    _, here, _ = team("A:8 B:1 C", share_limits=True)

    def limits() -> list[int]:
        return [target.state.limit for target in here.targets.values()]

    assert limits() == [8, 1, 0]
    here.state.workers = 4
    assert limits() == [2, 1, 0]
    here.state.processes = 16
    assert (limits(), here.state.processes, here.state.workers) == ([1, 1, 0], 16, 4)
    here.state.processes = 1
    assert limits() == [2, 1, 0]


def test_limits_are_not_divided_without_share_limits() -> None:
    _, here, _ = team("A:8")
    here.state.workers = 4
    assert here.targets["A"].state.limit == 8


# Arbitrary news.


def test_news_before_there_is_a_gateway_are_kept_for_others() -> None:
    from gateway.sharing.state import SharedState

    _, here, _ = team()
    here.fails("A", "401")
    state = SharedState(here.now, here.wall)
    state.workers = 2
    state.receive(here.news[0])
    assert state.snapshot() == here.news
    assert repr(state).startswith("<SharedState <Facts 1 cooling, 0 bound,")


A = key_of("a", "A", "", "")
LOGIN: dict[str, Any] = {"rule": "login", "kind": "status", "failures": 1}


@pytest.mark.parametrize(
    "news",
    [
        News(COOLING, key_of("nowhere", "A", "", ""), WALL + 9, WALL, LOGIN),
        News(COOLING, "A", WALL + 9, WALL, LOGIN),
        News(COOLING, A, WALL + 9, WALL, {**LOGIN, "rule": "weather"}),
        News(COOLING, A, WALL + 9, WALL, {**LOGIN, "kind": "mood"}),
        News(COOLING, A, WALL + 9, WALL, {**LOGIN, "rule": "limit"}),
        News(COOLING, A, WALL + 9, WALL, {**LOGIN, "rule": "limit", "hinted": True}),
        News(COOLING, key_of("a", "", "", ""), WALL + 9, WALL, LOGIN),
        News(COOLING, key_of("a", "A", "m", ""), WALL + 9, WALL, LOGIN),
        News(COOLING, A, WALL - 1, WALL - 9, LOGIN),
        News(COOLING, A, WALL + AHEAD + 9, WALL + AHEAD + 1, LOGIN),
        News(PROBE, "[]", WALL + 9, WALL),
        News(OPEN, key_of("a", "Z", "", ""), WALL + 9, WALL),
        News(BOUND, "zz", WALL + 9, WALL, {"upstream": "a", "account": "A"}),
        News(BOUND, "ff", WALL + 9, WALL, {"upstream": "a", "account": "Z"}),
        News(BOUND, "ff", WALL + 9, WALL, {}),
        News(SIGNATURE, key_of("calls"), WALL + 9, WALL, {"value": "x"}),
        News(SIGNATURE, key_of("texts", "i"), WALL + 9, WALL, {"value": "x"}),
        News(SIGNATURE, key_of("calls", "i"), WALL + 9, WALL, {"value": 5}),
        News(CURE, key_of("a", "m", "betas"), WALL + 9, WALL, {"detail": ""}),
        News(CURE, key_of("z", "m", "betas", ""), WALL + 9, WALL, {"detail": ""}),
        News(CURE, key_of("a", "m", "betas", ""), WALL + 9, WALL, {"detail": 5}),
        News(CURE, key_of("a", "m", "betas", ""), WALL + 9, WALL, {"detail": "x" * (MAX_DETAIL + 1)}),
    ],
)
def test_irrelevant_news_are_ignored(news: News) -> None:
    _, here, _ = team()
    here.state.receive(news)
    assert (here.state.received, here.state.ignored) == (1, 1)
    assert here.shut_all() == {}


def test_a_clock_that_is_far_ahead_is_not_followed() -> None:
    together, here, there = team("A", 0.0, AHEAD - 60.0)
    there.fails("A", "401")
    together.spread()
    assert here.shut("A") == 600.0
    here.calls.remember("toolu_1", "signed")
    assert here.news[0].made < here.wall() + AHEAD / 2 + 1


def test_cool_downs_of_no_length_are_not_published() -> None:
    _, here, _ = team()
    here.fails("A", "429 retry-after=0")
    assert here.news == []


def test_counts() -> None:
    together, here, there = team()
    here.fails("A", "401")
    news = here.news[0]
    together.spread()
    there.state.receive(news)
    assert here.state.published == 1
    assert (there.state.received, there.state.ignored, there.state.dropped) == (2, 1, 0)


# The merge.

times = st.integers(0, 40)
rules = st.sampled_from(["login", "billing"])


@st.composite
def stories(draw: st.DrawFn) -> list[News]:
    """News of one account, published by processes whose clocks are wrong by minutes."""
    published = []
    for _ in range(draw(st.integers(0, 10))):
        made = WALL + draw(times) + draw(st.sampled_from([0.0, 0.0, -300.0, 300.0]))
        if draw(st.integers(0, 2)):
            data = {**LOGIN, "rule": draw(rules), "hinted": draw(st.booleans())}
            published.append(News(COOLING, A, made + draw(st.integers(1, 900)), made, data))
        else:
            published.append(News(OPEN, A, made + 600, made))
    return published


@given(stories(), st.data())
def test_processes_with_the_same_news_have_the_same_state(published: list[News], data: st.DataObject) -> None:
    """In any order, with anything twice, by clocks that are minutes apart."""
    together, here, there = team("A", 0.0, 0.0)
    late = Team("A", data.draw(st.sampled_from([-240.0, 240.0]))).members[0]
    together.later(45)
    late.team.later(45)
    again = data.draw(st.lists(st.sampled_from(published), max_size=5)) if published else []
    for news in published:
        here.state.receive(news)
    for news in data.draw(st.permutations([*published, *again])):
        there.state.receive(news)
        late.state.receive(news)
    assert here.shut("A") == there.shut("A")
    opened = max((one.made for one in published if one.kind == OPEN), default=0.0)
    count = [one for one in published if one.kind == COOLING and one.made > opened]
    ends = [
        min(one.until, one.made + (1e9 if one.data["hinted"] else RULES[str(one.data["rule"])].cap))
        for one in count
    ]
    for member in (here, there, late):
        kept = [one.until for one in member.state.facts.cooling(A)]
        assert max(kept, default=0.0) == max((end for end in ends if end > member.wall()), default=0.0)
        assert member.shut("A") <= 3600.0


kinds = st.sampled_from([BOUND, SIGNATURE, CURE, PROBE])


@given(
    st.lists(st.builds(News, kinds, st.sampled_from("ab"), times.map(float), times.map(float), st.just({}))),
    st.data(),
)
def test_of_everything_else_the_later_end_counts(published: list[News], data: st.DataObject) -> None:
    one, other = Facts(), Facts()
    for news in published:
        one.merge(news, 0.0)
    for news in data.draw(st.permutations(published + published[:3])):
        other.merge(news, 0.0)
    assert sorted(one.snapshot(0.0)) == sorted(other.snapshot(0.0))
    assert one.snapshot(41.0) == []


def test_remote_cool_downs_are_capped_by_the_table() -> None:
    for rule in (rule for rule in RULES.values() if rule.about.value == "account"):
        for ahead in (-3000.0, 0.0, 3000.0):
            _, here, _ = team("A")
            made = here.wall() + ahead
            here.state.receive(News(COOLING, A, made + 1e9, made, {**LOGIN, "rule": rule.name}))
            assert here.shut("A") <= rule.cap


def test_of_two_that_differ_in_nothing_else_all_choose_the_same() -> None:
    pair = [News(COOLING, A, WALL + 9, WALL, {**LOGIN, "words": words}) for words in ("x", "y")]
    kept = []
    for order in (pair, pair[::-1]):
        both = Facts()
        for news in order:
            both.merge(news, WALL)
        kept.append(both.snapshot(WALL))
    assert kept[0] == kept[1] == pair[:1]


def test_a_flood_of_one_kind_pushes_out_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(facts.ROOM, SIGNATURE, 20)
    monkeypatch.setitem(facts.ROOM, COOLING, 20)
    monkeypatch.setattr(facts, "BYTES", 40_000)
    known = Facts()
    known.merge(News(COOLING, A, WALL + 99, WALL, LOGIN), WALL)
    for number in range(100):
        value = "x" * (1000 if number < 50 else 5000)
        known.merge(News(SIGNATURE, f"{number}", WALL + 99, WALL, {"value": value}), WALL)
        assert known._bytes[SIGNATURE] <= 40_000
    kept = known.snapshot(WALL)
    assert kept[0].key == A
    assert [news.key for news in kept[1:]] == [f"{number}" for number in range(93, 100)]
    for number in range(100):
        known.merge(
            News(COOLING, f"{number}", WALL + (99 if number % 2 else 1), WALL, LOGIN), WALL + number / 50
        )
    assert len(known._ends) == 20


def test_an_open_that_is_over_is_forgotten() -> None:
    known = Facts()
    known.merge(News(COOLING, A, WALL + 9, WALL, LOGIN), WALL)
    known.merge(News(OPEN, A, WALL + 600, WALL + 5), WALL + 5)
    known.merge(News(OPEN, A, WALL + 500, WALL + 6), WALL + 6)
    known.merge(News(OPEN, A, WALL + 900, WALL + 1), WALL + 6)
    assert [news.until for news in known.snapshot(WALL + 6)] == [WALL + 600]
    assert known.snapshot(WALL + 601) == []


def test_an_operator_who_opens_everything_opens_it_for_all() -> None:
    together, here, there = team()
    for outcome in ("429 retry-after=90", "401", "connect"):
        here.fails("A", outcome)
    together.spread()
    there.scheduler.reopen()
    together.spread()
    assert here.shut_all() == there.shut_all() == {}
    assert [news.kind for news in here.state.snapshot()] == [OPEN] * 3


# The cost of shared state, and that `snapshot` agrees with `lease`.


@given(
    st.lists(st.tuples(st.sampled_from("ABCF"), st.sampled_from(["401", "429", "529", "take"])), max_size=9),
    st.sampled_from(["talk", "another talk", "a third"]),
)
def test_a_lease_goes_to_the_first_of_ranking_and_retry(
    steps: list[tuple[str, str]], conversation: str
) -> None:
    _, here, _ = team("A:2 B / C | F:1")
    for name, outcome in steps:
        if outcome == "take":
            here.takes(name)
        else:
            here.fails(name, outcome)
    targets = here.scheduler.targets(candidates(cast("A:2 B / C | F:1")))
    first = here.scheduler.rank(targets, conversation, here.now())[0].target
    step = Retries(here.scheduler, targets, conversation, Retry(), lambda: 0.0).next(here.now())
    again = isinstance(step, Lease) and step.target
    if isinstance(step, Lease):
        step.release()
        here.scheduler.conversations.unbind_unproven(conversation, step.target.state)
    lease = here.scheduler.lease(targets, conversation, here.now())
    if lease is not None:
        assert (first, again) == (lease.target, lease.target)


def test_a_warm_request_costs_no_call_more_where_there_are_others() -> None:
    _, here, _ = team("A B C")
    alone, targets = made("A B C")

    def serve(scheduler: Scheduler, among: tuple[Target, ...], now: float) -> None:
        lease = scheduler.lease(among, "talk", now)
        assert lease is not None
        lease.succeeded(now)
        lease.release()

    def warm(scheduler: Scheduler, among: tuple[Target, ...], now: float) -> tuple[int, int]:
        serve(scheduler, among, now)
        return calls(serve, scheduler, among, now)

    shared = warm(here.scheduler, tuple(here.targets.values())[:1], here.now())
    assert shared == warm(alone, tuple(targets.values())[:1], 0.0)
