"""Archives as streams: made of local files and unpacked into them, a block at a time."""

from __future__ import annotations

import os
import posixpath
import shutil
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from .errors import RemoteFileError, UnsafeArchive

BLOCK = 64 << 10
# GNU's: the older tar programs (busybox among them) skip what pax has to say.
_FORMAT: Literal[1] = 1  # tarfile.GNU_FORMAT
_ENTRIES_MAX = 1_000_000
_END = bytes(2 * tarfile.BLOCKSIZE)


def _header(info: tarfile.TarInfo) -> bytes:
    return info.tobuf(_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def of_bytes(name: str, data: bytes, mode: int) -> Iterator[bytes]:
    """An archive of one file."""
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), mode, int(time.time())
    yield _header(info)
    for start in range(0, len(data), BLOCK):
        yield data[start : start + BLOCK]
    yield _padding(len(data)) + _END


def of_path(local: Path, name: str) -> Iterator[bytes]:
    """An archive of a file, or of a folder's contents, under that name. What is neither file,
    folder nor symbolic link is left out."""
    if not local.is_dir():
        yield from _file(local, name, local.stat())
    else:
        empty = True
        for path in _walk(local):
            empty = False
            inside = path.relative_to(local).as_posix()
            yield from _entry(path, posixpath.join(name, inside))
        # Else the folder is made on the way, and one that is there keeps its mode.
        if empty:
            yield from _entry(local, name)
    yield _END


def _walk(folder: Path) -> Iterator[Path]:
    for entry in sorted(folder.iterdir()):
        yield entry
        if entry.is_dir() and not entry.is_symlink():
            yield from _walk(entry)


def _entry(path: Path, name: str) -> Iterator[bytes]:
    found = path.lstat()
    if stat.S_ISREG(found.st_mode):
        yield from _file(path, name, found)
        return
    info = _info(name, found)
    if stat.S_ISDIR(found.st_mode):
        info.type = tarfile.DIRTYPE
        yield _header(info)
    elif stat.S_ISLNK(found.st_mode):
        info.type, info.linkname = tarfile.SYMTYPE, os.readlink(path)
        yield _header(info)


def _info(name: str, found: os.stat_result) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.mode, info.mtime = stat.S_IMODE(found.st_mode), int(found.st_mtime)
    return info


def _file(path: Path, name: str, found: os.stat_result) -> Iterator[bytes]:
    info = _info(name, found)
    with path.open("rb") as file:
        info.size = left = os.fstat(file.fileno()).st_size
        yield _header(info)
        while left:
            block = file.read(min(BLOCK, left))
            if not block:
                raise RemoteFileError(f"{path} became shorter while it was sent")
            left -= len(block)
            yield block
    yield _padding(info.size)


class _Members:
    """The members of an archive as it comes in."""

    def __init__(self, source: BinaryIO) -> None:
        self._tar = tarfile.open(fileobj=source, mode="r|", bufsize=BLOCK)  # noqa: SIM115

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        for member in self._tar:
            yield member
            # Else it remembers them all, for a search that nobody makes.
            self._tar.members = []  # type: ignore[attr-defined]

    def open(self, member: tarfile.TarInfo) -> BinaryIO:
        file = self._tar.extractfile(member)
        if file is None:
            raise UnsafeArchive(f"{member.name!r} has no contents")
        return file  # type: ignore[return-value]


def read_file(source: BinaryIO, path: str, limit: int) -> bytes:
    """The contents of the one file of an archive."""
    members = _Members(source)
    found: bytes | None = None
    for member in members:
        if not member.isreg():
            raise RemoteFileError(f"{path} is no file")
        if member.size > limit:
            raise RemoteFileError(
                f"{path} has {member.size} bytes, more than {limit}; use download()"
            )
        found = members.open(member).read()
    if found is None:
        raise tarfile.ReadError("the archive is empty")
    return found


def unpack(source: BinaryIO, name: str, local: Path, limit: int) -> None:
    """Puts what was sent as `name` to `local`. The Sandbox is not trusted: nothing is written
    outside `local`, and links are made last, so that nothing is written through them."""
    members = _Members(source)
    count = total = 0
    links: list[tuple[Path, str]] = []
    hard: list[tuple[Path, Path]] = []
    modes: list[tuple[Path, int]] = []
    for member in members:
        count, total = count + 1, total + member.size
        if total > limit or count > _ENTRIES_MAX:
            raise RemoteFileError(f"more than {limit} bytes or {_ENTRIES_MAX} entries")
        inside = _inside(member.name, name)
        if not inside and member.issym():
            raise RemoteFileError(f"it is a symbolic link; ask for {member.linkname!r} instead")
        target = local / inside if inside else local
        if member.isdir():
            _make_folder(target, local)
            modes.append((target, member.mode & 0o777 | 0o700))
            continue
        _make_folder(target.parent, local.parent if not inside else local)
        if member.issym():
            links.append((target, _safe_link(inside, member.linkname)))
        elif member.islnk():
            hard.append((target, local / _inside(member.linkname, name)))
        elif member.isreg():
            _write(target, members.open(member))
            target.chmod(member.mode & 0o777 | 0o600)
            os.utime(target, (member.mtime, member.mtime))
        else:
            raise UnsafeArchive(f"{member.name!r} is neither file, folder nor link")
    for target, origin in hard:
        # A copy: a second name of one file is of no use here.
        if not origin.is_file() or origin.is_symlink():
            raise UnsafeArchive(f"{target.name!r} links to what was not sent")
        with origin.open("rb") as file:
            _write(target, file)
    for target, mode in modes:
        target.chmod(mode)
    for target, link in links:
        if target.is_symlink() or target.is_file():
            target.unlink()
        target.symlink_to(link)


def _inside(sent: str, name: str) -> str:
    """The path below what was asked for; empty for itself."""
    if sent.startswith("/") or ".." in sent.split("/"):
        raise UnsafeArchive(f"{sent!r} leaves the target")
    path, root = posixpath.normpath(sent), posixpath.normpath(name)
    if root == ".":
        return "" if path == "." else path
    if path == root:
        return ""
    if not path.startswith(root + "/"):
        raise UnsafeArchive(f"{sent!r} was not asked for")
    return path[len(root) + 1 :]


def _safe_link(inside: str, link: str) -> str:
    end = posixpath.normpath(posixpath.join(posixpath.dirname(inside), link))
    if link.startswith("/") or end == ".." or end.startswith("../"):
        raise UnsafeArchive(f"the link {inside!r} leads out of the target, to {link!r}")
    return link


def _make_folder(folder: Path, root: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # A link that was here before must not lead elsewhere.
    if not folder.resolve().is_relative_to(root.resolve()):
        raise UnsafeArchive(f"{folder} leads out of {root}")


def _write(target: Path, source: BinaryIO) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    with os.fdopen(os.open(target, flags, 0o600), "wb") as file:
        shutil.copyfileobj(source, file, BLOCK)
