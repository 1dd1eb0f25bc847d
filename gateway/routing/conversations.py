"""The accounts that conversations are bound to: prompt caches belong to an account, so that requests stay there."""

from collections.abc import Callable
from typing import Any

from gateway.routing.accounts import AccountState
from gateway.routing.policy import NEVER
from gateway.routing.rendezvous import point_of

MAX_CONVERSATIONS = 4096
"""Bindings kept; the least recently used is dropped first."""

BOUND_FOR = 3600.0
"""Seconds after its last use that a binding lasts: no prompt cache lives longer."""

PUBLISH_AGAIN = BOUND_FOR / 4
"""Seconds after which a binding that is still in use is published again."""

Publish = Callable[[int, AccountState], None]
"""Called with a conversation's point in rendezvous hashing, which does not reveal the conversation, and its account."""


class Conversations:
    """Conversation -> its account. Times are monotonic seconds."""

    __slots__ = ("_bindings", "_names", "_remote", "publish")

    def __init__(self) -> None:
        self._bindings: dict[str, tuple[AccountState, float, bool, float]] = {}
        """Account, last use, whether a request has succeeded there, and when to publish it again."""
        self.publish: Publish | None = None
        """Publishes bindings that differ from rendezvous hashing; None if there are no other processes."""
        self._names: dict[int, str] = {}
        """The conversations bound here, by point; kept only if `publish` is set."""
        self._remote: dict[int, tuple[AccountState, float]] = {}
        """Bindings of other processes that are not bound here: the account, and until when they last."""

    def home(self, conversation: str, now: float) -> AccountState | None:
        """Return the account that a conversation is bound to; None for an unknown one."""
        binding = self._bindings.get(conversation)
        if binding is None or now - binding[1] > BOUND_FOR:
            return self._remote_home(conversation, now) if self._remote else None
        return binding[0]

    def bind(
        self,
        conversation: str,
        account: AccountState,
        now: float,
        *,
        proven: bool = True,
        expected: bool = False,
    ) -> None:
        """Bind a conversation to this account, at a request's start or success.

        Not `proven`: the conversation's first request has only started; concurrent ones follow it. `expected`: every
        process would choose this account, so that it need not be published.
        """
        bindings = self._bindings
        old = bindings.pop(conversation, None)
        due = NEVER if expected else now
        if old is not None and old[0] is account:
            due = old[3]
        if self.publish is not None and (old is None or (proven and due <= now)):
            point = point_of(conversation)
            if self._remote.pop(point, (None,))[0] is account:
                due = now + PUBLISH_AGAIN
            self._names[point] = conversation
            drop_oldest(self._names)
            if proven and due <= now:
                due = now + PUBLISH_AGAIN
                self.publish(point, account)
        bindings[conversation] = account, now, proven, due
        if len(bindings) > MAX_CONVERSATIONS:
            del bindings[next(iter(bindings))]

    def bind_remotely(self, point: int, account: AccountState, now: float, until: float) -> None:
        """Take over another process's binding of a conversation."""
        name = self._names.get(point)
        if name is None:
            self._remote.pop(point, None)
            self._remote[point] = account, until
            drop_oldest(self._remote)
        else:
            self._bindings.pop(name, None)
            self._bindings[name] = account, now, True, now + PUBLISH_AGAIN
            drop_oldest(self._bindings)

    def _remote_home(self, conversation: str, now: float) -> AccountState | None:
        """Return the account that another process has bound a conversation to; None if there is none."""
        account, until = self._remote.get(point_of(conversation), (None, now))
        return account if now < until else None

    def unbind_unproven(self, conversation: str, account: AccountState) -> None:
        """Drop a binding without a success so far, since a request has failed."""
        binding = self._bindings.get(conversation)
        if binding is not None and binding[0] is account and not binding[2]:
            del self._bindings[conversation]

    def forget(self, account: AccountState) -> None:
        """Drop all bindings to an account that was refused."""
        self._bindings = {
            name: binding for name, binding in self._bindings.items() if binding[0] is not account
        }
        self._remote = {
            point: binding for point, binding in self._remote.items() if binding[0] is not account
        }


def drop_oldest(kept: dict[Any, Any]) -> None:
    """Drop the oldest entry beyond MAX_CONVERSATIONS."""
    if len(kept) > MAX_CONVERSATIONS:
        del kept[next(iter(kept))]
