from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator

import pytest

from sandbox_client import (
    CommandFailed,
    CommandNotFound,
    NoShell,
    OutputTooLarge,
    Sandbox,
    StreamClosed,
    StreamTimeout,
)

from .support import eventually


def test_run(box: Sandbox) -> None:
    result = box.run("echo out; echo err >&2; exit 7")
    assert (result.exit_code, result.stdout, result.stderr) == (7, "out\n", "err\n")
    assert not result.ok
    assert box.run(["echo", "a  b", "$HOME"]).stdout == "a  b $HOME\n"
    assert box.run("kill -9 $$").exit_code == 137
    with pytest.raises(ValueError, match="empty"):
        box.run([])


def test_check(box: Sandbox) -> None:
    assert box.run("true", check=True).ok
    with pytest.raises(CommandFailed, match="exit code 3: why") as caught:
        box.run("echo out; echo why >&2; exit 3", check=True)
    assert caught.value.exit_code == 3
    assert caught.value.result.stdout == "out\n"


def test_folder_and_variables(box: Sandbox) -> None:
    result = box.run('pwd; echo "$A"', cwd="/www", env={"A": "x 'y' $z"})
    assert result.stdout == "/www\nx 'y' $z\n"
    assert box.run(["env"], env={"ONE": "1"}).stdout.splitlines().count("ONE=1") == 1
    assert "nowhere" in box.run("true", cwd="/nowhere").stderr
    with pytest.raises(ValueError, match="variable"):
        box.run("true", env={"A=B": ""})


def test_stdin_of_several_megabytes(box: Sandbox) -> None:
    data = hashlib.shake_128(b"seed").digest(6 << 20)
    assert box.run(["cat"], input=data).stdout_bytes == data
    expected = hashlib.sha256(data).hexdigest()

    def parts() -> Iterator[bytes]:
        for start in range(0, len(data), 100_000):
            yield data[start : start + 100_000]

    assert box.run(["sha256sum"], input=parts()).stdout.split()[0] == expected
    assert box.run(["cat"], input="text\n").stdout == "text\n"
    assert box.run(["cat"], input=b"").stdout == ""


def test_a_command_that_does_not_read_its_stdin(box: Sandbox) -> None:
    # More would be for the kubelet to throw away, which it may never come to the end of.
    assert box.run("exit 5", input=bytes(16 << 10), timeout=20).exit_code == 5


def test_an_input_that_breaks(box: Sandbox) -> None:
    def broken() -> Iterator[bytes]:
        yield b"some"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        box.run(["cat"], input=broken())


def test_stream_as_it_comes(box: Sandbox) -> None:
    script = "echo one; sleep 0.7; echo two >&2; sleep 0.1; exit 4"
    times = []
    chunks = []
    stream = box.stream(["sh", "-c", script])
    for chunk in stream:
        chunks.append((chunk.stream, chunk.text))
        times.append(time.monotonic())
    assert chunks == [("stdout", "one\n"), ("stderr", "two\n")]
    assert times[1] - times[0] > 0.5
    assert stream.exit_code == 4
    assert stream.wait() == 4


def test_talk_with_a_command(box: Sandbox) -> None:
    with box.stream(["cat"], stdin=True) as stream:
        for line in (b"first\n", b"second\n"):
            stream.write(line)
            assert next(stream).data == line
        assert stream.exit_code is None
        stream.close_stdin()
        assert stream.wait() == 0


def test_two_threads_and_one_stream(box: Sandbox) -> None:
    data = hashlib.shake_128(b"duplex").digest(3 << 20)
    back = bytearray()
    with box.stream(["cat"], stdin=True) as stream:

        def send() -> None:
            for start in range(0, len(data), 10_000):
                stream.write(data[start : start + 10_000])
            stream.close_stdin()

        sender = threading.Thread(target=send)
        sender.start()
        for chunk in stream:
            back += chunk.data
        sender.join()
    assert bytes(back) == data


def test_who_does_not_read_stops_the_command(box: Sandbox) -> None:
    script = "while :; do head -c 65536 /dev/zero; echo x >> /tmp/blocks; done"
    with box.stream(["sh", "-c", script]) as stream:
        next(stream)

        def stands_still() -> int:
            before = len(box.run(["cat", "/tmp/blocks"]).stdout)
            time.sleep(0.7)
            now = len(box.run(["cat", "/tmp/blocks"]).stdout)
            return before if before == now else 0

        # The buffers on the way take some.
        assert eventually("end of the output", stands_still) < 10_000


def test_a_terminal(box: Sandbox) -> None:
    # The size comes when it comes.
    script = "for i in $(seq 100); do stty size | grep '45 123' && exit; sleep 0.1; done"
    with box.stream(["sh", "-c", script], stdin=True, tty=True) as stream:
        stream.resize(123, 45)
        said = b"".join(chunk.data for chunk in stream)
    assert b"45 123" in said


def test_time_limits(box: Sandbox) -> None:
    started = time.monotonic()
    with pytest.raises(StreamTimeout):
        box.run("sleep 60", timeout=1)
    with pytest.raises(TimeoutError):
        box.run("while :; do echo more; sleep 0.1; done", timeout=1)
    # Of one that does not read either.
    with pytest.raises(StreamTimeout):
        box.run("sleep 60", input=bytes(8 << 20), timeout=1)
    assert time.monotonic() - started < 8


def test_too_much_output(box: Sandbox) -> None:
    with pytest.raises(OutputTooLarge):
        box.run(["yes"], max_output=100_000)


def test_a_stream_that_is_closed_here(box: Sandbox) -> None:
    stream = box.stream(["sleep", "60"], stdin=True)
    threading.Timer(0.3, stream.close).start()
    with pytest.raises(StreamClosed):
        list(stream)
    with pytest.raises(StreamClosed):
        stream.write(b"x")


def test_what_the_container_does_not_have(box: Sandbox, bare: Sandbox) -> None:
    with pytest.raises(CommandNotFound) as caught:
        box.run(["no-such-program"])
    assert caught.value.program == "no-such-program"
    assert not isinstance(caught.value, NoShell)
    with pytest.raises(CommandNotFound):
        box.run(["/bin/no-such-program"])
    assert box.run("no-such-program").exit_code == 127
    with pytest.raises(NoShell):
        bare.run("true")
    assert bare.run(["echo", "still"]).stdout == "still\n"


def test_attach_and_logs(box: Sandbox) -> None:
    assert list(box.logs()) == ["started"]
    assert list(box.logs(tail=0)) == []
    [line] = box.logs(timestamps=True)
    assert line[:2] == "20"
    assert line.endswith(" started")
    with box.attach() as stream:
        box.run("echo to the log > /proc/1/fd/1")
        assert next(stream).data == b"to the log\n"
    following = box.logs(follow=True, tail=1)
    assert next(following) == "to the log"
    box.run("echo more > /proc/1/fd/1")
    assert next(following) == "more"
    following.close()  # type: ignore[attr-defined]
