"""The server's tables, for SQLite and PostgreSQL alike (SQLAlchemy Core).

Every time is a double: seconds since the epoch, UTC (`to_timestamp(x)` and `datetime(x, 'unixepoch')` show them).
Changing a table means a new file in `migrations/versions/`, too.
"""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

metadata = MetaData()

_Big = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER

# -- what people define -------------------------------------------------------------------------------------------

definition = Table(
    "definition",
    metadata,
    # host, sensor, probe, schedule, override, maintenance, alert, report
    Column("kind", String(16), primary_key=True),
    # The longest are those of overrides: a host, a slash, a probe.
    Column("name", String(330), primary_key=True),
    Column("content", JSON, nullable=False),
)

# -- what follows from it, kept in step with every change of a definition -------------------------------------------

host = Table(
    "host",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    Column("address", String(255), nullable=False),
    Column("port", Integer, nullable=False),
    # Networks that its results may come from; empty: the addresses that `address` resolves to.
    Column("sources", JSON, nullable=False),
    Column("groups", JSON, nullable=False),
    # The server that it is told to use; empty: this one.
    Column("url", Text),
    Column("tls", Boolean, nullable=False),
    # When it last handed something in.
    Column("seen", Double),
    # Exchanges in a row that came to nothing, why, and when the next one may be tried.
    Column("failures", Integer, nullable=False),
    Column("retry_at", Double, nullable=False),
    Column("trouble", Text),
    # Since when it has handed in nothing although it should have; one incident for all of its probes.
    Column("silent", Double),
)

host_probe = Table(
    "host_probe",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), nullable=False),
    Column("probe", String(255), nullable=False),
    # False: not defined any more, kept for its history.
    Column("active", Boolean, nullable=False),
    Column("sensor", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
    # Nagios ranges.
    Column("warning", String(255)),
    Column("critical", String(255)),
    Column("runs", Integer, nullable=False),
    Column("margin", Double, nullable=False),
    # Its exit status tells a state as a Nagios plug-in's does.
    Column("nagios", Boolean, nullable=False),
    # Seconds, or a cron expression in a time zone; neither: only by hand.
    Column("every", Double),
    Column("cron", String(255)),
    Column("timezone", String(64)),
    # Seconds behind the schedule's own instants, so that hosts do not all run at once.
    Column("phase", Double, nullable=False),
    Column("due", Double),
    # The newest reading.
    Column("finished", Double),
    Column("received", Double),
    Column("ret_code", Integer),
    Column("data", Text),
    Column("value", Double),
    Column("error", String(32)),
    # ok, warning, critical, unknown; null: no reading yet.
    Column("state", String(16)),
    Column("since", Double),
    # Since when no result has come although its host hands in others.
    Column("stale", Double),
    # What the rules of alarms remember of it (`alerts.watches`).
    Column("watch", JSON(none_as_null=True)),
    UniqueConstraint("host_id", "probe"),
    Index("host_probe_due", "due"),
)

# -- tickets and what came back -------------------------------------------------------------------------------------

ticket = Table(
    "ticket",
    metadata,
    Column("id", _Big, primary_key=True),
    Column("ticket", String(128), nullable=False, unique=True),
    # Without foreign keys: these rows come and go by the hundred in a second.
    Column("host_id", Integer, nullable=False),
    Column("host_probe_id", Integer),
    Column("method", String(64), nullable=False),
    Column("arguments", JSON, nullable=False),
    # issued, sent, acknowledged, done, failed, expired, refused, cancelled: see `tickets`
    Column("state", String(16), nullable=False),
    # When the schedule wanted it; null: somebody asked for it.
    Column("due", Double),
    Column("issued", Double, nullable=False),
    Column("expires", Double, nullable=False),
    # When whoever finds it is to send it (again); null: nothing more is to be sent.
    Column("send_at", Double),
    # Not worth sending after this.
    Column("send_until", Double, nullable=False),
    Column("sent", Double),
    Column("acknowledged", Double),
    # When it came to its end here, and when the work was finished by the agent's clock.
    Column("ended", Double),
    Column("finished", Double),
    # Why it failed, or was refused.
    Column("reason", Text),
    # Of the result that was taken: a repeat of the same one is answered OK, another one is not.
    Column("fingerprint", LargeBinary),
    Index("ticket_host", "host_id", "issued"),
    Index("ticket_issued", "issued"),
    Index("ticket_open", "expires", postgresql_where=text("ended IS NULL"), sqlite_where=text("ended IS NULL")),
    Index(
        "ticket_send", "send_at", postgresql_where=text("send_at IS NOT NULL"), sqlite_where=text("send_at IS NOT NULL")
    ),
)

