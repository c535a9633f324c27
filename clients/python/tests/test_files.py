from __future__ import annotations

import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest

from sandbox_client import (
    NoShell,
    NoTar,
    RemoteFileError,
    RemoteFileNotFound,
    Sandbox,
    SandboxClient,
    UnsafeArchive,
)

# The size of the large file, in MiB.
LARGE = int(os.environ.get("SANDBOX_TEST_LARGE", "24"))


def test_bytes(box: Sandbox) -> None:
    data = bytes(range(256)) * 1000
    box.files.write("/work/deep/down/a", data)
    assert box.files.read("/work/deep/down/a") == data
    box.files.write("/work/deep/down/a", "naïve", mode=0o600)
    assert box.files.read("/work/deep/down/a").decode() == "naïve"
    assert box.run(["stat", "-c", "%a %U", "/work/deep/down/a"]).stdout == "600 root\n"
    box.files.write("/work/empty", b"")
    assert box.files.read("/work/empty") == b""
    # Relative to where the container works, which is / here.
    box.files.write("work/relative", "r")
    assert box.files.read("/work/../work/relative") == box.files.read("work/relative") == b"r"
    long = "/work/" + "n" * 200
    box.files.write(long, "l")
    assert box.files.read(long) == b"l"


def test_names_that_look_like_something_else(box: Sandbox) -> None:
    for name in ("-rf", "--help", "a b", "a'b\"$(c)", "ü\n", "*"):
        path = f"/work/names/{name}"
        box.files.write(path, name)
        assert box.files.read(path).decode() == name
        assert box.files.exists(path)
    listed = [entry.name for entry in box.files.list("/work/names")]
    assert listed == sorted(("-rf", "--help", "a b", "a'b\"$(c)", "ü\n", "*"))
    box.files.remove("/work/names/*")
    assert len(box.files.list("/work/names")) == 5


def test_list_exists_mkdir_remove(box: Sandbox) -> None:
    box.files.mkdir("/work/l/sub")
    box.files.write("/work/l/.hidden", b"12345", mode=0o640)
    box.run(["ln", "-s", "nowhere", "/work/l/link"], check=True)
    entries = {entry.name: entry for entry in box.files.list("/work/l")}
    assert {name: entry.type for name, entry in entries.items()} == {
        "sub": "directory",
        ".hidden": "file",
        "link": "symlink",
    }
    assert (entries[".hidden"].size, entries[".hidden"].mode) == (5, 0o640)
    assert box.files.exists("/work/l/link")
    assert box.files.list("/work/l/sub") == []
    box.files.remove("/work/l")
    assert not box.files.exists("/work/l")
    box.files.remove("/work/l")
    with pytest.raises(RemoteFileNotFound):
        box.files.list("/work/l")
    with pytest.raises(ValueError, match="refusing"):
        box.files.remove("/../")


