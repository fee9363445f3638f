"""Hosts that are sent to another server: who went, who came back, and how that is told."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, insert, literal, select, text, update

from monagent.errors import StoreAway
from monagent.server import moves, schema
from monagent.server.database import Database
from monagent.server.moves import MoveJob, Moves
from monagent.server.moving import ASKED, BACK, FAILED, MOVED, SENT, WAITING, Standing, Verdict, judge
from monagent.server.pauses import SPREAD_SECONDS
from monagent.server.records import Host
from monagent.server.rollouts.verdicts import Answer
from tests.unit.server.rollouts.fleet import Fleet

NEW = "http://new.example.org:8081/xmlrpc/"
OWN = "http://old.example.org:8081/xmlrpc/"
ERROR = {"status": "error", "message": f"still with {OWN}: {NEW} was not moved to: its healthcheck failed"}


def standing(state: str, answer: Answer | None = None, **times: float | None) -> Standing:
    """A host in this state; times are seconds after the beginning."""
    known = {name: times.get(name) for name in ("asked", "ended", "seen")}
    return Standing(1, "t", state, 0.0, known["asked"], known["ended"], known["seen"], answer)


def answered(state: str, reason: str | None = None, outcome: dict[str, Any] | None = None) -> Answer:
    """The command to move, in this state."""
    ended = None if state in ("issued", "sent", "acknowledged") else 1.0
    return Answer("cmd_update_config", state, reason, ended, outcome)


def test_who_was_told_and_who_could_not_be() -> None:
    """An agent that took the command and is silent about it is given its time."""
    assert judge(standing(WAITING, answered("issued")), 10.0) is None
    assert judge(standing(WAITING, answered("acknowledged")), 10.0) == Verdict(SENT)
    assert judge(standing(SENT, answered("acknowledged")), 1000.0) is None
    assert judge(standing(WAITING, answered("failed", "connection refused")), 10.0) == Verdict(
        FAILED, "connection refused"
    )
    assert judge(standing(WAITING, answered("refused", "fault -32601")), 1.0) == Verdict(
        FAILED, "the agent refused: fault -32601"
    )
    assert judge(standing(WAITING, answered("sent", "too long")), 60.0) is None
    assert judge(standing(WAITING, answered("sent", "too long")), 121.0) == Verdict(
        FAILED, "it does not answer: too long"
    )
    assert judge(standing(WAITING), 1.0) == Verdict(FAILED, "its ticket is gone")


def test_who_asked_and_then_was_quiet_has_gone() -> None:
    """What was on its way here when it asked still comes in."""
    assert judge(standing(ASKED, asked=100.0, seen=99.0), 159.0) is None
    found = judge(standing(ASKED, asked=100.0, seen=99.0), 161.0)
    assert found is not None
    assert (found.state, found.is_over) == (MOVED, True)
    assert judge(standing(ASKED, asked=100.0, seen=130.0), 161.0) is None


def test_who_asked_and_stays_has_not_gone() -> None:
    """It hands in, again and again."""
    found = judge(standing(ASKED, asked=100.0, seen=395.0), 401.0)

    assert found == Verdict(BACK, "it asked where to go, and still hands in its results here")


@pytest.mark.parametrize("state", [WAITING, SENT, ASKED, MOVED])
def test_an_error_that_comes_here_tells_why_it_is_back(state: str) -> None:
    """Whatever was thought of it before."""
    found = judge(standing(state, answered("failed", "x", ERROR), asked=1.0, ended=2.0), 3.0)

    assert found == Verdict(BACK, ERROR["message"])


def test_who_hands_in_again_after_it_had_gone_is_back() -> None:
    """That it was seen may have been written down a little late."""
    assert judge(standing(MOVED, asked=1.0, ended=100.0, seen=105.0), 200.0) is None
    assert judge(standing(MOVED, asked=1.0, ended=100.0, seen=111.0), 200.0) == Verdict(
        BACK, "it hands in its results here again"
    )


def test_two_servers_with_one_database_know_at_once() -> None:
    """There the outcome comes in, and so does all that comes later."""
    outcome = answered("done", None, {"status": "ok", "message": "moved"})

    assert judge(standing(ASKED, outcome, asked=1.0), 2.0) == Verdict(MOVED, "moved")
    assert judge(standing(MOVED, outcome, asked=1.0, ended=2.0, seen=500.0), 501.0) is None


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Fleet:
    """Four hosts, of which three are defined to use the new server."""
    fleet = Fleet(database, tmp_path, 4)
    with database.write() as db:
        db.execute(update(schema.host).where(schema.host.c.id.in_(fleet.ids[:3])).values(url=NEW))
    return fleet


def ask(fleet: Fleet, name: str, peer: str = "127.0.0.1") -> str | None:
    """As a host does, by an address that may not be its own."""

    def is_from(peer: str, host: Host) -> bool:
        return peer == host.address

    return Moves(fleet.database, is_from, lambda: fleet.now).url_for(name, peer, lambda: OWN)


def states(fleet: Fleet) -> dict[str, str]:
    """Of all moves."""
    with fleet.database.read() as db:
        return {move.host: move.state for move in moves.listing(db)}


def test_each_host_is_told_its_own_server(fleet: Fleet) -> None:
    """A host that nobody knows is told nothing."""
    assert [ask(fleet, name) for name in ("web1", "web2", "web3", "web4", "web5")] == [NEW, NEW, NEW, OWN, None]
    assert states(fleet) == {}


def test_a_fleet_goes_and_what_cannot_go_stays_or_comes_back(fleet: Fleet) -> None:
    """One moves; one is told by its new server's health to stay; one comes back after its probation; one is away."""
    job = MoveJob(fleet.database)
    fleet.agents[fleet.ids[3]].mood = "away"
    with fleet.database.write() as db:
        moves.start(db, fleet.database, fleet.ids, NEW, fleet.now)
    fleet.turn(job=False)
    commands = dict(fleet.commands)
    job.run(fleet.now)
    assert states(fleet) == {"web1": SENT, "web2": SENT, "web3": SENT, "web4": FAILED}

    assert {NEW} == {ask(fleet, name) for name in ("web1", "web2", "web3")}
    job.run(fleet.now)
    assert states(fleet) == {"web1": ASKED, "web2": ASKED, "web3": ASKED, "web4": FAILED}

    fleet.hand_in(commands[fleet.ids[1]], ERROR)
    fleet.now += 61.0
    job.run(fleet.now)
    assert states(fleet) == {"web1": MOVED, "web2": BACK, "web3": MOVED, "web4": FAILED}

    fleet.now += 600.0
    fleet.hand_in(commands[fleet.ids[2]], {"status": "error", "message": "went back: it took no result for 600 s"})
    job.run(fleet.now)
    job.run(fleet.now)
    with fleet.database.read() as db:
        found = {move.host: (move.state, move.reason) for move in moves.listing(db)}
    assert found["web1"][0] == MOVED
    assert found["web2"] == (BACK, ERROR["message"])
    assert found["web3"] == (BACK, "went back: it took no result for 600 s")
    assert found["web4"] == (FAILED, "connection refused")


