"""What Prometheus gets from a server, and who gets it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import insert, update

from monagent.server import schema, tokens
from monagent.server.database import Database
from monagent.server.metrics.exposition import COUNT_SECONDS, Exposition
from monagent.server.metrics.own import Own
from monagent.server.service import Server
from monagent.server.web import page
from tests.support.server import define, issue, known_host
from tests.unit.server.asking import ask, serving

NOW = 1_800_000_000.0
HOSTILE = 'a"b\\c\nd{x="y"} 1\n# TYPE evil gauge'
OWN = Own(
    taken=7, refused={"foreign": 2}, calls={"accepted": 9, "-32700": 1}, put_off=3, requests_refused={"413": 4},
    connections=5, commands={"acknowledged": 6, "trouble": 1}, runs_put_off=8, runs_left_out=9, busy=2, has_begun=True,
    database_up=True, silent=0.5,
)  # fmt: skip


def rendered(database: Database, values: int = 100, own: Own = OWN) -> dict[tuple[str, ...], float]:
    """All samples, by name and label values."""
    return samples(Exposition(database, lambda: own, values, lambda: {"wrong": 4}, lambda: NOW).render())


def samples(text: bytes | str) -> dict[tuple[str, ...], float]:
    """All samples, by name and label values; each must be there once."""
    if isinstance(text, bytes):
        text = text.decode()
    found: dict[tuple[str, ...], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, *(sample.labels[label] for label in sorted(sample.labels)))
            assert key not in found
            found[key] = sample.value
    return found


def fleet(database: Database, states: dict[str, Any]) -> None:
    """A host with a probe in each of these states, each with its number: (state, value)."""
    known_host(database, "web1")
    probes = {("probe", name): {"sensor": "disk", "hosts": ["web1"]} for name in states}
    define(database, {("sensor", "disk"): {}, **probes})
    with database.write() as db:
        for number, (name, state) in enumerate(states.items()):
            if state is None:
                continue
            values = {"state": state, "value": number + 0.5, "finished": NOW - number, "received": NOW, "ret_code": 0}
            db.execute(update(schema.host_probe).where(schema.host_probe.c.probe == name).values(values))


def test_the_servers_own_parts_are_told(database: Database) -> None:
    """Each counter under its name."""
    found = rendered(database)

    assert found["monagent_results_total",] == 7
    assert found["monagent_results_refused_total", "foreign"] == 2
    assert found["monagent_calls_total", "-32700"] == 1
    assert found["monagent_requests_put_off_total",] == 3
    assert found["monagent_requests_refused_total", "413"] == 4
    assert found["monagent_readers_refused_total", "wrong"] == 4
    assert found["monagent_commands_total", "trouble"] == 1
    assert (found["monagent_runs_put_off_total",], found["monagent_runs_left_out_total",]) == (8, 9)
    assert (found["monagent_hosts_busy",], found["monagent_connections",], found["monagent_database_up",]) == (2, 5, 1)
    assert found["process_resident_memory_bytes",] > 1_000_000


def test_the_fleet_is_counted(database: Database) -> None:
    """Hosts, probes, tickets, incidents, notifications, jobs, and how late the schedule is."""
    fleet(database, {"a": "ok", "b": "critical", "c": None})
    host = known_host(database, "web2")
    issue(database, host, "t1", "t2")
    issue(database, host, "t3", state="done", ended=NOW)
    with database.write() as db:
        db.execute(update(schema.host).where(schema.host.c.name == "web2").values(silent=NOW, trouble="gone"))
        db.execute(update(schema.host_probe).where(schema.host_probe.c.probe == "a").values(due=NOW - 30, stale=NOW))
        incident = {"host_id": host.id, "worst": "silent", "message": "m", "opened": NOW, "flapping": False}
        db.execute(insert(schema.incident).values(state="silent", **incident))
        note = {"rule": "r", "channel": "mail", "target": "t", "what": "problem", "content": {}, "created": NOW}
        db.execute(insert(schema.notification), [{**note, "state": one, "attempts": 0} for one in ("sent", "failed")])
        rows = [{"name": "retention", "due": NOW, "ran": 5.0, "trouble": "x"}, {"name": "new", "due": NOW}]
        for row in rows:
            db.execute(insert(schema.job).values(row))
    found = rendered(database)

    assert [found[f"monagent_hosts{one}",] for one in ("", "_silent", "_in_trouble")] == [2, 1, 1]
    assert [found["monagent_probes", one] for one in ("ok", "critical", "none")] == [1, 1, 1]
    assert (found["monagent_probes_stale",], found["monagent_probes_due",]) == (1, 1)
    assert found["monagent_schedule_lateness_seconds",] == 30
    assert found["monagent_tickets_open", "issued"] == 2
    assert ("monagent_tickets_open", "done") not in found
    assert found["monagent_incidents_open", "silent"] == 1
    assert (found["monagent_notifications", "waiting"], found["monagent_notifications", "failed"]) == (0, 1)
    assert (found["monagent_job_trouble", "retention"], found["monagent_job_trouble", "new"]) == (1, 0)
    assert found["monagent_job_last_run_timestamp_seconds", "retention"] == 5


def test_the_newest_readings_are_told(database: Database) -> None:
    """Value, state and age; before the first reading there is nothing to tell."""
    fleet(database, {"a": "ok", "b": "warning", "c": "unknown", "d": "critical", "e": None})
    found = rendered(database)

    assert [found["monagent_probe_state", "web1", one] for one in "abcd"] == [0, 1, 2, 3]
    assert [found["monagent_probe_value", "web1", one, "disk"] for one in "abcd"] == [0.5, 1.5, 2.5, 3.5]
    assert [found["monagent_probe_age_seconds", "web1", one] for one in "abcd"] == [0, 1, 2, 3]
    assert ("monagent_probe_age_seconds", "web1", "e") not in found
    assert found["monagent_probes_left_out",] == 0


def test_of_too_many_probes_the_worst_are_told(database: Database) -> None:
    """Then by name; and how many are not there."""
    fleet(database, {"a": "ok", "b": "warning", "c": "ok", "d": "critical", "e": "ok"})
    found = rendered(database, values=3)

    assert sorted(key[2] for key in found if key[0] == "monagent_probe_state") == ["a", "b", "d"]
    assert found["monagent_probes_left_out",] == 2
    assert rendered(database, values=0)["monagent_probes_left_out",] == 5


def test_a_number_that_is_not_there_is_left_out(database: Database) -> None:
    """The state and the age are told all the same."""
    fleet(database, {"a": "unknown"})
    with database.write() as db:
        db.execute(update(schema.host_probe).values(value=None))
    found = rendered(database)

    assert found["monagent_probe_state", "web1", "a"] == 2
    assert not [key for key in found if key[0] == "monagent_probe_value"]


def test_hostile_names_stay_names(database: Database) -> None:
    """Nothing in them becomes a line, or a label, of its own."""
    fleet(database, {"a": "ok"})
    with database.write() as db:
        db.execute(update(schema.host).values(name=HOSTILE))
        db.execute(update(schema.host_probe).values(probe=HOSTILE, sensor=HOSTILE[:60]))
    text = Exposition(database, lambda: OWN, 10, dict, lambda: NOW).render().decode()

    assert samples(text)["monagent_probe_value", HOSTILE, HOSTILE, HOSTILE[:60]] == 0.5
    assert "\n# TYPE evil" not in text


def test_the_fleet_is_counted_now_and_then(database: Database) -> None:
    """However often somebody asks."""
    now = [NOW]
    one = Exposition(database, lambda: OWN, 10, dict, lambda: now[0])
    seen = []
    for seconds in (0.0, COUNT_SECONDS - 1, COUNT_SECONDS):
        now[0] = NOW + seconds
        seen.append(samples(one.render())["monagent_hosts",])
        known_host(database, f"web{seconds}")

    assert seen == [0, 0, 2]


def test_a_database_that_is_away_is_not_waited_for(tmp_path: Path) -> None:
    """What the server knows by itself is told, and that the database is away."""
    nowhere = Database(f"sqlite:///{tmp_path}/no/such/directory.db")
    gone = rendered(nowhere)

    assert gone["monagent_database_up",] == 0
    assert gone["monagent_results_total",] == 7
    assert ("monagent_hosts",) not in gone


# -- who gets it --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server whose metrics are for one network."""
    with serving(tmp_path_factory.mktemp("metrics"), "[metrics]\nallow = 192.0.2.0/24\n") as one:
        yield one


