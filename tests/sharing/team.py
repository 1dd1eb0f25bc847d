"""Several processes that serve the same upstreams, on one clock, with news that are delivered when a test does it."""

from gateway.dialects.signature_store import SignatureStore
from gateway.routing.accounts import Target
from gateway.routing.scheduler import Lease, Scheduler
from gateway.sharing.news import News, decode, encode
from gateway.sharing.state import SharedState
from tests.routing.test_scheduler import fail, made, shut, succeed, take

WALL = 1_700_000_000.0
"""Unix seconds at which a team begins."""


class Member:
    """One process. `ahead`: seconds by which its wall clock is wrong; its monotonic one begins anywhere."""

    def __init__(self, team: "Team", names: str, ahead: float = 0.0, share_limits: bool = False) -> None:
        self.team = team
        self.ahead = ahead
        self.scheduler, self.targets = made(names)
        self.calls = SignatureStore()
        self.state = SharedState(self.now, self.wall)
        self.state.publish = self.publish
        self.state.attach(
            self.scheduler,
            {"calls": self.calls},
            lambda upstream, words: words.replace("sk-key", "***"),
            share_limits=share_limits,
        )
        self.news: list[News] = []

    def now(self) -> float:
        return 500_000.0 + self.team.time + 1000.0 * self.ahead

    def wall(self) -> float:
        return WALL + self.team.time + self.ahead

    def publish(self, news: News) -> None:
        read = decode(encode(news))
        assert read == news
        self.news.append(news)

    def fails(self, name: str, outcome: str) -> None:
        fail(self.scheduler, self.targets[name], outcome, self.now())

    def succeeds(self, name: str) -> None:
        succeed(self.scheduler, self.targets[name], self.now())

    def takes(self, name: str) -> Lease:
        return take(self.scheduler, self.targets[name], self.now())

    def lease(self, conversation: str) -> Lease:
        lease = self.scheduler.lease(tuple(self.targets.values()), conversation, self.now())
        assert lease is not None
        return lease

    def goes_to(self, conversation: str) -> str:
        """Serve a request of this conversation; return its account."""
        lease = self.lease(conversation)
        lease.succeeded(self.now())
        lease.release()
        return lease.target.account

    def shut(self, name: str) -> float:
        """Return the seconds until an account can be used."""
        return round(shut(self.scheduler, self.targets[name], self.now()), 3)

    def shut_all(self) -> dict[str, float]:
        return {name: seconds for name in self.targets if (seconds := self.shut(name))}


class Team:
    """Members and the time."""

    def __init__(self, names: str, *ahead: float, share_limits: bool = False) -> None:
        self.time = 0.0
        self.members = [Member(self, names, each, share_limits) for each in ahead]

    def spread(self) -> None:
        """Deliver all published news to all members."""
        for member in self.members:
            news, member.news = member.news, []
            for other in self.members:
                if other is not member:
                    for each in news:
                        other.state.receive(each)

    def later(self, seconds: float) -> None:
        self.time += seconds


def team(names: str = "A B", *ahead: float, share_limits: bool = False) -> tuple[Team, Member, Member]:
    """A team of two."""
    together = Team(names, *(ahead or (0.0, 0.0)), share_limits=share_limits)
    first, second = together.members
    return together, first, second


__all__ = ["WALL", "Lease", "Member", "Scheduler", "Target", "Team", "team"]
