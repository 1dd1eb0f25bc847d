"""Actions of an operator on a running gateway: end cool-downs, turn accounts off and on."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import orjson

from gateway.messages.errors import RequestError
from gateway.messages.json_values import as_dict, json_in
from gateway.proxy.runtime import Runtime
from gateway.status.document import ShownNames

KIND = "status action"
"""The name of these events between processes."""


class Action(NamedTuple):
    """One action on an upstream or one of its accounts."""

    name: str
    """One of `ACTIONS`."""
    upstream: str
    account: str
    """Its configured name; empty for all accounts of the upstream."""


def _clear(runtime: Runtime, action: Action) -> None:
    runtime.scheduler.reopen(action.upstream, action.account)
    if not action.account:
        runtime.upstreams[action.upstream].uncountable_until = 0.0


def _disable(runtime: Runtime, action: Action) -> None:
    runtime.scheduler.disable(action.upstream, action.account)


def _enable(runtime: Runtime, action: Action) -> None:
    runtime.scheduler.disable(action.upstream, action.account, False)


ACTIONS: Mapping[str, Callable[[Runtime, Action], None]] = {
    "clear": _clear,
    "disable": _disable,
    "enable": _enable,
}


def read(name: str, body: bytes, runtime: Runtime) -> Action:
    """Return the action that a request's body describes. Raises RequestError: 400 for a malformed one, 404 for an
    unknown upstream or account."""
    document = as_dict(json_in(body))
    if not isinstance(document.get("upstream"), str):
        raise RequestError(400, 'the body must be as {"upstream": "NAME", "account": "NAME"}')
    upstream, label = document["upstream"], document.get("account") or ""
    if upstream not in runtime.upstreams:
        known = ", ".join(runtime.upstreams)
        raise RequestError(404, f"there is no upstream of that name; there are: {known}")
    if not isinstance(label, str) or (not label and name != "clear"):
        raise RequestError(400, f"account: must be a string, and {name} needs one")
    account = ShownNames(runtime).find(upstream, label) if label else ""
    if account is None:
        names = ShownNames(runtime)
        accounts = runtime.config.upstreams
        known = ", ".join(
            names.of(upstream, account.name)
            for each in accounts
            if each.name == upstream
            for account in each.accounts
        )
        raise RequestError(404, f"upstream {upstream} has no account of that name; it has: {known}")
    return Action(name, upstream, account)


def carry_out(runtime: Runtime, action: Action) -> None:
    """Carry out an action here and in every other process."""
    ACTIONS[action.name](runtime, action)
    sharing = runtime.sharing
    if sharing is not None:
        sharing.broadcast(KIND, orjson.dumps([*action]))


def carry_out_received(runtime: Runtime, payload: bytes) -> None:
    """Carry out another process's action; ignore one on an upstream or account that this configuration lacks."""
    action = Action(*orjson.loads(payload))
    client = runtime.upstreams.get(action.upstream)
    if client is not None and (not action.account or action.account in client.credentials):
        ACTIONS[action.name](runtime, action)
