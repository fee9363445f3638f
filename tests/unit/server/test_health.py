"""Is the server at work, and does it take results?"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from monagent.config import server_settings
from monagent.errors import Fault, HttpRefusal, StoreAway, Unavailable
from monagent.models import Value
from monagent.rpc.client import Client
from monagent.server.database import Database
from monagent.server.dispatcher import Dispatcher
from monagent.server.names import Names
from monagent.server.service import Server
from monagent.server.web.calls import HITCH_SECONDS, Calls
from monagent.server.web.health import BEAT_SECONDS, Health
from tests.support.ports import free_port
from tests.support.server import issue, known_host
from tests.unit.server.asking import ask, serving

PATHS = ("/healthz", "/readyz")
BIG: dict[str, Value] = {
    "started": datetime(2026, 1, 2, tzinfo=UTC), "duration": 0.5, "error": "", "stderr": "x" * 4096, "metrics": [],
}  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A running server."""
    with serving(tmp_path) as one:
        yield one


def test_a_server_at_work_says_ok_to_anyone(server: Server) -> None:
    """And nothing else."""
    for path in PATHS:
        reply = ask(server, path)
        assert (reply.status, reply.text) == (200, "ok\n")
        assert reply.headers["cache-control"] == "no-store"


def test_a_database_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    """To strangers without its name, and without waiting for it."""
    config = f"[database]\nurl = postgresql+psycopg://monagent:secret@127.0.0.1:{free_port()}/fleet\n"
    (tmp_path / "server.cfg").write_text(f"[server]\nport = 0\n{config}")
    server = Server(server_settings.load(tmp_path / "server.cfg"))
    server.start()
    try:
        replies = [ask(server, path) for path in PATHS]
        page, metrics = ask(server, "/"), ask(server, "/metrics")
    finally:
        server.stop()

    assert [reply.status for reply in replies] == [503, 503]
    assert replies[0].text.startswith("database: it is waited for")
    assert "fleet" not in replies[0].text
    assert (page.status, page.text) == (503, "the database cannot be read now\n")
    assert "monagent_database_up 0.0\n" in metrics.text
    assert "monagent_hosts " not in metrics.text


def test_a_full_disk_is_told_until_a_result_is_kept_again(server: Server) -> None:
    """The agent is told to come again, and loses nothing; who is near learns why."""
    issue(server.database, known_host(server.database, "web1"), *(f"t{number}" for number in range(60)))

    def limit(pages: int) -> None:
        server.database.engine.dispose()
        pragma = f"pragma max_page_count = {pages}"
        event.listen(server.database.engine, "checkout", lambda connection, *_: connection.execute(pragma) and None)

    limit(1)  # what is there already is kept
    client = Client(server.url, timeout=20)
    ready, near = [ask(server, "/readyz")], []
    taken, trouble = 0, ""
    while not trouble:
        try:
            client.call("cmd_store_probe_data", f"t{taken}", [0, "1", BIG], datetime.now(UTC))
            taken += 1
        except Unavailable as error:
            trouble = str(error)
    ready.append(ask(server, "/readyz"))
    near.append(ask(server, "/readyz", address="::1"))
    limit(1_000_000)
    again = client.call("cmd_store_probe_data", f"t{taken}", [0, "1", BIG], datetime.now(UTC))
    ready.append(ask(server, "/readyz"))
    metrics = ask(server, "/metrics", address="::1").text
    client.close()

    assert "503" in trouble
    assert [reply.status for reply in ready] == [200, 503, 200]
    assert ready[1].text == "intake: results cannot be kept now; the agents keep them\n"
    assert "disk is full" in near[0].text
    assert again == "OK"
    assert "monagent_requests_put_off_total 1.0\n" in metrics


def dispatcher(database: Database, beat: float, away: StoreAway | None = None) -> Dispatcher:
    """One that does not run, and says so."""
    one = Dispatcher(database, Names())
    one.beat, one.away = beat, away
    one._loop.close()
    return one


def test_a_thread_that_ended_is_named(database: Database) -> None:
    """Also where there should be two of one name."""
    calls = Calls(lambda: 0)
    name = threading.current_thread().name
    health = Health(dispatcher(database, 1.0), calls, ["no-such-thread", name, name], lambda: 1.0)

    told = [problem.told(fully=False) for problem in health.problems()]
    assert told == [f"{one}: its thread has ended; restart the server" for one in ("no-such-thread", name)]


def test_a_database_that_hangs_is_noticed(database: Database) -> None:
    """By who should have asked it long ago."""
    health = Health(dispatcher(database, 1.0), Calls(lambda: 0), [], lambda: 2.0 + BEAT_SECONDS)

    assert [problem.told(fully=True) for problem in health.problems()] == [
        "dispatcher: has got no answer from the database for 31 s"
    ]


def test_why_the_database_is_away_is_for_those_who_may_know(database: Database) -> None:
    """One line, whatever the database says."""
    health = Health(dispatcher(database, 1.0, StoreAway("it\nis\tgone")), Calls(lambda: 0), [], lambda: 1.0)

    for problems in (health.problems(), health.unready()):
        assert [one.told(fully=False) for one in problems] == ["database: cannot be used now"]
        assert [one.told(fully=True) for one in problems] == ["database: cannot be used now (it is gone)"]


def test_a_hitch_of_long_ago_does_not_count() -> None:
    """Nobody may have come since."""
    now = [0.0]
    calls = Calls(lambda: 5, lambda: now[0])

    def put_off(*_: Any) -> bytes:
        raise HttpRefusal(HTTPStatus.SERVICE_UNAVAILABLE) from StoreAway("full")

    with pytest.raises(HttpRefusal):
        calls.watching(put_off)(b"", "192.0.2.1", ())

    assert calls.hitch() == "full"
    now[0] = HITCH_SECONDS + 1
    assert calls.hitch() == ""


def test_every_fault_is_counted(server: Server) -> None:
    """Of what is no call, of a call, and within a multicall."""
    client = Client(server.url, timeout=20)
    for method, params in (("nowhere", []), ("cmd_store_probe_data", ["lie", [0, "1"], datetime.now(UTC)])):
        with pytest.raises(Fault):
            client.call(method, *params)
    entry: Value = {"methodName": "cmd_store_probe_data", "params": ["lie", [0, "1"], datetime.now(UTC)]}
    client.call("system.multicall", [entry, entry, {"methodName": "healthcheck", "params": []}])
    client.close()
    for body in ("<nonsense", "<a/>"):
        host, port = server._endpoint.address
        connection = http.client.HTTPConnection(host, port, timeout=20)
        connection.request("POST", "/xmlrpc/", body, {"Content-Type": "text/xml"})
        assert connection.getresponse().status == 200
        connection.close()

    assert server._calls.counts() == {"-32601": 1, "-32602": 3, "accepted": 1, "-32700": 1, "-32600": 1}
