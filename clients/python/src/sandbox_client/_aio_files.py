"""Files of a Sandbox, async."""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tarfile import ReadError
from typing import BinaryIO, TypeVar, cast

from . import _commands, _tar
from ._aio_exec import AsyncExecStream
from ._channel import Output
from ._files import buffered
from .errors import RemoteFileError
from .models import FileInfo, Result

T = TypeVar("T")
# Command, what goes to its stdin, the longest silence.
Start = Callable[[list[str], "Iterable[bytes] | None", float], AsyncExecStream]


class AsyncFiles:
    """Files of the Sandbox, moved by its `tar`. Paths are absolute, or relative to where the
    container works. `timeout` is the longest time in which nothing moves."""

    def __init__(self, start: Start) -> None:
        self._start = start

    async def write(
        self, path: str, data: bytes | str, *, mode: int = 0o644, timeout: float = 60.0
    ) -> None:
        """Makes or replaces a file, and the folders that it takes."""
        folder, name = _commands.place(path)
        content = data.encode() if isinstance(data, str) else data
        feed = _tar.of_bytes(name, content, mode)
        await self._help(_commands.unpack_here(folder), path, timeout, feed)

    async def read(self, path: str, *, max_bytes: int = 256 << 20, timeout: float = 60.0) -> bytes:
        """The contents of a file; of a link, those of its target."""
        command, _ = _commands.pack(path, follow=True)
        return await self._receive(
            command, path, timeout, lambda source: _tar.read_file(source, path, max_bytes)
        )

    async def upload(self, local: str | Path, path: str, *, timeout: float = 60.0) -> None:
        """Sends a file as `path`, or the contents of a folder into the folder `path`."""
        source = Path(local)
        if not await asyncio.to_thread(source.exists):
            raise FileNotFoundError(source)
        folder, name = _commands.place(path)
        feed = _tar.of_path(source, name)
        await self._help(_commands.unpack_here(folder), path, timeout, feed)

    async def download(
        self, path: str, local: str | Path, *, max_bytes: int = 8 << 30, timeout: float = 60.0
    ) -> None:
        """Fetches a file as `local`, or the contents of a folder into the folder `local`. Nothing
        is written elsewhere, whatever the Sandbox sends."""
        command, name = _commands.pack(path, follow=False)
        target = Path(local)
        await self._receive(
            command, path, timeout, lambda source: _tar.unpack(source, name, target, max_bytes)
        )

    async def list(self, path: str, *, timeout: float = 60.0) -> list[FileInfo]:
        """What is in a folder, by name. Takes `sh` and `stat`."""
        result = await self._help(_commands.list_folder(path), path, timeout, limit=64 << 20)
        return _commands.entries(result.stdout_bytes)

    async def exists(self, path: str, *, timeout: float = 60.0) -> bool:
        """Whether there is something of that name, be it a broken link. Takes `sh`."""
        async with self._start(_commands.exists(path), None, timeout) as stream:
            async for _ in stream:
                pass
            return stream.exit_code == 0

    async def mkdir(self, path: str, *, timeout: float = 60.0) -> None:
        """Makes a folder and those above it, where they are missing. Takes `mkdir`."""
        await self._help(_commands.mkdir(path), path, timeout)

    async def remove(self, path: str, *, timeout: float = 60.0) -> None:
        """Removes a file, or a folder with all that is in it, if it is there. Takes `rm`."""
        await self._help(_commands.remove(path), path, timeout)

    async def _help(
        self,
        command: builtins.list[str],
        path: str,
        timeout: float,
        feed: Iterable[bytes] | None = None,
        limit: int = _commands.HELPER_OUTPUT,
    ) -> Result:
        output = Output(limit)
        async with self._start(command, feed, timeout) as stream:
            async for chunk in stream:
                output.add(chunk)
            return _commands.check(output.result(stream.exit_code or 0, check=False), path)

    async def _receive(
        self,
        command: builtins.list[str],
        path: str,
        timeout: float,
        unpack: Callable[[BinaryIO], T],
    ) -> T:
        said = Output(_commands.HELPER_OUTPUT)
        loop = asyncio.get_running_loop()
        async with self._start(command, None, timeout) as stream:

            async def data() -> bytes | None:
                async for chunk in stream:
                    if chunk.stream == "stdout":
                        return chunk.data
                    said.add(chunk)
                return None

            def chunks() -> Iterator[bytes]:
                # In the thread that unpacks.
                while (got := asyncio.run_coroutine_threadsafe(data(), loop).result()) is not None:
                    yield got

            broken: ReadError | None = None
            value: T | None = None
            try:
                value = await asyncio.to_thread(lambda: unpack(buffered(chunks())))
            except ReadError as error:
                broken = error
            # Whether tar was content is known at its end only.
            while await data() is not None:
                pass
            _commands.check(said.result(stream.exit_code or 0, check=False), path)
        if broken is not None:
            raise RemoteFileError(f"{path}: {broken}") from broken
        return cast("T", value)
