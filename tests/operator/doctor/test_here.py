"""Checks of this machine: each is well, and each finds its fault."""

import errno
import os
import socket
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from gateway.config import Account, Config, Server, Stream, Tls, Upstream, load
from gateway.http1.limits import Limits
from gateway.operator.doctor import here
from gateway.operator.doctor.findings import Fault, Finding
from gateway.operator.doctor.here import HERE, Here
from tests.support.loops import PATIENCE
from tests.support.running import config, running
from tests.support.spawned import unused_port

CHECKS = {check.name: check.run for check in HERE}

TEXT = """
# "${file:nowhere}"
[upstreams.a]
preset = "zai"
accounts = [{ name = "one", api_key = "${file:key}" }]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(TEXT)
    path.chmod(0o644)
    (tmp_path / "key").write_text("canary")
    (tmp_path / "key").chmod(0o640)
    return path


@pytest.fixture
def busy() -> Iterator[int]:
    """A port that another program has; it closes each connection at once."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock.getsockname()[1]


def look(name: str, config: Config, **environ: str) -> Finding | str:
    return CHECKS[name](Here(config, environ))


def on(port: int, host: str = "127.0.0.1") -> Config:
    return Config(server=Server(host=host, port=port))


def test_a_sound_machine(file: Path) -> None:
    there = load(file, {}, port=0)
    found = {name: look(name, there) for name in CHECKS}
    assert found.pop("certificate") == Finding("skip", "server.tls is not set")
    assert [each for each in found.values() if not isinstance(each, str)] == []
    assert found["configuration"] == f"{file}: 1 upstreams, 1 accounts"
    assert found["files with secrets"] == "1 files with secrets, none open to others"
    assert "canary" not in str(found)


def test_a_configuration_that_cannot_be_used(file: Path) -> None:
    bad = Upstream(name="a", kind="anthropic", base_url="https://a", ca_file=Path("/no/such.pem"))
    with pytest.raises(Fault, match=r"upstreams\.a\.ca_file: /no/such\.pem cannot be used"):
        look("configuration", Config(upstreams=(bad,), path=file))
    found = look("configuration", Config(warnings=("odd",), path=file))
    assert found == Finding("warn", "odd", f"look at this in {file}")


@pytest.mark.parametrize(
    ("mode", "open_to_others"), [(0o600, False), (0o440, False), (0o644, True), (0o660, True)]
)
def test_files_that_others_can_read(file: Path, mode: int, open_to_others: bool) -> None:
    key = file.parent / "key"
    key.chmod(mode)
    found = look("files with secrets", load(file, {}))
    assert isinstance(found, Finding) is open_to_others
    if isinstance(found, Finding):
        assert found.saw == f"open to other users: {key} (mode {mode:o})"


def test_files_that_are_named_elsewhere(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    oauth = Account(name="g", oauth_file=file)
    tls = Tls(certificate=file, private_key=file)
    there = Config(
        server=Server(tls=tls),
        upstreams=(Upstream(name="a", kind="gemini", base_url="https://a", accounts=(oauth,)),),
    )
    assert "open to other users" in str(look("files with secrets", there))
    assert look("files with secrets", Config()) == "no files with secrets"
    real = Path.stat
    monkeypatch.setattr(
        Path, "stat", lambda path, **_: real(Path("/no/such/file")) if path == file else real(path)
    )
    with pytest.raises(Fault, match="No such file"):
        look("files with secrets", there)
    monkeypatch.setattr(os, "name", "nt")
    assert look("files with secrets", Config()) == Finding("skip", "permissions say nothing here")


def test_too_few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway import fd_limit

    monkeypatch.setattr(fd_limit, "raise_limit", lambda needed: 500)
    found = look("descriptors", Config(server=Server(limits=Limits(max_connections=1000))))
    assert isinstance(found, Finding)
    assert found.state == "warn"
    assert "server.max_connections is 1000" in found.saw


def test_a_port_that_is_free_and_one_that_is_not(busy: int) -> None:
    with unused_port() as free:
        assert look("port", on(free)) == f"127.0.0.1 port {free} is free"
    with pytest.raises(Fault) as raised:
        look("port", on(busy))
    assert raised.value.finding.saw == f"127.0.0.1 port {busy}: Address already in use"
    assert "another program has it" in raised.value.finding.todo


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "LISTENER_PATIENCE", 0.1)


def test_addresses_that_are_not_here() -> None:
    with pytest.raises(Fault, match="Cannot assign requested address"):
        look("port", on(1234, "192.0.2.1"))
    with pytest.raises(Fault, match="no-such-host"):
        look("port", on(1234, "no-such-host.invalid"))


def test_a_privileged_port(monkeypatch: pytest.MonkeyPatch) -> None:
    def bind(*_: Any) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", bind)
    with pytest.raises(Fault) as raised:
        look("port", on(80))
    assert "choose a higher server.port" in raised.value.finding.todo


async def test_a_gateway_that_runs_already_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(here, "LISTENER_PATIENCE", PATIENCE)
    async with running(config()) as g:
        import asyncio

        found = await asyncio.to_thread(look, "port", on(g.port))
    assert found == f"127.0.0.1 port {g.port}: a gateway listens there"


@pytest.mark.parametrize(
    ("name", "version", "state"), [("h11", "0.14.0", "fail"), ("orjson", "", "fail"), ("uvloop", "", "warn")]
)
def test_old_and_missing_packages(
    monkeypatch: pytest.MonkeyPatch, name: str, version: str, state: str
) -> None:
    real = metadata.version

    def find(package: str) -> str:
        if package != name:
            return real(package)
        if not version:
            raise metadata.PackageNotFoundError
        return version

    monkeypatch.setattr(metadata, "version", find)
    try:
        found = look("versions", Config())
    except Fault as fault:
        found = fault.finding
    assert isinstance(found, Finding)
    assert found.state == state
    assert name in found.saw


def test_proxies_that_are_not_honoured() -> None:
    assert "SOCKS" in str(look("proxy variables", Config(), HTTPS_PROXY="socks5://user:canary@h"))
    assert "canary" not in str(look("proxy variables", Config(), HTTPS_PROXY="socks5://user:canary@h"))
    assert (
        look("proxy variables", Config(), https_proxy="http://h")
        == "https:// upstreams are reached through HTTPS_PROXY"
    )


def test_pings_that_come_too_late() -> None:
    found = look("silence", Config(stream=Stream(ping_after=30.0)))
    assert isinstance(found, Finding)
    assert found.state == "warn"