reading = Table(
    "reading",
    metadata,
    Column("ticket_id", _Big, primary_key=True, autoincrement=False),
    # By the agent's clock.
    Column("finished", Double, primary_key=True),
    Column("host_id", Integer, nullable=False),
    # Null: somebody asked for it; the ticket tells the sensor.
    Column("host_probe_id", Integer),
    Column("received", Double, nullable=False),
    Column("ret_code", Integer, nullable=False),
    # As the sensor printed it, and as a number; null: none to trust.
    Column("data", Text, nullable=False),
    Column("value", Double),
    Column("error", String(32)),
    Column("stderr", Text),
    Column("duration", Double),
    Column("metrics", JSON(none_as_null=True)),
    Index("reading_series", "host_probe_id", "finished"),
    # On PostgreSQL whole days go at once.
    Index("reading_finished", "finished").ddl_if(dialect="sqlite"),
    postgresql_partition_by="RANGE (finished)",
)


def _rollup(name: str) -> Table:
    return Table(
        name,
        metadata,
        Column("host_probe_id", Integer, primary_key=True, autoincrement=False),
        # A multiple of the length.
        Column("start", Double, primary_key=True),
        # Of the readings with a number; `sum / n` is their mean.
        Column("n", Integer, nullable=False),
        Column("sum", Double, nullable=False),
        Column("min", Double),
        Column("max", Double),
        # Readings without a number to trust, and how many were beyond which threshold.
        Column("missing", Integer, nullable=False),
        Column("warnings", Integer, nullable=False),
        Column("criticals", Integer, nullable=False),
        # 0 ok, 1 warning, 2 unknown, 3 critical
        Column("worst", SmallInteger, nullable=False),
        Index(f"{name}_start", "start"),
    )


rollup_5m = _rollup("rollup_5m")
rollup_1h = _rollup("rollup_1h")

outcome = Table(
    "outcome",
    metadata,
    Column("ticket_id", _Big, primary_key=True, autoincrement=False),
    Column("host_id", Integer, nullable=False, index=True),
    Column("content", JSON, nullable=False),
    Column("finished", Double, nullable=False),
)

# -- alerts -----------------------------------------------------------------------------------------------------------

incident = Table(
    "incident",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), nullable=False, index=True),
    # Null: the whole host is silent.
    Column("host_probe_id", ForeignKey("host_probe.id", ondelete="CASCADE"), index=True),
    # warning, critical, unknown, silent, stale; the state now, or the last one before it closed
    Column("state", String(16), nullable=False),
    Column("worst", String(16), nullable=False),
    Column("message", Text, nullable=False),
    Column("value", Double),
    Column("opened", Double, nullable=False),
    Column("closed", Double),
    Column("flapping", Boolean, nullable=False),
    # When people were told last; null: never, as nobody wants it or something holds it back (`withheld` says what).
    Column("told", Double),
    Column("withheld", Text),
    Column("acknowledged", Double),
    Column("acknowledged_by", String(255)),
    Column("note", Text),
    Index("incident_open", "opened", postgresql_where=text("closed IS NULL"), sqlite_where=text("closed IS NULL")),
    # One at most is open for a probe, and for a host as a whole.
    Index(
        "incident_of_probe",
        "host_probe_id",
        unique=True,
        postgresql_where=text("closed IS NULL"),
        sqlite_where=text("closed IS NULL"),
    ),
    Index(
        "incident_of_host",
        "host_id",
        unique=True,
        postgresql_where=text("closed IS NULL AND host_probe_id IS NULL"),
        sqlite_where=text("closed IS NULL AND host_probe_id IS NULL"),
    ),
)

incident_event = Table(
    "incident_event",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", ForeignKey("incident.id", ondelete="CASCADE"), nullable=False, index=True),
    Column("at", Double, nullable=False),
    # problem, worse, better, recovery, flapping, settled, reminder, acknowledged, withheld, told, removed
    Column("what", String(16), nullable=False),
    Column("state", String(16), nullable=False),
    Column("text", Text, nullable=False),
)

silence = Table(
    "silence",
    metadata,
    Column("id", Integer, primary_key=True),
    # Each of them names what is silenced; null: all.
    Column("host", String(255)),
    Column("group", String(255)),
    Column("probe", String(255)),
    Column("begins", Double, nullable=False),
    Column("ends", Double, nullable=False),
    Column("by", String(255), nullable=False),
    Column("note", Text, nullable=False),
)

vigil = Table(
    "vigil",
    metadata,
    # One row: since when it was watched without a break who hands in nothing, and when somebody looked last. After a
    # break, which was ours, nobody is called silent before everybody had the time to be heard.
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("began", Double, nullable=False),
    Column("looked", Double, nullable=False),
)

