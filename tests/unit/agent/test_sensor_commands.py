"""Updating and restoring by command, and versions that cannot be started: what the server is told."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monagent.agent import commands
from monagent.agent.commands import restore_sensor_code, submit_reading, update_sensor_code
from monagent.agent.receipts import token_of
from monagent.errors import BadArguments, Refused
from monagent.models import Command, Job, Outcome, Run, RunResult
from monagent.rpc import marshal
from monagent.sensors.inventory import UNKNOWN
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.runner import Runner
from monagent.sensors.spawning import Spawning
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore
from tests.unit.agent.parts import tools
from tests.unit.sensors.packages import NAME, Files, Host, described, digest, lay, package, program, snapshot, version

MEMBERS = {"status", "message", "sensor", "version", "digest", "replaced"}


class Desk:
    """An agent's tools, and a server that has packages."""

    def __init__(self, path: Path, **replaced: Any) -> None:
        self.path = path
        self.sensors = path / "sensors"
        self.sensors.mkdir(exist_ok=True)
        self.backups = path / "sensors_backup"
        self.packages: dict[str, bytes] = {}
        self.tools = tools(self.sensors, Runner().run, **{"fetch": self._fetch, **replaced})

    def _fetch(self, name: str) -> bytes:
        if name not in self.packages:
            raise Refused("the server gave no package: fault 404: 'no such package'")
        return self.packages[name]

    def update(self, files: Files | None = None, ticket: str | None = "t", name: str = NAME) -> Outcome:
        """Have the server's package installed."""
        if files is not None:
            self.packages[name] = package(name, files)
        return update_sensor_code.perform(Job(7, Command(ticket, "cmd_update_sensor_code", [name])), self.tools)

    def restore(self, name: str = NAME) -> Outcome:
        """Have the newest backup put back."""
        return restore_sensor_code.perform(Job(8, Command("u", "cmd_restore_sensor_code", [name])), self.tools)

    def read(self, *arguments: str, name: str = NAME) -> Outcome:
        """Have a reading taken."""
        return submit_reading.perform(Job(9, Command("v", "cmd_submit_reading", [name, list(arguments)])), self.tools)

    def fragile(self, number: object) -> Files:
        """A version that works as long as nobody calls `doom()`."""
        interpreter = self.path / "interpreter"
        if not interpreter.exists():
            interpreter.symlink_to("/bin/sh")
        return {**version(number), "check": program(number).replace("/bin/sh", str(interpreter))}

    def doom(self) -> None:
        """Make fragile versions unable to start."""
        (self.path / "interpreter").unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """Of what stands there."""
        return self.tools.sensors.installed(NAME).digest


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """An agent without sensors."""
    return Desk(tmp_path)


# -- arguments ------------------------------------------------------------------------------------------------------


NAMES = ("load", "9", "_x", "disk-usage_2.old", "x" * 64)


@pytest.mark.parametrize("name", NAMES)
def test_an_update_may_bring_a_sensor_that_is_not_here(desk: Desk, name: str) -> None:
    """Any name will do."""
    assert update_sensor_code.check([name], desk.tools) == [name]


@pytest.mark.parametrize("name", NAMES)
def test_a_restore_needs_a_sensor_or_a_backup_of_one(desk: Desk, name: str) -> None:
    """What is known under no name is refused before it is acknowledged."""
    with pytest.raises(BadArguments, match="no such sensor here"):
        restore_sensor_code.check([name], desk.tools)
    desk.backups.mkdir(exist_ok=True)
    (desk.backups / f"{name}_2026-11-22T09:30:00").mkdir()

    assert restore_sensor_code.check([name], desk.tools) == [name]


