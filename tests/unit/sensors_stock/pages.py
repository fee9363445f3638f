"""A web server on the loopback interface that is slow, wrong or endless when asked to be."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

MEBIBYTE = bytes(1024 * 1024)


class Pages(http.server.BaseHTTPRequestHandler):
    """Each path is a way to behave; a number behind it says how much."""

    def do_GET(self) -> None:
        """Behave as the path says."""
        behaviour, _, amount = urllib.parse.urlsplit(self.path).path.lstrip("/").partition("/")
        # A sensor that has seen enough hangs up, which is its right.
        with contextlib.suppress(OSError):
            getattr(self, f"page_{behaviour}")(amount)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""

    def answer(self, status: int, length: int | None, location: str | None = None) -> None:
        """Send the headers."""
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        if location is not None:
            self.send_header("Location", location)
        self.end_headers()

    def page_(self, _: str) -> None:
        """Answer at once."""
        self.answer(200, 5)
        self.wfile.write(b"hello")

    def page_seen(self, _: str) -> None:
        """Answer well only to the request that the sensor should send."""
        good = (
            self.path == "/seen/a%20b?c=d&e=%C3%A9"
            and self.headers["Host"] == "{}:{}".format(*self.request.getsockname())
            and self.headers["User-Agent"] == "monagent"
            and "Authorization" not in self.headers
        )
        self.answer(200 if good else 400, 0)

    def page_status(self, amount: str) -> None:
        """Answer with a status."""
        self.answer(int(amount), 0)

    def page_late(self, amount: str) -> None:
        """Answer after some seconds."""
        time.sleep(float(amount))
        self.page_("")

    def page_late_body(self, amount: str) -> None:
        """Send the headers and the last byte of the body so many seconds apart."""
        self.answer(200, 2)
        self.wfile.write(b"a")
        time.sleep(float(amount))
        self.wfile.write(b"b")

    def page_drip(self, amount: str) -> None:
        """Send a byte again and again, so many seconds apart, without an end."""
        self.answer(200, None)
        while True:
            self.wfile.write(b".")
            time.sleep(float(amount))

    def page_drip_headers(self, amount: str) -> None:
        """Never come to the end of the headers."""
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        while True:
            self.wfile.write(b".")
            time.sleep(float(amount))

    def page_sized(self, amount: str) -> None:
        """Send a body of so many bytes, with its length."""
        self.answer(200, int(amount))
        self.send_bytes(int(amount))

    def page_unsized(self, amount: str) -> None:
        """Send a body of so many bytes that ends with the connection."""
        self.answer(200, None)
        self.send_bytes(int(amount))

    def page_chunked(self, amount: str) -> None:
        """Send a body of so many chunks of one MiB."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(int(amount)):
            self.wfile.write(b"100000\r\n" + MEBIBYTE + b"\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def page_cut(self, _: str) -> None:
        """Promise 100 bytes, send 40 and hang up."""
        self.answer(200, 100)
        self.send_bytes(40)

    def page_cut_chunk(self, _: str) -> None:
        """Hang up in the middle of a chunk."""
        self.protocol_version = "HTTP/1.1"
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"64\r\nabc")

    def page_garbage(self, _: str) -> None:
        """Speak another language."""
        self.wfile.write(b"220 mail.example.org ESMTP\r\n")

    def page_silence(self, _: str) -> None:
        """Hang up without a word."""

    def page_hops(self, amount: str) -> None:
        """Redirect so many times before the page."""
        left = int(amount)
        self.answer((301, 302, 303, 307, 308)[left % 5], 0, f"/hops/{left - 1}" if left > 1 else "/")

    def page_circle(self, _: str) -> None:
        """Redirect to itself."""
        self.answer(302, 0, "/circle")

    def page_late_hop(self, amount: str) -> None:
        """Redirect after some seconds to a page that takes as long again."""
        time.sleep(float(amount))
        self.answer(302, 0, f"/late/{amount}")

    def page_to(self, amount: str) -> None:
        """Redirect to any text, written in hexadecimal."""
        self.answer(302, 0, bytes.fromhex(amount).decode("latin-1"))

    def page_nowhere(self, _: str) -> None:
        """Redirect without saying where to."""
        self.answer(302, 0)

    def send_bytes(self, amount: int) -> None:
        """Send that many bytes."""
        for start in range(0, amount, len(MEBIBYTE)):
            self.wfile.write(MEBIBYTE[: amount - start])


class PageServer(http.server.ThreadingHTTPServer):
    """Serve the pages, for IPv6 too, without waiting for those that never end."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet about clients that hang up."""


class PageServerOnIPv6(PageServer):
    """Serve the pages on an IPv6 address."""

    address_family = socket.AF_INET6


@contextlib.contextmanager
def serving(server: PageServer) -> Iterator[str]:
    """Serve for the time of the block, and tell host and port as a URL has them."""
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    host, port = server.server_address[:2]
    try:
        yield f"[{host!s}]:{port}" if ":" in str(host) else f"{host!s}:{port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def pages() -> Iterator[str]:
    """Serve the pages over HTTP, and tell the URL without the last slash."""
    with serving(PageServer(("127.0.0.1", 0), Pages)) as place:
        yield f"http://{place}"


@contextlib.contextmanager
def secure_pages(certificate: Path, key: Path) -> Iterator[str]:
    """Serve the pages over HTTPS, and tell the URL without the last slash."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = PageServer(("127.0.0.1", 0), Pages)
    # The handshake belongs to the thread of the connection, or one bad client would hold up all.
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    with serving(server) as place:
        yield f"https://{place}"
