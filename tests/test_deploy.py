"""The examples of a deployment hold: they are read by who reads them, and name what exists."""

import asyncio
import json
import re
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from gateway import cli
from gateway.config import Config, parse
from tests.fakes.messages import (
    SSE_HEAD,
    ScriptedUpstream,
    Until,
    chunked,
    json_response,
    message,
    text_events,
)
from tests.support.client import Client, ask
from tests.support.loops import PATIENCE, eventually
from tests.support.running import config, running, upstream
from tests.support.spawned import ROOT, unused_port

DEPLOY = ROOT / "fixtures" / "deploy"

COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")


def instructions(name: str, stage: str) -> list[str]:
    """The arguments of each instruction of a name in a stage of the Dockerfile."""
    return re.findall(rf"^{name} +(.*)$", stage, re.MULTILINE)


def loaded(file: Path, tmp_path: Path) -> tuple[Config, set[str]]:
    """A configuration, with a file for each secret that it names; and those names."""
    text = file.read_text()
    names = set(re.findall(r"\$\{file:([^}]+)\}", text))
    for name in names:
        value = "valkey://:p@store.lan:6379/0" if name.endswith(".url") else "a-secret-of-16-or-more"
        (tmp_path / Path(name).name).write_text(value)
    return parse(re.sub(r"\$\{file:[^}]*/", f"${{file:{tmp_path}/", text), {}, path=file), names


@pytest.mark.parametrize("name", ["gateway.toml", "one.toml", "team.toml"])
def test_each_configuration_is_valid_and_warns_of_nothing(tmp_path: Path, name: str) -> None:
    found, _ = loaded(DEPLOY / name, tmp_path)
    assert found.warnings == ()
    assert found.auth.keys
    assert (found.sharing.url is None) == (name == "one.toml")
    assert (found.sharing.secret is None) == (name == "one.toml")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    # What the service starts need not be installed here.
    service = (DEPLOY / "gateway.service").read_text()
    service = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", service, flags=re.MULTILINE)
    (tmp_path / "gateway.service").write_text(service)
    shutil.copy(DEPLOY / "gateway.socket", tmp_path)
    command = ["systemd-analyze", "verify", "gateway.service", "gateway.socket"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


def test_readme_names_each_file() -> None:
    mentioned = (ROOT / "README.md").read_text() + (ROOT / "compose.yaml").read_text()
    assert [file.name for file in DEPLOY.iterdir() if file.name not in mentioned] == []


# The image.


def test_the_image_runs_unprivileged_with_the_gateways_commands() -> None:
    build, final = DOCKERFILE.split("\nFROM ")[1:]
    assert all(stage.partition("\n")[0].startswith("python:3.13-slim") for stage in (build, final))
    (user,) = instructions("USER", final)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert instructions("RUN", final) == []
    (entry,), (command,) = instructions("ENTRYPOINT", final), instructions("CMD", final)
    assert json.loads(entry) == ["gateway"]
    assert cli.make_parser().parse_args(json.loads(command))


def test_healthcheck_of_the_image() -> None:
    (check,) = re.findall(r"^ *HEALTHCHECK .* CMD (.*)$", DOCKERFILE, re.MULTILINE)
    words = json.loads(check)
    assert words[0] == "gateway"
    # Port, TLS and key are the configuration's.
    options = cli.make_parser().parse_args(words[1:])
    assert (options.quiet, options.url, options.key) == (True, None, None)


def test_copied_files_are_in_dockerignore_and_exist() -> None:
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    copied = {
        name
        for line in instructions("COPY", DOCKERFILE)
        if not line.startswith("--from")
        for name in line.split()[:-1]
    }
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)


def docker_runs() -> bool:
    docker = shutil.which("docker")
    return (
        docker is not None
        and subprocess.run([docker, "info"], capture_output=True, check=False).returncode == 0
    )


@pytest.mark.skipif(not docker_runs(), reason="no Docker daemon runs here, so the image cannot be built")
def test_the_image_builds_and_starts_on_a_read_only_file_system() -> None:
    subprocess.run(
        ["docker", "build", "--tag", "messages-gateway-test", "."], cwd=ROOT, check=True, timeout=600
    )
    command = [
        "docker",
        "run",
        "--rm",
        "--read-only",
        "--cap-drop",
        "ALL",
        "messages-gateway-test",
        "--version",
    ]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.startswith("gateway ")


# Compose.


def services() -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from COMPOSE["services"].items()


def test_compose_mounts_existing_files_read_only() -> None:
    for name, service in services():
        for mount in service.get("volumes", ()):
            source, target, mode = mount.split(":")
            assert (ROOT / source).is_file(), name
            assert target.startswith("/")
            assert mode == "ro"
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        # Beyond this machine nothing listens.
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ())), name
        assert set(service.get("depends_on", ())) <= COMPOSE["services"].keys()
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
    ignored = (ROOT / ".gitignore").read_text().split()
    assert all(secret["file"].startswith("./secrets/") for secret in COMPOSE["secrets"].values())
    assert "secrets/" in ignored


