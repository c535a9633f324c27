"""Ports of a Sandbox on this machine, async."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from types import TracebackType

from ._aio_transport import AsyncSocket
from ._channel import PIECE, Forwarded
from ._forward import CONNECTIONS_MAX, LINGER
from .errors import SandboxError, StreamClosed

_log = logging.getLogger("sandbox_client")


class AsyncPortForward:
    """Listens on 127.0.0.1 while inside `async with`; each connection is a stream of its own."""

    def __init__(
        self, open_stream: Callable[[], Awaitable[AsyncSocket]], port: int, local_port: int
    ) -> None:
        self._open = open_stream
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(CONNECTIONS_MAX)
        self.port = port
        self.local_port = local_port
        """Once it listens, the port that it got."""
        self.error: SandboxError | str | None = None
        """What went wrong with the last connection that failed."""

    async def __aenter__(self) -> AsyncPortForward:
        self._server = await asyncio.start_server(
            self._accepted, "127.0.0.1", self.local_port, limit=2 * PIECE
        )
        self.local_port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops listening and ends the connections."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with self._slots:
                stream = await self._open()
                try:
                    await self._copy(reader, writer, stream)
                finally:
                    await stream.close()
        except (SandboxError, OSError) as error:
            self.error = error if isinstance(error, SandboxError) else str(error)
            _log.warning("forwarding port %d: %s", self.port, error)
        finally:
            writer.close()

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stream: AsyncSocket
    ) -> None:
        sender = asyncio.create_task(_send(reader, stream))
        forwarded = Forwarded()
        try:
            await _receive(writer, stream, forwarded, sender)
        finally:
            if forwarded.error:
                self.error = forwarded.error
                _log.warning("forwarding port %d: %s", self.port, forwarded.error)
            sender.cancel()
            await asyncio.gather(sender, return_exceptions=True)


async def _send(reader: asyncio.StreamReader, stream: AsyncSocket) -> None:
    try:
        while data := await reader.read(PIECE):
            await stream.send(b"\0" + data)
    except (OSError, StreamClosed):
        # Whoever receives is told why.
        return


async def _receive(
    writer: asyncio.StreamWriter,
    stream: AsyncSocket,
    forwarded: Forwarded,
    sender: asyncio.Task[None],
) -> None:
    while True:
        try:
            message = await stream.receive(LINGER)
        except StreamClosed as closed:
            if closed.code in (1000, 1005, 1006):
                return
            raise
        if message is None:
            if sender.done():
                return
            continue
        writer.write(forwarded.feed(message))
        await writer.drain()
