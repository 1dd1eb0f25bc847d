"""Writes one response: reasoning, text and calls, in an order that the Messages protocol allows.

The decoders of both wires use it. It signs thinking blocks so that clients can send the reasoning back, finds reasoning
between tags, and cuts at stop sequences that the host does not know. `calls` assembles calls.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gateway.dialects.citations import Page, citation, write_search
from gateway.dialects.ids import new_id
from gateway.dialects.openai.calls import Calls
from gateway.dialects.openai.encoded_request import EncodedRequest
from gateway.dialects.openai.reasoning import DETAILS, ITEMS, Entry, details_signature, text_signature
from gateway.dialects.openai.text import StopCutter, TagReader
from gateway.dialects.openai.usage import messages_usage
from gateway.dialects.usage import Place, completed, count
from gateway.messages.json_values import as_dict, as_text
from gateway.messages.stream import StreamWriter

Remember = Callable[[str, Mapping[str, Any]], None]
"""Stores the values to send back with a call, by the client's id."""


class Output:
    """Writes the blocks of one response."""

    __slots__ = (
        "_annotations",
        "_at",
        "_blanks",
        "_blanks_at",
        "_characters",
        "_cutter",
        "_entries",
        "_field",
        "_form",
        "_length",
        "_open",
        "_random",
        "_refused",
        "_remember",
        "_reporting",
        "_sent",
        "_tags",
        "_writer",
        "calls",
        "in_text",
    )

    def __init__(
        self,
        writer: StreamWriter,
        sent: EncodedRequest,
        random: Callable[[], float],
        remember: Remember,
        reporting: set[Place],
    ) -> None:
        """`random` gives [0, 1), for ids. `reporting`: places that report usage."""
        self._writer = writer
        self._sent = sent
        self._remember = remember
        self._reporting = reporting
        self._random = random
        self.calls = Calls(writer, sent.names, sent.ids, random, self._release)
        self._tags = TagReader(sent.traits.think_tags)
        self._cutter = StopCutter(sent.stops) if sent.stops else None
        self.in_text = False
        """Whether text is open, so that `more_text` may write directly into it."""
        self._open = ""
        """The kind of the last block: "text", "thinking" or ""."""
        self._at = 0
        """The number of calls that had begun then."""
        self._blanks: list[str] = []
        """Blank text at the beginning of a block, which is dropped if a call follows."""
        self._blanks_at = 0
        """The number of calls that had begun then."""
        self._field = ""
        self._entries: list[Entry | int] = []
        self._length = 0
        self._form = DETAILS
        """Of the open thinking block: its field, its entries, its characters, and the form of the entries."""
        self._annotations: list[Mapping[str, Any]] = []
        self._refused = False
        self._characters = 0

    @property
    def started(self) -> bool:
        """Whether anything was written."""
        return self._writer.started

    @property
    def cut(self) -> str:
        """The stop sequence at which the text was cut, "" for none; anything after it is dropped."""
        return self._cutter.found if self._cutter is not None else ""

    def start(self, usage: Mapping[str, Any] | None) -> None:
        """Begin the message, with the usage known so far."""
        if not self._writer.started:
            self._writer.start(messages_usage(usage) if usage is not None else None)

    def more_text(self, text: str) -> None:
        """Add to the open text; only while `in_text`."""
        self._characters += len(text)
        self._writer.text(text)

    def add_tagged(self, text: str) -> None:
        """Add text that may begin with reasoning between tags."""
        if self._tags.over:
            self.text(text)
            return
        reasoning, rest = self._tags.feed(text)
        if reasoning:
            self._think(reasoning, "think", ())
        self.text(rest)

    def text(self, text: str) -> None:
        """Add text."""
        if text:
            self._characters += len(text)
            self._text(self._cutter.feed(text) if self._cutter is not None else text)

    def think(self, text: str, field: str, entries: Sequence[Entry | int] = ()) -> None:
        """Add reasoning from a field of the host's, and its opaque entries."""
        self._end_tags()
        last = self.calls.last
        if text or (entries and last is None):
            self._think(text, field, entries)
        elif entries and last is not None:
            last.kept.setdefault("details", []).extend(entries)

    def item(self, entry: Entry) -> None:
        """Add a whole item of reasoning whose text was already written."""
        self._think("", ITEMS, [entry])

    def refuse(self, text: str) -> None:
        """Add the text of a refusal."""
        self._refused = True
        self.text(text)

    def annotate(self, annotation: object) -> None:
        """Add a citation."""
        cited = annotation.get("url_citation", annotation) if isinstance(annotation, dict) else None
        if isinstance(cited, dict) and isinstance(cited.get("url"), str):
            self._annotations.append(cited)

    def call(self, delta: Mapping[str, Any], index: object) -> None:
        """Add a piece of a call; one that says nothing begins none. Raises StreamFailure."""
        if not (self.calls.last or delta.get("id") or any(as_dict(delta.get("function")).values())):
            return
        self._end_tags()
        self._end_cutter()
        if self._is_open("thinking"):
            self._close()
        self.in_text = False
        self.calls.delta(delta, index)

    def is_sound(self, stop: str, usage: Mapping[str, Any] | None) -> bool:
        """Return whether the response could end now with this stop reason."""
        return self.calls.is_sound(cut=stop == "max_tokens" or self._at_limit(usage))

    def finish(
        self, stop: str, stop_sequence: str, usage: Mapping[str, Any] | None, *, silent_limit: bool = False
    ) -> None:
        """Write what is left, and the message's end. Raises StreamFailure for an invalid call.

        `silent_limit`: the host may report a response that reached its limit as complete.
        """
        self._end_tags()
        self._end_cutter()
        if stop != "max_tokens" and not self.calls.is_sound(cut=False) and self._at_limit(usage):
            stop = "max_tokens"
        if silent_limit and stop == "end_turn" and self.calls.last is None and self._at_limit(usage):
            stop = "max_tokens"
        self.calls.finish(cut=stop == "max_tokens")
        said = self._is_open("text")
        self._close()
        counted = self._counted(usage)
        if self._annotations:
            self._write_search(cite=said)
            counted["server_tool_use"] = {"web_search_requests": 1}
        for id, kept in self.calls.kept():
            self._remember(id, kept)
        sequence = self.cut or (stop_sequence if stop == "end_turn" and not self.calls.count else "")
        if sequence:
            stop = "stop_sequence"
        elif self._refused:
            stop = "refusal"
        elif stop == "end_turn" and self.calls.count:
            stop = "tool_use"
        self._writer.finish(stop, counted, sequence or None)

    def _write_search(self, *, cite: bool) -> None:
        """Write the pages that the response refers to; `cite`: into the open text, too."""
        pages = {}
        for cited in self._annotations:
            title = cited.get("title")
            page = Page(cited["url"], title if isinstance(title, str) and title else cited["url"])
            pages[page.url] = page
            if cite:
                self._writer.citation(citation(page, as_text(cited.get("content"))))
        write_search(self._writer, new_id("srvtoolu_", self._random), "", pages.values())

    def _counted(self, usage: Mapping[str, Any] | None) -> dict[str, Any]:
        counted, self._writer.estimated = completed(
            messages_usage(usage) if usage is not None else {},
            self._sent.input_tokens,
            self._characters + self.calls.characters,
            (self._sent.host, self._sent.model),
            self._reporting,
        )
        return counted

    def _at_limit(self, usage: Mapping[str, Any] | None) -> bool:
        """Return whether the limit was reached: some hosts report that as a normal end."""
        if usage is None or not self._sent.max_tokens:
            return False
        return (count(usage, "completion_tokens") or count(usage, "output_tokens")) >= self._sent.max_tokens

    def _release(self, kind: str, items: list[Any]) -> None:
        """Write content that had to wait for a call."""
        if kind == "text":
            self._put_text("".join(items))
        else:
            for item in items:
                self._put_thinking(*item)
            self._close()

    def _text(self, text: str) -> None:
        if not text:
            return
        if self.calls.make_way("text"):
            self._put_text(text)
        else:
            self.calls.wait("text", text)

    def _think(self, text: str, field: str, entries: Sequence[Entry | int]) -> None:
        self._characters += len(text)
        self._end_cutter()
        if self.calls.make_way("thinking"):
            self._put_thinking(text, field, entries)
        else:
            self.calls.wait("thinking", (text, field, entries))

    def _is_open(self, kind: str) -> bool:
        return self._open == kind and self._at == self.calls.count

    def _put_text(self, text: str) -> None:
        if not self._is_open("text"):
            if self._blanks_at != self.calls.count:
                # These blanks stood before a call.
                self._blanks.clear()
                self._blanks_at = self.calls.count
            if text.isspace():
                self._blanks.append(text)
                return
            text = "".join([*self._blanks, text])
            self._begin("text")
        self.in_text = self._tags.over and self._cutter is None and self.calls.last is None
        self._writer.text(text)

    def _put_thinking(self, text: str, field: str, entries: Sequence[Entry | int]) -> None:
        if field == ITEMS:
            self._put_item(entries)
            return
        if not self._is_open("thinking"):
            self._begin("thinking")
            self._field = field
        if entries and not self._entries and self._length:
            self._entries.append(self._length)
        self._entries += entries or ([len(text)] if self._entries else [])
        self._length += len(text)
        self._writer.thinking(text)

    def _put_item(self, entries: Sequence[Entry | int]) -> None:
        """Sign the open thinking with its item, or write a block without text."""
        if not self._is_open("thinking"):
            self._begin("thinking")
        self._entries, self._form = [*entries], ITEMS
        self._close()

    def _begin(self, kind: str) -> None:
        self._close()
        self._blanks.clear()
        self.in_text = False
        self._open, self._at = kind, self.calls.count

    def _close(self) -> None:
        """Sign and close the open thinking, if any: other content or the end follows."""
        if self._is_open("thinking"):
            if self._entries:
                host, model = self._sent.host, self._sent.model
                self._writer.signature(details_signature(self._entries, host, model, self._form))
            else:
                self._writer.signature(text_signature(self._field))
        self._open, self._entries, self._length, self._form = "", [], 0, DETAILS

    def _end_tags(self) -> None:
        """Stop looking for tags: a field of reasoning, a call or the end has come."""
        if not self._tags.over:
            reasoning, text = self._tags.end()
            self._tags.over = True
            if reasoning:
                self._think(reasoning, "think", ())
            self.text(text)

    def _end_cutter(self) -> None:
        if self._cutter is not None:
            self._text(self._cutter.end())
