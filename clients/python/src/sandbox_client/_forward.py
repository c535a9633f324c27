"""Ports of a Sandbox on this machine, sync."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable
from types import TracebackType

from ._channel import PIECE, Forwarded
from ._websocket import Socket
from .errors import SandboxError, StreamClosed

_log = logging.getLogger("sandbox_client")
CONNECTIONS_MAX = 64
# The protocol has no half-closed connection: after the local end has said all, its answer may
# still come for as long as something moves.
LINGER = 10.0


class PortForward:
    """Listens on 127.0.0.1 while inside `with`; each connection is a stream of its own."""

    def __init__(self, open_stream: Callable[[], Socket], port: int, local_port: int) -> None:
        self._open = open_stream
        self.port = port
        self.error: SandboxError | str | None = None
        """What went wrong with the last connection that failed."""
        self._slots = threading.Semaphore(CONNECTIONS_MAX)
        self._lock = threading.Lock()
        self._ends: set[Callable[[], None]] = set()
        self._closed = False
        self._listener = socket.create_server(("127.0.0.1", local_port))
        self.local_port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            self._slots.acquire()
            try:
                local, _ = self._listener.accept()
            except OSError:
                # Closed.
                return
            threading.Thread(target=self._serve, args=(local,), daemon=True).start()

    def _serve(self, local: socket.socket) -> None:
        stream: Socket | None = None
        try:
            with local:
                stream = self._open()
                self._copy(local, stream)
        except (SandboxError, OSError) as error:
            if not self._closed:
                self.error = error if isinstance(error, SandboxError) else str(error)
                _log.warning("forwarding port %d: %s", self.port, error)
        finally:
            if stream is not None:
                stream.close()
            self._slots.release()

    def _copy(self, local: socket.socket, stream: Socket) -> None:
        def end() -> None:
            stream.close()
            try:
                local.shutdown(socket.SHUT_RDWR)
            except OSError:
                # It is down already.
                return

        with self._lock:
            self._ends.add(end)
            if self._closed:
                end()
        said_all = threading.Event()
        sender = threading.Thread(target=_send, args=(local, stream, said_all), daemon=True)
        sender.start()
        forwarded = Forwarded()
        try:
            _receive(local, stream, forwarded, said_all)
        finally:
            # Before the local end notices.
            if forwarded.error:
                self.error = forwarded.error
                _log.warning("forwarding port %d: %s", self.port, forwarded.error)
            end()
            sender.join(LINGER)
            with self._lock:
                self._ends.discard(end)

    def close(self) -> None:
        """Stops listening and ends the connections."""
        with self._lock:
            self._closed = True
            ends = list(self._ends)
        try:
            # Wakes accept(), which close() alone does not.
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            _log.debug("the listener was closed already")
        self._listener.close()
        for end in ends:
            end()

    def __enter__(self) -> PortForward:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _send(local: socket.socket, stream: Socket, said_all: threading.Event) -> None:
    try:
        while data := local.recv(PIECE):
            stream.send(b"\0" + data)
    except (OSError, StreamClosed):
        # Whoever receives is told why.
        return
    finally:
        said_all.set()


def _receive(
    local: socket.socket, stream: Socket, forwarded: Forwarded, said_all: threading.Event
) -> None:
    while True:
        try:
            message = stream.receive(LINGER)
        except StreamClosed as closed:
            if closed.code in (1000, 1005, 1006):
                return
            raise
        if message is None:
            if said_all.is_set():
                return
            continue
        local.sendall(forwarded.feed(message))
