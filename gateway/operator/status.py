"""`gateway status`: prints a running gateway's state as tables for people or as JSON."""

import shutil
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from http.client import HTTPException
from typing import Any

import orjson

from gateway.config.reading import printable
from gateway.messages.sse import EventDecoder
from gateway.operator.command_line import FAILED, OK, complain, print_text
from gateway.operator.peer import Peer, PeerError, peer_of, refusal
from gateway.routing.give_up import format_duration
from gateway.status.changes import apply_change

WIDTH = 100
"""Columns of a line, at most."""

LATEST = 10
"""Requests shown, and also conversations shown."""

REPAINT = "\x1b[H\x1b[2J"
"""Moves a terminal's cursor home and clears it."""

READ = 64 * 1024
"""Bytes read from the event stream at a time."""

Document = Mapping[str, Any]


def command(options: Namespace) -> int:
    """Print the gateway's state; return the exit code: 1 if it is not ready or an account needs an operator. Raise
    ConfigError."""
    peer = peer_of(options)
    try:
        if options.quiet:
            return OK if peer.request("GET", "/readyz").status == 200 else FAILED
        if options.watch:
            return _watch(peer, as_json=options.json)
        response = peer.request("GET", "/status.json")
    except PeerError as error:
        if not options.quiet:
            complain(str(error))
        return FAILED
    if response.status != 200:
        complain(refusal(response.status, response.body))
        return FAILED
    document = orjson.loads(response.body)
    return _print(document, as_json=options.json) or (OK if is_well(document) else FAILED)


def is_well(document: Document) -> bool:
    """Return whether the gateway is ready and no worker or account needs an operator."""
    return (
        bool(document["ready"])
        and not document["silent"]
        and not any(
            account["state"] == "closed" and not account["disabled"]
            for upstream in document["upstreams"]
            for account in upstream["accounts"]
        )
    )


def _print(document: Document, *, as_json: bool) -> int:
    return print_text(orjson.dumps(document).decode() if as_json else "\n".join(report(document)))


def _watch(peer: Peer, *, as_json: bool) -> int:
    """Print the state whenever it changes, on a terminal in place of the last one, until the gateway closes."""
    repaints = _is_terminal() and not as_json
    height = shutil.get_terminal_size().lines
    decoder = EventDecoder()
    document: Document = {}
    with peer.open("GET", "/status/events") as response:
        if response.status != 200:
            complain(refusal(response.status, response.read()))
            return FAILED
        while True:
            try:
                data = response.read1(READ)
            except (OSError, HTTPException) as error:
                raise PeerError(f"{peer.url} says nothing more: {error}") from error
            if not data:
                raise PeerError(f"{peer.url} has ended its report: it stops, or starts again")
            for event in decoder.feed(data):
                found = orjson.loads(event.data)
                document = found if event.name == "status" else apply_change(document, found)
                if repaints:
                    code = print_text(REPAINT + "\n".join([*report(document)][: height - 1]))
                else:
                    code = _print(document, as_json=as_json)
                if code:
                    return code


def _is_terminal() -> bool:
    return sys.stdout.isatty()


# The report.


def report(document: Document) -> Iterator[str]:
    """Yield the report's lines."""
    state = "stopping" if document["draining"] else "ready" if document["ready"] else "NOT READY"
    count, silent, sharing = document["processes"], document["silent"], document["sharing"]
    processes = f", {count} processes" if count > 1 else ""
    if silent:
        processes = f", {count} of {count + len(silent)} processes"
    yield f"gateway {document['version']}, up {format_duration(document['uptime'])}{processes}: {state}"
    if silent:
        yield f"worker {', '.join(map(str, silent))} does not respond: kill -9 has it replaced"
    if sharing is not None and sharing["dropped"]:
        yield f"{sharing['dropped']} news for other processes were lost"
    yield ""
    yield from _accounts(document)
    cures = [(each, cure) for each in document["upstreams"] for cure in each["cures"]]
    if cures:
        yield ""
        yield "CHANGED FROM THE START, SINCE IT IS REFUSED"
        for upstream, cure in cures:
            what = " ".join(filter(None, (cure["cure"], cure["detail"])))
            model = f" for {cure['model']}" if cure["model"] else ""
            yield _cut(f"{upstream['name']}: {what}{model}", WIDTH)
    if document["requests"]:
        yield ""
        yield from _requests(document["requests"][:LATEST])
    if document["conversations"]:
        yield ""
        yield from _conversations(document["conversations"][:LATEST])