@pytest.mark.parametrize(
    "kind", [update_sensor_code.COMMAND, restore_sensor_code.COMMAND], ids=lambda kind: kind.method
)
@pytest.mark.parametrize(
    "wrong",
    [
        [], ["a", "b"], [None], [5], [["a"]], [{"a": "b"}], [b"load"], [""], ["."], [".."], ["../load"], ["load/"],
        ["/etc"], [".update-load"], ["-rf"], ["a b"], ["load\n"], ["l\0ad"], ["löad"], ["x" * 65],
    ],
    ids=repr,
)  # fmt: skip
def test_what_is_no_sensors_name_is_refused_at_once(
    desk: Desk, kind: commands.kind.CommandKind, wrong: list[Any]
) -> None:
    """No name leads out of the directory of sensors."""
    with pytest.raises(BadArguments, match="sensor's name"):
        kind.check(wrong, desk.tools)


def test_the_commands_are_what_the_protocol_says() -> None:
    """Both take long; an update may come without a ticket, as in the original system, and a restore may not."""
    kinds = commands.load()
    update, restore = kinds["cmd_update_sensor_code"], kinds["cmd_restore_sensor_code"]

    assert (update.lane, update.unticketed, update.direct) == ("long", True, None)
    assert (restore.lane, restore.unticketed, restore.direct) == ("long", False, None)
    assert update.usage == "cmd_update_sensor_code(ticket, sensor) or cmd_update_sensor_code(sensor)"
    assert restore.usage == "cmd_restore_sensor_code(ticket, sensor)"


# -- outcomes -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ticket", ["t", None])
def test_an_update_installs_what_the_server_has(desk: Desk, ticket: str | None) -> None:
    """Its outcome has all members, and can be kept and put on the wire."""
    desk.packages[NAME] = described(NAME, version(1), "1.0")
    first = desk.update(ticket=ticket)
    desk.packages[NAME] = described(NAME, version(2), "1.1")
    second = desk.update(ticket=ticket)

    assert first == {
        "status": "ok",
        "message": "load 1.0 is installed",
        "sensor": "load",
        "version": "1.0",
        "digest": digest(version(1)),
        "replaced": {},
    }
    assert (second["status"], second["version"], second["digest"]) == ("ok", "1.1", digest(version(2)))
    assert set(second) == MEMBERS
    assert {key: second["replaced"][key] for key in ("version", "digest")} == {
        "version": "1.0",
        "digest": digest(version(1)),
    }
    assert second["replaced"]["backup"] in os.listdir(desk.backups)
    assert json.loads(json.dumps(second)) == second
    assert marshal.value(second)
    assert desk.read()["data"] == "2"


def test_a_restore_puts_back_what_an_update_replaced(desk: Desk) -> None:
    """With the same members in its outcome."""
    desk.update(version(1))
    desk.update(version(2))
    outcome = desk.restore()

    assert set(outcome) == MEMBERS
    assert (outcome["status"], outcome["digest"]) == ("ok", digest(version(1)))
    assert outcome["replaced"]["digest"] == digest(version(2))
    assert desk.read()["data"] == "1"


def test_a_refusal_tells_what_stands_there_still(desk: Desk) -> None:
    """And why; nothing has changed."""
    desk.packages[NAME] = described(NAME, version(1), "1.0")
    desk.update()
    before = snapshot(desk.path)
    outcome = desk.update(version(2, "echo oh no >&2; exit 3"))

    assert outcome == {
        "status": "error",
        "message": "load was left as it is: its test run (check options) failed: it ended with 3 (oh no)",
        "sensor": "load",
        "version": "1.0",
        "digest": digest(version(1)),
        "replaced": {},
    }
    assert snapshot(desk.path) == before
    assert marshal.value(outcome)


@pytest.mark.parametrize("name", [NAME, "new"])
def test_a_server_without_the_package_changes_nothing(desk: Desk, name: str) -> None:
    """It need not even be looked at for a sensor that is not here."""
    lay(desk.sensors / NAME, version(1))
    before = snapshot(desk.path)
    outcome = desk.update(name=name)

    assert (outcome["status"], set(outcome)) == ("error", MEMBERS)
    assert "no such package" in outcome["message"]
    assert outcome["digest"] == (digest(version(1)) if name == NAME else UNKNOWN.digest)
    assert snapshot(desk.path) == before


