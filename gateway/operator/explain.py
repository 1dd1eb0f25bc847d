"""What would become of a request: `gateway explain` says so without sending it.

The running gateway that `--url` names is asked; else one is built of the configuration, and opens no socket. Both
answer through `endpoints.explain`.
"""

import json
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from gateway.app import Gateway
from gateway.config import ConfigError, Sharing
from gateway.endpoints.access import ACTION, KEY_FIELDS
from gateway.http1.exchange import Exchange
from gateway.http1.grammar import ProtocolError
from gateway.http1.heads import FRAMING_FIELDS, parse_request_head, render_request_head
from gateway.messages.errors import RequestError, error_body
from gateway.messages.json_documents import BOM, read_document, write_document
from gateway.operator.command_line import FAILED, OK, complain, config_file, load_config, print_text
from gateway.operator.explain_text import report_text
from gateway.operator.peer import PeerError, error_words, peer_of
from gateway.telemetry.access_log import AccessLog

PATH = "/status/explain"

OF_THE_CONNECTION = frozenset(name.decode() for name in FRAMING_FIELDS)

NOT_REPLAYED = OF_THE_CONNECTION | {name.decode() for name in KEY_FIELDS} | {"content-encoding"}
"""Fields of a captured head that belong to the connection it was seen on, to another key, or to the body's bytes."""


FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[\t -~]*[!-~])?)?)[ \t]*")
"""A field as a line of a head has it, in ASCII."""


class Asked(NamedTuple):
    """One request to explain."""

    query: str
    """The target's part behind `?`."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """The path and query that explain it."""
        return f"{PATH}?{self.query}" if self.query else PATH


Ask = Callable[[Asked], tuple[int, bytes]]
"""Gets a request explained. Returns the status and body of the response."""


def command(options: Namespace) -> int:
    """Print the reports; return the exit code. Raise ConfigError."""
    requests, captured = requests_in(*_read(options.file), _fields(options.header))
    ask = running(options) if options.url is not None else offline(options)
    reports = []
    for asked in requests:
        try:
            status, body = ask(asked)
        except PeerError as error:
            complain(str(error))
            return FAILED
        report = _report(body) if status == 200 else None
        if report is None:
            complain(
                f"the request was not explained: {status} {error_words(body) or 'without an explanation'}"
            )
            return FAILED
        reports.append(report)
    if options.json:
        text = json.dumps(reports if captured else reports[0], indent=2)
    else:
        text = "\n\n".join(map(report_text, reports))
    return print_text(text) or (FAILED if any("refused" in report for report in reports) else OK)


def requests_in(raw: bytes, name: str, headers: Mapping[str, str]) -> tuple[list[Asked], bool]:
    """Return the requests that a file holds, and whether it is a capture: one or a list of objects with `path`,
    `headers` (pairs) and `body`, of which those to /v1/messages count. `headers` win over captured ones.

    Raises ConfigError.
    """
    try:
        document = read_document(raw.removeprefix(BOM))
    except ValueError as error:
        raise ConfigError([f"{name} is not JSON: {error}"]) from None
    captured = document if isinstance(document, list) else [document]
    if not all(isinstance(one, dict) and "path" in one and "body" in one for one in captured):
        return [Asked("", headers, raw)], False
    found = []
    for one in captured:
        path, _, query = str(one["path"]).partition("?")
        if path.endswith("/messages") and isinstance(one["body"], dict):
            seen = _fields(_captured(one.get("headers")), ignored=NOT_REPLAYED)
            found.append(Asked(query, {**seen, **headers}, write_document(one["body"])))
    if not found:
        raise ConfigError([f"{name} holds no request to /v1/messages"])
    return found, isinstance(document, list)


def running(options: Namespace) -> Ask:
    """Have the gateway explain that runs at `--url`. Raises ConfigError; what it returns raises PeerError."""
    peer = peer_of(options)

    def ask(asked: Asked) -> tuple[int, bytes]:
        response = peer.request(
            "POST", asked.target, asked.body, {ACTION.decode(): "explain", **asked.headers}
        )
        return response.status, response.body

    return ask


def offline(options: Namespace) -> Ask:
    """Have a gateway explain that is built of the configuration for this alone. Raises ConfigError."""
    # What is shared with others is not needed for this, and no store is opened.
    config = replace(load_config(config_file(options.config)), sharing=Sharing())
    gateway = Gateway(config, AccessLog(complain, level="error"), os.environ)
    key = options.key or config.auth.first_key

    def ask(asked: Asked) -> tuple[int, bytes]:
        fields = {"host": "localhost", ACTION.decode(): "explain", **({"x-api-key": key} if key else {})}
        fields |= {**asked.headers, "content-length": str(len(asked.body))}
        try:
            return serve(gateway, asked.target, fields, asked.body)
        except (RequestError, ProtocolError) as error:
            return error.status, error_body(error.status, error.message, "")

    return ask


def serve(gateway: Gateway, target: str, fields: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Have a gateway that does not listen respond at once to a request that came over no connection.

    Raises RequestError, ProtocolError.
    """
    written: list[bytes] = []
    # What an exchange uses of a connection, of its transport and of its loop.
    connection = SimpleNamespace(
        loop=SimpleNamespace(time=time.monotonic, call_soon=lambda *_: None),
        transport=SimpleNamespace(write=written.append),
        persistent=True,
        exchange_ended=lambda: None,
    )
    pairs = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields.items()]
    head = parse_request_head(render_request_head("POST", target, pairs))
    if len(body) > gateway.server.limits.max_body:
        raise RequestError(
            413, f"the body is larger than server.max_body, {gateway.server.limits.max_body} bytes"
        )
    exchange = Exchange(cast(Any, connection), head, time.monotonic())
    request = gateway.accept(exchange)
    assert request is not None, "only OPTIONS is responded to by its head"
    request.request_received(body)
    return exchange.status, b"".join(written).partition(b"\r\n\r\n")[2]


def _read(name: str) -> tuple[bytes, str]:
    """Return what a file holds, and what to call it."""
    if name == "-":
        return sys.stdin.buffer.read(), "the standard input"
    try:
        with open(name, "rb") as file:
            return file.read(), name
    except OSError as error:
        raise ConfigError([f"{name} cannot be read: {error.strerror}"]) from None


def _captured(headers: object) -> list[str]:
    """Return a captured request's fields as lines. Raises ConfigError."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ConfigError(["headers of a captured request must be pairs of a name and a value"])
    return [f"{name}: {value}" for name, value in pairs]


def _fields(lines: Sequence[str], ignored: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return fields by their names in lower case; what comes again is joined with a comma. Raises ConfigError."""
    found: dict[str, str] = {}
    for line in lines:
        match = FIELD.fullmatch(line)
        if match is None:
            raise ConfigError([f"{line!r} is not a header such as 'anthropic-beta: NAME'"])
        name, value = match[1].lower(), match[2]
        if name in ignored:
            continue
        if name in OF_THE_CONNECTION:
            raise ConfigError([f"the header {name} is not for clients to choose here: leave it out"])
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found


def _report(body: bytes) -> dict[str, Any] | None:
    """Return a report; None if the body is none."""
    try:
        report = read_document(body)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None
