"""A proxy between the client and the real API server that loses answers. It speaks plain HTTP on
this side, so that it knows where a request ends."""

from __future__ import annotations

import http.server
import socket
import threading
from typing import Any

import urllib3


class CuttingProxy:
    """Does with the first POSTs of claims what `faults` says, one each: "before" cuts the
    connection without asking the server, "after" when the server has answered; a number is
    answered in the server's place, with a Retry-After of a second. Everything else goes
    through."""

    def __init__(self, api: Any, faults: list[str | int]) -> None:
        self.faults = list(faults)
        self.claims_answered: list[int] = []
        proxy, pool, upstream = self, api.rest_client.pool_manager, api.configuration.host

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                claims = self.path.partition("?")[0].endswith(("/claim", "/sandboxclaims"))
                claiming = self.command == "POST" and claims
                fault = proxy.faults.pop(0) if claiming and proxy.faults else None
                if fault == "before":
                    return self.cut()
                if isinstance(fault, int):
                    return self.answer(fault, b"{}", {"Retry-After": "1"})
                answer = pool.request(
                    self.command,
                    upstream + self.path,
                    body=body or None,
                    headers={"Content-Type": self.headers.get("Content-Type", "")},
                    retries=urllib3.Retry(0),
                )
                if claiming:
                    proxy.claims_answered.append(answer.status)
                if fault == "after":
                    return self.cut()
                return self.answer(answer.status, answer.data, {})

            do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

            def cut(self) -> None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)

            def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                """Says nothing."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> CuttingProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
