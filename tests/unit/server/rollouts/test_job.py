"""Roll-outs over a fleet: the real scheduler, tickets and results, on both kinds of database."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import select, update

from monagent.errors import Refused
from monagent.protocol import RESTORE_SENSOR_CODE, UPDATE_SENSOR_CODE
from monagent.server import schema
from monagent.server.database import Database
from monagent.server.repository.inventory import LIST_SENSORS
from monagent.server.rollouts import orders, states
from monagent.server.rollouts.job import RolloutJob
from monagent.server.rollouts.orders import Order
from monagent.server.rollouts.plan import goals_of, split
from tests.unit.server.rollouts.fleet import SENSOR, START, Fleet, package

NEW = package("new")


@pytest.fixture
def fleet(database: Database, tmp_path: Path) -> Fleet:
    """Twelve hosts whose checks have run once."""
    return ready(database, tmp_path, 12)


def ready(database: Database, directory: Path, size: int, *, probes: Sequence[str] = ("space",)) -> Fleet:
    """A fleet with an old version that is current, and a new one that is kept."""
    fleet = Fleet(database, directory, size, probes=probes)
    fleet.repository.upload(fleet.old, "1", "", START)
    fleet.repository.upload(NEW, "2", "", START)
    fleet.turn(3600.0)
    return fleet


def start(
    fleet: Fleet, *, restore: bool = False, push: bool = False, patience: float = 60.0, stages: str = "1,25%,100%"
) -> int:
    """Begin to roll the new version out."""
    order = Order(
        fleet.repository.find(SENSOR, "2").id,
        split(fleet.ids, goals_of("100%" if push else stages)),
        patience,
        restore,
        "eve",
        push,
    )
    with fleet.database.write() as db:
        return orders.start(db, fleet.database, order, fleet.now)


def over(fleet: Fleet) -> bool:
    """Whether it is."""
    return fleet.state() in (states.DONE, states.STOPPED, states.RESTORED)


def test_a_good_version_reaches_every_host_stage_by_stage_and_becomes_current(fleet: Fleet) -> None:
    """Each stage waits for the checks of the one before, which are asked for at once."""
    start(fleet)
    sizes = []
    while not over(fleet):
        fleet.turn()
        sizes.append(fleet.with_version(NEW))

    assert fleet.state() == states.DONE
    assert sorted(set(sizes) - {0}) == [1, 3, 12]
    assert fleet.now - START - 3600 < 30
    assert fleet.repository.find(SENSOR, "2").current
    assert fleet.states() == [states.HEALTHY] * 12


def test_a_bad_version_stops_at_the_first_stage(fleet: Fleet) -> None:
    """One host had it; the reason names it and the check; what agents are given stays what it was."""
    fleet.bad = {NEW}
    start(fleet)
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.STOPPED
    assert fleet.reason() == "stage 1: web1: its check space is bad with the new version: not-found, exit 127"
    assert fleet.with_version(NEW) == 1
    assert fleet.states().count(states.WAITING) == 11
    assert fleet.repository.find(SENSOR, "1").current


def test_a_version_that_fails_on_some_hosts_only_is_taken_back_from_all(fleet: Fleet) -> None:
    """Also from those that were well with it."""
    fleet.is_bad = lambda content: content == NEW and fleet.with_version(NEW) > 3
    start(fleet, restore=True)
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.RESTORED
    assert fleet.reason().startswith("stage 3: ")
    assert fleet.with_version(fleet.old) == 12
    assert set(fleet.states()) <= {states.RESTORED, states.WAITING}


def test_an_agent_that_went_back_by_itself_is_not_taken_back_once_more(fleet: Fleet) -> None:
    """A second time would lead to the version before the former one."""
    fleet.bad = {NEW}
    start(fleet, restore=True)
    first = fleet.agents[fleet.ids[0]]
    fleet.until(lambda: states.INSTALLED in fleet.states())
    fleet.turn(job=False)
    fleet.until(lambda: fleet.state() == states.RESTORING)
    first.installed, first.backups = fleet.old, [package("ancient")]
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.RESTORED
    assert first.installed == fleet.old
    assert RESTORE_SENSOR_CODE not in first.told
    assert LIST_SENSORS in first.told


def test_an_agent_that_refuses_the_package_stops_it(fleet: Fleet) -> None:
    """Its own words are told."""
    fleet.agents[fleet.ids[2]].mood = "refuses"
    start(fleet)
    fleet.until(lambda: over(fleet))

    assert fleet.reason() == "stage 2: web3: disk was left as it is: its test run failed"
    assert fleet.with_version(NEW) == 2


def test_a_host_that_cannot_be_reached_is_left_out(fleet: Fleet) -> None:
    """Two would be too many of a stage of nine."""
    fleet.agents[fleet.ids[7]].mood = "away"
    start(fleet)
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.DONE
    assert fleet.states()[7] == states.AWAY
    assert fleet.with_version(NEW) == 11

    for id_ in fleet.ids[5:7]:
        fleet.agents[id_].mood = "away"
    fleet.repository.make_current(fleet.repository.find(SENSOR, "1"))
    start(fleet)
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.STOPPED
    assert "3 of 9 hosts cannot be reached, 1 may be: web6, web7, web8" in fleet.reason()


@pytest.mark.parametrize(
    ("mood", "why"), [("mute", "no outcome has come within 60 s"), ("silent", "1 of 1 hosts cannot be reached")]
)
def test_patience_ends(fleet: Fleet, mood: str, why: str) -> None:
    """For an agent that takes the command and says nothing, and for one that does not even answer."""
    fleet.agents[fleet.ids[0]].mood = mood
    start(fleet)
    fleet.until(lambda: over(fleet), seconds=5.0)

    assert fleet.state() == states.STOPPED
    assert why in fleet.reason()


def test_checks_that_never_run_end_the_patience_too(fleet: Fleet) -> None:
    """The host is well reachable, but what its sensor does with the new version is never known."""
    fleet.agents[fleet.ids[0]].mood = "blind"
    start(fleet)
    fleet.until(lambda: over(fleet), seconds=5.0)

    assert fleet.reason() == "stage 1: web1: not all of its checks have run within 60 s"


def test_each_probe_of_the_sensor_must_be_well_and_hosts_without_one_need_none(
    database: Database, tmp_path: Path
) -> None:
    """Probes that only run by hand are not waited for."""
    fleet = ready(database, tmp_path, 2, probes=("space", "inodes", "by-hand"))
    by_hand = update(schema.host_probe).where(schema.host_probe.c.probe == "by-hand").values(every=None, due=None)
    with database.write() as db:
        db.execute(by_hand)
        db.execute(
            update(schema.host_probe).where(schema.host_probe.c.host_id == fleet.ids[1]).values(active=False, due=None)
        )
    start(fleet)
    fleet.until(lambda: over(fleet))

    checks = fleet.agents[fleet.ids[0]].told
    assert fleet.state() == states.DONE
    assert len(checks[checks.index(UPDATE_SENSOR_CODE) :]) == 3
    assert fleet.agents[fleet.ids[1]].told[-1] == UPDATE_SENSOR_CODE


def test_a_host_with_very_many_probes_of_the_sensor_becomes_healthy(database: Database, tmp_path: Path) -> None:
    """Each of them is looked at."""
    fleet = ready(database, tmp_path, 1, probes=[f"space{number}" for number in range(101)])
    start(fleet)
    fleet.until(lambda: over(fleet), turns=10)

    assert fleet.state() == states.DONE


def test_a_host_that_was_given_another_version_stops_it(fleet: Fleet) -> None:
    """Its calls come from an address that is not known to be its own, so that it is given what is current."""
    read = fleet.repository.read
    fleet.agents[fleet.ids[0]].given = lambda: read(SENSOR, [])
    start(fleet)
    fleet.until(lambda: over(fleet))

    assert fleet.reason() == f"stage 1: web1: it has installed another version, {fleet.digest(fleet.old)[:19]}"


def test_a_server_that_dies_is_followed_by_another(fleet: Fleet) -> None:
    """Nothing is remembered but in rows: here each turn is taken by a new process."""
    start(fleet)
    for _ in range(40):
        fleet.job = RolloutJob(fleet.database)
        fleet.turn()

    assert fleet.state() == states.DONE
    assert all(agent.told.count(UPDATE_SENSOR_CODE) == 1 for agent in fleet.agents.values())


def test_two_servers_at_once_tell_each_host_once(fleet: Fleet) -> None:
    """They share a database, and run at the same instant."""
    start(fleet, stages="100%")
    fleet.now += 1
    threads = [threading.Thread(target=RolloutJob(fleet.database).run, args=(fleet.now,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fleet.until(lambda: over(fleet))

    assert all(agent.told.count(UPDATE_SENSOR_CODE) == 1 for agent in fleet.agents.values())


def test_of_one_sensor_one_roll_out_at_a_time(fleet: Fleet) -> None:
    """The refusal names the other one, and how to end it."""
    id_ = start(fleet)
    with pytest.raises(
        Refused, match=f"roll-out {id_} of disk 2 is running; wait for it, or monserver rollout stop {id_}"
    ):
        start(fleet)
    with pytest.raises(Refused, match="no hosts"), fleet.database.write() as db:
        orders.start(db, fleet.database, Order(1, [], 1.0, restore=False, by="eve"), fleet.now)


def test_who_stops_it_and_has_it_taken_back_has_the_former_version_everywhere(fleet: Fleet) -> None:
    """What was on its way when it was stopped comes to its end first."""
    id_ = start(fleet)
    fleet.until(lambda: fleet.with_version(NEW) >= 3)
    with fleet.database.write() as db:
        orders.stop(db, fleet.database, id_, "eve", fleet.now)
    fleet.turn()
    fleet.turn()

    assert (fleet.state(), fleet.reason()) == (states.STOPPED, "stopped by eve")
    assert fleet.with_version(NEW) == 3
    assert states.UPDATING not in fleet.states()
    with fleet.database.write() as db:
        orders.restore(db, fleet.database, id_, "eve")
    fleet.until(lambda: over(fleet))
    assert fleet.state() == states.RESTORED
    assert fleet.with_version(fleet.old) == 12


def test_a_roll_out_that_is_done_can_be_taken_back_later(fleet: Fleet) -> None:
    """A host that cannot be put back is named, and tried again when somebody wants it."""
    id_ = start(fleet)
    fleet.until(lambda: over(fleet))
    fleet.agents[fleet.ids[4]].mood = "away"
    with fleet.database.write() as db:
        db.execute(schema.outcome.delete())  # not kept for as long
        orders.restore(db, fleet.database, id_, "eve")
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.STOPPED
    assert f"1 hosts could not be put back (web5); monserver rollout restore {id_} tries again" in fleet.reason()
    assert fleet.repository.find(SENSOR, "1").current
    fleet.agents[fleet.ids[4]].mood = "ok"
    fleet.now += 3600.0
    with fleet.database.write() as db:
        orders.restore(db, fleet.database, id_, "eve")
    fleet.until(lambda: over(fleet))
    assert fleet.state() == states.RESTORED
    assert fleet.with_version(fleet.old) == 12


def test_taken_back_to_nothing_no_version_is_current(database: Database, tmp_path: Path) -> None:
    """Agents are not given the one that was taken back."""
    fleet = ready(database, tmp_path, 1)
    with database.write() as db:
        db.execute(update(schema.package).values(current=False))
    id_ = start(fleet)
    fleet.until(lambda: over(fleet))
    assert fleet.repository.find(SENSOR, "2").current
    with database.write() as db:
        orders.restore(db, database, id_, "eve")
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.RESTORED
    assert fleet.repository.current(SENSOR) is None


def test_a_push_reaches_all_that_can_be_reached_and_makes_nothing_current(fleet: Fleet) -> None:
    """A host that fails keeps nobody from being told."""
    fleet.agents[fleet.ids[0]].mood = "refuses"
    fleet.agents[fleet.ids[1]].mood = "away"
    start(fleet, push=True)
    fleet.until(lambda: over(fleet))

    assert [states.FAILED, states.AWAY, *[states.HEALTHY] * 10] == fleet.states()
    assert fleet.with_version(NEW) == 10
    assert fleet.repository.find(SENSOR, "1").current


def test_a_host_that_is_removed_meanwhile_is_not_waited_for(fleet: Fleet) -> None:
    """Its row goes with it."""
    start(fleet, stages="100%")
    fleet.agents[fleet.ids[3]].mood = "mute"
    fleet.turn()
    with fleet.database.write() as db:
        db.execute(schema.host.delete().where(schema.host.c.id == fleet.ids[3]))
    fleet.until(lambda: over(fleet))

    assert fleet.state() == states.DONE
    assert len(fleet.states()) == 11


def test_those_that_have_the_sensor_are_known(fleet: Fleet) -> None:
    """By a probe that uses it, or by what they told."""
    with fleet.database.write() as db:
        db.execute(update(schema.host_probe).where(schema.host_probe.c.host_id != fleet.ids[0]).values(active=False))
        known = {
            "host_id": fleet.ids[5],
            "sensor": SENSOR,
            "version": "",
            "digest": "",
            "changed": False,
            "reported": 1.0,
        }
        db.execute(schema.inventory.insert().values(known))
        found = orders.hosts_running(db, SENSOR)
        assert db.execute(select(schema.rollout.c.id)).first() is None

    assert [host.name for host in found] == ["web1", "web6"]
