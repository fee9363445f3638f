"""Keep hosts, tickets and results in the database. Every method is one transaction; any thread may call it."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, delete, event, func, insert, select, update
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError

from monagent.errors import BadArguments, ConfigError, Problem, StoreError
from monagent.protocol import SUBMIT_READING
from monagent.server import schema
from monagent.server.records import Delivery, Host, IssuedTicket, StoredReading


def open_engine(url: str) -> Engine:
    """Connect, and make the tables that are missing.

    Raises:
        ConfigError: nothing here can speak to such a database.
        StoreError: the database cannot be used.
    """
    try:
        engine = create_engine(url)
    except (ArgumentError, NoSuchModuleError, ImportError) as error:
        raise ConfigError([Problem("server.cfg", None, "database", "url", f"cannot be used: {error}")]) from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _tune_sqlite)
        event.listen(engine, "begin", _begin_immediate)
    try:
        schema.metadata.create_all(engine)
    except DBAPIError as error:
        shown = engine.url.render_as_string(hide_password=True)
        raise StoreError(f"the database {shown} cannot be used: {error.orig}") from error
    return engine


def _tune_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where SQLAlchemy says, not where pysqlite guesses
    for pragma in ("journal_mode = wal", "synchronous = full", "foreign_keys = on", "busy_timeout = 10000"):
        connection.execute(f"pragma {pragma}")


def _begin_immediate(connection: Connection) -> None:
    # A transaction that reads first and writes later would fail when another one wrote in between.
    connection.exec_driver_sql("begin immediate")


class Store:
    """The server's memory."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    # -- hosts --------------------------------------------------------------------------------------------------

    def add_host(self, name: str, address: str, port: int, sources: Sequence[str] = ()) -> None:
        """Define a host.

        Raises:
            BadArguments: the name is taken.
        """
        row = {"name": name, "address": address, "port": port, "sources": list(sources)}
        try:
            with self._engine.begin() as db:
                db.execute(insert(schema.host).values(row))
        except IntegrityError:
            raise BadArguments(f"there is a host {name!r} already") from None

    def remove_host(self, name: str) -> bool:
        """Forget a host with its tickets and readings; False when there is none of that name."""
        with self._engine.begin() as db:
            return db.execute(delete(schema.host).where(schema.host.c.name == name)).rowcount > 0

    def hosts(self) -> list[Host]:
        """All hosts by name."""
        with self._engine.connect() as db:
            return [_host(row) for row in db.execute(select(schema.host).order_by(schema.host.c.name))]

    def host(self, name: str) -> Host | None:
        """The host of that name."""
        return next((host for host in self.hosts() if host.name == name), None)

    # -- tickets ------------------------------------------------------------------------------------------------

    def issue(self, host: Host, method: str, commands: Sequence[tuple[str, list[Any]]]) -> None:
        """Write down tickets (with their arguments) before they are sent."""
        now = datetime.now(UTC)
        rows = [
            {
                "ticket": ticket,
                "host_id": host.id,
                "method": method,
                "arguments": arguments,
                "state": "issued",
                "issued": now,
            }
            for ticket, arguments in commands
        ]
        with self._engine.begin() as db:
            db.execute(insert(schema.ticket), rows)

    def acknowledged(self, ticket: str) -> None:
        """The agent has taken the command. Its result may even have been quicker than this."""
        self._advance(ticket, state="acknowledged", acknowledged=datetime.now(UTC))

    def refused(self, ticket: str, refusal: str) -> None:
        """The agent has not taken the command."""
        self._advance(ticket, state="refused", refusal=refusal)

    def _advance(self, ticket: str, **values: Any) -> None:
        known = schema.ticket.c
        with self._engine.begin() as db:
            db.execute(update(schema.ticket).where(known.ticket == ticket, known.state == "issued").values(values))

    def tickets(self, names: Sequence[str]) -> dict[str, tuple[IssuedTicket, Host]]:
        """Those of the tickets that were issued, each with its host."""
        statement = select(schema.ticket, schema.host).join(schema.host).where(schema.ticket.c.ticket.in_(names))
        with self._engine.connect() as db:
            return {row.ticket: (_ticket(row), _host_of_ticket(row)) for row in db.execute(_labelled(statement))}

    # -- results ------------------------------------------------------------------------------------------------

    def redeem(self, deliveries: Sequence[tuple[IssuedTicket, Delivery]]) -> None:
        """Keep results and mark their tickets as done, all in one commit. A ticket that is done already is left alone."""
        with self._engine.begin() as db:
            for ticket, delivery in deliveries:
                if _close(db, ticket, delivery):
                    _keep(db, ticket, delivery)

    def reading(self, ticket: str) -> StoredReading | None:
        """The reading that came for a ticket."""
        found = self._readings(schema.ticket.c.ticket == ticket)
        return found[0] if found else None

    def outcome(self, ticket: str) -> dict[str, Any] | None:
        """The outcome that came for a ticket."""
        statement = select(schema.outcome.c.content).join(schema.ticket).where(schema.ticket.c.ticket == ticket)
        with self._engine.connect() as db:
            content: dict[str, Any] | None = db.execute(statement).scalar()
            return content

    def latest(self) -> list[StoredReading]:
        """The newest reading of each host, sensor and arguments."""
        known = schema.reading.c
        newest = select(func.max(known.id)).group_by(known.host_id, known.sensor, known.arguments)
        return self._readings(known.id.in_(newest))

    def _readings(self, condition: Any) -> list[StoredReading]:
        reading, ticket, host = schema.reading.c, schema.ticket.c, schema.host.c
        statement = (
            select(
                ticket.ticket, host.name.label("host"), reading.sensor, reading.arguments, reading.ret_code, reading.data,
                reading.error, reading.stderr, reading.duration, reading.finished,
            )
            .select_from(schema.reading.join(schema.ticket).join(schema.host, host.id == reading.host_id))
            .where(condition)
        )  # fmt: skip
        with self._engine.connect() as db:
            found = [StoredReading(**row) for row in db.execute(statement).mappings()]
        return sorted(found, key=lambda reading: (reading.host, reading.sensor, list(map(str, reading.arguments))))


