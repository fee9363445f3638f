"""Updates and restores by a server's command: what is installed, what is refused, and what then stays as it was."""

from __future__ import annotations

import bz2
import random
import re
import time
import xmlrpc.client
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from monagent.agent.housekeeping import REMEMBER_SECONDS, Housekeeping
from monagent.agent.journal import Journal
from monagent.agent.spool import JOURNAL_FILE
from monagent.protocol import PACKAGE_LIMIT
from tests.conftest import StartAgent
from tests.integration.served import Served, fault_of, wait_until
from tests.support.agent import AgentProcess, digest_of, pack_sensor, unpack_sensor, write_sensor
from tests.support.monitor import Monitor
from tests.unit.sensors.archives import BOMBS, HOSTILE

MIB = 1024 * 1024
ONE = {"check": "#!/bin/sh\necho 1\n"}
TWO = {"check": '#!/bin/sh\ncat "$(dirname "$0")/lib/number"\n', "lib/number": "2\n"}
FETCH = "cmd_get_sensor_code"


def update(served: Served, ticket: int | str, sensor: str, package: bytes | None = None) -> dict[str, Any]:
    """Command an update and give its outcome."""
    if package is not None:
        served.monitor.packages[sensor] = package
    assert served.agent.proxy().cmd_update_sensor_code(ticket, sensor) == "OK"
    command, outcome = served.monitor.wait_for_ticket(ticket).content
    assert command == "update_sensor_code"
    assert "\n" not in outcome["message"]
    return dict(outcome)


def everything(directory: Path) -> dict[str, tuple[int, bytes]]:
    """All that an update may change, and all that it must not: names, modes and contents."""
    found: dict[str, tuple[int, bytes]] = {}
    for top in ("sensors", "sensors_backup", "client.cfg"):
        for path in (*directory.glob(top), *(directory / top).rglob("*")):
            content = path.read_bytes() if path.is_file() else b""
            found[str(path.relative_to(directory))] = (path.lstat().st_mode, content)
    return found


@pytest.fixture(scope="module")
def updated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """An agent whose sensors `a` and `tale` were updated once, so that each has a backup."""
    monitor = Monitor(extended=True)
    monitor.start()
    agent = AgentProcess(
        tmp_path_factory.mktemp("agent"),
        monitor.url,
        "[sensor:tale]\ntimeout = 1\n[sensor:elsewhere]\ncommand = /bin/true",
    )
    served = Served(agent, monitor)
    try:
        agent.start()
        for sensor in ("a", "tale"):
            unpack_sensor(agent.directory / "sensors" / sensor, ONE)
            assert update(served, f"first {sensor}", sensor, pack_sensor(sensor, TWO))["status"] == "ok"
        yield served
    finally:
        agent.kill()
        monitor.stop()


# -- what is done -------------------------------------------------------------------------------------------------


def test_an_update_installs_the_package_and_keeps_the_version_before(monitor: Monitor, make_agent: StartAgent) -> None:
    """The next reading is the new version's; the outcome tells both digests, and the old version is the backup."""
    served = Served(make_agent(monitor.url), monitor)
    sensor = served.agent.directory / "sensors" / "tale"
    unpack_sensor(sensor, ONE)
    old = digest_of(sensor)
    served.agent.start()
    outcome = update(served, 1, "tale", pack_sensor("tale", TWO))
    served.agent.proxy().cmd_submit_reading(2, "tale")
    reading = monitor.wait_for_ticket(2).content

    assert outcome["status"] == "ok"
    assert (outcome["sensor"], outcome["version"], outcome["digest"]) == ("tale", "", digest_of(sensor))
    assert (outcome["replaced"]["version"], outcome["replaced"]["digest"]) == ("", old)
    assert re.fullmatch(r"tale_\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", outcome["replaced"]["backup"])
    assert digest_of(served.agent.directory / "sensors_backup" / outcome["replaced"]["backup"]) == old
    assert reading[:2] == [0, "2"]


