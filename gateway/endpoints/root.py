"""GET / and /api/hello: identifies the gateway. Clients send HEAD here when they start, to open a connection."""

import orjson

from gateway import __version__
from gateway.proxy.request import ClientRequest


def hello(request: ClientRequest) -> None:
    """Respond with name, version and the base URL for clients."""
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
