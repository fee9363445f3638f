"""A fleet in a real database, whose readings take the way that those of real agents take."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, update

from monagent.protocol import SUBMIT_READING
from monagent.server import results, schema
from monagent.server.database import Database
from monagent.server.records import Delivery, IssuedTicket

START = 1_800_000_000.0
"""When a test begins."""


@dataclass(frozen=True)
class Probe:
    """A probe of a host, by the numbers of their rows."""

    id: int
    host_id: int


class Fleet:
    """Hosts, probes and alerts to be tried."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._tickets = itertools.count(1)

    def host(self, name: str = "web1", **values: Any) -> int:
        """A host that nothing came from yet."""
        row = {
            "name": name, "address": "192.0.2.1", "port": 8080, "sources": [], "groups": [], "tls": False,
            "failures": 0,
            "retry_at": 0.0, **values,
        }  # fmt: skip
        with self.database.write() as db:
            return int(db.execute(insert(schema.host).values(row).returning(schema.host.c.id)).scalar_one())

    def probe(self, host_id: int, name: str = "disk", **values: Any) -> Probe:
        """A probe that runs once a minute, a warning above 80, critical above 90."""
        row = {
            "host_id": host_id, "probe": name, "active": True, "sensor": "disk", "arguments": ["percent", "/"],
            "warning": "80", "critical": "90", "runs": 1, "margin": 0.0, "nagios": False, "every": 60.0, "phase": 0.0,
            **values,
        }  # fmt: skip
        row.setdefault("due", 0.0 if row["every"] or row.get("cron") else None)
        with self.database.write() as db:
            number = db.execute(insert(schema.host_probe).values(row).returning(schema.host_probe.c.id)).scalar_one()
        return Probe(int(number), host_id)

    def watched(self, **values: Any) -> Probe:
        """A probe of a host, and an alert that mails."""
        self.define("alert", "ops", mail=["ops@example.org"])
        return self.probe(self.host(), **values)

    def define(self, kind: str, name: str, **content: Any) -> None:
        """A definition."""
        with self.database.write() as db:
            db.execute(insert(schema.definition).values(kind=kind, name=name, content=content))

    def hand_in(self, probe: Probe, value: float | str, now: float, finished: float | None = None, **more: Any) -> None:
        """Hand in a reading, as the intake keeps it."""
        with self.database.write() as db:
            self.keep(db, [(probe, value)], now, finished, **more)

    def keep(
        self,
        db: Connection,
        said: Sequence[tuple[Probe, float | str]],
        now: float,
        finished: float | None = None,
        **more: Any,
    ) -> None:
        """Several of them, in a transaction."""
        taken = []
        when = datetime.fromtimestamp(now if finished is None else finished, UTC)
        for probe, value in said:
            number = next(self._tickets)
            arguments: list[Any] = ["disk", []]
            ticket = IssuedTicket(
                number, str(number), probe.host_id, probe.id, SUBMIT_READING, arguments, "sent", now + 60, None
            )
            content = {"ret_code": 0, "data": str(value), **more}
            taken.append((ticket, Delivery(str(number), "192.0.2.1", SUBMIT_READING, content, when, b"")))
        results.keep(db, self.database, taken, now, ())

    def hear_of(self, host_id: int, now: float) -> None:
        """The host hands in something that is of none of its probes."""
        with self.database.write() as db:
            db.execute(update(schema.host).where(schema.host.c.id == host_id).values(seen=now))

    def change(self, probe: Probe, **values: Any) -> None:
        """Define a probe in another way."""
        with self.database.write() as db:
            db.execute(update(schema.host_probe).where(schema.host_probe.c.id == probe.id).values(values))

    def incidents(self) -> list[Any]:
        """All of them, the oldest first."""
        return self._rows(schema.incident)

    def incident(self) -> Any:
        """The only one."""
        (one,) = self.incidents()
        return one

    def notifications(self) -> list[Any]:
        """All of them, the oldest first."""
        return self._rows(schema.notification)

    def told(self) -> list[tuple[str, str]]:
        """What was told, and the state."""
        return [(row.what, row.content["state"]) for row in self.notifications()]

    def story(self) -> list[str]:
        """What the events of all incidents say, in a word each."""
        return [row.what for row in self._rows(schema.incident_event)]

    def row(self, probe: Probe) -> Any:
        """Of a probe."""
        with self.database.read() as db:
            return db.execute(select(schema.host_probe).where(schema.host_probe.c.id == probe.id)).one()

    def host_row(self, host_id: int) -> Any:
        """Of a host."""
        with self.database.read() as db:
            return db.execute(select(schema.host).where(schema.host.c.id == host_id)).one()

    def count(self, table: Any) -> int:
        """The rows of a table."""
        with self.database.read() as db:
            return int(db.execute(select(func.count()).select_from(table)).scalar_one())

    def _rows(self, table: Any) -> list[Any]:
        with self.database.read() as db:
            return list(db.execute(select(table).order_by(table.c.id)).all())
