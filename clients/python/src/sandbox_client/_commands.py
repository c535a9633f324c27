"""The commands that are run in the Sandbox, and what they answer. Pure."""

from __future__ import annotations

import posixpath
import stat
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Literal

from .errors import CommandFailed, RemoteFileError, RemoteFileNotFound
from .models import FileInfo, Result

# What a helper of this package may say on stderr.
HELPER_OUTPUT = 64 << 10

_LIST = """cd -- "$1" || exit 1
for f in .* *; do
  case $f in .|..) continue;; esac
  [ -e "./$f" ] || [ -L "./$f" ] || continue
  s=$(stat -c '%f %s %Y' "./$f") || exit 1
  printf '%s %s\\0' "$s" "$f"
done"""


def argv(
    command: str | Sequence[str], *, cwd: str | None = None, env: Mapping[str, str] | None = None
) -> list[str]:
    """A string is for the shell, a sequence is run as it is. A folder takes the shell too, and
    variables take `env`."""
    words = ["sh", "-c", command] if isinstance(command, str) else list(command)
    if not words:
        raise ValueError("the command is empty")
    if env:
        for name in env:
            if not name or "=" in name:
                raise ValueError(f"no name of a variable: {name!r}")
        words = ["env", *(f"{name}={value}" for name, value in env.items()), *words]
    if cwd is not None:
        words = ["sh", "-c", 'cd -- "$0" && exec "$@"', cwd, *words]
    return words


def place(path: str) -> tuple[str | None, str]:
    """The folder for `tar -C` (None = where the container works) and the name in the archive."""
    if not path or "\0" in path:
        raise ValueError(f"no path: {path!r}")
    absolute = path.startswith("/")
    name = posixpath.normpath(path).lstrip("/") or "."
    if name == ".." or name.startswith("../"):
        raise ValueError(f"{path!r} leaves the working folder; give an absolute path")
    # Never taken for an option.
    return ("/" if absolute else None), ("." if name == "." else f"./{name}")


def unpack_here(folder: str | None) -> list[str]:
    # o: files belong to who unpacks, not to the number that they had on another machine.
    return ["tar", "-xof", "-", *(["-C", folder] if folder else [])]


def pack(path: str, *, follow: bool) -> tuple[list[str], str]:
    """Sends one file or folder; with the name under which it is sent."""
    folder, name = place(path)
    where = ["-C", folder] if folder else []
    if not follow and name != ".":
        # The folder itself is the root of the archive.
        parent, base = posixpath.split(name)
        where = ["-C", posixpath.normpath(posixpath.join(folder or "", parent))]
        name = f"./{base}"
    return ["tar", "-chf" if follow else "-cf", "-", *where, name], name


def list_folder(path: str) -> list[str]:
    return ["sh", "-c", _LIST, "sh", path]


def exists(path: str) -> list[str]:
    return ["sh", "-c", 'test -e "$1" || test -L "$1"', "sh", path]


def mkdir(path: str) -> list[str]:
    return ["mkdir", "-p", "--", path]


def remove(path: str) -> list[str]:
    if posixpath.normpath(path) in ("/", "//", "."):
        raise ValueError(f"refusing to remove {path!r}")
    return ["rm", "-rf", "--", path]


def entries(listing: bytes) -> list[FileInfo]:
    found = []
    for entry in listing.split(b"\0")[:-1]:
        mode_text, size, modified, name = entry.split(b" ", 3)
        mode = int(mode_text, 16)
        found.append(
            FileInfo(
                name=name.decode(errors="surrogateescape"),
                type=_type(mode),
                size=int(size),
                mode=stat.S_IMODE(mode),
                modified=datetime.fromtimestamp(int(modified), timezone.utc),
            )
        )
    return sorted(found, key=lambda entry: entry.name)


def _type(mode: int) -> Literal["file", "directory", "symlink", "other"]:
    if stat.S_ISREG(mode):
        return "file"
    if stat.S_ISDIR(mode):
        return "directory"
    return "symlink" if stat.S_ISLNK(mode) else "other"


def check(result: Result, path: str) -> Result:
    """Raises what the helper's failure means."""
    if result.ok:
        return result
    said = result.stderr.strip()
    if "No such file or directory" in said or "can't cd to" in said:
        raise RemoteFileNotFound(f"{path}: {said}") from CommandFailed(result)
    raise RemoteFileError(f"{path}: {said or f'exit code {result.exit_code}'}") from CommandFailed(
        result
    )