def test_only_the_host_itself_is_noted_to_have_asked(fleet: Fleet) -> None:
    """Anybody may ask in its name; he is answered as ever."""
    with fleet.database.write() as db:
        moves.start(db, fleet.database, fleet.ids[:1], NEW, fleet.now)

    assert ask(fleet, "web1", "192.0.2.66") == NEW
    assert states(fleet) == {"web1": WAITING}


def test_a_move_can_be_begun_anew_and_forgotten(fleet: Fleet) -> None:
    """What became of the one before does not matter any more."""
    job = MoveJob(fleet.database)
    for _ in range(2):
        with fleet.database.write() as db:
            moves.start(db, fleet.database, fleet.ids[:2], NEW, fleet.now)
        fleet.turn(job=False)
        fleet.hand_in(fleet.commands[fleet.ids[0]], ERROR)
        job.run(fleet.now)
        assert states(fleet) == {"web1": BACK, "web2": SENT}
    with fleet.database.write() as db:
        moves.forget(db, fleet.database, fleet.ids[:1], fleet.now)

    assert states(fleet) == {"web2": SENT}


def test_an_outcome_of_before_the_host_asked_again_says_nothing() -> None:
    """It is of the try before that, and was told already."""
    old = answered("failed", "x", ERROR)

    assert judge(standing(ASKED, old, asked=500.0, seen=490.0), 502.0) is None
    found = judge(standing(ASKED, old, asked=500.0, seen=490.0), 561.0)
    assert found is not None
    assert found.state == MOVED


def test_hosts_that_are_here_again_are_not_all_checked_at_once(fleet: Fleet) -> None:
    """But soon, and what one host has together."""
    with fleet.database.write() as db:
        moves.start(db, fleet.database, fleet.ids[:3], NEW, fleet.now)
    for name in ("web1", "web2", "web3"):
        ask(fleet, name)
    paused = dues(fleet)
    with fleet.database.write() as db:
        moves.forget(db, fleet.database, fleet.ids[:3], fleet.now)
    found = dues(fleet)

    assert [due is None for due in paused.values()] == [True, True, True, False]
    assert paused[fleet.ids[3]] == found.pop(fleet.ids[3])
    assert all(due is not None and fleet.now <= due <= fleet.now + SPREAD_SECONDS for due in found.values())
    assert len(set(found.values())) == 3


def dues(fleet: Fleet) -> dict[int, float | None]:
    """When the probe of each host is due."""
    probe = schema.host_probe.c
    with fleet.database.read() as db:
        return {row.host_id: row.due for row in db.execute(select(probe.host_id, probe.due).order_by(probe.host_id))}


def test_hosts_are_forgotten_while_their_results_are_kept(fleet: Fleet) -> None:
    """Both lock probes by their ids: in two orders one of them would fail on PostgreSQL."""
    first, second = fleet.ids[:2]
    with fleet.database.write() as db:
        columns = [column for column in schema.host_probe.c if column.name not in ("id", "probe")]
        for id_ in (first, second):
            more = select(literal("more"), *columns).where(schema.host_probe.c.host_id == id_)
            db.execute(insert(schema.host_probe).from_select(["probe", *(one.name for one in columns)], more))
        db.execute(update(schema.host_probe).values(due=None))
        ids = {(row.host_id, row.probe): row.id for row in db.execute(select(schema.host_probe))}
    errors: list[BaseException] = []

    def forget() -> None:
        try:
            with fleet.database.write() as db:
                moves.forget(db, fleet.database, [first, second], fleet.now)
        except StoreAway as error:
            errors.append(error)

    thread = threading.Thread(target=forget)
    with fleet.database.write() as db:
        lock(db, fleet.database, ids[second, "space"])
        thread.start()
        until_somebody_waits(fleet.database)
        lock(db, fleet.database, ids[first, "more"])
    thread.join(30)

    assert errors == []


def lock(db: Connection, database: Database, probe_id: int) -> None:
    """Keep a probe's row from others."""
    probe = schema.host_probe.c
    db.execute(database.locking(select(probe.id).where(probe.id == probe_id))).all()


def until_somebody_waits(database: Database) -> None:
    """For a row; on SQLite nobody comes so far while another one writes."""
    waiting = text(
        "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
    )
    until = time.monotonic() + 10
    while database.is_postgresql and time.monotonic() < until:
        with database.read() as db:
            if db.scalar(waiting):
                return
        time.sleep(0.01)