def test_what_is_not_there(box: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(RemoteFileNotFound, match="/work/none"):
        box.files.read("/work/none")
    with pytest.raises(FileNotFoundError):
        box.files.download("/work/none", tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        box.files.upload(tmp_path / "none", "/work/none")
    with pytest.raises(RemoteFileError, match="no file"):
        box.files.read("/www")
    with pytest.raises(RemoteFileError, match="more than 3"):
        box.files.read("/www/index.html", max_bytes=3)
    with pytest.raises(RemoteFileError):
        box.files.write("/www/index.html/below", b"")
    for path in ("", "../x", "a\0b"):
        with pytest.raises(ValueError, match="path|leaves"):
            box.files.write(path, b"")


def tree(root: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = ("link", os.readlink(path))
        else:
            mode = path.stat().st_mode & 0o777
            found[name] = (mode, path.read_bytes() if path.is_file() else None)
    return found


def test_a_folder_there_and_back(box: Sandbox, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub" / ("d" * 120)).mkdir(parents=True)
    (source / "hollow").mkdir()
    (source / "sub" / "binary").write_bytes(os.urandom(100_001))
    (source / "sub" / ("d" * 120) / "deep").write_text("deep")
    (source / "run.sh").write_text("#!/bin/sh\necho ran\n")
    (source / "run.sh").chmod(0o755)
    (source / "link").symlink_to("sub/binary")
    box.files.upload(source, "/work/tree")
    assert box.run(["/work/tree/run.sh"]).stdout == "ran\n"
    box.files.download("/work/tree", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)
    # Into what is there, which stays.
    (tmp_path / "back" / "own").write_text("own")
    (tmp_path / "back" / "run.sh").write_text("old")
    box.files.download("/work/tree", tmp_path / "back")
    (tmp_path / "back" / "own").unlink()
    assert tree(tmp_path / "back") == tree(source)
    box.files.download("/work/tree/run.sh", tmp_path / "one")
    assert (tmp_path / "one").read_text() == (source / "run.sh").read_text()
    box.files.upload(source / "hollow", "/work/made")
    assert box.files.list("/work/made") == []
    box.run(["ln", "/work/tree/run.sh", "/work/tree/second"], check=True)
    box.files.download("/work/tree", tmp_path / "hard")
    assert (tmp_path / "hard" / "second").read_text() == (source / "run.sh").read_text()
    with pytest.raises(RemoteFileError, match="symbolic link"):
        box.files.download("/work/tree/link", tmp_path / "linked")
    with pytest.raises(RemoteFileError, match="more than 1000 bytes"):
        box.files.download("/work/tree", tmp_path / "limited", max_bytes=1000)


def test_a_large_file_with_its_checksum(box: Sandbox, tmp_path: Path) -> None:
    source, back = tmp_path / "large", tmp_path / "back"
    block = os.urandom(1 << 20)
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for number in range(LARGE):
            part = number.to_bytes(8, "big") + block[8:]
            digest.update(part)
            file.write(part)
    box.files.upload(source, "/work/large")
    said = box.run(["sha256sum", "/work/large"], check=True).stdout.split()[0]
    assert said == digest.hexdigest()
    box.files.download("/work/large", back)
    assert hashlib.sha256(back.read_bytes()).hexdigest() == digest.hexdigest()
    box.files.remove("/work/large")


def test_no_tar(bare: Sandbox, tmp_path: Path) -> None:
    with pytest.raises(NoTar):
        bare.files.write("/a", b"some")
    with pytest.raises(NoTar):
        bare.files.read("/etc/passwd")
    with pytest.raises(NoTar):
        bare.files.download("/etc", tmp_path / "etc")
    with pytest.raises(NoShell):
        bare.files.list("/etc")
    with pytest.raises(NoShell):
        bare.files.exists("/etc")
    bare.files.mkdir("/made")
    bare.files.remove("/made")


def evil(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


EVIL = {
    "above": [evil("./d/../../escaped")],
    "absolute": [evil("/tmp/escaped")],
    "another": [evil("./other/escaped")],
    "a device": [evil("./d/null", tarfile.CHRTYPE)],
    "a link out": [evil("./d/link", tarfile.SYMTYPE, "../../escaped")],
    "an absolute link": [evil("./d/link", tarfile.SYMTYPE, "/etc/passwd")],
    "a name of another file": [evil("./d/hard", tarfile.LNKTYPE, "../../etc/passwd")],
    "a hard link to nothing": [evil("./d/hard", tarfile.LNKTYPE, "./d/none")],
    "a link with something behind": [
        evil("./d/sub", tarfile.SYMTYPE, "."),
        evil("./d/sub/file"),
    ],
}


def test_a_sandbox_that_sends_evil_archives(client: SandboxClient, tmp_path: Path) -> None:
    with client.claim("warm") as sandbox:
        sandbox.run(["cp", "/bin/busybox", "/real"], check=True)
        for number, members in enumerate(EVIL.values()):
            archive = io.BytesIO()
            with tarfile.open(fileobj=archive, mode="w") as tar:
                for member in members:
                    tar.addfile(member)
            sandbox.files.write(f"/evil/{number}", archive.getvalue())
        script = "#!/bin/sh\nexec cat /evil/$(cat /which)\n"
        sandbox.files.write("/evil/tar", script, mode=0o755)
        sandbox.run("rm /bin/tar && mv /evil/tar /bin/tar", check=True)
        for number in range(len(EVIL)):
            sandbox.run(["tee", "/which"], input=str(number), check=True)
            target = tmp_path / "in" / str(number)
            with pytest.raises((UnsafeArchive, FileExistsError)):
                sandbox.files.download("/d", target)
            assert not [path for path in tmp_path.rglob("*") if path.name == "escaped"]
        # A truncated one, and no archive at all.
        for content in ("", "no archive" * 200):
            sandbox.run("rm -f /which; echo n > /which; cat > /evil/n", input=content, check=True)
            with pytest.raises(RemoteFileError):
                sandbox.files.read("/d")
