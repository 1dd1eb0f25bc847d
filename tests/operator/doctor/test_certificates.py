"""The certificate that a gateway shows: its time, its names, who trusts it."""

import datetime
import time
from pathlib import Path
from typing import Any

import pytest
import trustme

from gateway.config import Config, Server, Tls
from gateway.operator.doctor import certificates
from gateway.operator.doctor.certificates import life_of, own_certificate, todo_for
from gateway.operator.doctor.findings import Fault, Finding
from gateway.operator.doctor.here import Here, certificate

NOW = datetime.datetime.now(datetime.UTC)


def served(directory: Path, *names: str, **fields: Any) -> tuple[Config, Tls, trustme.CA]:
    """A configuration with a certificate for these names."""
    authority = trustme.CA()
    issued = authority.issue_cert(*names, **fields)
    tls = Tls(certificate=directory / "c.pem", private_key=directory / "k.pem")
    issued.cert_chain_pems[0].write_to_path(tls.certificate)
    issued.private_key_pem.write_to_path(tls.private_key)
    server = Server(host="gateway.lan", tls=tls, allowed_hosts=("127.0.0.1", "other.lan"))
    return Config(server=server), tls, authority


def test_a_valid_certificate_that_clients_must_be_configured_for(tmp_path: Path) -> None:
    config, tls, _ = served(tmp_path, "gateway.lan", "*.lan")
    found = own_certificate(config, tls)
    assert isinstance(found, Finding)
    assert found.state == "warn"
    assert "clients do not trust it by themselves: unable to get local issuer certificate" in found.saw
    assert f"NODE_EXTRA_CA_CERTS={tls.certificate}" in found.todo


def test_a_valid_certificate_that_clients_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, _, authority = served(tmp_path, "gateway.lan", "other.lan")
    public = certificates._public()
    authority.configure_trust(public)
    monkeypatch.setattr(certificates, "_public", lambda: public)
    assert str(certificate(Here(config, {}))).startswith("good for ")


def test_a_certificate_for_other_names(tmp_path: Path) -> None:
    found = own_certificate(*served(tmp_path, "other.lan")[:2])
    assert isinstance(found, Finding)
    assert (found.state, found.saw) == ("warn", "it is not for gateway.lan")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_one_for_a_name_that_the_gateway_refuses(tmp_path: Path, host: str) -> None:
    config, tls, _ = served(tmp_path, "gateway.lan")
    found = own_certificate(config._replace(server=config.server._replace(host=host, allowed_hosts=())), tls)
    assert isinstance(found, Finding)
    assert (found.state, found.saw) == ("warn", "no client can come by a name that it is for")


def test_an_expired_certificate(tmp_path: Path) -> None:
    config, tls, _ = served(tmp_path, "gateway.lan", not_after=NOW - datetime.timedelta(days=1))
    with pytest.raises(Fault, match="certificate has expired") as raised:
        own_certificate(config, tls)
    assert raised.value.finding.todo == "renew it, or set this machine's clock"


def test_a_certificate_that_expires_soon(tmp_path: Path) -> None:
    config, tls, _ = served(tmp_path, "gateway.lan", not_after=NOW + datetime.timedelta(days=3, hours=1))
    assert own_certificate(config, tls) == Finding("warn", "good for 3 days", "renew it")


def test_a_certificate_without_its_key(tmp_path: Path) -> None:
    config, tls, _ = served(tmp_path, "gateway.lan")
    tls.private_key.write_text("")
    with pytest.raises(Fault, match="cannot be used together"):
        own_certificate(config, tls)


def test_short_lived_certificates_are_warned_about_late() -> None:
    def life(before: float, after: float) -> Finding | str:
        shown = [
            time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(time.time() + 86400 * days))
            for days in (-before, after)
        ]
        return life_of({"notBefore": shown[0], "notAfter": shown[1]})

    assert life(2, 4.1) == "good for 4 days"
    assert isinstance(life(5, 1), Finding)
    assert isinstance(life(80, 10), Finding)


@pytest.mark.parametrize(
    ("words", "todo"),
    [
        ("TLS failed: self-signed certificate in certificate chain", "ca_file"),
        ("WRONG_VERSION_NUMBER", "write http://"),
        ("Hostname mismatch, certificate is not valid for 'a'", "is base_url right?"),
        ("certificate is not yet valid", "clock"),
        ("something else", ""),
    ],
)
def test_remedies(words: str, todo: str) -> None:
    assert todo in todo_for(words)
    assert bool(todo_for(words)) is bool(todo)