def _accounts(document: Document) -> Iterator[str]:
    widths = (42, -9, -11, -9, -7, -8)
    yield _row(widths, ("ACCOUNT", "STATE", "IN FLIGHT", "REQUESTS", "FAILED", "TOKENS"))
    for upstream in document["upstreams"]:
        for account in upstream["accounts"]:
            hour = account["hour"]
            limit = f" of {account['limit']}" if account["limit"] else ""
            yield _row(
                widths,
                (
                    f"{upstream['name']}/{account['account']}",
                    "disabled" if account["disabled"] else account["state"],
                    f"{account['in_flight']}{limit}",
                    hour["requests"],
                    hour["failures"],
                    amount(_input(hour) + hour["output_tokens"]),
                ),
            )
            for one in account["cool_downs"]:
                if one["cause"] != "disabled":
                    yield _cut(f"  {_cool_down(one, document['time'])}", WIDTH)


def _cool_down(one: Document, now: float) -> str:
    about = (one["about"] if one["about"] in ("account", "upstream") else "", one["model"], one["feature"])
    left = 0.0 if one["until"] is None else one["until"] - now
    when = f"until {clock(one['until'])}, {format_duration(left)}" if left > 0 else "tried next"
    if one["probing"]:
        when = "being tried"
    words = f": {one['why']}" if one["why"] else ""
    return f"{' '.join(filter(None, about))} {one['cause']}, {when}{words}"


def _requests(requests: Sequence[Document]) -> Iterator[str]:
    widths = (8, 26, 28, 18, -7, -7)
    yield _row(widths, ("TIME", "MODEL", "ACCOUNT", "RESULT", "INPUT", "OUTPUT"))
    for one in requests:
        known = one["output_tokens"] is not None
        yield _row(
            widths,
            (
                clock(one["time"]),
                one["wire_model"] or one["model"] or one["path"],
                f"{one['upstream']}/{one['account']}" if one["upstream"] else "-",
                f"{one['status']} {one['outcome']}",
                amount(_input(one)) if known else "-",
                amount(one["output_tokens"]) if known else "-",
            ),
        )
        if one["error"]:
            yield _cut(f"  {one['error']}", WIDTH)


def _conversations(conversations: Sequence[Document]) -> Iterator[str]:
    widths = (24, 28, 20, -8, -8, -7)
    yield _row(widths, ("CONVERSATION", "MODEL", "ACCOUNT", "REQUESTS", "TOKENS", "CACHED"))
    for one in conversations:
        read = _input(one)
        yield _row(
            widths,
            (
                f"{one['id']} {one['key']}",
                one["wire_model"] or one["model"],
                one["account"] or "-",
                one["requests"],
                amount(read + one["output_tokens"]),
                f"{round(100 * one['cache_read_tokens'] / read)} %" if read else "-",
            ),
        )


def _row(widths: Sequence[int], cells: Sequence[object]) -> str:
    """Return cells in columns; a negative width aligns right."""
    shown = [_cut(str(cell), abs(width)) for width, cell in zip(widths, cells, strict=True)]
    return " ".join(
        cell.ljust(width) if width > 0 else cell.rjust(-width)
        for width, cell in zip(widths, shown, strict=True)
    ).rstrip()


def _cut(text: str, width: int) -> str:
    """Return a text that is safe on a terminal (no control characters) and at most `width` columns wide."""
    text = printable(text)
    return text if len(text) <= width else text[: width - 3] + "..."


def _input(sums: Document) -> int:
    """Return the sum of input tokens, cache reads and writes included."""
    return sum(sums[name] or 0 for name in ("input_tokens", "cache_read_tokens", "cache_creation_tokens"))


def amount(count: int) -> str:
    """Return a count with three digits at most: 999, 1.2k, 45k, 3.4M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f}{unit}"
    return str(count)


def clock(unix: float) -> str:
    """Return the local time of day."""
    return time.strftime("%H:%M:%S", time.localtime(unix))
