"""Connections of the page's clients, as asyncio and other reactors of Twisted have them.

HTTP, which is in ``http``, knows neither.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol as ReactorProtocol
from zope.interface import implementer

from scrapy_mpworkers.pool import unshared
from scrapy_mpworkers.status.http import Clients


def listen(loop: Any, sock: socket.socket, clients: Clients) -> Callable[[], None]:
    """Take connections of a socket that listens, which is handed over, from now on.

    Args:
        loop: the asyncio loop, or the reactor.

    Returns:
        what ends it, without a wait.
    """
    unshared.keep_socket(sock)
    if isinstance(loop, asyncio.AbstractEventLoop):
        return _listen_in_asyncio(loop, sock, clients)
    factory = Factory.forProtocol(partial(_ReactorWire, clients))
    factory.noisy = False
    port = loop.adoptStreamPort(sock.fileno(), sock.family, factory)
    unshared.keep_socket(port.socket)
    _let_go(sock)  # the port has a copy

    def end() -> None:
        unshared.forget_socket(port.socket)
        port.stopListening()

    return end


def _listen_in_asyncio(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, clients: Clients
) -> Callable[[], None]:
    servers: list[asyncio.Server] = []
    is_over = False

    async def begin() -> None:
        servers.append(await loop.create_server(lambda: _AsyncioWire(clients), sock=sock))
        if is_over:
            end()

    def end() -> None:
        nonlocal is_over
        is_over = True
        for server in servers:
            server.close()
            _let_go(sock)

    loop.create_task(begin())  # which is always due or done: the loop holds it
    return end


def _let_go(sock: socket.socket) -> None:
    unshared.forget_socket(sock)
    sock.close()


class _AsyncioWire(asyncio.Protocol):
    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.is_clogged = False

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(high=0)  # whatever waits makes it clogged
        self.write, self.close, self.abort = transport.write, transport.close, transport.abort
        self._sock = transport.get_extra_info("socket")
        unshared.keep_socket(self._sock)
        self._client = self._clients.came(self)

    def data_received(self, data: bytes) -> None:
        self._client.received(data)

    def pause_writing(self) -> None:
        self.is_clogged = True

    def resume_writing(self) -> None:
        self.is_clogged = False

    def connection_lost(self, exc: Exception | None) -> None:
        unshared.forget_socket(self._sock)
        self._clients.left(self._client)


@implementer(IPushProducer)
class _ReactorWire(ReactorProtocol):
    transport: Any

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self.is_clogged = False

    def connectionMade(self) -> None:
        self.transport.registerProducer(self, True)
        self.write, self.abort = self.transport.write, self.transport.abortConnection
        self._sock = self.transport.getHandle()
        unshared.keep_socket(self._sock)
        self._client = self._clients.came(self)

    def dataReceived(self, data: bytes) -> None:
        self._client.received(data)

    def pauseProducing(self) -> None:
        self.is_clogged = True

    def resumeProducing(self) -> None:
        self.is_clogged = False

    def stopProducing(self) -> None:
        """Nothing more is written anyhow."""

    def close(self) -> None:
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def connectionLost(self, reason: Any = None) -> None:
        unshared.forget_socket(self._sock)
        self._clients.left(self._client)
