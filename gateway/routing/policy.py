"""The failure table: from the meaning of a failure to its cool-down, the next steps, and what the client gets.

`meanings` finds the meaning. `retries` decides which account is next, `circuit_breaker` how long a cool-down lasts, and
`give_up` which error the client gets.
"""

from enum import Enum
from typing import NamedTuple

MAX_DOUBLINGS = 32
"""Exponent limit of growing cool-downs: every cap in the table is reached long before."""

ALONE = 2.0
"""Longest cool-down in seconds for a request that no other target can serve: trying an upstream that is still away
costs a millisecond, holding back from one that has returned costs the client's time."""

NEVER = float("inf")


class About(Enum):
    """What a failure is about, and what its cool-down closes."""

    REQUEST = "request"
    """This request: no cool-down."""
    FEATURE = "feature"
    """An account's use of one feature with one model."""
    MODEL = "model"
    """An account's use of one model."""
    ACCOUNT = "account"
    UPSTREAM = "upstream"


class Next(Enum):
    """A next step. A rule lists several; the first that is possible is taken."""

    RETURN = "returned to the client"
    OTHER_UPSTREAM = "another upstream"
    OTHER_ACCOUNT = "another account"
    SAME = "the same account after a pause"
    AFTER_COOL_DOWN = "whichever account is free first"


class Rule(NamedTuple):
    """One row of the table. Times are seconds."""

    name: str
    next: tuple[Next, ...]
    """Next steps, best first. If none is possible, the request has failed."""
    about: About = About.REQUEST
    costs: bool = False
    """Whether it took time, and counts against `max_attempts`. Immediate refusals do not while another account is
    left."""
    pause: float = 0.0
    """Seconds before the n-th repetition on the same account (n from 0): pause x 2^n."""
    once: bool = False
    """Whether the same account is used again only once in a request, not up to `max_attempts`."""
    base: float = 0.0
    """The cool-down after the n-th failure in a row (n from 0): base x factor^n, at most `cap`."""
    factor: float = 1.0
    cap: float = 0.0
    grace: int = 0
    """Failures in a row that start no cool-down."""
    alone: float = NEVER
    """The longest cool-down for a request that no other target can serve."""
    operator: bool = False
    """Whether only the operator can correct it: the client's own login was accepted."""
    use: int = 0
    """Rank among the failures of a request: the client gets the highest, of equal ones the last."""

    def cool_down(self, failures: int) -> float:
        """Return the seconds of cool-down after this many failures in a row; 0 for none."""
        n = failures - 1 - self.grace
        if n < 0:
            return 0.0
        return min(self.cap, self.base * self.factor ** min(n, MAX_DOUBLINGS))


RETURN = (Next.RETURN,)
OTHER_UPSTREAM = (Next.OTHER_UPSTREAM,)
ANY_ACCOUNT = (Next.OTHER_ACCOUNT,)
WHEN_FREE = (Next.OTHER_ACCOUNT, Next.AFTER_COOL_DOWN)
OR_SAME = (Next.OTHER_ACCOUNT, Next.SAME)
ELSEWHERE = (Next.OTHER_UPSTREAM, Next.OTHER_ACCOUNT, Next.SAME)
ELSEWHERE_OR_SAME = (Next.OTHER_UPSTREAM, Next.SAME)

OPERATOR, FEATURE, SERVER, OVERLOAD, LIMIT = 2, 3, 4, 5, 6
"""Values of `use`. From SERVER on a failure passes by itself, so that the client may retry later."""

REQUEST_RULES = (
    Rule(name="request", next=RETURN),
    # The repairs should have prevented it, so that it is a bug in the gateway.
    Rule(name="pairing", next=RETURN),
    # The upstream's base URL is wrong: there is no API.
    Rule(name="no api", next=OTHER_UPSTREAM, use=1),
    Rule(name="again", next=(Next.SAME,), once=True, costs=True),
    Rule(name="incomplete", next=OR_SAME, once=True, costs=True, use=SERVER),
    # The account is not at fault, and its prompt cache is warm.
    Rule(name="unusable", next=(Next.SAME,), once=True, costs=True, use=SERVER),
    Rule(name="empty", next=(Next.SAME,), once=True, costs=True, use=SERVER),
)

FEATURE_RULES = (
    Rule(name="feature", about=About.FEATURE, next=ANY_ACCOUNT, base=600.0, cap=600.0, use=FEATURE),
)

MODEL_RULES = (
    Rule(name="missing", about=About.MODEL, next=ANY_ACCOUNT, base=600.0, cap=600.0, use=1),
    Rule(
        name="forbidden",
        about=About.MODEL,
        next=ANY_ACCOUNT,
        base=60.0,
        factor=5.0,
        cap=3600.0,
        operator=True,
        use=OPERATOR,
    ),
    # The next two last as long as their hint says.
    Rule(name="brief limit", about=About.MODEL, next=WHEN_FREE, use=LIMIT),
    Rule(name="limit", about=About.MODEL, next=WHEN_FREE, use=LIMIT),
    Rule(
        name="limit without hint",
        about=About.MODEL,
        next=WHEN_FREE,
        base=5.0,
        factor=2.0,
        cap=300.0,
        use=LIMIT,
    ),
    Rule(
        name="server",
        about=About.MODEL,
        next=OR_SAME,
        costs=True,
        pause=0.5,
        base=1.0,
        factor=2.0,
        cap=60.0,
        grace=1,
        alone=ALONE,
        use=SERVER,
    ),
    Rule(name="server with hint", about=About.MODEL, next=WHEN_FREE, costs=True, use=SERVER),
)

DISABLED = Rule(name="disabled", about=About.ACCOUNT, next=ANY_ACCOUNT, operator=True, use=OPERATOR)
"""For an account that the operator has disabled, which is no failure."""

ACCOUNT_RULES = (
    Rule(
        name="login",
        about=About.ACCOUNT,
        next=ANY_ACCOUNT,
        base=600.0,
        cap=600.0,
        operator=True,
        use=OPERATOR,
    ),
    Rule(
        name="billing",
        about=About.ACCOUNT,
        next=ANY_ACCOUNT,
        base=60.0,
        factor=5.0,
        cap=3600.0,
        operator=True,
        use=OPERATOR,
    ),
)

_DOWN = Rule(
    name="unavailable",
    about=About.UPSTREAM,
    next=ELSEWHERE_OR_SAME,
    costs=True,
    pause=1.0,
    base=1.0,
    factor=2.0,
    cap=60.0,
    alone=ALONE,
    use=SERVER,
)
"""The template of the rows about a whole upstream."""

UPSTREAM_RULES = (
    _DOWN._replace(name="connect", next=ELSEWHERE, pause=0.25),
    # The upstream may still generate, and charge for it.
    _DOWN._replace(name="timeout", next=OTHER_UPSTREAM, pause=0.0),
    # An upstream that reports a failure under a 200 may still serve another account.
    _DOWN._replace(name="failure in a 200", next=ELSEWHERE),
    _DOWN,
    _DOWN._replace(name="overloaded", grace=1, use=OVERLOAD),
    Rule(
        name="overloaded with hint",
        about=About.UPSTREAM,
        next=(Next.OTHER_UPSTREAM, Next.AFTER_COOL_DOWN),
        costs=True,
        use=OVERLOAD,
    ),
)

TABLE = (*REQUEST_RULES, *FEATURE_RULES, *MODEL_RULES, *ACCOUNT_RULES, *UPSTREAM_RULES)

RULES = {rule.name: rule for rule in TABLE}
