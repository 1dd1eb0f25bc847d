"""HAProxy as a plain reverse proxy: a second floor, in C."""

from bench.peers.base import Install, Peer, Site

CONFIG = """\
global
    nbthread 1
    maxconn 8192
    ulimit-n 20000
defaults
    mode http
    timeout connect 10s
    timeout client 300s
    timeout server 300s
    timeout http-keep-alive 75s
    option http-keep-alive
    option http-no-delay
    http-reuse always
frontend front
    bind 127.0.0.1:{port} backlog 4096
    http-request return status 200 content-type text/plain string ok if {{ path /healthz }}
    default_backend back
backend back
    server bench 127.0.0.1:{upstream_port} pool-max-conn -1
"""


def files(site: Site) -> dict[str, str]:
    """One thread, kept and shared upstream connections, no log; bodies stream through."""
    return {"haproxy.cfg": CONFIG.format(port=site.port, upstream_port=site.upstream_port)}


def command(program: str, site: Site) -> list[str]:
    """In the foreground."""
    return [program, "-db", "-f", str(site.directory / "haproxy.cfg")]


PEER = Peer(
    name="haproxy",
    about="a plain reverse proxy in C, one thread",
    install=Install(kind="debian", packages=("haproxy",), program="haproxy"),
    command=command,
    files=files,
    why_not={"translate": "HAProxy does not translate"},
    disk=("haproxy",),
)
