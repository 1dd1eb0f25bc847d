"""Which account a conversation lives on: prompt caches are an account's own, so its requests stay there."""

from collections.abc import Callable
from typing import Any

from gateway.routing.accounts import AccountState
from gateway.routing.policy import NEVER
from gateway.routing.rendezvous import point_of

MAX_CONVERSATIONS = 4096
"""Bindings kept; the least recently used goes first."""

BOUND_FOR = 3600.0
"""Seconds after its last use that a binding counts: no prompt cache lives longer."""

TELL_AGAIN = BOUND_FOR / 4
"""Seconds after which a binding that was told of, and is still in use, is told of again."""

Tell = Callable[[int, AccountState], None]
"""Hears where a conversation lives. Its point in rendezvous hashing names it, without telling whose it is."""


class Conversations:
    """Conversation -> its account. Times are monotonic seconds."""

    __slots__ = ("_bindings", "_names", "_told", "tell")

    def __init__(self) -> None:
        self._bindings: dict[str, tuple[AccountState, float, bool, float]] = {}
        """Account, last use, whether a request succeeded there, and when others are to be told of it."""
        self.tell: Tell | None = None
        """Hears of a conversation that lives elsewhere than its rendezvous is; None where nobody listens."""
        self._names: dict[int, str] = {}
        """What is bound here, by its point; kept only where somebody listens, and tells as much."""
        self._told: dict[int, tuple[AccountState, float]] = {}
        """Where other processes bound what is not bound here, and until when that counts."""

    def home(self, conversation: str, now: float) -> AccountState | None:
        """Return the account that a conversation lives on; None for one that is not known."""
        binding = self._bindings.get(conversation)
        if binding is None or now - binding[1] > BOUND_FOR:
            return self._home_told(conversation, now) if self._told else None
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
        """Note that a conversation lives on this account, and was used now.

        Not `proven`: its first request is on its way, and those that are sent beside it follow. `expected`: every
        process would choose this account, so that nobody need be told.
        """
        bindings = self._bindings
        old = bindings.pop(conversation, None)
        due = NEVER if expected else now
        if old is not None and old[0] is account:
            due = old[3]
        if self.tell is not None and (old is None or (proven and due <= now)):
            point = point_of(conversation)
            if self._told.pop(point, (None,))[0] is account:
                due = now + TELL_AGAIN
            self._names[point] = conversation
            drop_oldest(self._names)
            if proven and due <= now:
                due = now + TELL_AGAIN
                self.tell(point, account)
        bindings[conversation] = account, now, proven, due
        if len(bindings) > MAX_CONVERSATIONS:
            del bindings[next(iter(bindings))]

    def told(self, point: int, account: AccountState, now: float, until: float) -> None:
        """Take over where another process has bound a conversation."""
        name = self._names.get(point)
        if name is None:
            self._told.pop(point, None)
            self._told[point] = account, until
            drop_oldest(self._told)
        else:
            self._bindings.pop(name, None)
            self._bindings[name] = account, now, True, now + TELL_AGAIN
            drop_oldest(self._bindings)

    def _home_told(self, conversation: str, now: float) -> AccountState | None:
        """Return where another process has bound a conversation."""
        account, until = self._told.get(point_of(conversation), (None, now))
        return account if now < until else None

    def disappoint(self, conversation: str, account: AccountState) -> None:
        """End a binding that no success has proven, since a request failed there."""
        binding = self._bindings.get(conversation)
        if binding is not None and binding[0] is account and not binding[2]:
            del self._bindings[conversation]

    def forget(self, account: AccountState) -> None:
        """End all bindings to an account that was refused."""
        self._bindings = {
            name: binding for name, binding in self._bindings.items() if binding[0] is not account
        }
        self._told = {point: told for point, told in self._told.items() if told[0] is not account}


def drop_oldest(kept: dict[Any, Any]) -> None:
    """Keep no more than there may be bindings."""
    if len(kept) > MAX_CONVERSATIONS:
        del kept[next(iter(kept))]
