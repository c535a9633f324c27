"""The async way to the server: the official client's asyncio part, and what is done on it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any, TypeVar

import aiohttp

from . import _config
from ._requests import Deadline, Op, Pause, Query, Reply, Request, Retry, is_passing
from ._transport import AUTH, parse_reply
from ._websocket import KEEPALIVE
from .errors import ApiError, ConnectionFailed, StreamClosed, api_error

T = TypeVar("T")
_LOST = (aiohttp.ClientError, asyncio.TimeoutError, OSError)
# Frames of the cluster have 32 KiB at most.
_FRAME_MAX = 4 << 20
_FAREWELL = 1.0


class AsyncSocket:
    """A connection that has been upgraded. Reading ahead is bounded by aiohttp."""

    def __init__(self, inner: aiohttp.ClientWebSocketResponse[Any]) -> None:
        self._inner = inner
        # None if it has ended by now.
        self._below = inner.get_extra_info("socket")
        for option in KEEPALIVE if self._below is not None else ():
            self._below.setsockopt(*option)
        self.protocol = inner.protocol or ""

    async def send(self, message: bytes) -> None:
        """Waits while the other side does not read."""
        try:
            await self._inner.send_bytes(message)
        except _LOST as error:
            raise StreamClosed(1006, str(error)) from error

    async def receive(self, timeout: float | None) -> bytes | None:
        """The next message; None if there was none in time. Raises StreamClosed at the end."""
        try:
            message = await self._inner.receive(timeout)
        except asyncio.TimeoutError:
            return None
        except _LOST as error:
            raise StreamClosed(1006, str(error)) from error
        if message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT):
            data = message.data
            return data.encode() if isinstance(data, str) else bytes(data)
        if message.type == aiohttp.WSMsgType.CLOSE:
            raise StreamClosed(int(message.data or 1005), str(message.extra or ""))
        raise StreamClosed(1006, "" if message.data is None else str(message.data))

    async def close(self) -> None:
        # A command that goes on talking must not keep who has heard enough.
        with contextlib.suppress(asyncio.TimeoutError, *_LOST):
            await asyncio.wait_for(self._inner.close(), _FAREWELL)
        # TLS has a farewell of its own, for which aiohttp waits where nobody sees it.
        if self._below is not None:
            with contextlib.suppress(OSError):
                self._below.shutdown(socket.SHUT_RDWR)
            # The loop is to notice, even if it ends now.
            await asyncio.sleep(0)


class AsyncTransport:
    def __init__(self, api: Any, retry: Retry, kubeconfig: str | None, context: str | None) -> None:
        self._api = api
        self._owned = api is None
        self._source = (kubeconfig, context)
        self._lock = asyncio.Lock()
        self._streams: aiohttp.ClientSession | None = None
        self.namespace = "default"
        self.retry = retry

    async def ready(self) -> Any:
        """The ApiClient. Loaded at the first use: credentials may take a program to be run."""
        async with self._lock:
            if self._api is None:
                self._api, self.namespace = await _config.load_async(*self._source)
            return self._api

    async def close(self) -> None:
        if self._streams is not None:
            await self._streams.close()
        if self._owned and self._api is not None:
            await self._api.close()

    async def run(self, op: Op[T]) -> T:
        """Does what the operation asks for. Whatever goes wrong is its business first, so that it
        can clean up even when it is cancelled."""
        try:
            step = next(op)
            while True:
                try:
                    reply = await self._do(step)
                except BaseException as error:
                    step = op.throw(error)
                else:
                    step = op.send(reply)
        except StopIteration as done:
            value: T = done.value
            return value

    async def _do(self, step: Request | Pause) -> Reply | None:
        if isinstance(step, Pause):
            await asyncio.sleep(step.seconds)
            return None
        try:
            response = await self._call(step, step.timeout)
            data = await response.read()
        except _LOST as error:
            raise ConnectionFailed(f"{step.method} {step.path}: {error!r}") from error
        return parse_reply(response.status, response.headers, data)

    async def _serialize(self, request: Request) -> Any:
        api = await self.ready()
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return await api.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query),
            header_params=headers,
            body=request.body,
            auth_settings=AUTH,
        )

    async def _call(self, request: Request, timeout: float | aiohttp.ClientTimeout) -> Any:
        serialized = await self._serialize(request)
        return await self._api.call_api(*serialized, _request_timeout=timeout)

    async def lines(self, path: str, query: Query, silence: float | None) -> AsyncIterator[str]:
        """The lines of an answer as they come."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=30.0, sock_read=silence)
        try:
            response = await self._call(Request("GET", path, query), timeout)
            inner = response.response
            try:
                if response.status != 200:
                    reply = parse_reply(response.status, response.headers, await response.read())
                    raise api_error(reply.status, reply.body, reply.retry_after)
                rest = b""
                async for data in inner.content.iter_any():
                    *full, rest = (rest + data).split(b"\n")
                    for line in full:
                        yield line.decode(errors="replace")
                if rest:
                    yield rest.decode(errors="replace")
            finally:
                # Not given back: more may be on its way.
                inner.close()
        except _LOST as error:
            raise ConnectionFailed(f"GET {path}: {error!r}") from error

    async def open(
        self, path: str, query: Query, protocols: Sequence[str], timeout: float
    ) -> AsyncSocket:
        """A stream. Tried again only if the server said that it did not begin."""
        deadline = Deadline(timeout)
        attempt = 1
        while True:
            try:
                return await self._upgrade(path, query, protocols, max(0.1, deadline.left()))
            except ApiError as error:
                pause = self.retry.pause(attempt, error.retry_after)
                hopeless = attempt >= self.retry.attempts or pause >= deadline.left()
                # Nothing has run yet: any answer but a stream says so.
                if hopeless or not is_passing(error, repeatable=True):
                    raise
            await asyncio.sleep(pause)
            attempt += 1

    async def _upgrade(
        self, path: str, query: Query, protocols: Sequence[str], timeout: float
    ) -> AsyncSocket:
        _, url, headers, _, _ = await self._serialize(Request("GET", path, query))
        headers = {k: v for k, v in headers.items() if k not in ("Accept", "Content-Type")}
        settings = self._api.configuration
        options: dict[str, Any] = {}
        if settings.proxy:
            options["proxy"] = settings.proxy
        try:
            connecting = self._session().ws_connect(
                url,
                headers=headers,
                protocols=protocols,
                max_msg_size=_FRAME_MAX,
                server_hostname=settings.tls_server_name or None,
                **options,
            )
            inner = await asyncio.wait_for(connecting, timeout)
        except _LOST as error:
            raise ConnectionFailed(f"GET {path}: {error!r}") from error
        return AsyncSocket(inner)

    def _session(self) -> aiohttp.ClientSession:
        if self._streams is None:
            connector = aiohttp.TCPConnector(ssl=self._api.rest_client.ssl_context, limit=0)
            # By this the server's words are read: ws_connect itself drops them.
            self._streams = aiohttp.ClientSession(connector=connector, raise_for_status=_refused)
        return self._streams


async def _refused(response: aiohttp.ClientResponse) -> None:
    if response.status < 300:
        return
    data = await response.content.read(1 << 20)
    reply = parse_reply(response.status, response.headers, data)
    raise api_error(reply.status, reply.body, reply.retry_after)
