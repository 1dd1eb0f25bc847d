"""Answers that are read to their end before anything is said: JSON bodies and errors.

Nothing has reached the client until the last byte is here, so whatever breaks can still go elsewhere.
"""

from collections.abc import Callable

from gateway.http1.client_connection import UpstreamError
from gateway.http1.framing import Mode
from gateway.http1.heads import ResponseHead
from gateway.messages.json_documents import read_document
from gateway.proxy.content_encoding import ContentDecoder, UnreadableCoding
from gateway.proxy.request import guarded
from gateway.proxy.responses.reader import ResponseSink
from gateway.routing.failures import Failure, FailureKind

MAX_ERROR = 1024 * 1024
"""Bytes of an error's body that are kept; real ones have less than one KiB."""


class BufferedResponse:
    """Gathers a body, its codings undone, and hands it over once."""

    __slots__ = ("_attempt", "_broken", "_content", "_limit", "_pieces", "_size", "_take", "answer", "decode")

    def __init__(
        self,
        attempt: ResponseSink,
        content: ContentDecoder | None,
        limit: int,
        take: Callable[[bytes], None],
        broken: Callable[[], None] | None = None,
    ) -> None:
        """`take` gets the body. One of more than `limit` bytes is a failure. `broken` is called instead of telling
        the attempt of a failure, where the head alone says enough."""
        self.decode = True
        self.answer = attempt.answer
        self._attempt = attempt
        self._content = content
        self._limit = limit
        self._take = take
        self._broken = broken
        self._pieces: list[bytes] = []
        self._size = 0

    def body_received(self, data: bytes, ended: bool) -> None:
        try:
            if self._content is not None:
                data = self._content.feed(data)
                if ended:
                    self._content.end()
            self._size += len(data)
            if self._size > self._limit:
                self._fail(f"the upstream's answer is larger than {self._limit} bytes")
                return
            self._pieces.append(data)
            if ended:
                self._take(self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces))
        except UnreadableCoding as error:
            self._fail(str(error))
        except Exception as error:
            self.answer.crashed(error)

    def _fail(self, message: str) -> None:
        self._attempt.abandon()
        self.failed(UpstreamError("body", message))

    @guarded
    def failed(self, error: UpstreamError) -> None:
        if self._broken is not None:
            self._broken()
        else:
            self._attempt.failed_early(error.message, timeout=error.timeout)

    def can_ping(self) -> bool:
        return True


def relay_whole(attempt: ResponseSink, head: ResponseHead, mode: Mode, body: bytes) -> None:
    """A whole answer of the client's own dialect, passed on as it is.

    Where only the close of the connection ended it (`mode`), half an answer looks like a whole one: then its JSON
    must tell.
    """
    if not body:
        attempt.failed_early("the upstream's answer is empty")
    elif mode == "close" and not _is_json(body):
        attempt.failed_early("the upstream closed the connection inside its answer")
    else:
        attempt.commit_whole(body, head.get(b"content-type"), head)


def _is_json(body: bytes) -> bool:
    try:
        read_document(body)
    except ValueError:
        return False
    return True


def refuse_whole(attempt: ResponseSink, head: ResponseHead, body: bytes) -> None:
    """A whole answer with an error status. A redirect is one too, since none is followed."""
    redirects = head.status < 400
    attempt.failed(
        Failure(
            kind=FailureKind.STATUS,
            status=502 if redirects else head.status,
            headers=tuple(head.headers),
            body=b"" if redirects else body,
            message=f"the upstream redirects ({head.status}), which is not followed: correct its base_url"
            if redirects
            else "",
        )
    )
