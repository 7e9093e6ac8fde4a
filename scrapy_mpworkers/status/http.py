"""HTTP with one client of the page, and with all of them. ``h11`` reads and writes, without I/O."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Protocol

import h11
from scrapy.utils.defer import deferred_from_coro

from scrapy_mpworkers.eventloop import EventLoop

#: Bytes of a request's head, at most.
_LONGEST_HEAD = 16 << 10
#: Connections at a time. A browser has six at most.
_MOST_CLIENTS = 32
#: Seconds from one answer to the next, the wait for a request included; and between two looks.
_PATIENCE, _LOOK_AGAIN = 30.0, 5.0

#: No other site may frame, read or remember what is here.
_ALWAYS = [
    ("Cache-Control", "no-store"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
]


@dataclass(frozen=True)
class Answer:
    """A response that has not been written to its connection yet."""

    status: int
    body: bytes
    kind: str = "text/plain; charset=utf-8"
    headers: Sequence[tuple[str, str]] = ()


class Wire(Protocol):
    """A connection, to write to and to end.

    Attributes:
        is_clogged: the client has not taken what was written last.
    """

    is_clogged: bool

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Close it when all is written."""

    def abort(self) -> None:
        """Close it now."""


class Site(Protocol):
    """Whoever knows the answers. One that takes its time is awaited."""

    def respond(self, request: h11.Request) -> Answer | Awaitable[Answer]: ...


class Clients:
    """The clients that are connected. None of them can hold anything for long."""

    def __init__(self, site: Site, loop: EventLoop) -> None:
        self._site = site
        self._loop = loop
        self._open: dict[Conversation, Wire] = {}
        self._looks_again = self._is_over = False

    def came(self, wire: Wire) -> Conversation:
        if len(self._open) >= _MOST_CLIENTS:
            self._open[min(self._open, key=lambda one: one.since)].abort()
        conversation = Conversation(wire, self._site)
        self._open[conversation] = wire
        if self._is_over:
            wire.abort()  # it had been accepted before
        else:
            self._look_later()
        return conversation

    def left(self, conversation: Conversation) -> None:
        self._open.pop(conversation, None)

    def abort_all(self) -> None:
        """End all connections, and those that are still to come."""
        self._is_over = True
        for wire in list(self._open.values()):
            wire.abort()

    def _look_later(self) -> None:
        if self._open and not self._looks_again:
            self._looks_again = True
            self._loop.call_later(_LOOK_AGAIN, self._end_late_ones)

    def _end_late_ones(self) -> None:
        self._looks_again = False
        latest = monotonic() - _PATIENCE
        for conversation, wire in list(self._open.items()):
            if conversation.since < latest:
                wire.abort()
        self._look_later()


class Conversation:
    """Requests of one client and their answers, one after the other.

    Attributes:
        since: when it began to wait for the present request.
    """

    def __init__(self, wire: Wire, site: Site) -> None:
        self._wire = wire
        self._site = site
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_LONGEST_HEAD)
        self._request: h11.Request | None = None
        self._is_answering = False
        self.since = monotonic()

    def received(self, data: bytes) -> None:
        if self._wire.is_clogged or self._is_answering or self._http.our_state is h11.MUST_CLOSE:
            self._wire.abort()  # requests or answers would pile up here
            return
        try:
            self._http.receive_data(data)
            self._read()
        except h11.RemoteProtocolError as error:
            if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._send(Answer(error.error_status_hint, f"{error}\n".encode()))
            else:
                self._wire.abort()

    def _read(self) -> None:
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Request):
                self._request = event
            elif isinstance(event, h11.Data):
                self._send(Answer(413, b"A request must have no body.\n"))
                return
            elif isinstance(event, h11.EndOfMessage):
                self._answer()
                return
            elif isinstance(event, h11.ConnectionClosed):
                self._wire.close()
                return
            else:
                return  # more is to come; or an answer is awaited

    def _answer(self) -> None:
        assert self._request is not None
        self._is_answering = True
        answer = self._site.respond(self._request)
        if isinstance(answer, Answer):
            self._send(answer)
        else:
            deferred_from_coro(self._send_later(answer))

    async def _send_later(self, answer: Awaitable[Answer]) -> None:
        self._send(await answer)

    def _send(self, answer: Answer) -> None:
        self._is_answering = False
        is_last = self._http.their_state is not h11.DONE or bool(self._http.trailing_data[0])
        headers = [
            ("Content-Type", answer.kind),
            ("Content-Length", str(len(answer.body))),
            *_ALWAYS,
            *answer.headers,
            *([("Connection", "close")] if is_last else []),
        ]
        is_head = self._request is not None and self._request.method == b"HEAD"
        events = [
            h11.Response(status_code=answer.status, headers=headers),
            *([] if is_head else [h11.Data(data=answer.body)]),
            h11.EndOfMessage(),
        ]
        self._wire.write(b"".join(self._http.send(event) or b"" for event in events))
        if self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self.since = monotonic()
        else:
            self._wire.close()
