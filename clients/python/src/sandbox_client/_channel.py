"""The streams' protocol without the sockets: messages of a WebSocket whose first byte names a
channel (`v5.channel.k8s.io`)."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from ._requests import Query
from .errors import (
    CommandError,
    CommandFailed,
    CommandNotFound,
    NoShell,
    NoTar,
    OutputTooLarge,
    StreamClosed,
    StreamError,
)
from .models import Chunk, Result

# v5 first: in v4 the end of stdin can't be told.
EXEC_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
FORWARD_PROTOCOLS = ("v4.channel.k8s.io",)
STDIN, STDOUT, STDERR, STATUS, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
END_OF_STDIN = bytes([CLOSE, STDIN])

# Large enough to be few, small enough to share a connection.
PIECE = 32 << 10
# After the command's status only the close is to come.
LAST_WORD = 5.0

_NOT_FOUND = re.compile(
    r'exec: \\?"(?P<program>[^"\\]+)\\?": (?:executable file not found|stat [^ ]*: no such file)'
    r"|exec (?P<path>[^ :]+): no such file",
)


def pieces(data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """What goes to stdin, as messages."""
    view = memoryview(data)
    for start in range(0, len(view), PIECE):
        yield bytes([STDIN]) + view[start : start + PIECE]


def resize(columns: int, rows: int) -> bytes:
    return bytes([RESIZE]) + json.dumps({"Width": columns, "Height": rows}).encode()


def exec_query(
    command: Sequence[str], *, stdin: bool, tty: bool = False, container: str | None = None
) -> Query:
    query = [("command", part) for part in command]
    query += [("stdout", "true")]
    # A terminal has one output.
    query += [("tty", "true")] if tty else [("stderr", "true")]
    if stdin:
        query.append(("stdin", "true"))
    if container:
        query.append(("container", container))
    return tuple(query)


class Session:
    """One exec or attach: fed with messages, it tells what they say and how it ended."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self.exit_code: int | None = None
        self.error: CommandError | None = None

    @property
    def is_over(self) -> bool:
        return self.exit_code is not None or self.error is not None

    def feed(self, message: bytes) -> Chunk | None:
        if len(message) < 2:
            # Each channel begins with an empty message.
            return None
        channel, data = message[0], message[1:]
        if channel == STDOUT:
            return Chunk("stdout", data)
        if channel == STDERR:
            return Chunk("stderr", data)
        if channel == STATUS:
            self._status(data)
        return None

    def _status(self, data: bytes) -> None:
        try:
            status: dict[str, Any] = json.loads(data)
        except ValueError:
            self.error = CommandError(data.decode(errors="replace"))
            return
        if status.get("status") == "Success":
            self.exit_code = 0
            return
        causes = (status.get("details") or {}).get("causes") or ()
        for cause in causes:
            if cause.get("reason") == "ExitCode":
                self.exit_code = int(cause["message"])
                return
        self.error = self._failure(str(status.get("message", "")))

    def _failure(self, message: str) -> CommandError:
        found = _NOT_FOUND.search(message)
        # Only if it is the program itself: its interpreter may be what is missing.
        if not found:
            return CommandError(message)
        program = found["program"] or found["path"]
        kinds: dict[str, type[CommandNotFound]] = {"sh": NoShell, "tar": NoTar}
        kind = kinds.get(program, CommandNotFound) if program in self._command[:1] else None
        return (kind or CommandNotFound)(program, message)

    def closed(self, code: int, reason: str) -> None:
        """The connection has ended; an error unless all was said before."""
        if not self.is_over:
            raise StreamClosed(code, reason)

    def finish(self) -> int:
        """The exit code."""
        if self.error is not None:
            raise self.error
        if self.exit_code is None:
            raise StreamError("the command has not ended yet")
        return self.exit_code


class Output:
    """Collects what a command says, up to a limit."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts = {"stdout": bytearray(), "stderr": bytearray()}

    def add(self, chunk: Chunk) -> None:
        self._parts[chunk.stream] += chunk.data
        if sum(map(len, self._parts.values())) > self._limit:
            raise OutputTooLarge(f"more than {self._limit} bytes; use stream()")

    def result(self, exit_code: int, check: bool) -> Result:
        result = Result(exit_code, bytes(self._parts["stdout"]), bytes(self._parts["stderr"]))
        if check and exit_code != 0:
            raise CommandFailed(result)
        return result


class Limits:
    """How long a stream may take, and how long nothing may move."""

    def __init__(self, total: float | None = None, silence: float | None = None) -> None:
        self._end = None if total is None else time.monotonic() + total
        self._silence = silence
        self._moved = time.monotonic()

    def moved(self) -> None:
        self._moved = time.monotonic()

    def left(self) -> float | None:
        """Seconds, or None for no limit."""
        ends = []
        if self._end is not None:
            ends.append(self._end)
        if self._silence is not None:
            ends.append(self._moved + self._silence)
        return min(ends) - time.monotonic() if ends else None

    @property
    def text(self) -> str:
        return "the command did not end in time" if self._end is not None else "nothing moved"


def as_parts(data: Any) -> Any:
    """Text and bytes as an iterable of bytes, which anything else is already."""
    if isinstance(data, str):
        return (data.encode(),)
    if isinstance(data, (bytes, bytearray, memoryview)):
        return (bytes(data),)
    return data


class Forwarded:
    """One forwarded connection: channel 0 is data, 1 is what went wrong. Each begins with the
    port in two bytes."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self.error = ""

    def feed(self, message: bytes) -> bytes:
        """What the message has for the local side."""
        if not message:
            return b""
        channel, data = message[0], message[1:]
        if channel not in self._begun:
            self._begun.add(channel)
            data = data[2:]
        if channel == 1:
            self.error += data.decode(errors="replace")
            return b""
        return data if channel == 0 else b""
