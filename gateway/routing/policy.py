"""What follows a failure: one table, from what it means to a cool-down, a next step, and the client's lot.

The meaning is found in `meanings`. Who is tried next is decided in `retries`, how long a cool-down really lasts in
`circuit_breaker`, and what the client is told in `give_up`.
"""

from dataclasses import dataclass, replace
from enum import Enum

MAX_DOUBLINGS = 32
"""Every cap in the table is reached long before; keeps the power small."""

ALONE = 2.0
"""Seconds that a cool-down lasts at most for a request that nothing else can serve: to ask an upstream that is still
away costs a millisecond, to hold back from one that has returned costs the client's time."""

NEVER = float("inf")


class About(Enum):
    """What a failure is about, and what its cool-down shuts."""

    REQUEST = "request"
    """This request: no cool-down."""
    FEATURE = "feature"
    """An account's use of one feature with one model."""
    MODEL = "model"
    """An account's use of one model."""
    ACCOUNT = "account"
    UPSTREAM = "upstream"


class Next(Enum):
    """One way to go on. A rule lists several; the first that is possible is taken."""

    RETURN = "returned to the client"
    OTHER_UPSTREAM = "another upstream"
    OTHER_ACCOUNT = "another account"
    SAME = "the same account after a pause"
    AFTER_COOL_DOWN = "whichever account is free first"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the table. Times are seconds."""

    name: str
    about: About = About.REQUEST
    next: tuple[Next, ...]
    """What follows, best first. None possible: the request has failed."""
    costs: bool = False
    """It took time: it counts against `max_attempts`. Refusals that came at once do not while another account is
    left."""
    pause: float = 0.0
    """Before the n-th repetition on the same account (n from 0): pause x 2^n."""
    once: bool = False
    """The same account is asked again once in a request, not as long as attempts last."""
    base: float = 0.0
    """The cool-down after the n-th failure in a row (n from 0): base x factor^n, at most `cap`."""
    factor: float = 1.0
    cap: float = 0.0
    grace: int = 0
    """How many failures in a row start no cool-down."""
    alone: float = NEVER
    """The longest cool-down for a request that nothing else can serve."""
    operator: bool = False
    """Only the operator can do something about it: the client's own login was right."""
    use: int = 0
    """When all attempts have failed, the client gets the failure of most use to it: the highest, the last."""

    def cool_down(self, failures: int) -> float:
        """Return the seconds to cool down after this many failures in a row; 0 for none."""
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
"""Values of `use`. From SERVER on a failure goes away by itself, so that the client may be told when to come back."""

REQUEST_RULES = (
    Rule(name="request", next=RETURN),
    # The repairs should have prevented it, so that it is a fault of the gateway's own.
    Rule(name="pairing", next=RETURN),
    # No API answers there: the upstream's base URL is wrong.
    Rule(name="no api", next=OTHER_UPSTREAM, use=1),
    Rule(name="again", next=(Next.SAME,), once=True, costs=True),
    Rule(name="incomplete", next=OR_SAME, once=True, costs=True, use=SERVER),
    # No account is to blame, and its prompt cache is warm.
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
"""No failure: the operator has turned an account off."""

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
"""What the rows about a whole upstream differ from."""

UPSTREAM_RULES = (
    replace(_DOWN, name="connect", next=ELSEWHERE, pause=0.25),
    # It may still be generating, and is paid for.
    replace(_DOWN, name="timeout", next=OTHER_UPSTREAM, pause=0.0),
    # Whoever tells of a failure under a 200 may serve another account all the same.
    replace(_DOWN, name="failure in a 200", next=ELSEWHERE),
    _DOWN,
    replace(_DOWN, name="overloaded", grace=1, use=OVERLOAD),
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
