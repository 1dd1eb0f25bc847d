"""nginx as a plain reverse proxy: the practical floor, in C."""

import os

from bench.peers.base import Install, Peer, Site

CONFIG = """\
daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 16384;
pid {directory}/nginx.pid;
error_log {directory}/error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    tcp_nodelay on;
    keepalive_requests 100000000;
    keepalive_timeout 75s;
    client_max_body_size 64m;
    client_body_buffer_size 1m;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    upstream bench {{
        server 127.0.0.1:{upstream_port};
        keepalive 1024;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /healthz {{ return 200 "ok"; }}
        location / {{
            proxy_pass http://bench;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_buffer_size 16k;
            proxy_buffers 8 16k;
            proxy_read_timeout 300s;
        }}
    }}
}}
"""


def files(site: Site) -> dict[str, str]:
    """One worker, kept upstream connections, no buffering of responses, bodies in memory, no access log."""
    user = "user root;" if os.geteuid() == 0 else ""
    return {
        "nginx.conf": CONFIG.format(
            port=site.port, upstream_port=site.upstream_port, directory=site.directory, user=user
        )
    }


def command(program: str, site: Site) -> list[str]:
    """In the foreground, all its files in the site's folder."""
    return [
        program,
        "-p",
        str(site.directory),
        "-c",
        str(site.directory / "nginx.conf"),
        "-e",
        str(site.directory / "error.log"),
    ]


PEER = Peer(
    name="nginx",
    about="a plain reverse proxy in C, one worker",
    install=Install(kind="debian", packages=("nginx",), program="nginx"),
    command=command,
    files=files,
    why_not={"translate": "nginx does not translate"},
    disk=("nginx", "nginx-common"),
)
