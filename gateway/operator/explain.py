"""`gateway explain`: says what the gateway would do with a request, without sending it upstream.

Either the running gateway that `--url` names explains it, or one that is built from the configuration and opens no
socket. Both use `endpoints.explain`.
"""

import json
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
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
"""Fields of a captured head that belong to its connection, to another key, or to the encoding of its body."""


FIELD = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~](?:[\t -~]*[!-~])?)?)[ \t]*")
"""A header field as one line of ASCII."""


class ExplainRequest(NamedTuple):
    """One request to explain."""

    query: str
    """The query of the explain request, without `?`."""
    headers: Mapping[str, str]
    body: bytes

    @property
    def target(self) -> str:
        """The path and query of the explain request."""
        return f"{PATH}?{self.query}" if self.query else PATH


Ask = Callable[[ExplainRequest], tuple[int, bytes]]
"""Sends an explain request. Returns the status and body of the response."""


def command(options: Namespace) -> int:
    """Print the reports; return the exit code. Raise ConfigError."""
    requests, captured = requests_in(*_read(options.file), _fields(options.header))
    ask = remote_explainer(options) if options.url is not None else local_explainer(options)
    reports = []
    for request in requests:
        try:
            status, body = ask(request)
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


def requests_in(raw: bytes, name: str, headers: Mapping[str, str]) -> tuple[list[ExplainRequest], bool]:
    """Return the requests that a file holds, and whether the file is a capture: one object or a list of them, with
    `path`, `headers` (pairs) and `body`, of which those to /v1/messages are taken. `headers` win over captured ones.

    Raises ConfigError.
    """
    try:
        document = read_document(raw.removeprefix(BOM))
    except ValueError as error:
        raise ConfigError([f"{name} is not JSON: {error}"]) from None
    captured = document if isinstance(document, list) else [document]
    if not all(isinstance(one, dict) and "path" in one and "body" in one for one in captured):
        return [ExplainRequest("", headers, raw)], False
    found = []
    for one in captured:
        path, _, query = str(one["path"]).partition("?")
        if path.endswith("/messages") and isinstance(one["body"], dict):
            seen = _fields(_read_fields(one.get("headers")), ignored=NOT_REPLAYED)
            found.append(ExplainRequest(query, {**seen, **headers}, write_document(one["body"])))
    if not found:
        raise ConfigError([f"{name} holds no request to /v1/messages"])
    return found, isinstance(document, list)


def remote_explainer(options: Namespace) -> Ask:
    """Return an Ask of the gateway that runs at `--url`, which raises PeerError. Raises ConfigError."""
    peer = peer_of(options)

    def ask(request: ExplainRequest) -> tuple[int, bytes]:
        response = peer.request(
            "POST", request.target, request.body, {ACTION.decode(): "explain", **request.headers}
        )
        return response.status, response.body

    return ask


def local_explainer(options: Namespace) -> Ask:
    """Return an Ask of a gateway built from the configuration for this alone. Raises ConfigError."""
    # Shared state is not needed to explain, so no store is opened.
    config = load_config(config_file(options.config))._replace(sharing=Sharing())
    gateway = Gateway(config, AccessLog(complain, level="error"), os.environ)
    key = options.key or config.auth.first_key

    def ask(request: ExplainRequest) -> tuple[int, bytes]:
        fields = {"host": "localhost", ACTION.decode(): "explain", **({"x-api-key": key} if key else {})}
        fields |= {**request.headers, "content-length": str(len(request.body))}
        try:
            return serve(gateway, request.target, fields, request.body)
        except (RequestError, ProtocolError) as error:
            return error.status, error_body(error.status, error.message, "")

    return ask


def serve(gateway: Gateway, target: str, fields: Mapping[str, str], body: bytes) -> tuple[int, bytes]:
    """Return the status and body of a gateway's response to a request that came over no connection.

    Raises RequestError, ProtocolError.
    """
    written: list[bytes] = []
    # The parts of a connection, its transport and its loop that an exchange uses.
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
    """Return a file's content and its name for messages."""
    if name == "-":
        return sys.stdin.buffer.read(), "the standard input"
    try:
        with open(name, "rb") as file:
            return file.read(), name
    except OSError as error:
        raise ConfigError([f"{name} cannot be read: {error.strerror}"]) from None


def _read_fields(headers: object) -> list[str]:
    """Return a captured request's fields as lines. Raises ConfigError."""
    pairs = list(headers.items()) if isinstance(headers, dict) else headers or []
    if not isinstance(pairs, list) or not all(
        isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs
    ):
        raise ConfigError(["headers of a captured request must be pairs of a name and a value"])
    return [f"{name}: {value}" for name, value in pairs]


def _fields(lines: Sequence[str], ignored: frozenset[str] = frozenset()) -> dict[str, str]:
    """Return fields by lower-case name; repeated ones are joined with a comma. Raises ConfigError."""
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
    """Return a body as a report; None if it is not one."""
    try:
        report = read_document(body)
    except ValueError:
        return None
    return report if isinstance(report, dict) else None
