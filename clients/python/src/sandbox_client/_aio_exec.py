"""Commands in a Sandbox, async."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable
from types import TracebackType

from ._aio_transport import AsyncSocket
from ._channel import END_OF_STDIN, LAST_WORD, Limits, Session, pieces, resize
from .errors import StreamClosed, StreamError, StreamTimeout
from .models import Chunk

Feed = Iterable[bytes] | AsyncIterable[bytes]


class AsyncExecStream:
    """A command that runs, from `async with` or the first use on: iterate over it for what it
    says, or write() to its stdin. Who does not read, stops the command's output.

    One task may write while another iterates. Leaving `async with`, or close(), ends the
    connection; the command itself goes on if it does not notice."""

    def __init__(
        self,
        open_socket: Callable[[], Awaitable[AsyncSocket]],
        session: Session,
        limits: Limits,
        feed: Feed | None,
    ) -> None:
        self._open = open_socket
        self._opening = asyncio.Lock()
        self._socket: AsyncSocket | None = None
        self._session = session
        self._limits = limits
        self._feed = feed
        self._feeder: asyncio.Task[None] | None = None
        self._feed_error: BaseException | None = None
        self._done = False

    @property
    def exit_code(self) -> int | None:
        """The exit code, once iterating has come to the end."""
        return self._session.exit_code

    async def _opened(self) -> AsyncSocket:
        async with self._opening:
            if self._socket is None:
                if self._done:
                    raise StreamError("the stream is closed")
                self._socket = await self._open()
                self._limits.moved()
                if self._feed is not None:
                    self._feeder = asyncio.create_task(self._pump(self._feed))
            return self._socket

    async def write(self, data: bytes) -> None:
        """To the command's stdin; waits while the command does not read."""
        socket = await self._opened()
        for piece in pieces(data):
            await socket.send(piece)
            self._limits.moved()

    async def close_stdin(self) -> None:
        """The command reads to the end of its input; its output goes on."""
        socket = await self._opened()
        if not socket.protocol.startswith("v5"):
            raise StreamError("the cluster can't close stdin: it does not know v5.channel.k8s.io")
        await socket.send(END_OF_STDIN)

    async def resize(self, columns: int, rows: int) -> None:
        """The size of the terminal, of a stream with tty=True."""
        await (await self._opened()).send(resize(columns, rows))

    def __aiter__(self) -> AsyncIterator[Chunk]:
        return self

    async def __anext__(self) -> Chunk:
        chunk = await self._next()
        if chunk is None:
            raise StopAsyncIteration
        return chunk

    async def wait(self) -> int:
        """Drops the rest of the output; the exit code."""
        while await self._next() is not None:
            pass
        return self._session.finish()

    async def _next(self) -> Chunk | None:
        if self._done:
            return None
        socket = await self._opened()
        self._limits.moved()
        while not self._done:
            left = self._limits.left()
            if self._session.is_over:
                left = LAST_WORD if left is None else min(left, LAST_WORD)
            try:
                # aiohttp takes 0 for no limit.
                message = await socket.receive(None if left is None else max(0.001, left))
            except StreamClosed as closed:
                await self._end(closed)
                break
            if message is None:
                await self._late()
                continue
            self._limits.moved()
            chunk = self._session.feed(message)
            if chunk is not None:
                return chunk
        return None

    async def _late(self) -> None:
        left = self._limits.left()
        if self._session.is_over:
            # All was said but the close.
            await self._end(None)
        elif left is not None and left <= 0:
            await self.close()
            raise StreamTimeout(self._limits.text)

    async def _end(self, closed: StreamClosed | None) -> None:
        await self.close()
        if self._feed_error is not None:
            raise self._feed_error
        if closed is not None:
            self._session.closed(closed.code, closed.reason)
        self._session.finish()

    async def _pump(self, feed: Feed) -> None:
        try:
            async for part in _parts(feed):
                await self.write(part)
            await self.close_stdin()
        except StreamClosed:
            # Why it ended, whoever reads is told.
            return
        except Exception as error:
            self._feed_error = error
            if self._socket is not None:
                await self._socket.close()

    async def close(self) -> None:
        self._done = True
        if self._feeder is not None and self._feeder is not asyncio.current_task():
            self._feeder.cancel()
            await asyncio.gather(self._feeder, return_exceptions=True)
        if self._socket is not None:
            await self._socket.close()

    async def __aenter__(self) -> AsyncExecStream:
        await self._opened()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


async def _parts(feed: Feed) -> AsyncIterator[bytes]:
    if isinstance(feed, AsyncIterable):
        async for part in feed:
            yield part
    elif isinstance(feed, tuple):
        for part in feed:
            yield part
    else:
        # It may read from a disk.
        rest = iter(feed)
        while (next_part := await asyncio.to_thread(next, rest, None)) is not None:
            yield next_part