def _close(db: Connection, ticket: IssuedTicket, delivery: Delivery) -> bool:
    known = schema.ticket.c
    values = {"state": "done", "done": datetime.now(UTC), "fingerprint": delivery.fingerprint}
    statement = update(schema.ticket).where(known.id == ticket.id, known.state != "done").values(values)
    return db.execute(statement).rowcount == 1


def _keep(db: Connection, ticket: IssuedTicket, delivery: Delivery) -> None:
    content = delivery.content
    if ticket.method != SUBMIT_READING:
        plain = _plain(content)
        db.execute(insert(schema.outcome).values(ticket_id=ticket.id, content=plain, finished=delivery.finished))
        return
    sensor, arguments = ticket.arguments
    values = {name: content.get(name) for name in ("ret_code", "data", "error", "stderr", "duration")}
    owner = {"ticket_id": ticket.id, "host_id": ticket.host_id, "sensor": sensor, "arguments": arguments}
    db.execute(insert(schema.reading).values({**values, **owner, "finished": delivery.finished}))


def _plain(value: Any) -> Any:
    """The value as JSON can hold it: times as ISO 8601, bytes as base64."""
    if isinstance(value, dict):
        return {name: _plain(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%dT%H:%M:%SZ}"
    return b64encode(value).decode("ascii") if isinstance(value, bytes) else value


def _labelled(statement: Any) -> Any:
    ticket, host = schema.ticket.c, schema.host.c
    return statement.with_only_columns(
        ticket.id, ticket.ticket, ticket.host_id, ticket.method, ticket.arguments, ticket.state, ticket.fingerprint,
        ticket.refusal, host.name, host.address, host.port, host.sources,
    )  # fmt: skip


def _host(row: Any) -> Host:
    return Host(row.id, row.name, row.address, row.port, tuple(row.sources))


def _host_of_ticket(row: Any) -> Host:
    return Host(row.host_id, row.name, row.address, row.port, tuple(row.sources))


def _ticket(row: Any) -> IssuedTicket:
    return IssuedTicket(
        row.id, row.ticket, row.host_id, row.method, row.arguments, row.state, row.fingerprint, row.refusal
    )
