"""Debug lines about one request: the account chosen, and why not another, meanings of failures, cures and waits.

They are built only if the log has that level. They contain no body, no secret and no upstream's message.
"""

from collections.abc import Sequence

from gateway.routing.accounts import Target
from gateway.routing.choice import Ranked
from gateway.routing.give_up import FailedAttempt
from gateway.routing.retries import GiveUp, Wait
from gateway.routing.scheduler import Lease
from gateway.telemetry.access_log import as_word

MAX_OTHERS = 8
"""Accounts in a line about those not chosen, at most: more would be unreadable."""


def describe_choice(
    lease: Lease, number: int, ranked: Sequence[Ranked], tried: Sequence[tuple[str, str]]
) -> str:
    """Return a line about the account for attempt `number`, and the reasons against others. `tried`: accounts that
    failed before, each with its upstream."""
    target = lease.target
    line = f"attempt {number} asks {_place(target)} model={as_word(target.wire_model)}"
    if lease.cures:
        line += f" cures={as_word(';'.join(':'.join(filter(None, cure)) for cure in lease.cures))}"
    others = [
        f"{_place(one)} ({'failed before, ' if (one.account, one.upstream) in tried else ''}{place.reason})"
        for place in ranked
        if (one := place.target) is not target
    ]
    more = f", and {len(others) - MAX_OTHERS} more" if len(others) > MAX_OTHERS else ""
    return f"{line}; not {', '.join(others[:MAX_OTHERS])}{more}" if others else line


def describe_failure(attempt: FailedAttempt) -> str:
    """Return a line about the meaning of a failure."""
    rule = attempt.rule
    line = f"{_place(attempt.target)} failed: about={rule.about.value} rule={as_word(rule.name)}"
    line += f" status={attempt.status}" if attempt.status else ""
    if attempt.cure is not None:
        line += f" cure={as_word(':'.join(filter(None, attempt.cure)))}"
    return line


def describe_step(step: Wait | GiveUp) -> str:
    """Return a line about a wait or the end, when no account is used now."""
    if isinstance(step, Wait):
        return f"waits {step.seconds:.2f} s" + (", or until an account is free" if step.for_slot else "")
    return f"gives up: {step.rule or 'no account is free'}, status={step.status}"


def _place(target: Target) -> str:
    return f"{target.upstream}/{as_word(target.account)}"
