"""The console as a browser gets it."""

from __future__ import annotations

import http.client
from datetime import UTC, datetime
from urllib.parse import urlsplit

import pytest
from sqlalchemy import update

from monagent.server import schema
from monagent.server.service import Server
from tests.support.server import define, known_host

HOSTILE = "<script>alert('x')</script>\"&{0}%s"


def get(server: Server, path: str = "/", method: str = "GET") -> tuple[http.client.HTTPResponse, str]:
    """Ask for a page."""
    address = urlsplit(server.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def keep(server: Server, host: str, sensor: str, arguments: list[str], **content: object) -> None:
    """A reading as it stands in the database."""
    known_host(server.database, "web1")
    define(server.database, {("sensor", "disk"): {}, ("probe", "p"): {"sensor": "disk", "hosts": ["web1"]}})
    finished = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC).timestamp()
    values = {"ret_code": 0, "data": "1.50", "sensor": sensor, "arguments": arguments, "finished": finished, **content}
    with server.database.write() as db:
        db.execute(update(schema.host).values(name=host))
        db.execute(update(schema.host_probe).values(values))


def test_the_newest_readings_are_shown(server: Server) -> None:
    """With host, sensor, arguments, number and time."""
    keep(server, "web1", "disk", ["percent", "/"])
    response, page = get(server)

    assert response.status == 200
    assert response.headers["Content-Type"].startswith("text/html")
    for shown in ("web1", "disk", "percent /", "1.50", "ok", "2026-01-02 03:04:05"):
        assert f">{shown}<" in page


def test_hostile_names_are_shown_as_text(server: Server) -> None:
    """Whoever chose them: nothing of it becomes markup."""
    keep(server, HOSTILE, HOSTILE, [HOSTILE, HOSTILE], error=HOSTILE, data=HOSTILE)
    _, page = get(server)

    assert "<script" not in page
    assert page.count("&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;&quot;&amp;{0}%s") == 6


def test_a_reading_that_is_not_good_says_why(server: Server) -> None:
    """By its error, or by its exit code."""
    keep(server, "web1", "disk", [], ret_code=3, error="")

    assert "<td>exit 3</td>" in get(server)[1]


def test_an_empty_server_shows_an_empty_table(server: Server) -> None:
    """And no error."""
    response, page = get(server)

    assert response.status == 200
    assert "<td" not in page


def test_a_page_can_run_no_script_and_load_nothing(server: Server) -> None:
    """Even if something slipped through."""
    headers = get(server)[0].headers

    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "Server" not in headers


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/", "HEAD", 200),
        ("/", "POST", 405),
        ("/index", "GET", 404),
        ("/favicon.ico", "GET", 404),
        ("/../etc/passwd", "GET", 404),
        ("/%2e%2e/", "GET", 404),
        ("/xmlrpc/", "GET", 405),
        ("/?a=b", "GET", 404),
    ],
)
def test_there_is_nothing_else_to_be_had(server: Server, path: str, method: str, status: int) -> None:
    """Other paths, verbs and questions get a short answer without details."""
    response, body = get(server, path, method)

    assert response.status == status
    assert "Traceback" not in body
    assert "CherryPy" not in body