def test_a_restore_without_a_backup_says_so(desk: Desk) -> None:
    """As an outcome, not as a bug."""
    outcome = desk.restore()

    assert (outcome["status"], outcome["digest"]) == ("error", "")
    assert "no backup of sensor load" in outcome["message"]


def test_trouble_with_the_disk_is_an_outcome(desk: Desk) -> None:
    """It names the file and the reason."""

    def fetch(_name: str) -> bytes:
        raise PermissionError(13, "Permission denied", "/some/file")

    desk.tools = dataclasses.replace(desk.tools, fetch=fetch)
    outcome = desk.update()

    assert (outcome["status"], set(outcome)) == ("error", MEMBERS)
    assert outcome["message"] == "load was left as it is: /some/file: Permission denied"


def test_trouble_without_a_file_names_the_directory_of_sensors(desk: Desk) -> None:
    """Some errors of the system tell no name."""

    def fetch(_name: str) -> bytes:
        raise OSError("odd")

    desk.tools = dataclasses.replace(desk.tools, fetch=fetch)

    assert desk.update()["message"] == f"load was left as it is: {desk.sensors}: odd"


def test_a_complaint_that_is_no_text_can_be_told(desk: Desk) -> None:
    """Escape sequences and broken UTF-8 of a test run make an outcome that every server can read."""
    outcome = desk.update(version(2, r"printf '\033[31m\377\000bad' >&2; exit 3"))

    assert "\x1b" not in marshal.value(outcome)
    assert json.loads(json.dumps(outcome)) == outcome


def test_a_sensor_that_client_cfg_names_elsewhere_is_left_alone(tmp_path: Path) -> None:
    """Its outcome says that a package would not be used."""
    sensors = tmp_path / "sensors"
    store = SensorStore(SensorDefaults(sensors), {NAME: SensorOverride(command=("/bin/echo", "5"))})
    outcome = Desk(tmp_path, store=store).update(version(1))

    assert outcome["status"] == "error"
    assert "client.cfg names" in outcome["message"]
    assert os.listdir(sensors) == []


def test_the_record_of_a_change_knows_its_command(tmp_path: Path) -> None:
    """So that after a crash its outcome finds its ticket."""
    host = Host(tmp_path)
    desk = Desk(tmp_path, updater=host.updater)
    desk.update(version(1))
    desk.update(version(2), ticket=None)
    desk.restore()

    assert [record.token for record in host.done] == [
        token_of(Job(7, Command("t", "cmd_update_sensor_code", [NAME]))),
        token_of(Job(7, Command(None, "cmd_update_sensor_code", [NAME]))),
        token_of(Job(8, Command("u", "cmd_restore_sensor_code", [NAME]))),
    ]


# -- versions that cannot be started --------------------------------------------------------------------------------


def test_a_version_that_cannot_start_three_times_is_taken_back(desk: Desk) -> None:
    """The third reading tells; the version before is back, and the other one is kept for people to look at."""
    desk.update(version(1))
    desk.update(desk.fragile(2))
    desk.doom()
    readings = [desk.read() for _ in range(4)]

    assert [(one["ret_code"], one["error"]) for one in readings[:3]] == [(126, "not-executable")] * 3
    assert ["monagent:" in one["stderr"] for one in readings] == [False, False, True, False]
    assert "the new version of load could not start 3 times; load sha256:" in readings[2]["stderr"]
    assert "is put back in place of" in readings[2]["stderr"]
    assert readings[3]["data"] == "1"
    assert desk.digest == digest(version(1))
    (failed,) = os.listdir(desk.backups)
    assert failed.endswith(".failed")
    assert [name for name in os.listdir(desk.sensors) if name.startswith(".")] == []
    assert all(marshal.value(one) for one in readings)