def test_who_is_allowed_reads_them(server: Server) -> None:
    """By the address that the balancer tells."""
    reply = ask(server, "/metrics", address="192.0.2.9")

    assert reply.status == 200
    assert reply.headers["content-type"].replace(" ", "") == "text/plain;version=0.0.4;charset=utf-8"
    assert samples(reply.text)["monagent_database_up",] == 1


def test_anybody_else_needs_a_token(server: Server) -> None:
    """403 without a good one; what anybody else says of where he comes from is not believed."""
    made = tokens.add(server.database, "prometheus", time.time())

    assert ask(server, "/metrics").status == 403
    assert ask(server, "/metrics", "mon_" + "x" * 43).status == 403
    assert ask(server, "/metrics", address="192.0.2.9, 198.51.100.7").status == 403
    assert ask(server, "/metrics", made).status == 200
    assert ask(server, "/metrics", made, method="HEAD").text == ""


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [
        ("/metrics?a=b", "GET", 404),
        ("/metrics/", "GET", 404),
        ("/metrics", "POST", 405),
        ("/healthz", "DELETE", 405),
        ("/healthz/x", "GET", 404),
    ],
)
def test_there_is_nothing_beside_them(server: Server, path: str, method: str, status: int) -> None:
    """Other verbs, paths and questions."""
    assert ask(server, path, address="192.0.2.9", method=method).status == status


def test_the_page_shows_the_worst_and_says_how_many_more(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that ten thousand probes do not make it heavy."""
    fleet(database, {"a": "ok", "b": "warning", "c": "ok", "d": "critical"})
    with database.write() as db:
        db.execute(update(schema.host_probe).values(data=schema.host_probe.c.probe))
    monkeypatch.setattr(page, "_ROWS", page._ROWS.limit(2))
    text = page.render(database)

    assert text.count("<tr><td>") == 2
    assert text.index(">d<") < text.index(">b<")
    assert "and 2 more, none of them worse" in text
