"""The server's promises: a ticket is on disk before it leaves, a reply of OK means stored, whatever happens to the process."""

from __future__ import annotations

import contextlib
import http.client
import random
import resource
import subprocess
import sys
import threading
import time
import xmlrpc.client
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from sqlalchemy import func, select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.migrate import prepare
from monagent.server.site.model import Content, Key
from tests.support.fake_agent import FakeAgent
from tests.support.ports import free_port
from tests.support.postgres import new_database, refusing
from tests.support.server import define, wait_until

AGENTS, PROBES, KILLS = 5, 4, 8


class AnsweringAgent(FakeAgent):
    """Hands in one reading for each command, again and again until somebody takes it, as an agent does."""

    def __init__(self, servers: list[str]) -> None:
        super().__init__()
        self.taken: dict[str, str] = {}
        self.refused: list[str] = []
        self._known: set[str] = set()
        self.given_up = threading.Event()
        self._servers = servers

    def _take(self, method: str, params: list[Any]) -> str:
        # A ticket that comes again, because a server died, is acknowledged again and done once.
        if params[0] not in self._known:
            self._known.add(params[0])
            threading.Thread(target=self._hand_in, args=(params[0],), daemon=True).start()
        return super()._take(method, params)

    def _hand_in(self, ticket: str) -> None:
        number = str(random.randrange(1000))
        when = xmlrpc.client.DateTime(datetime.now(UTC))
        while not self.given_up.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, xmlrpc.client.ProtocolError):
                with xmlrpc.client.ServerProxy(random.choice(self._servers)) as server:
                    try:
                        server.cmd_store_probe_data(ticket, [0, number], when)
                        self.taken[ticket] = number
                    except xmlrpc.client.Fault as fault:
                        self.refused.append(f"{ticket}: {fault.faultString}")
                return
            time.sleep(random.uniform(0.05, 0.3))


