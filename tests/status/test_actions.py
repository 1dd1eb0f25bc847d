"""Actions, and that all processes perform an action that one of them received."""

import socket

import orjson
import pytest

from gateway.sharing.frames import BROADCAST, add_name, frame
from gateway.sharing.peers import Sharing
from gateway.status.actions import KIND, Action, carry_out, carry_out_received
from tests.status.test_document import Together
from tests.support.running import Running, config, running, upstream


def disabled(g: Running) -> list[str]:
    return [one.account for one in g.gateway.runtime.scheduler.snapshot(0.0) if one.disabled]


async def test_actions_reach_other_processes() -> None:
    settings = config(upstream("http://127.0.0.1:1", "a@x.org", "b@x.org"))
    here, there = Together(), Together()
    async with running(settings, sharing=here) as one, running(settings, sharing=there) as two:
        carry_out(one.gateway.runtime, Action("disable", "up", "a@x.org"))
        ((kind, payload),) = here.broadcasts
        there.handlers[kind](payload)
        assert kind == KIND
        assert disabled(one) == disabled(two) == ["a@x.org"]
        # An action that was received is not passed on again.
        assert not there.broadcasts


@pytest.mark.parametrize(
    "payload", [b'["disable","gone","a@x.org"]', b'["disable","up","gone"]', b'["clear","gone",""]']
)
async def test_actions_on_unknown_accounts_are_ignored(payload: bytes) -> None:
    async with running(config(upstream("http://127.0.0.1:1", "a@x.org"))) as g:
        carry_out_received(g.gateway.runtime, payload)
        assert disabled(g) == []


async def test_actions_before_a_process_starts_are_received() -> None:
    """Its parent sends it while the process begins to listen."""
    ours, theirs = socket.socketpair()
    payload = orjson.dumps(["disable", "up", "a@x.org"])
    with ours:
        ours.send(frame(BROADCAST, add_name(KIND, payload)))
        sharing = Sharing(theirs)
        sharing.start()
        async with running(config(upstream("http://127.0.0.1:1", "a@x.org")), sharing=sharing) as g:
            assert disabled(g) == ["a@x.org"]
