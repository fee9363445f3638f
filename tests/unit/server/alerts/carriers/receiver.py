"""An HTTP server on loopback that hears webhooks, and answers as a test wants it to."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tests.support.ports import free_port


@dataclass
class Heard:
    """One POST."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The JSON in it."""
        return json.loads(self.body)


class Receiver:
    """Answers 200, or what `reply` says for a request: a status, and the bytes of a body."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []
        self.reply: Callable[[Heard], tuple[int, bytes]] = lambda _heard: (200, b"")
        self.headers: dict[str, str] = {}
        self._changed = threading.Condition()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                heard = Heard(self.path, dict(self.headers.items()), body)
                status, said = outer.reply(heard)
                with outer._changed:
                    outer.heard.append(heard)
                    outer._changed.notify_all()
                self.send_response(status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, count: int, seconds: float = 20.0) -> list[Heard]:
        """The requests, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.heard) >= count, seconds), f"{len(self.heard)} came"
            return list(self.heard)


def until(condition: Callable[[], Any], seconds: float = 20.0) -> Any:
    """What the condition gives, once it is true."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.02)
    return found
