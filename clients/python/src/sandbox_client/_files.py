"""Files of a Sandbox, sync."""

from __future__ import annotations

import builtins
import io
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tarfile import ReadError
from typing import BinaryIO, TypeVar, cast

from . import _commands, _tar
from ._channel import Output
from ._exec import ExecStream
from .errors import RemoteFileError
from .models import FileInfo, Result

T = TypeVar("T")
# Command, what goes to its stdin, the longest silence.
Start = Callable[[list[str], "Iterable[bytes] | None", float], ExecStream]


class _Source(io.RawIOBase):
    """A command's stdout to read from; what it says on stderr is kept."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = memoryview(chunk)
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count


def buffered(chunks: Iterator[bytes]) -> BinaryIO:
    return cast("BinaryIO", io.BufferedReader(_Source(chunks), _tar.BLOCK))


class Files:
    """Files of the Sandbox, moved by its `tar`. Paths are absolute, or relative to where the
    container works. `timeout` is the longest time in which nothing moves."""

    def __init__(self, start: Start) -> None:
        self._start = start

    def write(
        self, path: str, data: bytes | str, *, mode: int = 0o644, timeout: float = 60.0
    ) -> None:
        """Makes or replaces a file, and the folders that it takes."""
        folder, name = _commands.place(path)
        content = data.encode() if isinstance(data, str) else data
        feed = _tar.of_bytes(name, content, mode)
        self._help(_commands.unpack_here(folder), path, timeout, feed)

    def read(self, path: str, *, max_bytes: int = 256 << 20, timeout: float = 60.0) -> bytes:
        """The contents of a file; of a link, those of its target."""
        command, _ = _commands.pack(path, follow=True)
        return self._receive(
            command, path, timeout, lambda source: _tar.read_file(source, path, max_bytes)
        )

    def upload(self, local: str | Path, path: str, *, timeout: float = 60.0) -> None:
        """Sends a file as `path`, or the contents of a folder into the folder `path`."""
        source = Path(local)
        if not source.exists():
            raise FileNotFoundError(source)
        folder, name = _commands.place(path)
        self._help(_commands.unpack_here(folder), path, timeout, _tar.of_path(source, name))

    def download(
        self, path: str, local: str | Path, *, max_bytes: int = 8 << 30, timeout: float = 60.0
    ) -> None:
        """Fetches a file as `local`, or the contents of a folder into the folder `local`. Nothing
        is written elsewhere, whatever the Sandbox sends."""
        command, name = _commands.pack(path, follow=False)
        target = Path(local)
        self._receive(
            command, path, timeout, lambda source: _tar.unpack(source, name, target, max_bytes)
        )

    def list(self, path: str, *, timeout: float = 60.0) -> list[FileInfo]:
        """What is in a folder, by name. Takes `sh` and `stat`."""
        result = self._help(_commands.list_folder(path), path, timeout, limit=64 << 20)
        return _commands.entries(result.stdout_bytes)

    def exists(self, path: str, *, timeout: float = 60.0) -> bool:
        """Whether there is something of that name, be it a broken link. Takes `sh`."""
        with self._start(_commands.exists(path), None, timeout) as stream:
            for _ in stream:
                pass
            return stream.exit_code == 0

    def mkdir(self, path: str, *, timeout: float = 60.0) -> None:
        """Makes a folder and those above it, where they are missing. Takes `mkdir`."""
        self._help(_commands.mkdir(path), path, timeout)

    def remove(self, path: str, *, timeout: float = 60.0) -> None:
        """Removes a file, or a folder with all that is in it, if it is there. Takes `rm`."""
        self._help(_commands.remove(path), path, timeout)

    def _help(
        self,
        command: builtins.list[str],
        path: str,
        timeout: float,
        feed: Iterable[bytes] | None = None,
        limit: int = _commands.HELPER_OUTPUT,
    ) -> Result:
        output = Output(limit)
        with self._start(command, feed, timeout) as stream:
            for chunk in stream:
                output.add(chunk)
            return _commands.check(output.result(stream.exit_code or 0, check=False), path)

    def _receive(
        self,
        command: builtins.list[str],
        path: str,
        timeout: float,
        unpack: Callable[[BinaryIO], T],
    ) -> T:
        said = Output(_commands.HELPER_OUTPUT)
        with self._start(command, None, timeout) as stream:

            def chunks() -> Iterator[bytes]:
                for chunk in stream:
                    if chunk.stream == "stdout":
                        yield chunk.data
                    else:
                        said.add(chunk)

            data = chunks()
            broken: ReadError | None = None
            value: T | None = None
            try:
                value = unpack(buffered(data))
            except ReadError as error:
                broken = error
            # Whether tar was content is known at its end only.
            for _ in data:
                pass
            _commands.check(said.result(stream.exit_code or 0, check=False), path)
        if broken is not None:
            raise RemoteFileError(f"{path}: {broken}") from broken
        return cast("T", value)
