"""Peers are declarations: their configs render, and each row that they cannot do has a reason."""

import json
import tomllib
from pathlib import Path

import pytest

from bench import installer
from bench.cases import CASES, job_for
from bench.peers import DEFAULT, PEERS, QUICK, choose
from bench.peers.base import ROWS, Peer, Site
from bench.programs import WIRE_MODELS
from bench.run import order
from gateway.config import parse

SITE = Site(port=40001, upstream_port=40002, directory=Path("/tmp/site"))


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_a_peer_starts_on_its_port_in_front_of_the_upstream(peer: Peer) -> None:
    if peer.command is None:
        return
    parts = (
        peer.command("program", SITE) + list(peer.files(SITE).values()) + list(peer.environ(SITE).values())
    )
    parts += [value for _, value in peer.headers(SITE)]
    assert any("40001" in text for text in parts)
    assert any("40002" in text for text in parts)


@pytest.mark.parametrize("peer", PEERS.values(), ids=lambda peer: peer.name)
def test_a_row_is_done_or_has_a_reason(peer: Peer) -> None:
    for row in ROWS:
        assert (peer.reason(row) == "") == (row in peer.rows)
        assert peer.reason(row) != "does not do this"


@pytest.mark.parametrize("name", ["gateway", "gateway-2"])
def test_the_gateway_accepts_its_config(name: str) -> None:
    text = PEERS[name].files(SITE)["gateway.toml"]
    config = parse(text, {})
    relayed, gemini, openai = config.upstreams
    assert (config.server.port, relayed.base_url) == (40001, "http://127.0.0.1:40002")
    assert len(relayed.accounts) == 2
    assert (gemini.kind, openai.kind) == ("gemini", "openai")
    assert all(set(each.models.values()) == set(WIRE_MODELS) for each in config.upstreams)


def test_nginx_does_not_buffer() -> None:
    text = PEERS["nginx"].files(SITE)["nginx.conf"]
    assert "proxy_buffering off;" in text
    assert "{" not in text.replace(" {", "")


@pytest.mark.parametrize(
    ("name", "file"), [("litellm", "config.yaml"), ("ccr", ".claude-code-router/config.json")]
)
def test_json_configs_are_json(name: str, file: str) -> None:
    assert json.loads(PEERS[name].files(SITE)[file])


def test_rolters_config_is_toml() -> None:
    routes = tomllib.loads(PEERS["rolter"].files(SITE)["rolter.toml"])["routes"]
    assert {route["targets"][0]["model"] for route in routes} == set(WIRE_MODELS)


def test_choose_names_the_unknown() -> None:
    assert [peer.name for peer in choose(list(DEFAULT))] == list(DEFAULT)
    assert set(QUICK) <= set(DEFAULT)
    with pytest.raises(ValueError, match="no peer apache"):
        choose(["nginx", "apache"])


def test_the_order_turns_round_with_each_round() -> None:
    peers = tuple(choose(["direct", "nginx"]))
    assert [peer.name for peer in order(peers, 0)] == ["direct", "nginx"]
    assert [peer.name for peer in order(peers, 1)] == ["nginx", "direct"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.row} {case.name}")
def test_a_case_becomes_a_job(case: object) -> None:
    (found,) = [made for made in CASES if made is case]
    job = job_for(found, PEERS["gateway"], SITE, 1.0)
    assert 1 <= len(job.requests) <= job.connections
    assert b"claude-" in job.requests[0]
    assert f"claude-{found.translated}{'-' if found.translated else ''}bench".encode() in job.requests[0]
    assert (job.events > 0) == (found.kind != "complete")
    assert len(set(job.requests)) == len(job.requests) or found.shape == "small"


def test_pip_peers_are_installed_from_wheels_and_npm_peers_without_scripts() -> None:
    venv, pip = installer.commands(PEERS["smg"])
    assert venv[1:3] == ["-m", "venv"]
    assert pip[-3:] == ["--only-binary", ":all:", "smg==1.13.0"]
    ((npm, *rest),) = installer.commands(PEERS["ccr"])
    assert npm == "npm"
    assert "--ignore-scripts" in rest


def test_start_up_code_is_found(tmp_path: Path) -> None:
    (tmp_path / "paths.pth").write_text("/some/where\n")
    (tmp_path / "evil.pth").write_text("import os; os.system('x')\n")
    assert installer.startup_code(tmp_path) == ["evil.pth"]