class Site:
    """Servers on one database, and agents that answer them."""

    def __init__(self, directory: Path, url: str, servers: int) -> None:
        self.database = Database(url)
        prepare(self.database)
        self._ports = [free_port() for _ in range(servers)]
        self.urls = [f"http://127.0.0.1:{port}/xmlrpc/" for port in self._ports]
        self.agents = [AnsweringAgent(self.urls) for _ in range(AGENTS)]
        self._configs = []
        for port in self._ports:
            config = directory / f"server-{port}.cfg"
            config.write_text(f"[server]\nport = {port}\n[database]\nurl = {url}\n")
            self._configs.append(config)
        self.processes: list[subprocess.Popen[bytes]] = []
        self.log = (directory / "server.log").open("wb")
        definitions: dict[Key, Content] = {("sensor", "disk"): {}, ("schedule", "often"): {"every": "1s"}}
        for number, agent in enumerate(self.agents):
            definitions["host", f"host{number}"] = {"address": "127.0.0.1", "port": agent.port}
        for number in range(PROBES):
            definitions["probe", f"p{number}"] = {"sensor": "disk", "schedule": "often", "everywhere": True}
        define(self.database, definitions)

    def start(self, number: int = 0) -> subprocess.Popen[bytes]:
        """One more process."""
        command = [sys.executable, "-m", "monagent.cli.server", "run", "-c", str(self._configs[number])]
        process = subprocess.Popen(command, stderr=self.log)
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End everything."""
        for process in self.processes:
            process.kill()
            process.wait(30)
        for agent in self.agents:
            agent.given_up.set()
            agent.stop()
        self.database.close()
        self.log.close()

    def taken(self) -> dict[str, str]:
        """What the servers have said OK to, by ticket."""
        return {ticket: number for agent in self.agents for ticket, number in agent.taken.items()}

    def stored(self) -> dict[str, str]:
        """What is in the database, by ticket."""
        ticket, reading = schema.ticket.c, schema.reading.c
        statement = select(ticket.ticket, reading.data).join_from(
            schema.reading, schema.ticket, reading.ticket_id == ticket.id
        )
        with self.database.read() as db:
            rows = db.execute(statement).all()
        assert len({row.ticket for row in rows}) == len(rows)
        return {row.ticket: row.data for row in rows}


@contextlib.contextmanager
def site(directory: Path, kind: str, servers: int = 1) -> Iterator[Site]:
    """A site with its database."""
    with new_database() if kind == "postgresql" else contextlib.nullcontext(f"sqlite:///{directory}/monitor.db") as url:
        made = Site(directory, url, servers)
        try:
            yield made
        finally:
            made.stop()


@pytest.mark.parametrize(("kind", "servers"), [("sqlite", 1), ("postgresql", 2)])
def test_nothing_is_lost_and_nothing_kept_twice_when_servers_are_killed(
    tmp_path: Path, kind: str, servers: int
) -> None:
    """At any moment: between commit and send, and straight after an OK."""
    chance = random.Random(7)
    with site(tmp_path, kind, servers) as here:
        running = [here.start(number) for number in range(servers)]
        for kill in range(KILLS):
            before = len(here.taken())
            wait_until(lambda before=before: len(here.taken()) > before, "work")  # type: ignore[misc]
            time.sleep(chance.uniform(0, 0.8))
            victim = kill % servers
            running[victim].kill()
            running[victim].wait(30)
            running[victim] = here.start(victim)
        wait_until(lambda: len(here.taken()) > 2 * KILLS * PROBES, "the last of them is at work")
        # What a killed process had claimed is due for the others now, and not only in half a minute.
        with here.database.write() as db:
            ticket = schema.ticket.c
            db.execute(
                update(schema.ticket)
                .where(ticket.send_at.is_not(None))
                .values(send_at=time.time(), send_until=time.time() + 60)
            )
        sent = {params[0] for agent in here.agents for _, params in list(agent.commands)}
        wait_until(lambda: sent <= here.taken().keys(), "every command that arrived is answered", 40)
        taken, stored = here.taken(), here.stored()
        with here.database.read() as db:
            stuck = db.execute(
                select(func.count())
                .select_from(schema.ticket)
                .where(ticket.state == "issued", ticket.issued < time.time() - 5)
            ).scalar_one()

        assert {name: stored.get(name) for name in taken} == taken
        assert [refusal for agent in here.agents for refusal in agent.refused] == []
        assert stuck == 0


def test_a_database_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    """Results stay with the agents; what the server says of itself is clear; nothing has to be restarted."""
    with site(tmp_path, "postgresql") as here:
        process = here.start()
        wait_until(lambda: len(here.taken()) >= 20, "work")
        with refusing(here.database.engine.url.database or ""):
            wait_until(lambda: b"cannot be used now" in (tmp_path / "server.log").read_bytes(), "the log tells")
            wait_until(lambda: ready(here.urls[0])[0] == 503, "not ready")
            before = len(here.taken())
            time.sleep(1)
            assert len(here.taken()) == before
            assert process.poll() is None
        wait_until(lambda: ready(here.urls[0])[0] == 200, "ready again")
        wait_until(lambda: len(here.taken()) >= before + 40, "work goes on")

        here.database.close()  # its connections were ended, too
        taken, stored = here.taken(), here.stored()
        assert {name: stored.get(name) for name in taken} == taken


def test_a_server_starts_before_its_database(tmp_path: Path) -> None:
    """It listens, says why it is not ready, and begins when it can."""
    with site(tmp_path, "postgresql") as here:
        with refusing(here.database.engine.url.database or ""):
            here.start()
            wait_until(lambda: b"waiting for the database" in (tmp_path / "server.log").read_bytes(), "the log tells")
            assert ready(here.urls[0])[0] == 503
        wait_until(lambda: len(here.taken()) >= 20, "work")


def test_a_full_disk_refuses_results_and_says_so(tmp_path: Path) -> None:
    """The agents keep them until there is room again."""
    with site(tmp_path, "sqlite") as here:
        process = here.start()
        wait_until(lambda: len(here.taken()) >= 20, "work")
        # No file of this process may grow any more: what it writes fails as it does on a full disk.
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        wait_until(lambda: b"cannot be used now" in (tmp_path / "server.log").read_bytes(), "the log tells")
        time.sleep(0.5)
        before = len(here.taken())
        time.sleep(1)
        assert len(here.taken()) == before
        assert process.poll() is None
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        wait_until(lambda: len(here.taken()) >= before + 40, "work goes on")

        taken, stored = here.taken(), here.stored()
        assert {name: stored.get(name) for name in taken} == taken


def ready(url: str) -> tuple[int, str]:
    """What the server says about itself."""
    connection = http.client.HTTPConnection("127.0.0.1", urlsplit(url).port, timeout=10)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, response.read().decode()
    except OSError as error:
        return 0, str(error)
    finally:
        connection.close()
