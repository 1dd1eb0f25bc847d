"""An account's token that a test gives and takes."""

from collections.abc import Callable

from gateway.config import Secret
from gateway.proxy.upstream import Waiter
from gateway.routing.credentials import Credential, RefreshError


class Tokens:
    """A `gateway.proxy.upstream.CredentialSource`."""

    def __init__(self, value: str = "") -> None:
        self._credential = Credential("bearer", Secret(value)) if value else None
        self._waiters: dict[object, Waiter] = {}
        self.refused_values: list[str] = []
        """Tokens that upstreams refused."""

    @property
    def known(self) -> Credential | None:
        return self._credential

    @property
    def waiting(self) -> int:
        """How many wait for a token."""
        return len(self._waiters)

    def current(self) -> Credential | None:
        return self._credential

    def refused(self, credential: Credential) -> None:
        self.refused_values.append(credential.secret.reveal())

    def wait(self, then: Waiter) -> Callable[[], None]:
        key = object()
        self._waiters[key] = then

        def take_back() -> None:
            self._waiters.pop(key, None)

        return take_back

    def issue(self, value: str) -> None:
        """The refresh brought a token."""
        self._credential = Credential("bearer", Secret(value))
        self._resolve(self._credential)

    def refuse(self, status: int, message: str) -> None:
        """The refresh brought none."""
        self._resolve(RefreshError(status, message))

    def _resolve(self, result: Credential | RefreshError) -> None:
        waiters, self._waiters = self._waiters, {}
        for waiter in waiters.values():
            waiter(result)
