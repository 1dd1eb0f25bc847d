"""GET / and /api/hello: what this is. Clients send HEAD here at their start, to open a connection."""

import orjson

from gateway import __version__
from gateway.delivery.answer import JSON, Answer
from gateway.delivery.services import Services


def hello(answer: Answer, services: Services) -> None:
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
