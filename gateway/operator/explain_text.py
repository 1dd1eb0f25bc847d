"""A report of `endpoints.explain` as text for people: aligned columns, no line wider than a terminal."""

from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

WIDTH = 109
"""Columns of a whole line."""

NAMES = 14
"""Columns of the names on the left."""


def report_text(report: Mapping[str, Any]) -> str:
    """Return a report's lines. Unprintable characters become `?`: the report may come from another machine."""
    lines: list[str] = []
    for name, value in _parts(report):
        shown = "".join(character if character.isprintable() else "?" for character in value)
        for piece in wrap(shown, WIDTH - NAMES, break_on_hyphens=False, subsequent_indent="  "):
            lines.append(f"{name:{NAMES}}{piece}")
            name = ""
    return "\n".join(lines)


def _parts(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each line's name and text; a continued line has the name ""."""
    request, warmup = report.get("request"), report.get("warmup")
    if request is not None:
        streamed = "streamed" if request["stream"] else "not streamed"
        yield (
            "request",
            f"{request['model']}, {streamed}, {request['messages']} messages, {_size(request['bytes'])}",
        )
    if "input_tokens" in report:
        yield "", f"about {report['input_tokens']:,} input tokens"
    if warmup is not None:
        yield "warm-up", f"{'yes' if warmup['intercepted'] else 'no'}: {warmup['why']}"
        if warmup["intercepted"]:
            yield "response", "the gateway's own; no upstream is used"
    if "route" in report:
        yield from _routed(report)
    if "upstream_request" in report:
        yield from _sent(report["upstream_request"])
    if "refused" in report:
        error = report["refused"]
        yield "REFUSED", f"{error['status']} {error['type']}: {error['message']}"


def _routed(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    talk, route = report["conversation"], report["route"]
    home = f", lives on {_place(talk['home'])}" if talk["home"] else ""
    key = f"{talk['key']}/" if talk["key"] else ""
    yield "conversation", f"{key}{talk['id']}, by {talk['source']}{home}"
    mapped = f", by [models] {route['mapped']}" if route["mapped"] else ""
    name = "route"
    for number, one in enumerate(route["targets"], 1):
        yield name, f"{number}. {one['upstream']}: {one['wire_model']}, priority {one['priority']}{mapped}"
        name = ""
    step = report["next"]
    if step["step"] == "wait":
        yield "next", f"no account is open now: waits {step['seconds']} s for the first"
    elif step["step"] == "give up":
        yield "next", "no account is open, and none will be soon"
    elif step["alone"]:
        yield "next", "uses an account in spite of its cool-down: no other can serve this"
    name = "accounts"
    for one in report["accounts"]:
        opens = f", opens in {one['opens_in']} s" if "opens_in" in one else ""
        mark = "->" if one["asked"] else "  "
        yield name, f"{mark} {_place(one)} ({one['wire_model']}): {one['reason']}{opens}"
        name = ""


def _sent(sent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("repairs", "cures"):
        if not sent[name]:
            yield name, "none"
        for index, one in enumerate(sent[name]):
            detail = f" ({one['detail']})" if "detail" in one else ""
            at = f"at {one['at']}" if one["at"] else "finds nothing here"
            yield "" if index else name, f"{one['name']}{detail} {at}"
    yield "sent to", f"{_place(sent)}, model {sent['wire_model']}"
    yield "", f"{sent['method']} {sent['url']}"
    for index, line in enumerate(sent["head"]):
        yield "" if index else "head", line
    body = sent["body"]
    yield "body", f"{body['is']}, {_size(body['bytes'])}"
    yield "", f"sha256 {body['sha256']}"


def _place(one: Mapping[str, str]) -> str:
    return f"{one['upstream']}/{one['account'] or '(not shown)'}"


def _size(count: int) -> str:
    return f"{count:,} bytes"
