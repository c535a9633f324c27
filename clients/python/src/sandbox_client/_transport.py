"""The sync way to the server: the official client's connections, and what is done on them."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import urllib3
from kubernetes.client.exceptions import ApiException

from ._requests import Deadline, Op, Pause, Query, Reply, Request, Retry, is_passing
from ._websocket import Socket
from .errors import ApiError, ConnectionFailed, api_error

T = TypeVar("T")
AUTH = ["BearerToken"]


def parse_reply(status: int, headers: Any, data: bytes) -> Reply:
    try:
        body = json.loads(data) if data else {}
    except ValueError:
        # Not ours: a proxy's, or kube-apiserver's own.
        body = {"message": data[:500].decode(errors="replace").strip()}
    after = headers.get("Retry-After") or ""
    seconds = float(after) if after.isdigit() else None
    return Reply(status, body if isinstance(body, dict) else {}, seconds)


def ssl_context(settings: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(
        cafile=settings.ssl_ca_cert, cadata=settings.ca_cert_data or None
    )
    if getattr(settings, "disable_strict_ssl_verification", False):
        context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if settings.cert_file:
        context.load_cert_chain(settings.cert_file, settings.key_file)
    if not settings.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    elif settings.assert_hostname is False:
        context.check_hostname = False
    return context


class Transport:
    def __init__(self, api: Any, retry: Retry, owned: bool) -> None:
        self._api = api
        self._owned = owned
        self._context: ssl.SSLContext | None = None
        self.retry = retry

    def close(self) -> None:
        if self._owned:
            self._api.close()

    def run(self, op: Op[T]) -> T:
        """Does what the operation asks for. Whatever goes wrong is its business first, so that it
        can clean up even after a KeyboardInterrupt."""
        try:
            step = next(op)
            while True:
                try:
                    reply = self._do(step)
                except BaseException as error:
                    step = op.throw(error)
                else:
                    step = op.send(reply)
        except StopIteration as done:
            value: T = done.value
            return value

    def _do(self, step: Request | Pause) -> Reply | None:
        if isinstance(step, Pause):
            time.sleep(step.seconds)
            return None
        response = self._call(step, step.timeout)
        try:
            data: bytes = response.read()
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionFailed(f"{step.method} {step.path}: {error}") from error
        return parse_reply(response.status, response.headers, data)

    def _serialize(self, request: Request) -> Any:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        return self._api.param_serialize(
            request.method,
            request.path,
            query_params=list(request.query),
            header_params=headers,
            body=request.body,
            auth_settings=AUTH,
        )

    def _call(self, request: Request, timeout: float | tuple[float, float | None]) -> Any:
        try:
            return self._api.call_api(*self._serialize(request), _request_timeout=timeout)
        except (urllib3.exceptions.HTTPError, ApiException, OSError) as error:
            raise ConnectionFailed(f"{request.method} {request.path}: {error}") from error

    def lines(self, path: str, query: Query, silence: float | None) -> Iterator[str]:
        """The lines of an answer as they come."""
        response = self._call(Request("GET", path, query), (30.0, silence))
        inner = response.response
        try:
            if response.status != 200:
                reply = parse_reply(response.status, response.headers, response.read())
                raise api_error(reply.status, reply.body, reply.retry_after)
            rest = b""
            for data in inner.stream(1 << 16):
                *full, rest = (rest + data).split(b"\n")
                for line in full:
                    yield line.decode(errors="replace")
            if rest:
                yield rest.decode(errors="replace")
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise ConnectionFailed(f"GET {path}: {error}") from error
        finally:
            # Not given back: more may be on its way.
            inner.close()

    def open(self, path: str, query: Query, protocols: Sequence[str], timeout: float) -> Socket:
        """A stream. Tried again only if the server said that it did not begin."""
        if self._context is None:
            self._context = ssl_context(self._api.configuration)
        deadline = Deadline(timeout)
        attempt = 1
        while True:
            _, url, headers, _, _ = self._serialize(Request("GET", path, query))
            headers = {k: v for k, v in headers.items() if k not in ("Accept", "Content-Type")}
            try:
                return Socket.open(
                    url,
                    headers,
                    protocols,
                    self._api.configuration,
                    self._context,
                    max(0.1, deadline.left()),
                )
            except ApiError as error:
                pause = self.retry.pause(attempt, error.retry_after)
                hopeless = attempt >= self.retry.attempts or pause >= deadline.left()
                # Nothing has run yet: any answer but a stream says so.
                if hopeless or not is_passing(error, repeatable=True):
                    raise
            time.sleep(pause)
            attempt += 1
