"""`gateway clear`, `gateway disable` and `gateway enable`: what an operator does to a running gateway."""

from argparse import Namespace

import orjson

from gateway.config import ConfigError
from gateway.operator.command_line import FAILED, complain, print_text
from gateway.operator.peer import PeerError, peer_of, refusal

DONE = {
    "clear": "cool-downs of {} have ended",
    "disable": "{} is disabled until it is enabled or the configuration is read again",
    "enable": "{} is enabled",
}
"""What to print when an action is done."""


def command(options: Namespace) -> int:
    """Have the running gateway carry out an action; return the exit code. Raise ConfigError."""
    name, place = options.action, options.place
    # Upstreams' names hold no slash; accounts' may.
    upstream, slash, account = place.partition("/")
    if not upstream or (slash and not account) or (not account and name != "clear"):
        form = "UPSTREAM[/ACCOUNT]" if name == "clear" else "UPSTREAM/ACCOUNT"
        raise ConfigError([f"{place or 'an empty name'} is not of the form {form}"])
    peer = peer_of(options)
    body = orjson.dumps({"upstream": upstream, **({"account": account} if account else {})})
    fields = {"content-type": "application/json", "x-gateway-action": name}
    try:
        response = peer.request("POST", f"/status/{name}", body, fields)
    except PeerError as error:
        complain(str(error))
        return FAILED
    if response.status != 200:
        complain(refusal(response.status, response.body))
        return FAILED
    return print_text(DONE[name].format(place))
