from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from sandbox_client import (
    AsyncSandbox,
    AsyncSandboxClient,
    ClaimTimeout,
    CommandFailed,
    CommandNotFound,
    NoTar,
    NotFound,
    OutputTooLarge,
    PoolExhausted,
    RemoteFileNotFound,
    Sandbox,
    StreamClosed,
    StreamTimeout,
    UnsafeArchive,
)

from .support import Cluster
from .test_files import tree


@pytest.fixture
async def abox(aclient: AsyncSandboxClient, box: Sandbox) -> AsyncSandbox:
    """The shared one, from this event loop."""
    assert box.claim is not None
    return await aclient.attach(box.claim.name)


async def test_claims(aclient: AsyncSandboxClient, cluster: Cluster) -> None:
    async with aclient.claim("warm") as sandbox:
        claim = sandbox.claim
        assert claim is not None
        assert claim.sandbox is not None
        assert claim.sandbox.launch_type == "Warm"
        assert await aclient.namespace() == claim.namespace == cluster.namespace
        assert (await sandbox.run("hostname")).stdout == sandbox.name + "\n"
        assert (await aclient.sandbox(sandbox.name)).name == sandbox.name
    with pytest.raises(NotFound):
        await aclient.get_claim(claim.name)
    kept = await aclient.claim("warm", release=False)
    assert kept.claim is not None
    async with kept:
        assert (await kept.info()).phase == "Running"
    async with aclient.attach(kept.claim.name, release=True) as again:
        assert again.name == kept.name
    with pytest.raises(NotFound):
        await aclient.attach(kept.claim.name)
    with pytest.raises(ZeroDivisionError):
        async with aclient.claim("warm") as failed:
            _ = 1 / 0
    assert failed.claim is not None
    with pytest.raises(NotFound):
        await aclient.get_claim(failed.claim.name)


async def test_claims_that_fail(aclient: AsyncSandboxClient) -> None:
    with pytest.raises(PoolExhausted) as caught:
        await aclient.claim("empty", on_empty_pool="Fail")
    assert caught.value.retry_after
    with pytest.raises(ClaimTimeout) as late:
        await aclient.claim("empty", on_empty_pool="Wait", timeout=1)
    with pytest.raises(NotFound):
        await aclient.get_claim(late.value.claim)
    with pytest.raises(NotFound):
        await aclient.claim("nowhere")


async def test_a_gang(aclient: AsyncSandboxClient) -> None:
    async with aclient.claim_gang("warm", replicas=2) as gang:
        results = await asyncio.gather(*(member.run("hostname") for member in gang))
        assert [result.stdout.strip() for result in results] == [one.name for one in gang]


async def test_run_and_stream(abox: AsyncSandbox) -> None:
    result = await abox.run("echo out; echo err >&2; exit 7", cwd="/www", env={"A": "B"})
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    with pytest.raises(CommandFailed):
        await abox.run("exit 3", check=True)
    with pytest.raises(CommandNotFound):
        await abox.run(["no-such-program"])
    with pytest.raises(OutputTooLarge):
        await abox.run(["yes"], max_output=100_000)
    stream = abox.stream("echo one; sleep 0.7; echo two >&2; exit 4")
    chunks = [(chunk.stream, chunk.text) async for chunk in stream]
    assert chunks == [("stdout", "one\n"), ("stderr", "two\n")]
    assert stream.exit_code == 4
    async with abox.stream(["cat"], stdin=True) as talk:
        await talk.write(b"first\n")
        assert (await anext(talk)).data == b"first\n"
        await talk.close_stdin()
        assert await talk.wait() == 0
    async with abox.stream(["yes"]) as endless:
        await anext(endless)


async def test_stdin(abox: AsyncSandbox) -> None:
    data = hashlib.shake_128(b"seed").digest(5 << 20)
    assert (await abox.run(["cat"], input=data)).stdout_bytes == data

    async def parts() -> AsyncIterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    said = (await abox.run(["sha256sum"], input=parts())).stdout
    assert said.split()[0] == hashlib.sha256(data).hexdigest()
    assert (await abox.run("exit 5", input=data[:9999], timeout=20)).exit_code == 5

    async def broken() -> AsyncIterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await abox.run(["cat"], input=broken())


async def test_time_limits(abox: AsyncSandbox) -> None:
    started = time.monotonic()
    with pytest.raises(StreamTimeout):
        await abox.run("sleep 60", timeout=1)
    with pytest.raises(StreamTimeout):
        await abox.run("sleep 60", input=bytes(8 << 20), timeout=1)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(abox.run("sleep 60"), 1)
    assert time.monotonic() - started < 10


async def test_files(abox: AsyncSandbox, tmp_path: Path) -> None:
    data = os.urandom(300_000)
    await abox.files.write("/async/a", data, mode=0o600)
    assert await abox.files.read("/async/a") == data
    [entry] = await abox.files.list("/async")
    assert (entry.name, entry.size, entry.mode) == ("a", 300_000, 0o600)
    await abox.files.mkdir("/async/d")
    assert await abox.files.exists("/async/d")
    with pytest.raises(RemoteFileNotFound):
        await abox.files.read("/async/none")
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "sub" / "large").write_bytes(os.urandom(5 << 20))
    (source / "link").symlink_to("sub/large")
    await abox.files.upload(source, "/async/tree")
    await abox.files.download("/async/tree", tmp_path / "back")
    assert tree(tmp_path / "back") == tree(source)
    await abox.run(["ln", "-s", "/etc/passwd", "/async/tree/out"], check=True)
    with pytest.raises(UnsafeArchive):
        await abox.files.download("/async/tree", tmp_path / "again")
    await abox.files.remove("/async")
    assert not await abox.files.exists("/async")


async def test_no_tar(aclient: AsyncSandboxClient, bare: Sandbox) -> None:
    assert bare.claim is not None
    again = await aclient.attach(bare.claim.name)
    with pytest.raises(NoTar):
        await again.files.write("/a", b"")
    with pytest.raises(NoTar):
        await again.files.read("/etc/passwd")


async def test_port_forward(abox: AsyncSandbox) -> None:
    async with aiohttp.ClientSession() as http:

        async def fetch(port: int) -> str:
            async with http.get(f"http://127.0.0.1:{port}/") as answer:
                return await answer.text()

        async with abox.port_forward(8080) as forward:
            pages = await asyncio.gather(*(fetch(forward.local_port) for _ in range(8)))
            assert pages == ["page\n"] * 8
            assert forward.error is None
        with pytest.raises(aiohttp.ClientError):
            await fetch(forward.local_port)
        async with abox.port_forward(9999) as forward:
            with pytest.raises(aiohttp.ClientError):
                await fetch(forward.local_port)
            assert "9999" in str(forward.error)


async def test_life(aclient: AsyncSandboxClient) -> None:
    async with aclient.claim("warm") as sandbox:
        stream = sandbox.stream("echo open; sleep 100")
        assert (await anext(stream)).data == b"open\n"
        assert (await sandbox.suspend()).phase == "Suspended"
        with pytest.raises(StreamClosed) as caught:
            await anext(stream)
        assert (caught.value.code, caught.value.reason) == (1001, "the sandbox was suspended")
        assert (await sandbox.run("echo woken")).stdout == "woken\n"
        assert (await sandbox.resume()).phase == "Running"
        assert [line async for line in sandbox.logs()] == ["started"]
        following = sandbox.logs(follow=True)
        assert await anext(following) == "started"
        await sandbox.run("echo more > /proc/1/fd/1")
        assert await anext(following) == "more"