notification = Table(
    "notification",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("incident_id", ForeignKey("incident.id", ondelete="CASCADE"), index=True),
    # The alert, or report, that wants it told.
    Column("rule", String(255), nullable=False),
    # mail, webhook, apprise
    Column("channel", String(16), nullable=False),
    Column("target", Text, nullable=False),
    # problem, recovery, flapping, settled, reminder, report, test
    Column("what", String(16), nullable=False),
    Column("content", JSON, nullable=False),
    # waiting, sent, failed
    Column("state", String(16), nullable=False),
    Column("created", Double, nullable=False),
    Column("next_try", Double),
    Column("attempts", Integer, nullable=False),
    Column("sent", Double),
    Column("trouble", Text),
    # Of those that go together, from the first try on; Message-ID and webhook id follow from it.
    Column("batch", String(32), index=True),
    # Who has it already, and who will not have it, where a mail server told recipients apart; since when a webhook's
    # receiver refuses it.
    Column("progress", JSON),
    Index(
        "notification_waiting",
        "next_try",
        postgresql_where=text("state = 'waiting'"),
        sqlite_where=text("state = 'waiting'"),
    ),
)

# -- sensor packages, roll-outs, server moves ---------------------------------------------------------------------------

package = Table(
    "package",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("sensor", String(64), nullable=False),
    Column("version", String(64), nullable=False),
    Column("content", LargeBinary, nullable=False),
    Column("sha256", String(64), nullable=False),
    # Of what it holds, as agents tell it of what they have installed.
    Column("digest", String(80), nullable=False),
    # Fingerprint of the key that signed it; null: not signed.
    Column("signed_by", String(64)),
    Column("uploaded", Double, nullable=False),
    Column("note", Text, nullable=False),
    # The one that agents are given, but for those of a roll-out under way.
    Column("current", Boolean, nullable=False),
    UniqueConstraint("sensor", "version"),
)

inventory = Table(
    "inventory",
    metadata,
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("sensor", String(64), primary_key=True),
    # The package that holds the same; null: none of ours does.
    Column("package_id", ForeignKey("package.id", ondelete="SET NULL")),
    # As the agent tells them; empty: it does not know.
    Column("version", String(80), nullable=False),
    Column("digest", String(80), nullable=False),
    # Somebody edited it there by hand.
    Column("changed", Boolean, nullable=False),
    Column("help", Text),
    Column("reported", Double, nullable=False),
)

inventory_report = Table(
    "inventory_report",
    metadata,
    # Hosts that have told all of their sensors, and when last; one without any has no row above.
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("reported", Double, nullable=False),
)

rollout = Table(
    "rollout",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("package_id", ForeignKey("package.id", ondelete="CASCADE"), nullable=False),
    # The one that was current before; what is restored to.
    Column("previous_id", ForeignKey("package.id", ondelete="SET NULL")),
    # running, done, stopped, restoring, restored
    Column("state", String(16), nullable=False),
    Column("stage", Integer, nullable=False),
    # Hosts in each stage, like [1, 20, 179].
    Column("stages", JSON, nullable=False),
    Column("patience", Double, nullable=False),
    Column("restore", Boolean, nullable=False),
    # To the hosts that were named, whatever comes of it: nothing is waited for, and the package does not become current.
    Column("push", Boolean, nullable=False),
    Column("started", Double, nullable=False),
    Column("ended", Double),
    Column("by", String(255), nullable=False),
    Column("reason", Text),
)

rollout_host = Table(
    "rollout_host",
    metadata,
    Column("rollout_id", ForeignKey("rollout.id", ondelete="CASCADE"), primary_key=True),
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("stage", Integer, nullable=False),
    # Its place among all.
    Column("position", Integer, nullable=False),
    # waiting, updating, installed, healthy, away, failed, restoring, restored
    Column("state", String(16), nullable=False),
    # Of the update, and of what was sent last to take it back.
    Column("ticket", String(128)),
    Column("restore_ticket", String(128)),
    Column("changed", Double, nullable=False),
    Column("reason", Text),
)

move = Table(
    "move",
    metadata,
    Column("host_id", ForeignKey("host.id", ondelete="CASCADE"), primary_key=True),
    Column("url", Text, nullable=False),
    Column("ticket", String(128)),
    # waiting, sent, asked, moved, back, failed
    Column("state", String(16), nullable=False),
    Column("started", Double, nullable=False),
    # When it asked for its new server.
    Column("asked", Double),
    Column("ended", Double),
    Column("reason", Text),
)

# -- the server's own -----------------------------------------------------------------------------------------------------

job = Table(
    "job",
    metadata,
    # Work that one process does for all: whoever moves `due` ahead has it.
    Column("name", String(255), primary_key=True),
    Column("due", Double, nullable=False),
    Column("ran", Double),
    Column("trouble", Text),
)

token = Table(
    "token",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
    # SHA-256; the token itself is shown once.
    Column("digest", String(64), nullable=False, unique=True),
    Column("created", Double, nullable=False),
    Column("used", Double),
)