def test_a_version_whose_program_cannot_be_found_is_taken_back(tmp_path: Path) -> None:
    """127 counts as 126 does: a version without the program that client.cfg asks for by now."""
    desk = Desk(tmp_path)
    desk.packages[NAME] = package(NAME, {**version(1), "probe": program(1)}, {"probe": 0o755})
    desk.update()
    desk.update(version(2))
    reloaded = Desk(tmp_path, store=SensorStore(SensorDefaults(desk.sensors, executable="probe", timeout=10.0), {}))
    readings = [reloaded.read() for _ in range(4)]

    assert [one["ret_code"] for one in readings] == [127, 127, 127, 0]
    assert ["monagent:" in one["stderr"] for one in readings] == [False, False, True, False]
    assert readings[3]["data"] == "1"


@pytest.mark.parametrize("damage", ["program gone", "another interpreter"])
def test_a_version_that_was_changed_by_hand_is_left_to_whoever_did_that(desk: Desk, damage: str) -> None:
    """What stands there is not what was installed. The reading says so, once."""
    desk.update(version(1))
    desk.update(version(2))
    if damage == "program gone":
        (desk.sensors / NAME / "check").unlink()
    else:
        (desk.sensors / NAME / "check").write_text("#!/no/such/interpreter\n")
    before = snapshot(desk.sensors, desk.backups)
    readings = [desk.read() for _ in range(6)]

    assert ["could not be put back: what stands there is not that version" in one["stderr"] for one in readings] == [
        False, False, True, False, False, False,
    ]  # fmt: skip
    assert {one["ret_code"] for one in readings} == {127 if damage == "program gone" else 126}
    assert snapshot(desk.sensors, desk.backups) == before


@pytest.mark.parametrize(
    ("number", "its_fault"),
    [
        (errno.ENOENT, True), (errno.EACCES, True), (errno.ENOEXEC, True), (errno.ENOTDIR, True), (errno.ELOOP, True),
        (errno.EAGAIN, False), (errno.ENOMEM, False), (errno.E2BIG, False), (errno.EMFILE, False),
        (errno.ENFILE, False), (errno.EPERM, False), (errno.ETXTBSY, False), (errno.EIO, False), (0, False),
    ],
    ids=lambda value: errno.errorcode.get(value, "none") if type(value) is int else "",
)  # fmt: skip
def test_only_what_is_wrong_with_its_files_is_the_versions_fault(desk: Desk, number: int, its_fault: bool) -> None:
    """Everything else is the host's, or of the arguments."""
    desk.update(version(1))
    desk.update(version(2))
    real = desk.tools.run

    def run(one: Run) -> RunResult:
        if one.argv[-1] == "options":
            return real(one)
        return RunResult(126, b"", os.strerror(number).encode(), "not-executable", 0.0, 0.0, number)

    desk.tools = dataclasses.replace(desk.tools, run=run)
    for _ in range(3):
        desk.read()

    assert desk.digest == digest(version(1 if its_fault else 2))


def test_a_version_that_was_taken_back_is_not_restored_by_itself(desk: Desk) -> None:
    """Not even when it is the only backup."""
    desk.update(version(1))
    desk.update(desk.fragile(2))
    desk.doom()
    for _ in range(3):
        desk.read()
    outcome = desk.restore()

    assert outcome["status"] == "error"
    assert "no backup" in outcome["message"]
    assert desk.read()["data"] == "1"


@pytest.mark.parametrize("before", [0, 1, 2])
def test_a_version_that_started_once_is_not_taken_back(desk: Desk, before: int) -> None:
    """Whatever goes wrong afterwards went wrong on this host."""
    desk.update(version(1))
    desk.update(desk.fragile(2))
    desk.doom()
    for _ in range(before):
        desk.read()
    (desk.path / "interpreter").symlink_to("/bin/sh")
    assert desk.read()["data"] == "2"
    desk.doom()
    readings = [desk.read() for _ in range(5)]

    assert not any("monagent:" in one["stderr"] for one in readings)
    assert desk.digest == digest(desk.fragile(2))


