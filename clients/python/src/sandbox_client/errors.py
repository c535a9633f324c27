"""What can go wrong. Everything raised on purpose is a SandboxError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .models import Result


class SandboxError(Exception):
    """The root of all errors of this package."""


class ConfigError(SandboxError):
    """Neither a kubeconfig nor a Pod's service account could be used."""


class ConnectionFailed(SandboxError):
    """The API server could not be reached, or the answer was lost."""


class ApiError(SandboxError):
    """The server said no; `status`, `reason` and `message` are those of its Status."""

    def __init__(
        self, status: int, reason: str, message: str, retry_after: float | None = None
    ) -> None:
        super().__init__(f"{status} {reason}: {message}" if reason else f"{status}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        """Seconds after which the server would like to be asked again, if it said so."""


class Unauthorized(ApiError):
    """401: the credentials are missing or not accepted."""


class Forbidden(ApiError):
    """403: RBAC does not grant it."""


class NotFound(ApiError):
    """404: there is no such object."""


class Conflict(ApiError):
    """409: the object's present state does not allow it."""


class AlreadyExists(Conflict):
    """409: the name is taken."""


class Invalid(ApiError):
    """422 or 400: the request can't be right."""


class TooManyRequests(ApiError):
    """429: too many claims wait, or too many streams are open."""


class Unavailable(ApiError):
    """502 or 503: the server is away or starting."""


class PoolExhausted(Unavailable):
    """503: nothing is in stock and the claim was to fail then."""


class ServerTimeout(ApiError):
    """504: it was not so far in time; what was asked for goes on."""


class WaitTimeout(SandboxError, TimeoutError):
    """What was waited for did not happen in time; the server goes on with it."""


class ClaimTimeout(WaitTimeout):
    """The claim was not bound, or its Sandbox not ready, in time. Unless it was to be kept, the
    claim has been deleted."""

    def __init__(self, claim: str, message: str) -> None:
        super().__init__(f"claim {claim!r}: {message}")
        self.claim = claim


class StreamError(SandboxError):
    """A stream broke."""


class StreamClosed(StreamError):
    """The other side ended the stream before the command did; `code` and `reason` are those of the
    WebSocket's close, for example 1001 and "the sandbox was suspended". Without a close the code
    is 1006."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"stream closed: {code} {reason}".rstrip())
        self.code = code
        self.reason = reason


class StreamTimeout(StreamError, TimeoutError):
    """The command did not end, or nothing moved, in time. The command may go on in the Sandbox."""


class CommandError(SandboxError):
    """A command could not be run, or failed."""


class CommandFailed(CommandError):
    """The command ended with another code than 0."""

    def __init__(self, result: Result) -> None:
        tail = result.stderr_bytes[-500:].decode(errors="replace").strip()
        super().__init__(f"exit code {result.exit_code}" + (f": {tail}" if tail else ""))
        self.result = result

    @property
    def exit_code(self) -> int:
        return self.result.exit_code


class CommandNotFound(CommandError):
    """The container has no such program."""

    def __init__(self, program: str, message: str) -> None:
        super().__init__(f"the container has no {program!r}: {message}")
        self.program = program


class NoShell(CommandNotFound):
    """The container has no `sh`, which a command given as a string and some file methods need."""


class NoTar(CommandNotFound):
    """The container has no `tar`, by which files are moved."""


class OutputTooLarge(CommandError):
    """The output did not fit into the limit; stream it instead."""


class RemoteFileError(SandboxError):
    """A file of the Sandbox could not be read or written."""


class RemoteFileNotFound(RemoteFileError, FileNotFoundError):
    """There is no such file in the Sandbox."""


class UnsafeArchive(RemoteFileError):
    """The Sandbox sent something that must not be unpacked: a path that leaves the target, a
    device."""


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: Invalid,
    429: TooManyRequests,
    502: Unavailable,
    503: Unavailable,
    504: ServerTimeout,
}
_BY_REASON: dict[str, type[ApiError]] = {
    "AlreadyExists": AlreadyExists,
    "PoolExhausted": PoolExhausted,
}


def api_error(status: int, body: Mapping[str, Any], retry_after: float | None) -> ApiError:
    """The typed error of an answer, whose body is a Status if all went as usual."""
    reason = str(body.get("reason") or "")
    message = str(body.get("message") or "the server gave no reason")
    details = body.get("details")
    if retry_after is None and isinstance(details, Mapping) and details.get("retryAfterSeconds"):
        retry_after = float(details["retryAfterSeconds"])
    kind = _BY_REASON.get(reason) or _BY_STATUS.get(status, ApiError)
    return kind(status, reason, message, retry_after)
