"""Whole heads that come again and again: the same lines with another length, key or request id among them.

`lines` spares h11 the lines it has judged before; a Form spares the walk over them. It is learnt from a head that was
accepted. Its constant lines are compared as bytes. The few that vary (framing, credentials, what differs in every
message) are read afresh each time, by patterns narrower than what `strict` and h11 accept, and never kept. A form is
also good as a key: what follows from the constant lines alone need be found out only once.
"""

from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any

from gateway.http1 import lines
from gateway.http1.lines import Field

MAX_FORMS = 64
"""Kinds of clients, or of upstreams' answers, at one time. When it is full all are dropped: each is learnt anew
with its next head."""

MAX_LINES = 48
"""Lines of a head that is learnt; real ones have up to 30."""

FRAMING = frozenset({b"content-length", b"transfer-encoding", b"expect"})
"""Read afresh by patterns of their own; all other varying fields may have any plain value."""

_PLAIN = bytes(range(0x20, 0x7F))

Pick = Callable[[Sequence[bytes]], tuple[bytes, ...]]


class Form:
    """What stays in heads of one kind. Compared by identity."""

    __slots__ = (
        "_blanks",
        "_constant",
        "_fields",
        "_framing",
        "_length",
        "_pick",
        "_prefixes",
        "_stay",
        "_vary",
        "index",
        "says",
    )

    def __init__(self, text: Sequence[bytes], fields: Sequence[Field], says: Any) -> None:
        """`text` is a head's lines, with the start line and the two empty ones, which were read as `fields`."""
        self.says = says
        """What was read from the start line and the constant lines, for whoever makes a head of it."""
        self.index: dict[bytes, int] = {}
        """Name -> which of the fields is the first one of that name."""
        vary = [(at, name, _prefix(text[at + 1])) for at, (name, _) in enumerate(fields) if not _stays(name)]
        places = {at for at, _, _ in vary}
        for at, (name, _) in enumerate(fields):
            self.index.setdefault(name, at)
        self._fields = [
            (name, b"") if at in places else (name, value) for at, (name, value) in enumerate(fields)
        ]
        self._vary = [(at, name, len(prefix)) for at, name, prefix in vary]
        self._framing = [
            (at + 1, len(prefix), lines.values[name]) for at, name, prefix in vary if name in FRAMING
        ]
        self._length = next(
            ((at + 1, len(prefix)) for at, name, prefix in vary if name == b"content-length"), None
        )
        self._prefixes = [prefix for _, _, prefix in vary]
        self._blanks = [prefix + b" " for prefix in self._prefixes]
        self._pick = picker([at + 1 for at, _, _ in vary])
        self._stay = picker([at for at in range(1, len(text)) if at - 1 not in places])
        self._constant = self._stay(text)

    def __repr__(self) -> str:
        return f"<Form [{len(self._fields)} fields, {len(self._vary)} of them vary]>"

    def fits(self, text: Sequence[bytes]) -> bool:
        """Whether a head has this form, whose start line is known to be the same."""
        vary = self._pick(text)
        if (
            self._stay(text) != self._constant
            or b"".join(vary).translate(None, _PLAIN)
            or not all(map(bytes.startswith, vary, self._prefixes))
            # A value that is empty or has blanks around it is for others to judge.
            or any(map(bytes.startswith, vary, self._blanks))
            or tuple(map(bytes.rstrip, vary)) != vary
        ):
            return False
        return all(judge(text[at][skip:]) is not None for at, skip, judge in self._framing)

    def fields(self, text: Sequence[bytes]) -> list[Field]:
        """All fields of a head that has this form."""
        fields = self._fields.copy()
        for at, name, skip in self._vary:
            fields[at] = (name, text[at + 1][skip:])
        return fields

    def content_length(self, text: Sequence[bytes]) -> int | None:
        """What a head that has this form says of its body."""
        if self._length is None:
            return None
        at, skip = self._length
        return int(text[at][skip:])

    def value(self, text: Sequence[bytes], name: bytes) -> bytes | None:
        """The first value of a field in a head that has this form; None if there is none."""
        at = self.index.get(name)
        if at is None:
            return None
        # A constant value may be empty, too.
        return text[at + 1].partition(b": ")[2] if not _stays(name) else self._fields[at][1]


class Forms:
    """The forms that were met, by start line and number of lines."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[tuple[bytes, int], Form] = {}

    def __len__(self) -> int:
        return len(self._known)

    def find(self, text: Sequence[bytes]) -> Form | None:
        """The form of a head (its bytes, split at each CRLF), which may then be taken as accepted. None: read it."""
        form = self._known.get((text[0], len(text)))
        return form if form is not None and form.fits(text) else None

    def learn(self, text: Sequence[bytes], fields: Sequence[Field], says: object) -> None:
        """Keep the form of a head that `lines` has read, unless it has none."""
        # A start line is kept as it is: a key may stand in its query.
        if len(text) > MAX_LINES or not lines.may_be_kept(text[0], b""):
            return
        if not all(map(_is_learnable, text[1:-2], fields)):
            return
        if len(self._known) >= MAX_FORMS:
            self._known.clear()
        self._known[text[0], len(text)] = Form(text, fields, says)


def picker(places: Sequence[int]) -> Pick:
    """What takes the lines at these places out of a head's."""
    if len(places) > 1:
        return itemgetter(*places)
    return lambda text: tuple(text[place] for place in places)


def _stays(name: bytes) -> bool:
    """Whether a field has the same value in all heads of a form. Host and Connection have."""
    return name not in lines.values or (name in lines.JUDGED and name not in FRAMING)


def _prefix(line: bytes) -> bytes:
    return line.partition(b": ")[0] + b": "


def _is_learnable(line: bytes, field: Field) -> bool:
    """Not a constant line that is not to be kept, nor a varying one that is not written `Name: value`."""
    name = field[0]
    if _stays(name):
        return name in lines.JUDGED or lines.may_be_kept(line, name)
    return _prefix(line).lower() == name + b": "
