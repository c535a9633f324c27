"""What is asked of one Sandbox."""

from __future__ import annotations

from typing import Literal

from ._requests import Deadline, Op, Request, Retry, await_answer, object_path, persist
from .models import SandboxInfo


def fetch(namespace: str, name: str, retry: Retry, timeout: float) -> Op[SandboxInfo]:
    """The Sandbox as it is now."""
    request = Request("GET", object_path(namespace, "sandboxes", name))
    return SandboxInfo.of((yield from persist(request, retry, Deadline(timeout))))


def set_mode(
    namespace: str,
    name: str,
    verb: Literal["suspend", "resume"],
    wait: bool,
    retry: Retry,
    timeout: float,
) -> Op[SandboxInfo]:
    """Suspends or resumes: to do it twice is to do it once."""
    path = object_path(namespace, "sandboxes", name, verb)
    deadline = Deadline(timeout)
    if wait:
        body = yield from await_answer("POST", path, "true", None, retry, deadline)
    else:
        body = yield from persist(Request("POST", path), retry, deadline)
    return SandboxInfo.of(body)


def restart(namespace: str, name: str, retry: Retry, timeout: float) -> Op[SandboxInfo]:
    """Asks for a new Pod. Twice would be two, so that a lost answer is not asked for again."""
    request = Request("POST", object_path(namespace, "sandboxes", name, "restart"))
    return SandboxInfo.of((yield from persist(request, retry, Deadline(timeout), repeatable=False)))
