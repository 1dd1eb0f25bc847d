"""/status: the page, the document behind it, its event stream, and its actions.

The page is open, since a browser cannot send a key for it, and holds no data. All else needs a key or, where no key is
configured, a client on this machine, unless `status.enabled` says otherwise. Pages of other origins can read none of
it, nor send the header that an action needs.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any

import orjson

from gateway.config import is_loopback
from gateway.endpoints.access import check_action
from gateway.messages.errors import RequestError
from gateway.proxy.request import ClientRequest
from gateway.proxy.response_headers import JSON

FOR_OTHERS = frozenset({b"x-forwarded-for", b"x-real-ip", b"forwarded", b"via"})
"""Fields that a proxy on this machine adds when it forwards a remote client's request."""

OURS = JSON + b"cache-control: no-store\r\nx-content-type-options: nosniff\r\n"


def page(request: ClientRequest) -> None:
    """Respond with the page. Raises RequestError (404) where it is turned off."""
    _check_enabled(request)
    from gateway.status.page import page

    body, lines = page()
    request.respond(200, body, lines)


def document(request: ClientRequest) -> None:
    """Respond with the status document. Raises RequestError (403, 404)."""
    _check(request)
    from gateway.status.document import collect, merge

    def respond(parts: Iterable[dict[str, Any]]) -> None:
        # It may be called later, when no caller catches its errors.
        try:
            request.respond(200, orjson.dumps(merge(parts), option=orjson.OPT_APPEND_NEWLINE), OURS)
        except Exception as error:
            request.crashed(error)

    collect(request.runtime, request.exchange.loop.time(), respond)


def events(request: ClientRequest) -> None:
    """Stream the status and its changes until the client leaves. Raises RequestError (403, 404, 503)."""
    _check(request)
    if request.exchange.head.method == "HEAD":
        request.respond(200, b"", OURS)
        return
    process_state = request.runtime.process_state
    if process_state.watchers is None:
        from gateway.status.watchers import LiveWatchers

        process_state.watchers = LiveWatchers(process_state)
    process_state.watchers.add(request)


def action(name: str, request: ClientRequest) -> None:
    """Carry out an action. Raises RequestError (400, 403, 404)."""
    _check(request)
    check_action(request.exchange.head)
    from gateway.status.actions import carry_out, read

    runtime = request.runtime.process_state.current
    wanted = read(name, request.body, runtime)
    carry_out(runtime, wanted)
    key = _key(request)
    place = f"{wanted.upstream}/{wanted.account}" if wanted.account else wanted.upstream
    runtime.log.warning(f"an operator asked to {name} {place}" + (f", with the key {key}" if key else ""))
    request.respond(200, orjson.dumps({"done": name, "upstream": wanted.upstream}), OURS)


clear = partial(action, "clear")
disable = partial(action, "disable")
enable = partial(action, "enable")


def _check_enabled(request: ClientRequest) -> None:
    if request.runtime.config.status.enabled is False:
        raise RequestError(404, "the status is not shown here: enabled is false in [status]")


def _check(request: ClientRequest) -> None:
    """Refuse clients that may not see the status. A key, where one is needed, was checked before."""
    _check_enabled(request)
    if request.cors:
        raise RequestError(403, "the status is not for pages of other origins")
    if _key(request) or request.runtime.config.status.enabled is True or _is_here(request):
        return
    raise RequestError(
        403,
        "the status is shown without a key on the gateway's own machine only: send one of the keys in [auth], or set "
        "enabled = true in [status]",
    )


def _key(request: ClientRequest) -> str:
    """Return the name of the client's key, "" without one."""
    assert request.entrance is not None
    return request.entrance.key


def _is_here(request: ClientRequest) -> bool:
    """Return whether a request comes from this machine, and is not forwarded by a proxy on it."""
    peer = request.exchange.peer.removeprefix("::ffff:")
    return (not peer or is_loopback(peer)) and not any(
        name in FOR_OTHERS for name, _ in request.exchange.head.headers
    )
