from __future__ import annotations

import socket
import threading
import urllib.error
import urllib.request

import pytest

from sandbox_client import Sandbox

from .support import eventually


def fetch(port: int, path: str = "/") -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=20) as answer:
        data: bytes = answer.read()
        return data


def test_http(box: Sandbox) -> None:
    box.run("head -c 3000000 /dev/urandom > /www/large; cd /www; sha256sum large > sum", check=True)
    with box.port_forward(8080) as forward:
        assert fetch(forward.local_port) == b"page\n"
        assert fetch(forward.local_port, "/large") == box.files.read("/www/large")
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(forward.local_port, "/none")
        answers: list[bytes] = []
        crowd = [
            threading.Thread(target=lambda: answers.append(fetch(forward.local_port)))
            for _ in range(8)
        ]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        assert answers == [b"page\n"] * 8
        assert forward.error is None
    with pytest.raises(OSError, match="refused"):
        fetch(forward.local_port)


def test_bytes_both_ways(box: Sandbox) -> None:
    with (
        box.stream(["nc", "-l", "-p", "9000", "-e", "cat"]) as server,
        box.port_forward(9000) as forward,
    ):
        listens = "netstat -ltn | grep :9000"
        eventually("listener", lambda: box.run(listens).ok)
        with socket.create_connection(("127.0.0.1", forward.local_port), timeout=20) as local:
            sent = bytes(range(256)) * 2000
            threading.Thread(target=local.sendall, args=(sent,)).start()
            back = bytearray()
            while len(back) < len(sent):
                back += local.recv(1 << 16)
            assert bytes(back) == sent
        server.close()


def test_nobody_listens(box: Sandbox) -> None:
    with box.port_forward(9999) as forward:
        with pytest.raises((OSError, urllib.error.URLError)):
            fetch(forward.local_port)
        assert "9999" in str(forward.error)
    with pytest.raises(ValueError, match="port"):
        box.port_forward(70000)


def test_the_end_of_a_forward_ends_its_connections(box: Sandbox) -> None:
    with box.port_forward(8080) as forward:
        local = socket.create_connection(("127.0.0.1", forward.local_port), timeout=20)
        local.sendall(b"GET / HTTP/1.1\r\n")
    with local:
        try:
            assert local.recv(1) == b""
        except ConnectionResetError:
            return