@pytest.mark.parametrize("when_run", ["exit 1", "kill -9 $$", "echo no number", "sleep 60", "head -c 100000 /dev/zero"])
def test_a_version_that_starts_and_ends_badly_is_not_taken_back(tmp_path: Path, when_run: str) -> None:
    """A plug-in's 2 is its answer, and a time-out may be the host's fault."""
    desk = Desk(tmp_path, store=SensorStore(SensorDefaults(tmp_path / "sensors", timeout=0.3), {}))
    desk.update(version(1))
    bad = {"check": f'#!/bin/sh\n[ "$1" = options ] && exit\n{when_run}\n'}
    desk.update(bad)
    for _ in range(4):
        desk.read()

    assert desk.digest == digest(bad)


def test_a_new_sensor_that_cannot_start_stays_and_is_told_once(desk: Desk) -> None:
    """There is nothing to put in its place."""
    desk.update(desk.fragile(1))
    desk.doom()
    readings = [desk.read() for _ in range(6)]

    told = ["monagent:" in one["stderr"] for one in readings]
    assert told == [False, False, True, False, False, False]
    assert "could not be put back: there is no backup of sensor load" in readings[2]["stderr"]
    assert {one["error"] for one in readings} == {"not-executable"}


def test_a_version_before_that_does_not_work_either_is_not_put_back(desk: Desk) -> None:
    """It is tested as in a restore; the reading says so."""
    desk.update(version(1))
    desk.update(desk.fragile(2))
    (backup,) = desk.backups.iterdir()
    (backup / "check").write_text("#!/no/such/interpreter\n")
    desk.doom()
    before = snapshot(desk.sensors, desk.backups)
    readings = [desk.read() for _ in range(6)]

    assert ["could not be put back: its test run" in one["stderr"] for one in readings] == [
        False, False, True, False, False, False,
    ]  # fmt: skip
    assert snapshot(desk.sensors, desk.backups) == before


def test_a_restored_version_is_not_watched(desk: Desk) -> None:
    """It has run before; a newer backup of it does not exist."""
    desk.update(desk.fragile(1))
    desk.update(version(2))
    desk.restore()
    desk.doom()
    for _ in range(5):
        desk.read()

    assert desk.digest == digest(desk.fragile(1))


def test_a_restart_of_the_agent_does_not_end_the_watch(tmp_path: Path) -> None:
    """What was counted counts."""
    desk = Desk(tmp_path)
    desk.update(version(1))
    desk.update(desk.fragile(2))
    desk.doom()
    desk.read()
    Desk(tmp_path).read()
    third = Desk(tmp_path).read()

    assert "monagent:" in third["stderr"]
    assert Desk(tmp_path).read()["data"] == "1"


def test_a_version_installed_beside_a_running_agent_is_watched_too(tmp_path: Path) -> None:
    """`monagent sensor install` is another process with parts of its own."""
    agent, beside = Desk(tmp_path), Desk(tmp_path)
    agent.update(version(1))
    assert agent.read()["data"] == "1"
    beside.update(beside.fragile(2))
    beside.doom()
    readings = [agent.read() for _ in range(4)]

    assert ["monagent:" in one["stderr"] for one in readings] == [False, False, True, False]
    assert readings[3]["data"] == "1"


def test_many_readings_at_once_take_a_version_back_once(desk: Desk) -> None:
    """And after it all of them are good."""
    desk.update(version(1))
    desk.update(desk.fragile(2))
    desk.doom()
    readings: list[Outcome] = []
    threads = [threading.Thread(target=lambda: readings.append(desk.read())) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)

    assert len(readings) == 12
    assert sum("monagent:" in one["stderr"] for one in readings) == 1
    assert desk.read()["data"] == "1"
    assert len(os.listdir(desk.backups)) == 1


def test_arguments_that_nobody_could_pass_are_not_the_versions_fault(desk: Desk) -> None:
    """A server that sends far too much may not turn a good version out."""
    desk.update(version(1))
    desk.update(version(2))
    readings = [desk.read("x" * 200_000) for _ in range(3)]

    assert {one["ret_code"] for one in readings} == {126}
    assert desk.read()["data"] == "2"