@pytest.mark.parametrize("name", ["gateway", "replica"])
def test_compose_provides_the_configured_variables_and_files(tmp_path: Path, name: str) -> None:
    service = COMPOSE["services"][name]
    assert cli.make_parser().parse_args(service["command"])
    assert service["build"] == "."
    (mount,) = service["volumes"]
    source, target, _ = mount.split(":")
    assert target == "/etc/gateway/gateway.toml"
    found, secrets = loaded(ROOT / source, tmp_path)
    assert secrets == {f"/run/secrets/{secret}" for secret in service["secrets"]}
    if found.sharing.url is not None:
        host = found.sharing.url.reveal().partition("://")[2].partition(":")[0]
        assert host in COMPOSE["services"]
        assert COMPOSE["services"][host]["command"][0] == "valkey-server"
        assert service["deploy"]["replicas"] == 2
        balancer = (DEPLOY / "haproxy-compose.cfg").read_text()
        assert f"{name}:{found.server.port}" in balancer
        assert COMPOSE["services"]["balancer"]["ports"] == ["127.0.0.1:8045:8045"]


# Balancers.


def placed(name: str, tmp_path: Path, port: int, gateways: list[int]) -> Path:
    """An example, with this machine's addresses and certificate."""
    text = (DEPLOY / name).read_text()
    text = re.sub(r"/etc/(haproxy|nginx)/gateway\.example\.com\.(pem|key)", f"{tmp_path}/both.pem", text)
    for host, gateway in zip(("10.0.0.11", "10.0.0.12"), gateways, strict=True):
        text = text.replace(f"{host}:8045", f"127.0.0.1:{gateway}")
    text = text.replace("bind :443 ", f"bind 127.0.0.1:{port} ").replace(
        "listen 443 ", f"listen 127.0.0.1:{port} "
    )
    file = tmp_path / name
    file.write_text(text)
    return file


def nginx_command(file: Path) -> list[str]:
    places = "".join(
        f"{kind}_temp_path {file.parent}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    file.write_text(file.read_text().replace("http {", f"http {{ {places} access_log off;", 1))
    settings = f"pid {file.parent}/nginx.pid; error_log stderr; daemon off; master_process off;"
    return ["nginx", "-p", str(file.parent), "-c", str(file), "-g", settings]


BALANCERS = [
    pytest.param(
        name, marks=pytest.mark.skipif(not shutil.which(program), reason=f"{program} is not installed")
    )
    for name, program in (("haproxy.cfg", "haproxy"), ("nginx.conf", "nginx"))
]


def command(file: Path) -> list[str]:
    return nginx_command(file) if file.suffix == ".conf" else ["haproxy", "-db", "-f", str(file)]


@pytest.mark.skipif(not shutil.which("haproxy"), reason="haproxy is not installed")
def test_haproxy_accepts_the_mounted_configuration() -> None:
    check = ["haproxy", "-c", "-f", str(DEPLOY / "haproxy-compose.cfg")]
    assert subprocess.run(check, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", BALANCERS)
async def test_streaming_and_failover_behind_a_balancer(tmp_path: Path, name: str) -> None:
    """Also a body larger than nginx's default limit; and clients do not notice which of the two has stopped."""
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost")
    certificate.private_key_and_cert_chain_pem.write_to_path(tmp_path / "both.pem")
    tls = ssl.create_default_context()
    authority.configure_trust(tls)
    events = text_events()
    async with ScriptedUpstream() as up, AsyncExitStack() as stack:
        staying = await stack.enter_async_context(running(config(upstream(up.url))))
        leaving = await stack.enter_async_context(running(config(upstream(up.url))))
        port = stack.enter_context(unused_port())
        file = placed(name, tmp_path, port, [staying.port, leaving.port])
        stack.enter_context(started(command(file)))
        await eventually(lambda: listens(port))
        go_on = asyncio.Event()
        up.script([SSE_HEAD + chunked(events[:4], end=False), Until(go_on), chunked(events[4:])])
        async with await Client.connect(port, tls=tls) as client:
            client.send("POST", "/v1/messages", ask("x" * 2_000_000, stream=True))
            async with asyncio.timeout(PATIENCE):
                while b"Hello" not in (came := await client.receive()):
                    assert came
                go_on.set()
                while b"message_stop" not in (came := await client.receive()):
                    assert came
        up.script(json_response(200, message()))
        await leaving.gateway.stop(0.0)
        for _ in range(4):
            async with await Client.connect(port, tls=tls) as client:
                assert (await client.request("POST", "/v1/messages", ask())).status == 200


@contextmanager
def started(words: list[str]) -> Iterator[None]:
    """A process, until the end of the block."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.kill()
        process.wait()


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
