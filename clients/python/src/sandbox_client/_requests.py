"""Requests without the sending: an operation is a generator that yields what is to be done and is
sent what came of it, so that the sync and the async client share every decision."""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote

from .errors import (
    ApiError,
    ConnectionFailed,
    PoolExhausted,
    SandboxError,
    ServerTimeout,
    TooManyRequests,
    Unavailable,
    WaitTimeout,
    api_error,
)

GROUP_VERSION = "sandbox.x-k8s.io/v1beta1"
T = TypeVar("T")
Query = tuple[tuple[str, str], ...]

# The server waits at most 55 s, and kube-apiserver cuts a request at 60.
_WAIT_MAX = 50.0
# What an answer may take beyond the time that the server was asked to wait.
_ANSWER = 15.0
# What is left after a wait is not worth another if it is shorter, in seconds: kube-apiserver cuts
# such a request before the server has it, and it might make a claim that was given up and deleted.
_REPEAT_MIN = 0.25


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a request is repeated that was not answered, or answered with
    429, 502, 503 or 504. Never longer than the operation's own timeout."""

    attempts: int = 6
    backoff: float = 0.2
    backoff_max: float = 5.0

    def pause(self, attempt: int, asked: float | None) -> float:
        """Seconds to wait after the attempt of that number, which begins at 1."""
        own = float(min(self.backoff_max, self.backoff * 2 ** (attempt - 1)))
        return max(asked or 0.0, own * random.uniform(0.5, 1.0))


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    path: str
    query: Query = ()
    body: Mapping[str, Any] | None = None
    timeout: float = 30.0


@dataclass(frozen=True, slots=True)
class Pause:
    seconds: float


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: Mapping[str, Any]
    retry_after: float | None


Op = Generator[Request | Pause, Reply | None, T]


class Deadline:
    """A moment, or never."""

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        return float("inf") if self._end is None else self._end - time.monotonic()


def object_path(namespace: str, resource: str, name: str = "", sub: str = "") -> str:
    path = f"/apis/{GROUP_VERSION}/namespaces/{quote(namespace, safe='')}/{resource}"
    for part in (name, sub):
        if part:
            path += "/" + quote(part, safe="")
    return path


def call(request: Request) -> Op[Mapping[str, Any]]:
    """One request, once."""
    reply = yield request
    if reply is None:
        raise RuntimeError("a request needs a reply")
    if not 200 <= reply.status < 300:
        raise api_error(reply.status, reply.body, reply.retry_after)
    return reply.body


def is_passing(error: SandboxError, repeatable: bool) -> bool:
    """Whether the same request may fare better later, and may be sent again: one that is not
    repeatable only after an answer that says that nothing was done."""
    if isinstance(error, PoolExhausted):
        return False
    if isinstance(error, TooManyRequests):
        return True
    if isinstance(error, Unavailable):
        return repeatable or error.retry_after is not None
    return repeatable and isinstance(error, (ConnectionFailed, ServerTimeout))


def persist(
    request: Request, retry: Retry, deadline: Deadline, repeatable: bool = True
) -> Op[Mapping[str, Any]]:
    """The request, and again while that may help."""
    attempt = 1
    while True:
        try:
            return (yield from call(request))
        except (ApiError, ConnectionFailed) as error:
            pause = retry.pause(attempt, getattr(error, "retry_after", None))
            hopeless = attempt >= retry.attempts or pause >= deadline.left()
            if hopeless or not is_passing(error, repeatable):
                raise
        attempt += 1
        yield Pause(pause)


def await_answer(
    method: str,
    path: str,
    wait: str,
    body: Mapping[str, Any] | None,
    retry: Retry,
    deadline: Deadline,
) -> Op[Mapping[str, Any]]:
    """A request that the server answers when it is so far. One that can be repeated, and is as long
    as there is time: the server never waits for a minute.

    Raises WaitTimeout with the server's last word."""
    attempt = 1
    last = "no answer in time"
    least = 0.01
    while True:
        seconds = min(_WAIT_MAX, deadline.left())
        if seconds <= least:
            raise WaitTimeout(last)
        query = (("wait", wait), ("timeout", f"{seconds:.3f}s"))
        asked = time.monotonic()
        try:
            return (yield from call(Request(method, path, query, body, seconds + _ANSWER)))
        except (ApiError, ConnectionFailed) as error:
            if isinstance(error, ServerTimeout):
                last = error.message
                if time.monotonic() - asked >= seconds / 2:
                    # It has waited, which is no failure.
                    attempt = 1
                    least = _REPEAT_MIN
                    continue
            pause = retry.pause(attempt, getattr(error, "retry_after", None))
            if not is_passing(error, repeatable=True) or attempt >= retry.attempts:
                raise
            if pause >= deadline.left():
                raise WaitTimeout(str(error)) from error
        attempt += 1
        yield Pause(pause)
