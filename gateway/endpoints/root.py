"""GET / and /api/hello: what this is. Clients send HEAD here at their start, to open a connection."""

import orjson

from gateway import __version__
from gateway.proxy.request import JSON, ClientRequest
from gateway.proxy.runtime import Runtime


def hello(answer: ClientRequest, services: Runtime) -> None:
    """Name, version and the base URL that a client is to be given."""
    answer.respond(
        200,
        orjson.dumps(
            {
                "name": "messages-gateway",
                "version": __version__,
                "base_url": services.base_url,
                "usage": f"export ANTHROPIC_BASE_URL={services.base_url}",
            }
        ),
        (JSON,),
    )
