"""The sync WebSocket: one thread may send while another receives."""

from __future__ import annotations

import json
import selectors
import socket
import ssl
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import websocket

from .errors import ConnectionFailed, StreamClosed, api_error

KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
# Of those that need no descriptor of their own.
_Selector: type[selectors.BaseSelector] = getattr(
    selectors, "PollSelector", selectors.SelectSelector
)


class _Duplex:
    """A socket as websocket-client uses it. OpenSSL does not let two threads into one connection:
    each call is short and under a lock, and waiting is done outside of it."""

    def __init__(self, inner: socket.socket) -> None:
        inner.setblocking(False)
        self._inner = inner
        self._lock = threading.Lock()
        self._users = 0
        self._closing = False
        self.read_timeout: float | None = None

    def _enter(self) -> None:
        with self._lock:
            if self._closing:
                raise OSError("closed")
            self._users += 1

    def _leave(self) -> None:
        # Whoever is last closes: a descriptor that is waited for must not become another's.
        with self._lock:
            self._users -= 1
            if self._closing and not self._users:
                self._inner.close()

    def recv(self, size: int) -> bytes:
        self._enter()
        try:
            return self._recv(size)
        finally:
            self._leave()

    def _recv(self, size: int) -> bytes:
        timeout = self.read_timeout
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._lock:
                try:
                    return self._inner.recv(size)
                except (ssl.SSLWantReadError, BlockingIOError):
                    wanted = selectors.EVENT_READ
                except ssl.SSLWantWriteError:
                    wanted = selectors.EVENT_WRITE
                except ssl.SSLEOFError:
                    return b""
            self._wait(wanted, deadline)

    def send(self, data: bytes) -> int:
        self._enter()
        try:
            return self._send(data)
        finally:
            self._leave()

    def _send(self, data: bytes) -> int:
        while True:
            with self._lock:
                try:
                    return self._inner.send(data)
                except ssl.SSLWantReadError:
                    wanted = selectors.EVENT_READ
                except (ssl.SSLWantWriteError, BlockingIOError):
                    wanted = selectors.EVENT_WRITE
            # Whoever receives watches the time; to give up is to end the connection.
            self._wait(wanted, None)

    def _wait(self, wanted: int, deadline: float | None) -> None:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        with _Selector() as selector:
            selector.register(self._inner, wanted)
            if not selector.select(left):
                raise TimeoutError("timed out")

    def close(self) -> None:
        """Wakes both threads."""
        with self._lock:
            if self._closing:
                return
            self._closing = True
            # Not SSLSocket.shutdown, which would go on without TLS.
            with suppress(OSError):
                socket.socket.shutdown(self._inner, socket.SHUT_RDWR)
            if not self._users:
                self._inner.close()

    def shutdown(self, how: int) -> None:
        self.close()

    def gettimeout(self) -> float | None:
        return self.read_timeout

    def settimeout(self, seconds: float | None) -> None:
        self.read_timeout = seconds

    def fileno(self) -> int:
        return self._inner.fileno()


class Socket:
    """A connection that has been upgraded."""

    def __init__(self, inner: Any, protocol: str) -> None:
        self._inner = inner
        self._duplex = _Duplex(inner.sock)
        inner.sock = self._duplex
        self.protocol = protocol

    @classmethod
    def open(
        cls,
        url: str,
        headers: dict[str, str],
        protocols: Sequence[str],
        settings: Any,
        context: ssl.SSLContext,
        timeout: float,
    ) -> Socket:
        """Raises an ApiError if the server refuses, or ConnectionFailed."""
        sslopt: dict[str, Any] = {"context": context}
        if settings.tls_server_name:
            sslopt["server_hostname"] = settings.tls_server_name
        # Half typed: its connect() is not.
        inner: Any = websocket.WebSocket(
            sockopt=KEEPALIVE, sslopt=sslopt, skip_utf8_validation=True
        )
        try:
            inner.connect(
                "ws" + url.removeprefix("http"),
                header=[f"{name}: {value}" for name, value in headers.items()],
                subprotocols=list(protocols),
                timeout=timeout,
                suppress_origin=True,
                redirect_limit=0,
                **_proxy(settings),
            )
        except websocket.WebSocketBadStatusException as error:
            raise _refused(error) from None
        except (websocket.WebSocketException, OSError) as error:
            raise ConnectionFailed(f"{urlsplit(url).netloc}: {error}") from error
        return cls(inner, str(inner.getsubprotocol()))

    def send(self, message: bytes) -> None:
        """Blocks while the other side does not read."""
        try:
            self._inner.send_binary(message)
        except (websocket.WebSocketException, OSError, ValueError) as error:
            raise StreamClosed(1006, str(error)) from error

    def receive(self, timeout: float | None) -> bytes | None:
        """The next message; None if there was none in time. Raises StreamClosed at the end."""
        self._duplex.read_timeout = timeout
        try:
            code, frame = self._inner.recv_data_frame(control_frame=True)
        except websocket.WebSocketTimeoutException:
            return None
        except (websocket.WebSocketException, OSError, ValueError, AttributeError) as error:
            # AttributeError: closed by another thread in the middle.
            raise StreamClosed(1006, str(error)) from error
        if code == websocket.ABNF.OPCODE_CLOSE:
            data = bytes(frame.data)
            number = int.from_bytes(data[:2], "big") if len(data) >= 2 else 1005
            raise StreamClosed(number, data[2:].decode(errors="replace"))
        if code in (websocket.ABNF.OPCODE_BINARY, websocket.ABNF.OPCODE_TEXT):
            return bytes(frame.data)
        # A ping, which was answered.
        return b""

    def close(self) -> None:
        self._duplex.close()


def _proxy(settings: Any) -> dict[str, Any]:
    if not settings.proxy:
        return {}
    proxy = urlsplit(settings.proxy)
    options: dict[str, Any] = {
        "http_proxy_host": proxy.hostname,
        "http_proxy_port": proxy.port,
        "proxy_type": proxy.scheme if proxy.scheme.startswith("socks") else "http",
    }
    if proxy.username:
        options["http_proxy_auth"] = (proxy.username, proxy.password)
    if settings.no_proxy:
        options["http_no_proxy"] = settings.no_proxy.split(",")
    return options


def _refused(error: websocket.WebSocketBadStatusException) -> Exception:
    try:
        body = json.loads(error.resp_body or b"{}")
    except ValueError:
        body = {"message": bytes(error.resp_body or b"")[:500].decode(errors="replace")}
    after = (error.resp_headers or {}).get("retry-after", "")
    return api_error(
        error.status_code,
        body if isinstance(body, dict) else {},
        float(after) if after.isdigit() else None,
    )
