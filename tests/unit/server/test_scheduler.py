"""Who claims what."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path

from sqlalchemy import func, select, update

from monagent.server import schema
from monagent.server.database import Database
from monagent.server.scheduler import Scheduler
from tests.support.server import define

NOW = 1_790_000_000.0


def fleet(database: Database, hosts: int, probes: int, every: str = "60s") -> None:
    """So many hosts with so many probes each, all due at `NOW`."""
    definitions: dict[tuple[str, str], dict[str, object]] = {
        ("sensor", "disk"): {},
        ("schedule", "s"): {"every": every},
    }
    definitions |= {
        ("host", f"host{number}"): {"address": f"127.1.{number // 250}.{number % 250 + 1}"} for number in range(hosts)
    }
    definitions |= {
        ("probe", f"p{number}"): {"sensor": "disk", "schedule": "s", "everywhere": True} for number in range(probes)
    }
    define(database, dict(definitions))
    with database.write() as db:
        db.execute(update(schema.host_probe).values(due=NOW))


def claim_all(url: str, out: str) -> None:
    """Claim until there is nothing left; the tickets go into a file. Runs in a process of its own."""
    database = Database(url)
    scheduler = Scheduler(database)
    with Path(out).open("w", encoding="ascii") as file:
        idle = 0
        while idle < 5:
            with database.write() as db:
                batches, _ = scheduler.claim(db, NOW)
            idle = 0 if batches else idle + 1
            for commands in batches.values():
                file.writelines(f"{command.ticket}\n" for command in commands)
            if not batches:
                time.sleep(0.02)
    database.close()


def test_four_processes_claim_ten_thousand_rows_and_none_twice(
    database: Database, database_url: str, tmp_path: Path
) -> None:
    """Each row by one of them."""
    fleet(database, 1000, 10)
    spawn = multiprocessing.get_context("spawn")
    files = [tmp_path / f"claimed{number}" for number in range(4)]
    processes = [spawn.Process(target=claim_all, args=(database_url, str(file))) for file in files]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0

    claimed = [line for file in files for line in file.read_text().split()]
    assert len(claimed) == len(set(claimed)) == 10_000
    ticket = schema.ticket.c
    with database.read() as db:
        assert db.execute(select(func.count(ticket.id), func.count(ticket.host_probe_id.distinct()))).one() == (
            10_000,
            10_000,
        )
        assert db.execute(select(func.min(schema.host_probe.c.due))).scalar_one() > NOW


def test_hosts_that_cannot_be_reached_are_left_out_until_their_pause_is_over(database: Database) -> None:
    """Their probes go on being due."""
    fleet(database, 2, 1)
    with database.write() as db:
        db.execute(update(schema.host).where(schema.host.c.name == "host0").values(retry_at=NOW + 100))
    scheduler = Scheduler(database)
    with database.write() as db:
        batches, _ = scheduler.claim(db, NOW)

    assert [host.name for host in batches] == ["host1"]
    assert scheduler.left_out == 1
    assert not scheduler.anything(NOW)


def test_after_an_outage_nothing_is_claimed_at_once(database: Database) -> None:
    """It is put off, and spread, and comes within a minute."""
    fleet(database, 100, 1, every="300s")
    scheduler = Scheduler(database)
    later = NOW + 3600
    with database.write() as db:
        assert scheduler.claim(db, later)[0] == {}
    claimed: list[set[str]] = []
    for second in range(61):
        with database.write() as db:
            batches, _ = scheduler.claim(db, later + second)
        claimed.append({host.name for host in batches})

    assert scheduler.put_off == 100
    assert len(set().union(*claimed)) == 100
    assert max(map(len, claimed)) < 15


def test_what_is_planned_too_far_ahead_is_brought_back(database: Database) -> None:
    """Because a clock was ahead when it was planned."""
    fleet(database, 3, 1)
    with database.write() as db:
        db.execute(update(schema.host_probe).values(due=NOW + 7200))
        db.execute(update(schema.host_probe).where(schema.host_probe.c.id == 1).values(due=NOW + 30))
        assert Scheduler(database).realign(db, NOW) == 2
        assert db.execute(select(func.max(schema.host_probe.c.due))).scalar_one() <= NOW + 60
