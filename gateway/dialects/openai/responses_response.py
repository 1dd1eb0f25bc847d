"""Converts a response of the Responses wire to Messages events.

Items may be interleaved, with or without an `output_index`, with their text in deltas or only whole: what deltas lack
is taken from the item's end. Only a final event ends a response.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.dialects.openai.failures import incomplete, read_stream_error
from gateway.dialects.openai.output import Output
from gateway.dialects.openai.reasoning import SEPARATOR, entry_of_item
from gateway.dialects.openai.response import EARLY, read_oddly
from gateway.dialects.sniffer import Sniffer
from gateway.messages.json_values import as_dict, as_list, texts_in
from gateway.routing.error_bodies import is_error

INCOMPLETE: Mapping[str, str] = {"max_output_tokens": "max_tokens", "content_filter": "refusal"}
"""`incomplete_details.reason` -> `stop_reason`."""

TEXT_DELTA = "response.output_text.delta"

THINKING_FIELD = "reasoning_content"
"""The field for reasoning without opaque content, in case the conversation moves to the other wire."""


class Item:
    """The received parts of one output item."""

    __slots__ = ("call_id", "parts", "written")

    def __init__(self) -> None:
        self.call_id = ""
        self.parts = 0
        """Parts of a summary that have begun."""
        self.written: list[str] = []
        """Texts received in deltas."""


class ResponsesDecoder:
    """Decodes one response."""

    __slots__ = ("_items", "_last", "_output", "_over", "_sent", "_sniffer", "_stop", "_usage")

    def __init__(self, output: Output, sent: EncodedRequest) -> None:
        self._output = output
        self._sent = sent
        self._sniffer = Sniffer()
        self._items: dict[object, Item] = {}
        self._last = Item()
        self._usage: Mapping[str, Any] | None = None
        self._stop = ""
        self._over = False

    @property
    def complete(self) -> bool:
        """Whether the upstream has ended its response, or the text was cut, so that `end` may follow."""
        return self._over or (bool(self._output.cut) and self._output.is_sound("", self._usage))

    def feed(self, data: bytes) -> None:
        """Decode payload bytes, cut anywhere. Raises StreamFailure."""
        try:
            events = self._sniffer.feed(data)
        except ValueError as error:
            raise incomplete(str(error)) from None
        for _, data in events:
            self._event(data)

    def end(self) -> None:
        """Finish at the end of the payload. Raises StreamFailure if the response did not end."""
        for _, data in self._sniffer.end():
            self._event(data)
        if not self._over and not self._output.cut:
            raise incomplete(EARLY)
        self._finish()

    def _event(self, data: bytes) -> None:
        if self._over or data.strip() in (b"", b"[DONE]"):
            return
        try:
            document = orjson.loads(data)
        except ValueError:
            document = read_oddly(data, needed=self._output.started and not self.complete)
        if not isinstance(document, dict):
            return
        kind = document.get("type")
        if kind == TEXT_DELTA and isinstance(document.get("delta"), str):
            self._text_delta(document)
        elif isinstance(kind, str) and kind in _EVENTS:
            _EVENTS[kind](self, document)
        elif document.get("object") == "response":
            self._ended({"response": document})
        elif is_error(document) and (kind == "error" or not isinstance(kind, str)):
            self._fail(document.get("error") or document)

    # Items.

    def _item(self, event: Mapping[str, Any], id: object) -> Item:
        """Return an event's item: by its index, by its id, else the latest."""
        index = event.get("output_index")
        keys = [key for key in (index, id) if isinstance(key, int | str) and key != ""]
        found = next((self._items[key] for key in keys if key in self._items), None)
        if found is None:
            found = Item() if keys else self._last
        self._items.update(dict.fromkeys(keys, found))
        self._last = found
        return found

    def _text_delta(self, event: Mapping[str, Any]) -> None:
        text = event["delta"]
        self._item(event, event.get("item_id")).written.append(text)
        if self._output.in_text:
            self._output.more_text(text)
        else:
            self._output.add_tagged(text)

    def _refusal(self, event: Mapping[str, Any]) -> None:
        if isinstance(event.get("delta"), str):
            self._item(event, event.get("item_id")).written.append(event["delta"])
            self._output.refuse(event["delta"])

    def _summary_part(self, event: Mapping[str, Any]) -> None:
        item = self._item(event, event.get("item_id"))
        item.parts += 1
        if item.parts > 1:
            self._think(item, SEPARATOR)

    def _reasoning(self, event: Mapping[str, Any]) -> None:
        if isinstance(event.get("delta"), str):
            self._think(self._item(event, event.get("item_id")), event["delta"])

    def _think(self, item: Item, text: str) -> None:
        item.written.append(text)
        self._output.think(text, THINKING_FIELD)

    def _arguments(self, event: Mapping[str, Any]) -> None:
        item = self._item(event, event.get("item_id"))
        if isinstance(event.get("delta"), str):
            item.written.append(event["delta"])
            self._call(item, {"arguments": event["delta"]})

    def _arguments_done(self, event: Mapping[str, Any]) -> None:
        """Add the whole arguments if no delta contained any."""
        item = self._item(event, event.get("item_id"))
        if not item.written and isinstance(event.get("arguments"), str):
            item.written.append(event["arguments"])
            self._call(item, {"arguments": event["arguments"]})

    def _call(self, item: Item, function: Mapping[str, Any]) -> None:
        self._output.call({"id": item.call_id, "function": function}, None)

    def _added(self, event: Mapping[str, Any]) -> None:
        given = event.get("item")
        if not isinstance(given, dict):
            return
        item = self._item(event, given.get("id"))
        if given.get("type") == "function_call":
            item.call_id = str(given.get("call_id") or given.get("id") or f"call_{len(self._items)}")
            self._call(item, {"name": given.get("name")})

    def _done(self, event: Mapping[str, Any]) -> None:
        """Handle an item's end; add what no delta contained."""
        given = event.get("item")
        if not isinstance(given, dict):
            return
        item, kind = self._item(event, given.get("id")), given.get("type")
        if kind == "function_call":
            if not item.call_id:
                self._added(event)
            self._arguments_done({**event, "item_id": given.get("id"), "arguments": given.get("arguments")})
        elif kind == "reasoning":
            self._reasoning_done(item, given)
        elif kind == "message":
            self._message_done(item, given)

    def _reasoning_done(self, item: Item, given: Mapping[str, Any]) -> None:
        texts = texts_in(given.get("summary")) or texts_in(given.get("content"))
        if not item.written and texts:
            self._think(item, SEPARATOR.join(texts))
        entry = entry_of_item(given)
        if entry is not None and entry["summary"] == "".join(item.written):
            self._output.item(entry)

    def _message_done(self, item: Item, given: Mapping[str, Any]) -> None:
        content = given.get("content")
        for part in content if isinstance(content, list) else ():
            if not isinstance(part, dict):
                continue
            text, refusal = part.get("text"), part.get("refusal")
            if isinstance(text, str) and not item.written:
                self._output.add_tagged(text)
            if isinstance(refusal, str) and not item.written:
                self._output.refuse(refusal)
            for annotation in as_list(part.get("annotations")):
                self._output.annotate(annotation)

    # Endings.

    def _ended(self, event: Mapping[str, Any]) -> None:
        """Handle a response's end; add its items if no event contained any, as where there is no stream."""
        response = as_dict(event.get("response"))
        if not self._output.started:
            for index, item in enumerate(as_list(response.get("output"))):
                self._done({"item": item, "output_index": index})
        status = response.get("status") or str(event.get("type")).rpartition(".")[2]
        self._usage = as_dict(response.get("usage")) or self._usage
        if status == "completed":
            self._stop = "end_turn"
        elif status == "incomplete":
            reason = as_dict(response.get("incomplete_details")).get("reason")
            self._stop = INCOMPLETE.get(str(reason), "")
            if not self._stop:
                raise incomplete(f"the upstream stopped with {reason!r}")
        else:
            self._fail(response.get("error") or {"message": f"the upstream ended its response as {status}"})
        self._output.start(self._usage)
        self._finish()

    def _fail(self, error: object) -> None:
        if not self._output.cut:
            raise read_stream_error(orjson.dumps({"error": error}), self._sent)

    def _finish(self) -> None:
        if not self._over:
            self._output.finish(self._stop, "", self._usage, silent_limit=True)
            self._over = True


_EVENTS = {
    "response.output_item.added": ResponsesDecoder._added,
    "response.output_item.done": ResponsesDecoder._done,
    "response.refusal.delta": ResponsesDecoder._refusal,
    "response.reasoning_summary_part.added": ResponsesDecoder._summary_part,
    "response.reasoning_summary_text.delta": ResponsesDecoder._reasoning,
    "response.reasoning_text.delta": ResponsesDecoder._reasoning,
    "response.function_call_arguments.delta": ResponsesDecoder._arguments,
    "response.function_call_arguments.done": ResponsesDecoder._arguments_done,
    "response.completed": ResponsesDecoder._ended,
    "response.incomplete": ResponsesDecoder._ended,
    "response.failed": ResponsesDecoder._ended,
    "response.cancelled": ResponsesDecoder._ended,
}
"""Event -> its handler. All others repeat what these say, or have no place in a message."""
