"""A Sandbox, sync."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Literal, overload

from . import _claims, _commands, _sandboxes
from ._channel import (
    EXEC_PROTOCOLS,
    FORWARD_PROTOCOLS,
    Limits,
    Output,
    Session,
    as_parts,
    exec_query,
)
from ._exec import ExecStream
from ._files import Files
from ._forward import PortForward
from ._shared import OPEN_TIMEOUT, Target, forward_query, log_query
from ._transport import Transport
from .errors import SandboxError
from .models import ClaimInfo, Result, SandboxInfo

_log = logging.getLogger("sandbox_client")


class Sandbox:
    """A Sandbox that is used. Commands, files and ports wake it if it sleeps.

    Leaving `with` releases its claim, if it has one that it shall release."""

    def __init__(
        self,
        transport: Transport,
        namespace: str,
        name: str,
        *,
        claim: ClaimInfo | None = None,
        target: Target | None = None,
        release: bool = False,
        container: str | None = None,
    ) -> None:
        self._transport = transport
        self._target = target or Target(namespace, "sandboxes", name)
        self._release = release
        self._container = container
        self.namespace = namespace
        self.name = name
        self.claim = claim
        """The claim by which it is held, as it was when it was claimed."""
        self.files = Files(self._start_helper)

    def run(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str | Iterable[bytes] | None = None,  # noqa: A002 as subprocess.run has it
        check: bool = False,
        timeout: float | None = 300.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        max_output: int = 64 << 20,
    ) -> Result:
        """Runs a command to its end. A string is for the container's `sh`, a list is run as it is.

        Raises CommandFailed with check=True and an exit code other than 0, StreamTimeout after
        `timeout` seconds, OutputTooLarge beyond `max_output` bytes; with both of these the command
        goes on in the Sandbox."""
        output = Output(max_output)
        with self.stream(command, input=input, timeout=timeout, cwd=cwd, env=env) as stream:
            for chunk in stream:
                output.add(chunk)
            return output.result(stream.exit_code or 0, check)

    def stream(
        self,
        command: str | Sequence[str],
        *,
        input: bytes | str | Iterable[bytes] | None = None,  # noqa: A002
        stdin: bool = False,
        tty: bool = False,
        timeout: float | None = None,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
    ) -> ExecStream:
        """Starts a command, to iterate over what it says as it says it. Its stdin gets `input`, or
        with stdin=True whatever is written to the stream."""
        words = _commands.argv(command, cwd=cwd, env=env)
        feed: Iterable[bytes] | None = None if input is None else as_parts(input)
        return self._open("exec", words, Limits(timeout), feed, stdin=stdin, tty=tty)

    def attach(
        self, *, stdin: bool = False, tty: bool = False, timeout: float | None = None
    ) -> ExecStream:
        """What the container's own process says from now on, and its stdin."""
        return self._open("attach", (), Limits(timeout), None, stdin=stdin, tty=tty)

    def _start_helper(
        self, command: list[str], feed: Iterable[bytes] | None, silence: float
    ) -> ExecStream:
        return self._open("exec", command, Limits(silence=silence), feed)

    def _open(
        self,
        kind: Literal["exec", "attach"],
        command: Sequence[str],
        limits: Limits,
        feed: Iterable[bytes] | None,
        *,
        stdin: bool = False,
        tty: bool = False,
    ) -> ExecStream:
        has_stdin = stdin or feed is not None
        query = exec_query(command, stdin=has_stdin, tty=tty, container=self._container)
        left = limits.left()
        patience = OPEN_TIMEOUT if left is None else min(OPEN_TIMEOUT, left)
        socket = self._transport.open(self._target.path(kind), query, EXEC_PROTOCOLS, patience)
        return ExecStream(socket, Session(command), limits, feed)

    def port_forward(self, port: int, *, local_port: int = 0) -> PortForward:
        """A port of the Sandbox on 127.0.0.1: `with sbx.port_forward(8080) as fwd`, then
        `fwd.local_port`, which is free unless it is chosen."""
        path, query = self._target.path("portforward"), forward_query(port)
        return PortForward(
            lambda: self._transport.open(path, query, FORWARD_PROTOCOLS, OPEN_TIMEOUT),
            port,
            local_port,
        )

    def logs(
        self,
        *,
        follow: bool = False,
        tail: int | None = None,
        since_seconds: int | None = None,
        previous: bool = False,
        timestamps: bool = False,
        timeout: float | None = None,
    ) -> Iterator[str]:
        """The lines of the container's log; with follow=True also those to come. `timeout` is the
        longest time without a line."""
        query = log_query(
            follow=follow,
            tail=tail,
            since_seconds=since_seconds,
            previous=previous,
            timestamps=timestamps,
            container=self._container,
        )
        silence = timeout if follow or timeout is not None else 60.0
        return self._transport.lines(self._target.path("log"), query, silence)

    def info(self, *, timeout: float = 30.0) -> SandboxInfo:
        """The Sandbox as it is now."""
        transport = self._transport
        return transport.run(_sandboxes.fetch(self.namespace, self.name, transport.retry, timeout))

    def suspend(self, *, wait: bool = True, timeout: float = 60.0) -> SandboxInfo:
        """Ends the Pod and keeps volumes and identity; streams are closed with the reason."""
        return self._set_mode("suspend", wait, timeout)

    def resume(self, *, wait: bool = True, timeout: float = 120.0) -> SandboxInfo:
        """Starts it again. To use it does so too."""
        return self._set_mode("resume", wait, timeout)

    def _set_mode(
        self, verb: Literal["suspend", "resume"], wait: bool, timeout: float
    ) -> SandboxInfo:
        transport = self._transport
        return transport.run(
            _sandboxes.set_mode(self.namespace, self.name, verb, wait, transport.retry, timeout)
        )

    def restart(self, *, timeout: float = 30.0) -> SandboxInfo:
        """Asks for a new Pod; does not wait for it."""
        transport = self._transport
        return transport.run(
            _sandboxes.restart(self.namespace, self.name, transport.retry, timeout)
        )

    def release(self, *, timeout: float = 30.0) -> None:
        """Deletes the claim, and with it the Sandbox. Once is enough, more does no harm."""
        if self.claim is None:
            raise ValueError(f"the Sandbox {self.name!r} is not held by a claim")
        transport = self._transport
        transport.run(_claims.release(self.claim, transport.retry, timeout))
        self._release = False

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._release:
            leave(self.release, error)


class Gang(Sequence[Sandbox]):
    """The Sandboxes of one claim with several. Leaving `with` releases all of them."""

    def __init__(
        self, transport: Transport, claim: ClaimInfo, release: bool, container: str | None
    ) -> None:
        self._transport = transport
        self._release = release
        self.claim = claim
        self._members = [
            Sandbox(transport, claim.namespace, bound.name, claim=claim, container=container)
            for bound in claim.sandboxes
        ]

    @overload
    def __getitem__(self, index: int) -> Sandbox: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sandbox]: ...
    def __getitem__(self, index: int | slice) -> Sandbox | list[Sandbox]:
        return self._members[index]

    def __len__(self) -> int:
        return len(self._members)

    def release(self, *, timeout: float = 30.0) -> None:
        """Deletes the claim, and with it all its Sandboxes."""
        self._transport.run(_claims.release(self.claim, self._transport.retry, timeout))
        self._release = False

    def __enter__(self) -> Gang:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._release:
            leave(self.release, error)


def leave(release: Callable[[], None], error: BaseException | None) -> None:
    """Releases; a failure of that never hides the error that is on its way."""
    try:
        release()
    except SandboxError as failed:
        if error is None:
            raise
        _log.warning("the claim was not released: %s", failed)
