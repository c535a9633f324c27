"""Commands in a Sandbox."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Literal

from ._channel import END_OF_STDIN, LAST_WORD, Limits, Session, pieces, resize
from ._websocket import Socket
from .errors import StreamClosed, StreamError, StreamTimeout
from .models import Chunk


class ExecStream:
    """A command that runs: iterate over it for what it says, or write() to its stdin. Nothing is
    read ahead: who does not read, stops the command's output.

    One thread may write while another iterates. Leaving `with`, or close(), ends the connection;
    the command itself goes on if it does not notice."""

    def __init__(
        self, socket: Socket, session: Session, limits: Limits, feed: Iterable[bytes] | None
    ) -> None:
        self._socket = socket
        self._session = session
        self._limits = limits
        self._done = False
        self._feed_error: BaseException | None = None
        self._feeder: threading.Thread | None = None
        if feed is not None:
            self._feeder = threading.Thread(target=self._pump, args=(feed,), daemon=True)
            self._feeder.start()

    @property
    def exit_code(self) -> int | None:
        """The exit code, once iterating has come to the end."""
        return self._session.exit_code

    def write(self, data: bytes) -> None:
        """To the command's stdin; blocks while the command does not read."""
        for piece in pieces(data):
            self._socket.send(piece)
            self._limits.moved()

    def close_stdin(self) -> None:
        """The command reads to the end of its input; its output goes on."""
        if not self._socket.protocol.startswith("v5"):
            raise StreamError("the cluster can't close stdin: it does not know v5.channel.k8s.io")
        self._socket.send(END_OF_STDIN)

    def resize(self, columns: int, rows: int) -> None:
        """The size of the terminal, of a stream with tty=True."""
        self._socket.send(resize(columns, rows))

    def __iter__(self) -> Iterator[Chunk]:
        return self

    def __next__(self) -> Chunk:
        chunk = self._next()
        if chunk is None:
            raise StopIteration
        return chunk

    def wait(self) -> int:
        """Drops the rest of the output; the exit code."""
        while self._next() is not None:
            pass
        return self._session.finish()

    def _next(self) -> Chunk | None:
        self._limits.moved()
        while not self._done:
            left = self._limits.left()
            if self._session.is_over:
                left = LAST_WORD if left is None else min(left, LAST_WORD)
            try:
                message = self._socket.receive(None if left is None else max(0.0, left))
            except StreamClosed as closed:
                self._end(closed)
                break
            if message is None:
                self._late()
                continue
            self._limits.moved()
            chunk = self._session.feed(message)
            if chunk is not None:
                return chunk
        return None

    def _late(self) -> None:
        left = self._limits.left()
        if self._session.is_over:
            # All was said but the close.
            self._end(None)
        elif left is not None and left <= 0:
            self.close()
            raise StreamTimeout(self._limits.text)

    def _end(self, closed: StreamClosed | None) -> None:
        self.close()
        if self._feed_error is not None:
            raise self._feed_error
        if closed is not None:
            self._session.closed(closed.code, closed.reason)
        self._session.finish()

    def _pump(self, feed: Iterable[bytes]) -> None:
        try:
            for part in feed:
                self.write(part)
            self.close_stdin()
        except StreamClosed:
            # Why it ended, whoever reads is told.
            return
        except BaseException as error:
            self._feed_error = error
            self._socket.close()

    def close(self) -> None:
        self._done = True
        self._socket.close()
        if self._feeder is not None and self._feeder is not threading.current_thread():
            self._feeder.join(LAST_WORD)

    def __enter__(self) -> ExecStream:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        self.close()
        return False
