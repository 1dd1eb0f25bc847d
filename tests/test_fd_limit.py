"""descriptors.py: limits that are raised, connections that are not let in, and a process that has none left."""

import resource
import subprocess
import sys
from collections.abc import Sequence

import pytest

from gateway import fd_limit as descriptors
from gateway.config import Config, Server, Upstream
from gateway.fd_limit import OTHER_DESCRIPTORS, fit_to_limit, raise_limit
from gateway.http1.limits import Limits
from gateway.http1.server_connection import MAX_REFUSED
from tests.support.spawned import ROOT, limited

INFINITE = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "needed", "has", "sets"),
    [
        (1024, 4096, 1000, 1024, []),
        (1024, 4096, 1024, 1024, []),
        (1024, 4096, 2000, 2000, [(2000, 4096)]),
        (1024, 4096, 9000, 4096, [(4096, 4096)]),
        (256, INFINITE, 2000, 2000, [(2000, INFINITE)]),
        (INFINITE, INFINITE, 2000, 2000, []),
        (4096, 4096, 9000, 4096, [(4096, 4096)]),
    ],
)
def test_the_limit_is_raised_as_far_as_needed(
    monkeypatch: pytest.MonkeyPatch,
    soft: int,
    hard: int,
    needed: int,
    has: int,
    sets: list[tuple[int, int]],
) -> None:
    set_to: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: set_to.append(limits))
    assert (raise_limit(needed), set_to) == (has, sets)


@pytest.mark.parametrize("error", [ValueError(), OSError()])
def test_a_limit_that_cannot_be_raised_stays(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(kind: int, limits: tuple[int, int]) -> None:
        raise error

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, INFINITE))
    monkeypatch.setattr(resource, "setrlimit", refuse)
    assert raise_limit(2000) == 256


def test_a_system_without_such_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resource", None)
    assert raise_limit(2000) == 2000


@pytest.mark.parametrize(("how", "has"), [("-Sn 64", 1000), ("-n 64", 64)])
def test_as_a_process(how: str, has: int) -> None:
    code = "from gateway.fd_limit import raise_limit; import resource; "
    code += "print(raise_limit(1000), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    command: Sequence[str] = [*limited(how), sys.executable, "-c", code]
    assert subprocess.check_output(command, cwd=ROOT, text=True) == f"{has} {has}\n"


def configured(connections: int, idle: int, upstreams: int) -> Config:
    up = [Upstream(name=f"u{n}", kind="anthropic", base_url="http://127.0.0.1:9") for n in range(upstreams)]
    limits = Limits(max_connections=connections, pool_max_idle=idle)
    return Config(server=Server(limits=limits), upstreams=tuple(up))


SPARE = OTHER_DESCRIPTORS + MAX_REFUSED + 3 * 10


@pytest.mark.parametrize(
    ("there", "connections"),
    [
        (2 * 500 + SPARE, 500),
        (2 * 500 + SPARE - 1, 499),
        (2 * 100 + SPARE, 100),
        (100, 25),
        (3, 1),
    ],
)
def test_max_connections_follow_the_descriptor_limit(
    monkeypatch: pytest.MonkeyPatch, there: int, connections: int
) -> None:
    counts: list[int] = []
    warnings: list[str] = []

    def provide(needed: int) -> int:
        counts.append(needed)
        return there

    monkeypatch.setattr(descriptors, "raise_limit", provide)
    config = configured(500, 10, 3)
    made = fit_to_limit(config, warnings.append)
    assert counts == [2 * 500 + SPARE]
    assert made.server.limits.max_connections == connections
    assert (made is config) == (connections == 500)
    assert made.upstreams == config.upstreams
    limited = [f"at most {connections} connections are let in" in warning for warning in warnings]
    assert limited == [True] * (connections != 500)