def test_a_sensor_that_was_not_there_is_installed_and_replaces_nothing(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """It can be used at once."""
    served = Served(make_agent(monitor.url), monitor)
    served.agent.start()
    outcome = update(served, 1, "fresh", pack_sensor("fresh", ONE))
    served.agent.proxy().cmd_submit_reading(2, "fresh")

    assert (outcome["status"], outcome["replaced"]) == ("ok", {})
    assert monitor.wait_for_ticket(2).content[:2] == [0, "1"]
    assert not list(served.agent.directory.glob("sensors_backup/*"))


def test_a_restore_puts_the_version_before_back_and_a_second_one_the_new_one(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """The version that is put back is no backup any more; the one that it replaces is."""
    served = Served(make_agent(monitor.url), monitor)
    sensor = served.agent.directory / "sensors" / "tale"
    unpack_sensor(sensor, ONE)
    old = digest_of(sensor)
    served.agent.start()
    new = update(served, 1, "tale", pack_sensor("tale", TWO))["digest"]
    for ticket, back, away in ((2, old, new), (3, new, old)):
        served.agent.proxy().cmd_restore_sensor_code(ticket, "tale")
        command, outcome = monitor.wait_for_ticket(ticket).content

        assert (command, outcome["status"], outcome["digest"]) == ("restore_sensor_code", "ok", back)
        assert digest_of(sensor) == back
        backups = list((served.agent.directory / "sensors_backup").iterdir())
        assert [path.name for path in backups] == [outcome["replaced"]["backup"]]
        assert digest_of(backups[0]) == outcome["replaced"]["digest"] == away


def test_no_more_backups_are_kept_than_asked_for(monitor: Monitor, make_agent: StartAgent) -> None:
    """The newest ones stay, under names that follow one another even within one second."""
    served = Served(make_agent(monitor.url, "[sensor]\nkeep_backups = 3"), monitor)
    served.agent.start()
    replaced = [
        update(served, number, "tale", pack_sensor("tale", {"check": f"#!/bin/sh\necho {number}\n"}))["replaced"]
        for number in range(8)
    ][1:]
    names = [one["backup"] for one in replaced]

    assert names == sorted(set(names))
    kept = sorted(path.name for path in (served.agent.directory / "sensors_backup").iterdir())
    assert kept == names[-3:]
    assert [digest_of(served.agent.directory / "sensors_backup" / name) for name in kept] == [
        one["digest"] for one in replaced[-3:]
    ]


def test_an_update_waits_for_the_runs_under_way_and_holds_nobody_else_up(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """A run of two seconds ends by the old files; meanwhile other sensors run and health checks are answered."""
    served = Served(make_agent(monitor.url), monitor)
    agent = served.agent
    unpack_sensor(
        agent.directory / "sensors" / "tale",
        {"check": '#!/bin/sh\n[ "$1" ] || sleep 2\ncat "$(dirname "$0")/number"\n', "number": "1\n"},
    )
    write_sensor(agent.directory, "other", "#!/bin/sh\necho 7\n")
    agent.start()
    proxy = agent.proxy()
    started = time.monotonic()
    proxy.cmd_submit_reading("slow", "tale")
    time.sleep(0.3)
    monitor.packages["tale"] = pack_sensor("tale", TWO)
    proxy.cmd_update_sensor_code("update", "tale")
    proxy.cmd_submit_reading("late", "tale")
    proxy.cmd_submit_reading("other", "other")
    assert proxy.healthcheck() == "OK"
    assert monitor.wait_for_ticket("other").content[:2] == [0, "7"]
    assert time.monotonic() - started < 1.5

    assert monitor.wait_for_ticket("slow").content[:2] == [0, "1"]
    assert monitor.wait_for_ticket("update").content[1]["status"] == "ok"
    assert monitor.wait_for_ticket("late").content[1] in ("1", "2")


# -- what is refused ----------------------------------------------------------------------------------------------

CHECK = "#!/bin/sh\n"
BAD_PACKAGES: dict[str, tuple[str, bytes]] = {
    "fails its test run": ("it ended with 3", pack_sensor("tale", {"check": CHECK + "exit 3\n"})),
    "says why it fails": ("no such disk", pack_sensor("tale", {"check": CHECK + "echo no such disk >&2; exit 1\n"})),
    "hangs in its test run": ("timeout", pack_sensor("tale", {"check": CHECK + "sleep 60\n"})),
    "dies in its test run": ("signal", pack_sensor("tale", {"check": CHECK + "kill -9 $$\n"})),
    "floods its test run": ("output-too-long", pack_sensor("tale", {"check": CHECK + "head -c 100000 /dev/zero\n"})),
    "has no program": ("no program check", pack_sensor("tale", {"chekc": CHECK})),
    "has a directory as its program": ("not an executable", pack_sensor("tale", {"check/inner": CHECK})),
    "has an unknown interpreter": ("not-executable", pack_sensor("tale", {"check": "#!/no/such/shell\n"})),
    "changes itself": ("changed", pack_sensor("tale", {"check": CHECK + 'echo x > "$(dirname "$0")/new"\n'})),
    "removes itself": ("changed", pack_sensor("tale", {"check": CHECK + 'rm "$0"\n'})),
    "is another sensor": ("'other/'", pack_sensor("other", ONE)),
    "climbs out": ("climbs", pack_sensor("tale", {"../../evil": "x", **ONE})),
    "is empty": ("not a bz2, gz or xz archive", b""),
    "is no archive": ("not a bz2, gz or xz archive", b"#!/bin/sh\necho 1\n"),
    "is no tar": ("checksum", bz2.compress(b"x" * 10240)),
    "is cut off": ("too early", pack_sensor("tale", TWO)[:-20]),
    "is damaged": ("", pack_sensor("tale", TWO)[:60] + b"damage" + pack_sensor("tale", TWO)[66:]),
    "has a manifest that is none": ("", pack_sensor("tale", {**ONE, "MANIFEST": "hello\n"})),
}


@pytest.mark.parametrize("name", BAD_PACKAGES)
def test_a_bad_package_changes_nothing_and_its_outcome_says_why(updated: Served, name: str) -> None:
    """The sensor goes on as it was, with its backup, and nothing is left lying about."""
    word, package = BAD_PACKAGES[name]
    before = everything(updated.agent.directory)
    outcome = update(updated, name, "tale", package)

    assert outcome["status"] == "error"
    assert outcome["message"].startswith("tale was left as it is: ")
    assert word in outcome["message"]
    assert (outcome["digest"], outcome["replaced"]) == (digest_of(updated.agent.directory / "sensors" / "tale"), {})
    assert everything(updated.agent.directory) == before


def test_hostile_archives_change_nothing(updated: Served) -> None:
    """Links, devices, climbing names and all the others that the reader of archives is tested with, by the real road."""
    before = everything(updated.agent.directory)
    for hostile in HOSTILE:
        outcome = update(updated, f"hostile: {hostile.name}"[:128], "a", bz2.compress(hostile.raw))

        assert outcome["status"] == "error", hostile.name
        assert everything(updated.agent.directory) == before, hostile.name
    assert not (updated.agent.directory / "evil").exists()


@pytest.mark.parametrize("name", [name for name in BOMBS if "9 MiB" not in name])
def test_a_bomb_changes_nothing_and_costs_little(updated: Served, name: str) -> None:
    """A GiB that was compressed to little is refused within bounds of memory and time."""
    before, package = everything(updated.agent.directory), BOMBS[name][1]()
    memory, started = updated.agent.forget_peak(), time.monotonic()
    outcome = update(updated, f"bomb: {name}", "a", package)

    assert outcome["status"] == "error"
    assert everything(updated.agent.directory) == before
    assert updated.agent.peak() - memory < 32 * MIB
    assert time.monotonic() - started < 10


def test_what_the_server_does_not_give_changes_nothing(updated: Served) -> None:
    """A Fault is told with its number and its words; nobody hears of a sensor that is not there."""
    before = everything(updated.agent.directory)
    outcome = update(updated, "fault", "unknown")

    assert outcome["status"] == "error"
    assert "fault -32602: 'no such package'" in outcome["message"]
    assert (outcome["version"], outcome["digest"]) == ("", "")
    assert everything(updated.agent.directory) == before


def test_a_sensor_whose_program_stands_elsewhere_is_not_updated(updated: Served) -> None:
    """A `[sensor:NAME] command` would go on being used, so installing a package would be a lie."""
    before = everything(updated.agent.directory)
    outcome = update(updated, "elsewhere", "elsewhere", pack_sensor("elsewhere", ONE))

    assert outcome["status"] == "error"
    assert "client.cfg" in outcome["message"]
    assert everything(updated.agent.directory) == before


@pytest.mark.parametrize(
    "name", ["../evil", ".hidden", "-x", "a/b", "", "x" * 65, "a b", "a\n", "\u00e4", 7, ["a"], {}]
)
def test_a_name_that_is_no_sensors_is_a_fault_at_once(updated: Served, name: Any) -> None:
    """It is not acknowledged, and the server is not asked."""
    asked = updated.monitor.called.count(FETCH)
    for call in (
        lambda: updated.agent.proxy().cmd_update_sensor_code("bad name", name),
        lambda: updated.agent.proxy().cmd_restore_sensor_code("bad name", name),
        lambda: updated.agent.proxy().cmd_update_sensor_code(name),
    ):
        assert fault_of(call).faultCode == -32602
    assert updated.monitor.called.count(FETCH) == asked


def test_a_restore_without_a_backup_changes_nothing(monitor: Monitor, make_agent: StartAgent) -> None:
    """The outcome says that there is none."""
    agent = make_agent(monitor.url)
    unpack_sensor(agent.directory / "sensors" / "tale", ONE)
    before = everything(agent.directory)
    agent.start()
    agent.proxy().cmd_restore_sensor_code(1, "tale")
    outcome = monitor.wait_for_ticket(1).content[1]

    assert outcome["status"] == "error"
    assert "there is no backup of sensor tale" in outcome["message"]
    assert everything(agent.directory) == before


def test_a_backup_that_does_not_work_any_more_is_not_put_back(monitor: Monitor, make_agent: StartAgent) -> None:
    """It is tested like any other version, and stays a backup."""
    agent = make_agent(monitor.url)
    unpack_sensor(agent.directory / "sensors" / "tale", ONE)
    unpack_sensor(agent.directory / "sensors_backup" / "tale_2026-01-02T03:04:05", {"check": "#!/bin/sh\nexit 1\n"})
    before = everything(agent.directory)
    agent.start()
    agent.proxy().cmd_restore_sensor_code(1, "tale")
    outcome = monitor.wait_for_ticket(1).content[1]

    assert outcome["status"] == "error"
    assert "its test run (check options) failed: it ended with 1" in outcome["message"]
    assert everything(agent.directory) == before


def test_where_no_backup_can_be_put_nothing_is_replaced(monitor: Monitor, make_agent: StartAgent) -> None:
    """A plain file stands where the directory of backups should be."""
    served = Served(make_agent(monitor.url), monitor)
    unpack_sensor(served.agent.directory / "sensors" / "tale", ONE)
    (served.agent.directory / "sensors_backup").write_text("in the way")
    before = everything(served.agent.directory)
    served.agent.start()
    outcome = update(served, 1, "tale", pack_sensor("tale", TWO))

    assert outcome["status"] == "error"
    assert "sensors_backup" in outcome["message"]
    assert everything(served.agent.directory) == before


def test_a_sensor_that_is_a_symbolic_link_keeps_a_backup_that_can_be_restored(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """People put links among the sensors; the version that it led to can be put back."""
    served = Served(make_agent(monitor.url), monitor)
    sensors = served.agent.directory / "sensors"
    unpack_sensor(served.agent.directory / "mine" / "tale", ONE)
    sensors.joinpath("tale").symlink_to("../mine/tale")
    served.agent.start()
    outcome = update(served, 1, "tale", pack_sensor("tale", TWO))
    served.agent.proxy().cmd_restore_sensor_code(2, "tale")
    restored = monitor.wait_for_ticket(2).content[1]
    served.agent.proxy().cmd_submit_reading(3, "tale")

    assert outcome["status"] == "ok"
    assert restored["status"] == "ok", restored
    assert monitor.wait_for_ticket(3).content[:2] == [0, "1"]
    assert digest_of(served.agent.directory / "mine" / "tale") == restored["digest"]


# -- once ---------------------------------------------------------------------------------------------------------


def test_a_repeated_ticket_is_acknowledged_and_the_update_done_once(monitor: Monitor, make_agent: StartAgent) -> None:
    """Before its outcome was delivered, after, and after a crash; with another sensor it is a fault."""
    served = Served(make_agent(monitor.url), monitor)
    agent = served.agent
    agent.start()
    monitor.packages["tale"] = pack_sensor("tale", {"check": "#!/bin/sh\nsleep 0.5\necho 1\n"})
    for _ in range(5):
        assert agent.proxy().cmd_update_sensor_code("t", "tale") == "OK"
    monitor.wait_for_ticket("t")
    assert agent.proxy().cmd_update_sensor_code("t", "tale") == "OK"
    wait_until(lambda: agent.command("spool", "list", "--json").stdout.strip() == "[]", "the journal is empty")
    agent.kill()
    agent.start()
    assert agent.proxy().cmd_update_sensor_code("t", "tale") == "OK"
    time.sleep(0.7)

    assert monitor.called.count(FETCH) == 1
    assert monitor.tickets() == ["t"]
    assert fault_of(lambda: agent.proxy().cmd_update_sensor_code("t", "other")).faultCode == -32001
    assert fault_of(lambda: agent.proxy().cmd_restore_sensor_code("t", "tale")).faultCode == -32001


def test_an_update_without_a_ticket_is_done_once_and_sends_no_result(monitor: Monitor, make_agent: StartAgent) -> None:
    """`cmd_update_sensor_code(sensor)` of the original system: acknowledged, done, and never done again."""
    agent = make_agent(monitor.url)
    sensor = agent.directory / "sensors" / "tale"
    agent.start()
    monitor.packages["tale"] = pack_sensor("tale", TWO)
    assert agent.proxy().cmd_update_sensor_code("tale") == "OK"
    wait_until(sensor.exists, "the sensor is installed")
    wait_until(lambda: not (sensor.parent / ".update-tale").exists(), "the update is finished")
    time.sleep(0.2)
    agent.kill()
    agent.start()
    time.sleep(0.5)

    assert monitor.called.count(FETCH) == 1
    assert monitor.handed == []
    assert agent.command("spool", "list", "--json").stdout.strip() == "[]"
    assert agent.proxy().cmd_update_sensor_code("tale") == "OK"
    wait_until(lambda: monitor.called.count(FETCH) == 2, "a second command is done, too")


def test_an_update_without_a_ticket_survives_kill_9_right_after_its_acknowledgement(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """It is done by the next agent, once."""
    agent = make_agent(monitor.url)
    sensor = agent.directory / "sensors" / "tale"
    monitor.packages["tale"] = pack_sensor("tale", TWO)
    monitor.spoilt[FETCH] = lambda _connection: time.sleep(1)
    agent.start()
    assert agent.proxy().cmd_update_sensor_code("tale") == "OK"
    agent.kill()
    monitor.spoilt.clear()
    before = monitor.called.count(FETCH)
    agent.start()
    wait_until(sensor.exists, "the sensor is installed")
    time.sleep(0.5)

    assert monitor.called.count(FETCH) - before == 1
    assert monitor.handed == []


def test_an_update_that_fails_without_a_ticket_is_told_by_the_log_alone(
    monitor: Monitor, make_agent: StartAgent
) -> None:
    """The log says why the sensor was left as it is."""
    agent = make_agent(monitor.url)
    agent.start()
    monitor.packages["tale"] = b"nonsense"
    assert agent.proxy().cmd_update_sensor_code("tale") == "OK"
    wait_until(lambda: "not a bz2, gz or xz archive" in agent.log.read_text(), "the log says why")
    time.sleep(0.3)

    assert monitor.handed == []
    assert not (agent.directory / "sensors" / "tale").exists()


def test_an_update_is_done_although_one_just_like_it_was_done_weeks_ago(
    plain_monitor: Monitor, make_agent: StartAgent
) -> None:
    """A plain server counts from 1 again, the journal has forgotten, and a crash comes: it is not taken for the old one."""
    agent = make_agent(plain_monitor.url)
    sensor = agent.directory / "sensors" / "tale"
    agent.start()
    plain_monitor.packages["tale"] = pack_sensor("tale", ONE)
    assert agent.proxy().cmd_update_sensor_code(1, "tale") == "OK"
    wait_until(lambda: "result kept here" in agent.log.read_text(), "the first update is done")
    time.sleep(0.3)
    assert agent.stop() == 0
    _weeks_pass(agent)
    plain_monitor.packages["tale"] = pack_sensor("tale", TWO)
    plain_monitor.spoilt[FETCH] = lambda _connection: time.sleep(1)
    agent.start()
    assert agent.proxy().cmd_update_sensor_code(1, "tale") == "OK"
    agent.kill()
    plain_monitor.spoilt.clear()
    agent.start()

    wait_until((sensor / "lib").exists, "the new version is installed", 5)


def _weeks_pass(agent: AgentProcess) -> None:
    """What the agent's housekeeping does in that time."""
    journal = Journal(agent.directory / "var" / JOURNAL_FILE, 2**28)
    journal.start()
    Housekeeping(journal, 2**28).tidy(time.time() + 2 * REMEMBER_SECONDS)
    journal.stop()


# -- memory -------------------------------------------------------------------------------------------------------


def _largest_package() -> bytes:
    package = pack_sensor("tale", {**ONE, "noise": random.Random(3).randbytes(PACKAGE_LIMIT - 45_000)})
    assert PACKAGE_LIMIT - 30_000 < len(package) <= PACKAGE_LIMIT
    return package


def test_the_largest_package_costs_bounded_memory(monitor: Monitor, make_agent: StartAgent) -> None:
    """At its peak at most 32 MiB more than before."""
    served = Served(make_agent(monitor.url), monitor)
    served.agent.start()
    before = served.agent.forget_peak()
    outcome = update(served, 1, "tale", _largest_package())

    assert outcome["status"] == "ok"
    assert served.agent.peak() - before < 32 * MIB


def test_the_memory_of_large_updates_is_given_back(monitor: Monitor, make_agent: StartAgent) -> None:
    """An agent that has installed large packages is soon as small as one that has not."""
    served = Served(make_agent(monitor.url), monitor)
    served.agent.start()
    package, before = _largest_package(), served.agent.forget_peak()
    for number in range(6):
        assert update(served, number, "tale", package)["status"] == "ok"

    assert served.agent.peak() - before < 40 * MIB
    wait_until(lambda: served.agent.forget_peak() - before < 12 * MIB, "the memory was given back", 5)


def test_an_update_of_many_files_does_not_hold_checks_up(monitor: Monitor, make_agent: StartAgent) -> None:
    """While packages of a thousand files come, readings of another sensor arrive and health checks take no second."""
    served = Served(make_agent(monitor.url), monitor)
    agent = served.agent
    write_sensor(agent.directory, "other", "#!/bin/sh\necho 7\n")
    agent.start()
    monitor.packages["tale"] = pack_sensor("tale", {**ONE, **{f"lib/{number}": f"{number}" for number in range(1000)}})
    proxy = agent.proxy()
    for number in range(5):
        proxy.cmd_update_sensor_code(f"update {number}", "tale")
    slowest = 0.0
    for number in range(50):
        started = time.monotonic()
        proxy.healthcheck()
        proxy.cmd_submit_reading(f"check {number}", "other")
        monitor.wait_for_ticket(f"check {number}")
        slowest = max(slowest, time.monotonic() - started)
    for number in range(5):
        assert monitor.wait_for_ticket(f"update {number}").content[1]["status"] == "ok"

    assert slowest < 1.0


def test_updates_of_several_sensors_at_once_are_all_done(monitor: Monitor, make_agent: StartAgent) -> None:
    """Twenty commands in one request, for five sensors: each is done, one after the other."""
    agent = make_agent(monitor.url)
    agent.start()
    batch = xmlrpc.client.MultiCall(agent.proxy())
    for number in range(20):
        name = f"s{number % 5}"
        monitor.packages[name] = pack_sensor(name, TWO)
        batch.cmd_update_sensor_code(number, name)
    assert batch().results == [["OK"]] * 20
    handed = monitor.wait_for(20)

    assert {one.content[1]["status"] for one in handed} == {"ok"}
    assert sorted(path.name for path in (agent.directory / "sensors").iterdir()) == [
        f"s{number}" for number in range(5)
    ]
