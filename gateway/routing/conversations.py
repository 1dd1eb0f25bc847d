"""Which account a conversation lives on: prompt caches are an account's own, so its requests stay there."""

from gateway.routing.accounts import AccountState

MAX_CONVERSATIONS = 4096
"""Bindings kept; the least recently used goes first."""

BOUND_FOR = 3600.0
"""Seconds after its last use that a binding counts: no prompt cache lives longer."""


class Conversations:
    """Conversation -> its account. Times are monotonic seconds."""

    __slots__ = ("_bindings",)

    def __init__(self) -> None:
        self._bindings: dict[str, tuple[AccountState, float, bool]] = {}
        """Account, last use, and whether a request succeeded there."""

    def home(self, conversation: str, now: float) -> AccountState | None:
        """Return the account that a conversation lives on; None for one that is not known."""
        binding = self._bindings.get(conversation)
        if binding is None or now - binding[1] > BOUND_FOR:
            return None
        return binding[0]

    def bind(self, conversation: str, account: AccountState, now: float, *, proven: bool = True) -> None:
        """Note that a conversation lives on this account, and was used now.

        Not `proven`: its first request is on its way, and those that are sent beside it follow.
        """
        bindings = self._bindings
        bindings.pop(conversation, None)
        bindings[conversation] = account, now, proven
        if len(bindings) > MAX_CONVERSATIONS:
            del bindings[next(iter(bindings))]

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