def test_a_host_that_can_start_nothing_is_not_the_versions_fault(desk: Desk) -> None:
    """No process, no memory, no descriptor: the same program would have started a moment later."""
    desk.update(version(1))
    desk.update(version(2))
    real, exhausted = desk.tools.run, True

    def run(one: Run) -> RunResult:
        if not exhausted:
            return real(one)

        def no_process(*_arguments: object, **_keywords: object) -> object:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Spawning, "start", no_process)
            return real(one)

    desk.tools = dataclasses.replace(desk.tools, run=run)
    for _ in range(3):
        assert desk.read()["ret_code"] == 126
    exhausted = False

    assert desk.read()["data"] == "2"


# -- what happens at the same time ----------------------------------------------------------------------------------


class AtTheEndOfARun(Occupancy):
    """Does something in the moment in which a run has ended and is not yet judged."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], object] = lambda: None

    def leave(self, descriptor: int) -> None:
        """End it."""
        super().leave(descriptor)
        then, self.then = self.then, lambda: None
        then()


def watched_failures(desk: Desk) -> int | None:
    """How many failures of the new version were counted; None when it is not watched."""
    stored = json.loads((desk.path / "new-sensors.json").read_text())
    return stored[NAME]["failures"] if NAME in stored else None


def test_a_run_of_the_old_version_that_could_not_start_is_not_the_new_ones(tmp_path: Path) -> None:
    """An update may come exactly because the old version does not start any more."""
    occupancy = AtTheEndOfARun()
    desk = Desk(tmp_path, occupancy=occupancy)
    desk.update(desk.fragile(1))
    desk.doom()
    occupancy.then = lambda: desk.update(version(2))
    assert desk.read()["error"] == "not-executable"

    assert desk.digest == digest(version(2))
    assert watched_failures(desk) == 0


def test_a_run_of_the_old_version_that_started_does_not_prove_the_new_one(tmp_path: Path) -> None:
    """The new one is watched until it started itself."""
    occupancy = AtTheEndOfARun()
    desk = Desk(tmp_path, occupancy=occupancy)
    desk.update(version(1))
    occupancy.then = lambda: desk.update(desk.fragile(2))
    assert desk.read()["data"] == "1"
    desk.doom()
    readings = [desk.read() for _ in range(4)]

    assert ["monagent:" in one["stderr"] for one in readings] == [False, False, True, False]
    assert readings[3]["data"] == "1"


def test_a_version_that_came_meanwhile_is_not_taken_back_for_the_one_before(desk: Desk) -> None:
    """Between the third failure and going back, somebody may have installed the remedy.

    The bad version needs a file of its own that it has not got; its test finds the one of whatever stands there.
    """
    interpreter = {"interpreter": '#!/bin/sh\nexec /bin/sh "$@"\n'}

    def check(number: int) -> Files:
        return {"check": program(number).replace("/bin/sh", f"{desk.sensors}/{NAME}/interpreter")}

    lay(desk.sensors / NAME, {**check(1), **interpreter})
    (desk.sensors / NAME / "interpreter").chmod(0o755)
    assert desk.update(check(2))["status"] == "ok"
    desk.packages[NAME] = package(NAME, {**version(3), **interpreter}, {"interpreter": 0o755})
    real = desk.tools.updater.take_back

    def overtaken(*arguments: Any, **keywords: Any) -> Outcome:
        assert desk.update()["status"] == "ok"
        return real(*arguments, **keywords)

    desk.tools.updater.take_back = overtaken  # type: ignore[method-assign]
    assert [desk.read()["error"] for _ in range(3)] == ["not-executable"] * 3

    assert desk.read()["data"] == "3"


def test_a_sensor_that_was_removed_by_hand_is_not_brought_back(desk: Desk) -> None:
    """Somebody wanted it to go; that it cannot be found is what its readings say."""
    desk.update(version(1))
    desk.update(version(2))
    shutil.rmtree(desk.sensors / NAME)
    readings = [desk.read() for _ in range(4)]

    assert {one["error"] for one in readings} == {"not-found"}
    assert not any("monagent:" in one["stderr"] for one in readings)
    assert watched_failures(desk) == 0
    assert os.listdir(desk.sensors) == []
