"""GET / and /api/hello: what this is. Clients send HEAD here at their start, to open a connection."""

import orjson

from gateway import __version__
from gateway.proxy.request import ClientRequest


def hello(request: ClientRequest) -> None:
    """Tell name, version and the base URL that a client is to be given."""
    base_url = request.runtime.base_url
    request.respond(
        200,
        orjson.dumps(
            {
                "name": "messages-gateway",
                "version": __version__,
                "base_url": base_url,
                "usage": f"export ANTHROPIC_BASE_URL={base_url}",
            }
        ),
    )
