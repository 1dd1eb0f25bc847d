"""Checks of this machine: files, certificate, descriptors, port, versions, variables."""

import errno
import os
import re
import socket
import stat
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from gateway.config import Config
from gateway.fd_limit import fit_to_limit
from gateway.operator.check import problems
from gateway.operator.doctor.certificates import own_certificate
from gateway.operator.doctor.findings import Fault, Finding, skip, warn
from gateway.operator.peer import PeerError, peer_for
from gateway.process import proxy_warnings

BANNER_AFTER = 20.0
"""Seconds of silence after which Claude Code shows a banner."""

LEAST_VERSIONS = {"h11": (0, 16), "orjson": (3, 10)}
"""Lowest supported versions; h11 before 0.16 accepts chunked bodies that smuggle another request."""

LISTENER_PATIENCE = 2.0
"""Seconds for the program that has the port to respond."""


class Here(NamedTuple):
    """The input of these checks."""

    config: Config
    environ: Mapping[str, str]


class HereCheck(NamedTuple):
    """A check of this machine."""

    name: str
    run: Callable[[Here], Finding | str]


def configuration(here: Here) -> Finding | str:
    """Check that what the configuration refers to can be used."""
    config = here.config
    found = problems(config)
    if found:
        raise Fault("; ".join(found), f"correct this in {config.path}")
    if config.warnings:
        return warn("; ".join(config.warnings), f"look at this in {config.path}")
    accounts = sum(len(upstream.accounts) for upstream in config.upstreams)
    return f"{config.path}: {len(config.upstreams)} upstreams, {accounts} accounts"


def secret_files(here: Here) -> Finding | str:
    """Check that files with secrets are not open to other users."""
    if os.name != "posix":
        return skip("permissions say nothing here")
    files = list(_secret_files(here.config))
    open_ones = []
    for path in files:
        try:
            mode = stat.S_IMODE(path.stat().st_mode)
        except OSError as error:
            raise Fault(f"{path}: {error.strerror}") from None
        # Readable by the group is fine: service managers and containers pass secrets that way.
        if mode & 0o027:
            open_ones.append(f"{path} (mode {mode:o})")
    if open_ones:
        return warn(
            f"open to other users: {', '.join(open_ones)}", "chmod 600, or 640 with a group of its own"
        )
    return f"{len(files)} files with secrets, none open to others" if files else "no files with secrets"


def _secret_files(config: Config) -> list[Path]:
    found = {account.oauth_file: None for each in config.upstreams for account in each.accounts}
    if config.server.tls is not None:
        found[config.server.tls.private_key] = None
    if config.path is not None:
        # The loader keeps the content of these files, not their names.
        for name in _file_references(tomllib.loads(config.path.read_text("utf-8-sig"))):
            found[config.path.parent / os.path.expanduser(name)] = None
    return [path for path in found if path is not None]


def _file_references(value: object) -> Iterator[str]:
    """Yield the files that a configuration's strings refer to."""
    if isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _file_references(item)
    elif isinstance(value, str):
        yield from re.findall(r"\$\{file:([^}]+)\}", value)


def descriptors(here: Here) -> Finding | str:
    """Check that there are descriptors for as many connections as the configuration allows."""
    said: list[str] = []
    fit_to_limit(here.config, said.append)
    if said:
        return warn(said[0], "raise the limit (ulimit -Hn, LimitNOFILE=), or lower server.max_connections")
    return f"enough for {here.config.server.limits.max_connections} connections"


def port(here: Here) -> Finding | str:
    """Check that the address is free, or that this gateway already listens on it."""
    server = here.config.server
    place = f"{server.host} port {server.port}"
    if server.port == 0:
        return "the system chooses one at each start"
    try:
        family, kind, _, _, address = socket.getaddrinfo(
            server.host or None, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as sock:
            # As a server does, so that connections in TIME_WAIT do not count.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(address)
            sock.listen()
    except socket.gaierror as error:
        raise Fault(
            f"{server.host}: {error.strerror}", "server.host must be an address of this machine"
        ) from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE and _is_gateway(here.config):
            return f"{place}: a gateway listens there"
        raise Fault(f"{place}: {error.strerror}", _PORT_REMEDIES.get(error.errno or 0, "")) from None
    return f"{place} is free"


_PORT_REMEDIES = {
    errno.EADDRINUSE: "another program has it: choose another server.port, or stop that",
    errno.EACCES: "ports below 1024 need a right: choose a higher server.port",
    errno.EADDRNOTAVAIL: "server.host must be an address of this machine",
}


def _is_gateway(config: Config) -> bool:
    try:
        response = peer_for(config, patience=LISTENER_PATIENCE).request("GET", "/healthz")
    except PeerError:
        return False
    return response.body.startswith(b'{"status":')


def versions(here: Here) -> Finding | str:
    """Check that Python and the packages are recent enough."""
    shown = {"Python": sys.version.partition(" ")[0]}
    for name in ("h11", "orjson", "uvloop"):
        with suppress(metadata.PackageNotFoundError):
            shown[name] = metadata.version(name)
    old = [name for name, least in LEAST_VERSIONS.items() if _numbers(shown.get(name, "0")) < least]
    if old:
        raise Fault(
            f"too old: {', '.join(f'{name} {shown.get(name)}' for name in old)}", "install the gateway again"
        )
    if os.name == "posix" and "uvloop" not in shown:
        return warn("uvloop is not installed", "pip install uvloop: the gateway is slower without")
    return ", ".join(f"{name} {version}" for name, version in shown.items())


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def variables(here: Here) -> Finding | str:
    """Check that the proxy variables are of a kind that the gateway uses."""
    said = proxy_warnings(here.environ)
    if said:
        return warn("; ".join(said))
    named = any(here.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy"))
    return "https:// upstreams are reached through HTTPS_PROXY" if named else "no proxy"


def silence(here: Here) -> Finding | str:
    """Check that pings come before clients give up."""
    after = here.config.stream.ping_after
    if after > BANNER_AFTER:
        return warn(
            f"stream.ping_after is {after:g} s", f"Claude Code shows a banner after {BANNER_AFTER:g} s"
        )
    return f"a ping after {after:g} s of silence"


def certificate(here: Here) -> Finding | str:
    """Check that clients can trust the configured certificate."""
    tls = here.config.server.tls
    return skip("server.tls is not set") if tls is None else own_certificate(here.config, tls)


HERE = (
    HereCheck("configuration", configuration),
    HereCheck("files with secrets", secret_files),
    HereCheck("certificate", certificate),
    HereCheck("descriptors", descriptors),
    HereCheck("port", port),
    HereCheck("versions", versions),
    HereCheck("proxy variables", variables),
    HereCheck("silence", silence),
)
