"""Installing, restoring and taking back: whole versions only, whatever goes wrong and whenever it is cut off."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import pwd
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from monagent.agent.receipts import Receipts
from monagent.errors import PackageRefused, Refused
from monagent.models import NAGIOS, Run, RunResult
from monagent.sensors import filesystem, swap, tree, updater
from monagent.sensors.filesystem import lock_directory
from monagent.sensors.probation import Probation
from monagent.sensors.runner import Runner
from monagent.sensors.store import SensorOverride
from monagent.sensors.swap import Record
from tests.unit.sensors.packages import (
    NAME,
    Calls,
    Files,
    Host,
    cut_off,
    described,
    digest,
    fill,
    lay,
    modes,
    numbered,
    open_descriptors,
    package,
    program,
    small_disk,
    snapshot,
    version,
)
from tests.unit.sensors_stock.runner import missing

KEY, OTHER_KEY = (Ed25519PrivateKey.from_private_bytes(bytes([number] * 32)) for number in (1, 2))
PUBLIC = KEY.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
NEVER = 10**9
"""A step that is not reached."""
BACKUP = re.compile(r"load_\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host without sensors."""
    return Host(tmp_path)


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A directory on another file system."""
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == tmp_path.stat().st_dev:
        missing("a second file system")
    with tempfile.TemporaryDirectory(dir=shared) as directory:
        yield Path(directory)


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may pass through."""
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        yield Path(directory)


# -- installing -----------------------------------------------------------------------------------------------------


def test_a_new_sensor_is_installed(host: Host) -> None:
    """It runs, the outcome tells what it is, and nothing was replaced."""
    outcome = host.install(1)

    assert outcome == {
        "status": "ok",
        "message": f"load {digest(version(1))[:19]} is installed",
        "sensor": "load",
        "version": "",
        "digest": digest(version(1)),
        "replaced": {},
    }
    assert (host.prints(), host.numbered()) == ("1", "1")
    assert (host.kept(), host.hidden()) == ([], [])


def test_a_sensor_is_replaced_and_kept(host: Host) -> None:
    """Version, digest and backup of the one before are told."""
    host.updater.install(NAME, described(NAME, version(1), "1.0"))
    outcome = host.updater.install(NAME, described(NAME, version(2), "1.1"), "token")
    (backup,) = os.listdir(host.backups)

    assert outcome == {
        "status": "ok",
        "message": "load 1.1 is installed in place of 1.0",
        "sensor": "load",
        "version": "1.1",
        "digest": digest(version(2)),
        "replaced": {"version": "1.0", "digest": digest(version(1)), "backup": backup},
    }
    assert BACKUP.fullmatch(backup)
    assert abs(time.time() - _time_of(backup)) < 60
    assert host.prints() == "2"
    assert tree.content_of(host.backups / backup).digest == digest(version(1))
    assert host.hidden() == []


def _time_of(backup: str) -> float:
    return time.mktime(time.strptime(backup.partition("_")[2], "%Y-%m-%dT%H:%M:%S")) - time.timezone


@pytest.mark.parametrize("compression", ["bz2", "gz", "xz"])
def test_every_compression_is_taken(host: Host, compression: str) -> None:
    """As it is told by the package itself."""
    host.updater.install(NAME, package(NAME, version(1), compression=compression))

    assert host.prints() == "1"


@pytest.mark.parametrize("umask", [0o000, 0o077])
def test_modes_are_ours_whatever_the_archive_and_the_umask_say(host: Host, umask: int) -> None:
    """From the sensor's directory down; the directory of backups is for its owner to open."""
    odd = {"": 0o700, "check": 0o711, "lib/number": 0o600, "README": 0o666}
    before = os.umask(umask)
    try:
        for number in (1, 2):
            host.updater.install(NAME, package(NAME, version(number), odd))
    finally:
        os.umask(before)

    assert modes(host.sensors / NAME) == {
        ".": "drwxr-xr-x",
        "check": "-rwxr-xr-x",
        "lib": "drwxr-xr-x",
        "lib/number": "-rw-r--r--",
        "README": "-rw-r--r--",
    }


@needs_root
def test_a_set_gid_directory_of_sensors_hands_nothing_down(host: Host) -> None:
    """Not to what is installed, and not to what is restored."""
    os.chown(host.sensors, 0, 12345)
    host.sensors.chmod(0o2775)
    host.install(1)
    host.install(2)
    installed = snapshot(host.sensors / NAME)
    host.updater.restore(NAME)

    for found in (installed, snapshot(host.sensors / NAME)):
        assert {(uid, gid) for _, uid, gid, _ in found.values()} == {(os.geteuid(), os.getegid())}
        assert not any("s" in mode for mode, *_ in found.values())


def test_the_same_version_may_be_installed_again(host: Host) -> None:
    """Somebody may want to be sure."""
    host.install(1)
    outcome = host.install(1)

    assert outcome["digest"] == outcome["replaced"]["digest"]
    assert host.kept() == ["1"]


@pytest.mark.parametrize("name", ["record", "record.new", "x.failed", "_", "9", "a.b-c_d", "x" * 64])
def test_any_name_of_a_sensor_will_do(host: Host, name: str) -> None:
    """None is in the way of how updates work."""
    for number in (1, 2):
        host.updater.install(name, package(name, version(number)))
    host.updater.restore(name)

    assert host.prints(name) == "1"
    assert host.hidden() == []


@pytest.mark.parametrize("name", ["record", "record.new"])
def test_no_name_of_a_sensor_stops_the_updates_of_others(host: Host, name: str) -> None:
    """A server can name any."""
    with contextlib.suppress(Refused, OSError):
        host.updater.install(name, package(name, version(1)))
    host.install(1)

    assert host.numbered() == "1"
    assert host.hidden() == []


def test_other_sensors_are_left_alone(host: Host) -> None:
    """Also those whose names begin alike."""
    others = [lay(host.sensors / name, version(name)) for name in ("load-2", "loa", "disk")]
    before = snapshot(*others)
    host.install(1)
    host.install(2)
    host.updater.restore(NAME)

    assert snapshot(*others) == before


def test_nothing_leaks(host: Host) -> None:
    """No descriptor, after good and bad ones."""
    host.install(0)
    before = open_descriptors()
    for number in range(3):
        host.install(number)
        with pytest.raises(Refused):
            host.install(number, "exit 3")
        host.updater.restore(NAME)

    assert open_descriptors() == before


# -- what is refused ------------------------------------------------------------------------------------------------

MANIFEST = "monagent sensor package 1\nname: load\nversion: 1\ndigest: sha256:{digest}\nsize: 1\n"
BAD: dict[str, tuple[bytes, str]] = {
    "nothing": (b"", "package|archive"),
    "no archive": (b"#!/bin/sh\n" * 100, "package|archive"),
    "an archive that is cut": (package(NAME, version(2))[:-20], "ends|cut|truncated|middle|end"),
    "another sensor": (package("disk", version(2)), "disk"),
    "no program": (package(NAME, {"README": "x"}), "no program check"),
    "a directory for a program": (package(NAME, {"check": None}), "not an executable file"),
    "a program that may not be executed": (package(NAME, version(2), {"check": 0o644}), "not an executable file"),
    "no interpreter": (package(NAME, {"check": "#!/no/such/thing\n"}), "not-executable"),
    "no program at all inside": (package(NAME, {"check": "echo 5\n"}), "not-executable"),
    "a test that fails": (package(NAME, version(2, "echo oh no >&2; exit 3")), r"ended with 3 \(oh no\)"),
    "a test that is killed": (package(NAME, version(2, "kill -9 $$")), "signal"),
    "a test that hangs": (package(NAME, version(2, "sleep 60")), "timeout"),
    "a test that prints too much": (package(NAME, version(2, "head -c 100000 /dev/zero")), "output-too-long"),
    "a test that writes a file": (package(NAME, version(2, 'touch "${0%/*}/cache"')), "changed the sensor's own files"),
    "a test that edits the program": (package(NAME, version(2, 'echo >> "$0"')), "changed the sensor's own files"),
    "a test that removes a file": (package(NAME, version(2, 'rm "${0%/*}/README"')), "changed the sensor's own files"),
    "a test that makes a file executable": (
        package(NAME, version(2, 'chmod +x "${0%/*}/README"')),
        "changed the sensor's own files",
    ),
    "a set-uid program": (package(NAME, version(2), {"check": 0o4755}), "set-uid"),
    "a manifest of another sensor": (
        package(NAME, {**version(2), "MANIFEST": "monagent sensor package 1\nname: x\n"}),
        "MANIFEST",
    ),
    "a manifest of other files": (
        package(NAME, {**version(2), "MANIFEST": MANIFEST.format(digest="0" * 64)}),
        "manifest says",
    ),
}


@pytest.mark.parametrize("what", BAD)
@pytest.mark.parametrize("installed", [True, False])
def test_what_is_refused_has_changed_nothing(tmp_path: Path, what: str, installed: bool) -> None:
    """Sensors, backups and all around them are byte for byte as before, and the reason is told."""
    host = Host(tmp_path, defaults={"timeout": 0.5 if "hangs" in what else 10.0})
    if installed:
        host.install(0)
        host.install(1)
    before = snapshot(tmp_path)
    bad, reason = BAD[what]

    with pytest.raises(PackageRefused, match=reason):
        host.updater.install(NAME, bad)
    assert snapshot(tmp_path) == before
    assert len(host.done) == 2 * installed


@pytest.mark.parametrize(
    "when_asked",
    [
        pytest.param('rm -rf "${0%/*}"', id="removes itself"),
        pytest.param('mv "${0%/*}" "${0%/*}.moved"', id="moves itself"),
        pytest.param('rm -rf "${0%/*/*}"', id="removes its surroundings"),
        pytest.param('touch "${0%/*/*}/.record" "${0%/*/*}/other"', id="writes beside itself"),
    ],
)
def test_a_test_that_damages_what_is_around_it_installs_nothing(host: Host, when_asked: str) -> None:
    """It runs as root, so it could do worse; what it left is cleared away."""
    host.install(1)
    before = snapshot(host.path)
    try:
        host.install(2, when_asked)
    except (Refused, OSError):
        assert snapshot(host.path) == before

    assert host.hidden() == []
    assert (host.sensors / NAME / "lib" / "number").read_text() in ("1\n", "2\n")


def test_a_test_that_changes_its_manifest_is_refused(host: Host) -> None:
    """What was tested and signed is what is installed, to the last file."""
    files = version(2, """sed -i 's/^version: .*/version: 99/' "${0%/*}/MANIFEST" """)
    host.install(1)
    before = snapshot(host.path)

    with pytest.raises(PackageRefused, match="changed the sensor's own files"):
        host.updater.install(NAME, described(NAME, files, "1.1"))
    assert snapshot(host.path) == before


def test_a_test_that_changes_modes_cannot_smuggle_them_in(host: Host) -> None:
    """Neither a set-uid bit nor what others may write: it is refused, or they are ours all the same."""
    try:
        host.install(2, 'chmod 4777 "$0"; chmod 666 "${0%/*}/README"; chmod 777 "${0%/*}"')
    except PackageRefused:
        assert not (host.sensors / NAME).exists()
        return

    assert modes(host.sensors / NAME) == {
        ".": "drwxr-xr-x",
        "check": "-rwxr-xr-x",
        "lib": "drwxr-xr-x",
        "lib/number": "-rw-r--r--",
        "README": "-rw-r--r--",
    }


@pytest.mark.parametrize(
    ("number", "key", "reason"),
    [
        pytest.param("1.2", None, "not signed", id="not signed"),
        pytest.param("1.2", OTHER_KEY, "by the key that is trusted", id="another key"),
        pytest.param("1.0", KEY, "older than 1.1", id="older"),
        pytest.param("", KEY, "no MANIFEST", id="no manifest"),
    ],
)
def test_with_a_key_only_what_it_signed_is_installed(tmp_path: Path, number: str, key: Any, reason: str) -> None:
    """And nothing older; a refusal comes before anything of the package is run."""
    host = Host(tmp_path, public_key=PUBLIC)
    host.updater.install(NAME, described(NAME, version(1), "1.1", KEY))
    files = version(2, f"touch {tmp_path}/ran")
    before = snapshot(tmp_path)

    with pytest.raises(PackageRefused, match=reason):
        host.updater.install(NAME, described(NAME, files, number, key) if number else package(NAME, files))
    assert snapshot(tmp_path) == before
    host.updater.install(NAME, described(NAME, version(3), "1.1.1", KEY))
    assert host.prints() == "3"


def test_a_sensor_whose_program_stands_elsewhere_gets_no_package(tmp_path: Path) -> None:
    """It would never be used; and it has no backup to go back to."""
    host = Host(tmp_path, overrides={NAME: SensorOverride(command=("/bin/echo", "5"))})
    before = snapshot(tmp_path)

    for change in (
        lambda: host.install(1),
        lambda: host.updater.restore(NAME),
        lambda: host.updater.take_back(NAME, digest(version(1))),
    ):
        with pytest.raises(Refused, match=r"client\.cfg names"):
            change()
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("target", ["file", "dangling link", "link to a file"])
def test_what_is_no_directory_is_not_replaced(host: Host, target: str) -> None:
    """Somebody put it there for a reason."""
    place = host.sensors / NAME
    (host.path / "real").touch()
    if target == "file":
        place.write_text("precious")
    else:
        place.symlink_to("nowhere" if target == "dangling link" else "../real")
    before = snapshot(host.path)

    with pytest.raises(Refused, match="is not a directory"):
        host.install(1)
    assert snapshot(host.path) == before


def test_without_a_directory_of_sensors_nothing_is_installed(host: Host) -> None:
    """It may be a disk that is not mounted."""
    host.sensors.rmdir()
    with pytest.raises(Refused, match="there is no directory"):
        host.install(1)

    assert os.listdir(host.path) == []


@pytest.mark.parametrize("place", ["file", "below a file"])
@pytest.mark.parametrize("installed", [True, False])
def test_backups_that_cannot_be_made_are_a_refusal_or_no_obstacle(tmp_path: Path, place: str, installed: bool) -> None:
    """Nothing that is replaced may be lost; a new sensor replaces nothing."""
    (tmp_path / "file").touch()
    host = Host(tmp_path, backups=tmp_path / ("file" if place == "file" else "file/below"))
    if installed:
        lay(host.sensors / NAME, version(1))
        before = snapshot(tmp_path)
        with pytest.raises(Refused, match="cannot be made"):
            host.install(2)
        assert snapshot(tmp_path) == before
    else:
        assert host.install(2)["status"] == "ok"
        assert host.hidden() == []
        lay(host.sensors / "disk", version(1))
        assert host.updater.recover() == []


def test_a_refusal_makes_no_directory_of_backups(host: Host) -> None:
    """Not even an empty one, when the swap comes to nothing in the last moment."""
    lay(host.sensors / NAME, version(1))
    host.occupancy.alone = _never  # type: ignore[method-assign,assignment]
    before = snapshot(host.path)
    with pytest.raises(Refused, match="never"):
        host.install(2)

    assert snapshot(host.path) == before


def _never(_directory: Path, _seconds: float) -> Any:
    raise Refused("never")


def test_backups_that_cannot_be_written_are_a_refusal(tmp_path: Path) -> None:
    """Before anything is swapped."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        host = Host(tmp_path / "host", backups=disk)
        lay(host.sensors / NAME, version(1))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        before = snapshot(tmp_path)
        with pytest.raises(Refused, match="cannot be written"):
            host.install(2)

        assert snapshot(tmp_path) == before


@needs_root
def test_a_directory_of_sensors_that_cannot_be_written_is_an_error(public: Path) -> None:
    """For an agent that is not root; nothing has changed."""
    host = Host(public)
    lay(host.sensors / NAME, version(1))
    before = snapshot(public)

    def work() -> None:
        os.setuid(pwd.getpwnam("nobody").pw_uid)
        with pytest.raises(PermissionError):
            host.install(2)

    assert cut_off(NEVER, work)
    assert snapshot(public) == before


@needs_root
def test_an_agent_that_is_not_root_can_do_all_of_it(tmp_path: Path, public: Path) -> None:
    """With sensors and backups of its own."""
    as_root = Host(tmp_path)  # so that all modules are imported: the interpreter may be out of the other user's reach
    for number in (1, 2, 3):
        as_root.install(number)
    as_root.updater.restore(NAME)
    nobody = pwd.getpwnam("nobody")
    os.chown(public, nobody.pw_uid, nobody.pw_gid)
    runner = Runner()
    runner.prepare("nobody")

    def work() -> None:
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
        host = Host(public, run=lambda run: runner.run(replace(run, user="nobody")))
        for number in (1, 2, 3):
            host.install(number)
        host.updater.restore(NAME)

    assert cut_off(NEVER, work)
    host = Host(public)
    assert (host.numbered(), host.kept(), host.hidden()) == ("2", ["1", "3"], [])


def test_a_disk_that_is_full_while_unpacking_is_an_error(tmp_path: Path) -> None:
    """And nothing is left of what was unpacked."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        host = Host(disk)
        host.install(1)
        before = snapshot(disk)
        with pytest.raises(OSError, match="No space left"):
            host.updater.install(NAME, package(NAME, {**version(2), "big": os.urandom(2_000_000)}))

        assert snapshot(disk) == before


@pytest.mark.parametrize("room", range(0, 48, 4))
def test_a_disk_that_is_full_at_any_moment_leaves_the_old_version(tmp_path: Path, room: int) -> None:
    """Or the new one, where there was enough."""
    with small_disk(tmp_path / "disk", "1m") as disk:
        host = Host(disk)
        host.install(1)
        host.backups.mkdir()
        fill(disk)
        os.truncate(disk / "ballast", max(0, (disk / "ballast").stat().st_size - room * 1024))
        before = snapshot(disk)
        try:
            host.install(2)
        except (Refused, OSError):
            assert snapshot(disk) == before
        else:
            assert host.numbered() == "2"
        assert host.hidden() == []


# -- file systems ---------------------------------------------------------------------------------------------------


class Libc:
    """The real one, but for renameat2."""

    def __init__(self, number: int) -> None:
        self.syncfs = filesystem._libc.syncfs
        self._number = number

    def renameat2(self, *_arguments: object) -> int:
        """Refuse."""
        ctypes.set_errno(self._number)
        return -1


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSYS, errno.EXDEV, errno.EBUSY])
def test_a_file_system_that_cannot_exchange_is_a_refusal(
    host: Host, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """NFS, or the lower layer of a container's image: nothing has changed."""
    lay(host.sensors / NAME, version(1))
    host.backups.mkdir()
    before = snapshot(host.path)
    monkeypatch.setattr(filesystem, "_libc", Libc(number))

    with pytest.raises(Refused, match="cannot put a sensor in the place of another"):
        host.install(2)
    assert snapshot(host.path) == before


def test_a_file_system_that_cannot_exchange_still_takes_a_new_sensor(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain rename is enough for that."""
    monkeypatch.setattr(filesystem, "_libc", Libc(errno.EINVAL))
    host.install(1)

    assert (host.numbered(), host.hidden()) == ("1", [])


def test_a_sensor_that_is_mounted_is_not_replaced(host: Host) -> None:
    """A directory that is a mount point cannot change its name."""
    with small_disk(host.sensors / NAME, "64k"):
        for path, content in version(1).items():
            (host.sensors / NAME / path).parent.mkdir(exist_ok=True)
            (host.sensors / NAME / path).write_text(content)
        host.backups.mkdir()
        before = snapshot(host.path)
        with pytest.raises(Refused, match=r"busy|cross-device"):
            host.install(2)

        assert snapshot(host.path) == before


def test_backups_may_be_on_another_file_system(tmp_path: Path, elsewhere: Path) -> None:
    """There and back."""
    host = Host(tmp_path, backups=elsewhere / "sensors_backup")
    for number in (1, 2, 3):
        host.install(number)
    assert (host.prints(), host.kept()) == ("3", ["1", "2"])
    host.updater.restore(NAME)

    assert (host.prints(), host.kept()) == ("2", ["1", "3"])
    assert host.hidden() == []


def test_an_old_version_for_which_there_is_no_room_waits_for_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The new one is in place; until the old one is safe nothing else is replaced."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        host = Host(tmp_path / "host", backups=disk)
        host.install(1)
        ballast = fill(disk)
        with caplog.at_level(logging.ERROR):
            assert host.install(2)["status"] == "ok"
        assert "the old version of sensor load waits" in caplog.text
        assert host.numbered() == "2"

        before = snapshot(host.path)
        with pytest.raises(Refused, match="cannot be tidied up"):
            host.install(3)
        host.updater.recover()
        assert snapshot(host.path) == before

        ballast.unlink()
        host.updater.recover()
        assert (host.numbered(), host.kept(), host.hidden()) == ("2", ["1"], [])
        host.install(3)
        assert (host.numbered(), host.kept()) == ("3", ["1", "2"])


def test_a_version_that_proved_itself_stays_proven_while_the_old_one_waits(tmp_path: Path) -> None:
    """Trying again to put the old one away is no new installation."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        probation = Probation(tmp_path / "new-sensors.json")

        def watch(record: Record) -> None:
            probation.watch(record.name, record.outcome["digest"])

        host = Host(tmp_path / "host", backups=disk, on_done=watch)
        host.install(1)
        fill(disk)
        host.install(2)
        probation.started(NAME)
        host.updater.recover()

        assert [probation.could_not_start(NAME) for _ in range(3)] == [""] * 3


def test_what_was_told_is_not_told_again_while_the_old_version_waits(tmp_path: Path) -> None:
    """But what could not be told is, as soon as it can be."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        told: list[str] = []
        trouble = True

        def on_done(record: Record) -> None:
            if trouble:
                raise OSError(errno.ENOSPC, "No space left on device")
            told.append(record.token)

        host = Host(tmp_path / "host", backups=disk, on_done=on_done)
        host.install(1)
        ballast = fill(disk)
        host.updater.install(NAME, package(NAME, version(2)), "token")
        host.updater.recover()
        assert told == []
        trouble = False
        for _ in range(3):
            assert [record.token for record in host.updater.recover()] == ["token"]
        ballast.unlink()
        host.updater.recover()

    assert told == ["token"]


def test_other_sensors_can_be_updated_while_one_waits(tmp_path: Path) -> None:
    """They have nothing to do with it."""
    with small_disk(tmp_path / "disk", "64k") as disk:
        host = Host(tmp_path / "host", backups=disk)
        host.install(1)
        fill(disk)
        host.install(2)
        host.updater.install("disk", package("disk", version(7)))

        assert host.prints("disk") == "7"


def test_a_backup_of_somebody_else_is_not_taken_for_the_old_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Two agents may share the directory of backups: what is there stays, and the old version waits."""
    host = Host(tmp_path, clock=lambda: 1_700_000_000.0)
    host.install(1)
    real = swap.put_away

    def overtaken(old: Path, target: Path) -> None:
        if not target.exists():
            lay(target, version("other"))
        real(old, target)

    monkeypatch.setattr(updater, "put_away", overtaken)
    with caplog.at_level(logging.ERROR):
        assert host.install(2)["status"] == "ok"

    assert "the old version of sensor load waits" in caplog.text
    assert (host.numbered(), host.kept()) == ("2", ["other"])
    assert numbered(host.sensors / ".update-load" / NAME) == "1"
    shutil.rmtree(host.backups)
    monkeypatch.setattr(updater, "put_away", real)
    host.updater.recover()
    assert (host.numbered(), host.kept(), host.hidden()) == ("2", ["1"], [])


def test_the_directory_of_backups_is_made_with_those_above_it(tmp_path: Path) -> None:
    """By the first version that is replaced, and not before."""
    host = Host(tmp_path, backups=tmp_path / "a" / "b")
    host.install(1)
    assert not (tmp_path / "a").exists()
    host.install(2)

    assert host.kept() == ["1"]


# -- links ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("relative", [True, False])
def test_a_sensor_that_is_a_link_is_replaced_and_can_be_put_back(host: Host, relative: bool) -> None:
    """What it leads to is not touched, and its backup works as the sensor did."""
    real = lay(host.sensors / "load-1.0", version(1))
    (host.sensors / NAME).symlink_to("load-1.0" if relative else real)
    before = snapshot(real)
    outcome = host.install(2)

    assert outcome["replaced"]["digest"] == digest(version(1))
    assert not (host.sensors / NAME).is_symlink()
    assert (host.prints(), snapshot(real)) == ("2", before)
    host.updater.restore(NAME)
    assert (host.prints(), snapshot(real)) == ("1", before)
    assert host.hidden() == []


def test_the_directory_of_sensors_may_be_a_link(tmp_path: Path) -> None:
    """To another disk, say."""
    (tmp_path / "real").mkdir()
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "sensors").symlink_to("../real")
    host = Host(tmp_path / "host")
    for number in (1, 2):
        host.install(number)

    assert (host.prints(), host.kept(), host.hidden()) == ("2", ["1"], [])
    assert numbered(tmp_path / "real" / NAME) == "2"


def test_a_link_planted_as_the_workshop_leads_nowhere(host: Host) -> None:
    """What it leads to is neither written nor cleared."""
    outside = lay(host.path / "outside", {".record": "{}", "precious": "x"})
    (host.sensors / ".update-load").symlink_to(outside)
    before = snapshot(outside)
    host.install(1)

    assert snapshot(outside) == before
    assert (host.numbered(), host.hidden()) == ("1", [])


@pytest.mark.parametrize("name", [".update-load", ".update-disk"])
def test_a_file_in_the_place_of_a_workshop_stops_no_update(host: Host, name: str) -> None:
    """Nor a start of the agent."""
    (host.sensors / name).touch()
    assert host.updater.recover() == []
    host.install(1)

    assert (host.numbered(), host.hidden()) == ("1", [])


# -- the test run ---------------------------------------------------------------------------------------------------


def test_a_version_is_tested_as_it_will_run(tmp_path: Path) -> None:
    """The same limits and user, the argument for its help, and its program in the directory of its own name."""
    runs: list[Run] = []

    def run(one: Run) -> RunResult:
        runs.append(one)
        return RunResult(0, b"help\n", b"", "", 0.0, 0.0)

    defaults = {"timeout": 7.0, "output_limit": 77, "user": "daemon", "executable": "bin/probe", "help_argument": "-h"}
    host = Host(tmp_path, run=run, defaults=defaults)
    host.updater.install(NAME, package(NAME, {"bin/probe": "x"}, {"bin/probe": 0o755}))

    assert len(runs) == 1
    assert (runs[0].argv[1:], runs[0].timeout, runs[0].output_limit, runs[0].user) == (("-h",), 7.0, 77, "daemon")
    assert runs[0].argv[0].endswith("/load/bin/probe")


@pytest.mark.parametrize(("code", "taken"), [(0, True), (3, True), (1, False), (2, False)])
def test_a_plug_in_is_asked_in_its_own_way(tmp_path: Path, code: int, taken: bool) -> None:
    """`--help`, after which plug-ins end with 3 by their guidelines."""
    host = Host(tmp_path, overrides={NAME: SensorOverride(format=NAGIOS)})
    plugin = package(NAME, {"check": f'#!/bin/sh\n[ "$1" = --help ] && exit {code}\nexit 9\n'})
    if not taken:
        with pytest.raises(PackageRefused, match=f"ended with {code}"):
            host.updater.install(NAME, plugin)
        return
    host.updater.install(NAME, plugin)

    assert (host.sensors / NAME).is_dir()


def test_a_program_that_is_still_open_elsewhere_is_tested_a_moment_later(tmp_path: Path) -> None:
    """A check that another thread starts inherits the file that is being written, until it has begun: a busy agent."""
    real = Runner().run
    busy: list[RunResult] = []

    def run(one: Run) -> RunResult:
        if busy:
            return real(one)
        descriptor = os.open(one.argv[0], os.O_WRONLY)
        threading.Timer(0.3, os.close, (descriptor,)).start()
        busy.append(real(one))
        return busy[0]

    host = Host(tmp_path, run=run)
    outcome = host.install(1)

    assert busy[0].errno == errno.ETXTBSY
    assert (outcome["status"], host.prints()) == ("ok", "1")


def test_a_program_that_stays_open_elsewhere_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr(updater, "BUSY_SECONDS", 0.2)
    busy = RunResult(126, b"", b"Text file busy", "not-executable", 0.0, 0.0, errno.ETXTBSY)
    host = Host(tmp_path, run=lambda _run: busy)

    with pytest.raises(PackageRefused, match="Text file busy"):
        host.install(1)
    assert os.listdir(host.sensors) == []


def test_updates_of_a_busy_agent_all_take_place(host: Host) -> None:
    """However many checks are being started just then."""
    host.updater.install("disk", package("disk", version(1)))
    stop = threading.Event()

    def stream() -> None:
        while not stop.is_set():
            host.prints("disk")

    threads = [threading.Thread(target=stream) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        for number in range(40):
            assert host.install(number)["status"] == "ok"
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert host.numbered() == "39"


def test_a_version_finds_the_files_beside_it_when_it_is_tested(host: Host) -> None:
    """As it will in production."""
    files = {"check": '#!/bin/sh\nexec cat "${0%/*}/lib/answer"\n', "lib/answer": "42\n"}
    host.updater.install(NAME, package(NAME, files))

    assert host.prints() == "42"


def test_a_sensor_in_python_leaves_its_directory_as_it_was(host: Host) -> None:
    """Also one of several files: neither its test nor its runs write what Python would remember of them."""
    files: Files = {"check": "#!/usr/bin/env python3\nimport answer\nprint(answer.N)\n", "answer.py": "N = 42\n"}
    host.updater.install(NAME, package(NAME, files))

    assert host.prints() == "42"
    assert host.store.installed(NAME).digest == digest(files)


@needs_root
def test_a_version_is_tested_as_the_user_that_it_will_run_as(public: Path) -> None:
    """Who can get at it, and can change nothing of it."""
    host = Host(public, defaults={"user": "nobody"})
    asked = '[ "$(id -un)" = nobody ] && ! touch "${0%/*}/x" && ! touch "${0%/*/*}/x" && cat "${0%/*}/README"'
    for number in (1, 2):
        host.install(number, f"{asked} || exit 9")
    host.updater.restore(NAME)

    assert host.prints() == "1"
    assert {uid for _, uid, _, _ in snapshot(host.sensors).values()} == {0}


def test_what_was_tested_is_what_is_installed(tmp_path: Path) -> None:
    """The same files, told by the digest at the moment of the test; and what is restored is what was kept."""
    seen: list[str] = []
    real = Runner().run

    def run(one: Run) -> RunResult:
        if one.argv[-1] == "options":
            seen.append(tree.content_of(Path(one.argv[0]).parent).digest)
        return real(one)

    host = Host(tmp_path, run=run)
    told = [host.install(1)["digest"], host.install(2)["digest"], host.updater.restore(NAME)["digest"]]

    assert told == seen == [digest(version(1)), digest(version(2)), digest(version(1))]
    assert tree.content_of(host.sensors / NAME).digest == told[-1]


def test_a_test_that_leaves_a_child_behind_is_over_all_the_same(host: Host) -> None:
    """And the child with it: it could change the version afterwards."""
    outcome = host.install(1, '(sleep 0.5; touch "${0%/*}/late") & echo help')
    time.sleep(0.8)

    assert tree.content_of(host.sensors / NAME).digest == outcome["digest"]


def host_where(path: Path, change: Callable[[Path], None]) -> Host:
    """One where something happens to a version a moment after its test, by somebody who may do that."""
    real = Runner().run

    def later(version: Path) -> None:
        time.sleep(0.5)
        change(version)
        (path / "changed").touch()

    def run(one: Run) -> RunResult:
        result = real(one)
        if one.argv[-1] == "options":
            threading.Thread(target=later, args=(Path(one.argv[0]).parent,)).start()
        return result

    return Host(path, run=run)


def test_what_changes_after_its_test_is_not_installed(tmp_path: Path) -> None:
    """A swap may have to wait for a run; nobody must use that time."""
    host = host_where(tmp_path, lambda version: (version / "late").touch())
    lay(host.sensors / NAME, {"check": SLOW.format(go=host.path / "go", number=1), "lib/number": "1\n"})
    run, output = in_thread(host.prints)
    wait_for(host.path / "go.began")
    update, came = in_thread(lambda: host.install(2))
    wait_for(host.path / "changed")
    (host.path / "go").touch()
    for thread in (run, update):
        thread.join(30)

    assert output == ["1 1 1"]
    if isinstance(came[0], Refused):
        assert host.store.installed(NAME).digest != digest(version(2))
    else:
        assert host.store.installed(NAME).digest == came[0]["digest"]


@pytest.mark.parametrize("change", ["install", "restore"])
def test_what_is_removed_after_its_test_was_never_installed(tmp_path: Path, change: str) -> None:
    """It is not taken for a version that is in place already; nobody is told that it is, and a backup stays one."""
    host = host_where(tmp_path, shutil.rmtree)
    slow = {"check": SLOW.format(go=host.path / "go", number=1), "lib/number": "1\n"}
    lay(host.sensors / NAME, slow)
    lay(host.backups / "load_2026-01-01T00:00:00", version(2))
    run, output = in_thread(host.prints)
    wait_for(host.path / "go.began")
    before = snapshot(host.sensors, host.backups)
    update, came = in_thread((lambda: host.updater.restore(NAME)) if change == "restore" else (lambda: host.install(2)))
    wait_for(host.path / "changed")
    (host.path / "go").touch()
    for thread in (run, update):
        thread.join(30)

    assert output == ["1 1 1"]
    assert isinstance(came[0], Refused | OSError)
    assert (host.updater.recover(), host.done) == ([], [])
    assert snapshot(host.sensors, host.backups) == before


# -- restoring ------------------------------------------------------------------------------------------------------


def test_a_restore_puts_the_newest_backup_back(host: Host) -> None:
    """What stood there becomes a backup, and the one that is in place again is none any more."""
    for number in (1, 2, 3):
        host.updater.install(NAME, described(NAME, version(number), f"1.{number}"))
    outcome = host.updater.restore(NAME, "token")

    assert outcome == {
        "status": "ok",
        "message": "load 1.2 is put back in place of 1.3",
        "sensor": "load",
        "version": "1.2",
        "digest": digest(version(2)),
        "replaced": {"version": "1.3", "digest": digest(version(3)), "backup": max(os.listdir(host.backups))},
    }
    assert host.prints() == "2"
    assert [tree.content_of(path).digest for path in sorted(host.backups.iterdir())] == [
        digest(version(1)),
        digest(version(3)),
    ]
    assert (host.done[-1].token, host.done[-1].watch) == ("token", False)


def test_a_second_restore_undoes_the_first(host: Host) -> None:
    """However often; backups do not grow by it."""
    for number in (1, 2):
        host.install(number)
    seen = []
    for _ in range(4):
        host.updater.restore(NAME)
        seen.append((host.prints(), host.kept()))

    assert seen == [("1", ["2"]), ("2", ["1"])] * 2


def test_without_a_backup_there_is_nothing_to_restore(host: Host) -> None:
    """Neither of a sensor that was never replaced nor of one that is not there; failed ones do not count."""
    host.install(1)
    lay(host.backups / "load_2026-01-01T00:00:00.failed", version(0))
    before = snapshot(host.path)

    for name in (NAME, "disk"):
        with pytest.raises(Refused, match=f"no backup of sensor {name}"):
            host.updater.restore(name)
    assert snapshot(host.path) == before


def test_a_sensor_that_was_removed_can_be_restored(host: Host) -> None:
    """Nothing is replaced then."""
    host.install(1)
    host.install(2)
    shutil.rmtree(host.sensors / NAME)
    outcome = host.updater.restore(NAME)

    assert (outcome["replaced"], host.prints(), host.kept()) == ({}, "1", [])


def test_a_backup_that_does_not_work_is_not_restored(host: Host) -> None:
    """It is tested like a new version, and nothing has changed."""
    host.install(1)
    host.install(2)
    (backup,) = host.backups.iterdir()
    (backup / "check").write_text(program(1, "exit 3"))
    before = snapshot(host.path)

    with pytest.raises(PackageRefused, match="ended with 3"):
        host.updater.restore(NAME)
    assert snapshot(host.path) == before


def test_an_older_version_may_be_restored_although_there_is_a_key(tmp_path: Path) -> None:
    """That is what a restore is for."""
    host = Host(tmp_path, public_key=PUBLIC)
    for number in (1, 2):
        host.updater.install(NAME, described(NAME, version(number), f"1.{number}", KEY))
    host.updater.restore(NAME)

    assert host.prints() == "1"


@pytest.mark.parametrize("odd", ["link", "directory", "text"])
def test_a_version_with_an_odd_manifest_can_be_restored(host: Host, odd: str) -> None:
    """As people made it; it ran before."""
    place = lay(host.sensors / NAME, version(1))
    if odd == "link":
        (place / "MANIFEST").symlink_to("README")
    elif odd == "directory":
        lay(place / "MANIFEST", {"x": "x"})
    else:
        (place / "MANIFEST").write_text("odd")
    before = snapshot(place)
    host.install(2)
    host.updater.restore(NAME)

    assert snapshot(place) == before


@pytest.mark.parametrize("with_key", [False, True])
def test_a_damaged_manifest_does_not_stop_a_restore(tmp_path: Path, with_key: bool) -> None:
    """Which is the way out of it."""
    host = Host(tmp_path, public_key=PUBLIC if with_key else b"")
    for number in (1, 2):
        host.updater.install(NAME, described(NAME, version(number), f"1.{number}", KEY))
    (host.sensors / NAME / "MANIFEST").write_text("damaged")
    host.updater.restore(NAME)

    assert host.prints() == "1"


def test_a_version_that_cannot_be_told_is_replaced_by_name(host: Host) -> None:
    """The sentence for people has no hole in it."""
    lay(host.sensors / NAME, {**version(1), "MANIFEST": "damaged"})
    message = host.install(2)["message"]

    assert message == message.strip()
    assert "  " not in message


def test_what_was_edited_by_hand_is_kept_as_it_was(host: Host) -> None:
    """Links, modes and all, through an update and back."""
    host.install(1)
    place = host.sensors / NAME
    (place / "mine").write_text("x")
    (place / "link").symlink_to("mine")
    place.chmod(0o750)
    before = snapshot(place)
    host.install(2)
    host.updater.restore(NAME)

    assert snapshot(place) == before


@needs_root
def test_owners_come_back_with_a_restore(public: Path) -> None:
    """A file that only the sensor's user may read would be lost to it otherwise."""
    host = Host(public, defaults={"user": "nobody"})
    lay(host.sensors / NAME, {**version(1), "check": '#!/bin/sh\ncat "${0%/*}/secret"\n', "secret": "42\n"})
    os.chown(host.sensors / NAME / "secret", pwd.getpwnam("nobody").pw_uid, -1)
    (host.sensors / NAME / "secret").chmod(0o600)
    host.install(2)
    host.updater.restore(NAME)

    assert host.prints() == "42"


# -- taking back ----------------------------------------------------------------------------------------------------


def test_a_version_that_is_taken_back_is_kept_as_failed(host: Host) -> None:
    """It is never restored by itself, however often somebody asks."""
    for number in (1, 2, 3):
        host.install(number)
    outcome = host.updater.take_back(NAME, digest(version(3)))
    (failed,) = host.backups.glob("*.failed")

    assert outcome["message"].endswith(f"is put back in place of {digest(version(3))[:19]}")
    assert outcome["replaced"]["backup"] == failed.name
    assert BACKUP.fullmatch(failed.name.removesuffix(".failed"))
    assert (host.prints(), numbered(failed)) == ("2", "3")
    assert (host.done[-1].watch, host.done[-1].token) == (False, "")
    assert [host.updater.restore(NAME)["digest"] for _ in range(3)] == [digest(version(n)) for n in (1, 2, 1)]


def test_what_is_new_cannot_be_taken_back(host: Host) -> None:
    """There is nothing to put in its place, so it stays."""
    host.install(1)
    before = snapshot(host.path)

    with pytest.raises(Refused, match="no backup"):
        host.updater.take_back(NAME, digest(version(1)))
    assert snapshot(host.path) == before


@pytest.mark.parametrize("meanwhile", ["newer", "edited", "restored", "removed", "cannot be told"])
def test_only_the_version_that_failed_is_taken_back(host: Host, meanwhile: str) -> None:
    """Whatever else stands there by now was put there by somebody who knows better."""
    host.install(1)
    failed = host.install(2)["digest"]
    if meanwhile == "newer":
        host.install(3)
    elif meanwhile == "edited":
        (host.sensors / NAME / "README").write_text("edited")
    elif meanwhile == "restored":
        host.updater.restore(NAME)
    elif meanwhile == "removed":
        shutil.rmtree(host.sensors / NAME)
    else:
        (host.sensors / NAME / "a\nb").touch()
    before = snapshot(host.path)

    with pytest.raises(Refused, match="not that version any more"):
        host.updater.take_back(NAME, failed)
    assert snapshot(host.path) == before


def test_only_an_installation_is_watched(host: Host) -> None:
    """What is put back has run before."""
    host.install(1)
    host.install(2)
    host.updater.restore(NAME)
    host.updater.take_back(NAME, digest(version(1)))

    assert [record.watch for record in host.done] == [True, True, False, False]


# -- keeping --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "kept"), [(0, ["5"]), (1, ["5"]), (2, ["4", "5"]), (9, ["1", "2", "3", "4", "5"])])
def test_so_many_backups_are_kept(tmp_path: Path, keep: int, kept: list[str]) -> None:
    """The newest; one at least, which the first runs of the new version may need."""
    host = Host(tmp_path, keep=keep)
    for number in range(1, 7):
        host.install(number)

    assert (host.numbered(), host.kept(), host.hidden()) == ("6", kept, [])


@pytest.mark.parametrize("keep", [0, 1, 2])
def test_going_back_works_with_any_number_of_backups(tmp_path: Path, keep: int) -> None:
    """The one that is needed is kept until it is in place."""
    host = Host(tmp_path, keep=keep)
    host.install(1)
    host.install(2)
    host.updater.take_back(NAME, digest(version(2)))
    assert host.numbered() == "1"
    host.install(3)
    outcome = host.updater.restore(NAME)

    assert host.numbered() == "1"
    assert (outcome["replaced"]["backup"] in os.listdir(host.backups)) == (keep > 0)


def test_many_installations_in_one_second_lose_nothing(tmp_path: Path) -> None:
    """Each version before is kept under a name of its own, in the right order."""
    host = Host(tmp_path, keep=100, clock=lambda: 1_700_000_000.5)
    for number in range(25):
        host.install(number)

    assert host.kept() == [str(number) for number in range(24)]
    host.updater.restore(NAME)
    assert host.numbered() == "23"


def test_a_clock_that_goes_backwards_loses_nothing(tmp_path: Path) -> None:
    """The newest backup is still the one that was replaced last."""
    now = [1_700_000_000.0]
    host = Host(tmp_path, keep=100, clock=lambda: now[0])
    for number in range(6):
        now[0] -= 3600 * number
        host.install(number)

    assert host.kept() == [str(number) for number in range(5)]
    host.updater.restore(NAME)
    assert host.numbered() == "4"


# -- runs under way -------------------------------------------------------------------------------------------------

SLOW = """#!/bin/sh
[ "$1" = options ] && exit
here=${{0%/*}}
first=$(cat "$here/lib/number")
touch {go}.began
for _ in $(seq 400); do [ -e {go} ] && break; sleep 0.05; done
echo "$first $(cat "$here/lib/number") {number}"
"""


def slow(host: Host, number: int) -> bytes:
    """A version that looks at a file beside it at its begin and, when it may end, at its end."""
    return package(NAME, {"check": SLOW.format(go=host.path / "go", number=number), "lib/number": f"{number}\n"})


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[Any]]:
    """Do something beside, and get what came of it."""
    came: list[Any] = []

    def run() -> None:
        try:
            came.append(work())
        except (Refused, OSError) as error:
            came.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, came


def wait_for(path: Path) -> None:
    """Wait until there is a file."""
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_run_under_way_ends_with_the_version_it_began_with(host: Host) -> None:
    """The swap waits for it; runs that come meanwhile wait for the swap, and are runs of the new version."""
    old = host.updater.install(NAME, slow(host, 1))["digest"]
    run, output = in_thread(host.prints)
    wait_for(host.path / "go.began")
    update, outcome = in_thread(lambda: host.updater.install(NAME, slow(host, 2)))
    time.sleep(0.5)
    late, late_output = in_thread(host.prints)
    time.sleep(0.3)
    meanwhile = (host.store.installed(NAME).digest, list(outcome), list(late_output))
    (host.path / "go").touch()
    for thread in (run, update, late):
        thread.join(30)

    assert meanwhile == (old, [], [])
    assert output == ["1 1 1"]
    assert outcome[0]["status"] == "ok"
    assert late_output == ["2 2 2"]


def test_a_stream_of_overlapping_runs_delays_an_update_only_a_little(host: Host) -> None:
    """And every one of them sees one version from its begin to its end."""
    check = '#!/bin/sh\n[ "$1" = options ] && exit\ncat "${{0%/*}}/a"; sleep 0.1; cat "${{0%/*}}/b"; echo {0}\n'

    def packed(number: int) -> bytes:
        return package(NAME, {"check": check.format(number), "a": f"{number} ", "b": f"{number} "})

    host.updater.install(NAME, packed(1))
    seen: set[str] = set()
    stop = threading.Event()

    def stream(delay: float) -> None:
        time.sleep(delay)
        while not stop.is_set():
            seen.add(host.prints())

    threads = [threading.Thread(target=stream, args=(number * 0.03,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    begun = time.monotonic()
    try:
        for number in (2, 3, 4):
            host.updater.install(NAME, packed(number))
    finally:
        stop.set()
        for thread in threads:
            thread.join()

    assert time.monotonic() - begun < 20
    assert {"1 1 1"} < seen <= {f"{number} {number} {number}" for number in (1, 2, 3, 4)}


def test_a_run_that_does_not_end_in_its_time_is_a_refusal(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so, nothing has changed, and the run ends as it would have."""
    monkeypatch.setattr(updater, "MARGIN_SECONDS", -9.5)
    lay(host.sensors / NAME, {"check": SLOW.format(go=host.path / "go", number=1), "lib/number": "1\n"})
    host.backups.mkdir()
    run, output = in_thread(host.prints)
    wait_for(host.path / "go.began")
    before = snapshot(host.path)
    try:
        with pytest.raises(Refused, match="in use"):
            host.updater.install(NAME, slow(host, 2))
        assert snapshot(host.path) == before
    finally:
        (host.path / "go").touch()
        run.join(30)

    assert output == ["1 1 1"]


def test_an_update_waits_for_another_one(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of any sensor and in any process, for some time."""
    monkeypatch.setattr(updater, "TURN_SECONDS", 0.3)
    descriptor = lock_directory(host.sensors, 0)
    assert descriptor is not None
    before = snapshot(host.path)
    for change in (lambda: host.install(1), lambda: host.updater.restore(NAME), host.updater.recover):
        with pytest.raises(Refused, match="another update is under way"):
            change()
    assert snapshot(host.path) == before
    threading.Timer(0.5, os.close, (descriptor,)).start()
    monkeypatch.setattr(updater, "TURN_SECONDS", 20.0)
    host.install(1)

    assert host.numbered() == "1"


def test_updates_by_many_threads_all_take_place(tmp_path: Path) -> None:
    """One after the other, of one sensor and of several."""
    host = Host(tmp_path, keep=100)
    wanted = [(NAME if number % 2 else "disk", number) for number in range(4)] * 3
    threads = [
        in_thread(lambda name=name, number=number: host.updater.install(name, package(name, version(number))))  # type: ignore[misc]
        for name, number in wanted
    ]
    for thread, _ in threads:
        thread.join(60)

    assert [came[0]["status"] for _, came in threads] == ["ok"] * 12
    assert len(host.kept()) == 10
    assert {host.numbered(), numbered(host.sensors / "disk")} <= {"0", "1", "2", "3"}
    assert host.hidden() == []


def test_updates_by_two_processes_all_take_place(tmp_path: Path) -> None:
    """`monagent sensor install` beside a running agent, while checks go on."""
    program_text = """
        import sys
        from pathlib import Path
        from tests.unit.sensors.packages import Host
        host = Host(Path(sys.argv[1]), keep=100)
        for number in range(10):
            assert host.install(f"{sys.argv[2]}{number}")["status"] == "ok"
    """
    host = Host(tmp_path, keep=100)
    host.install("first")
    others = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(program_text), tmp_path, word], stderr=subprocess.PIPE)
        for word in "ab"
    ]
    seen = set()
    while any(other.poll() is None for other in others):
        seen.add(host.prints())
    complaints = [other.communicate(timeout=60)[1].decode() for other in others]

    assert complaints == ["", ""]
    everything = {"first", *(f"{word}{number}" for word in "ab" for number in range(10))}
    assert seen <= everything
    assert set(host.kept()) | {host.numbered()} == everything
    assert (len(host.kept()), host.hidden()) == (20, [])


# -- told afterwards ------------------------------------------------------------------------------------------------


def test_whoever_wants_to_know_is_told_when_it_is_in_place(tmp_path: Path) -> None:
    """With the token and the outcome, before the record is thrown away."""
    seen: list[tuple[str, str, bool]] = []

    def on_done(record: Any) -> None:
        seen.append(
            (record.token, numbered(tmp_path / "sensors" / NAME), os.path.exists(tmp_path / "sensors/.update-load"))
        )

    host = Host(tmp_path, on_done=on_done)
    host.updater.install(NAME, package(NAME, version(1)), "a")
    host.updater.install(NAME, package(NAME, version(2)), "b")
    host.updater.restore(NAME, "c")

    assert seen == [("a", "1", True), ("b", "2", True), ("c", "1", True)]


def test_a_note_that_cannot_be_made_undoes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The disk of the state may be full: the sensor is in place all the same, and the outcome says so."""

    def on_done(_record: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    host = Host(tmp_path, on_done=on_done)
    with caplog.at_level(logging.WARNING):
        assert host.install(1)["status"] == "ok"
        assert host.install(2)["status"] == "ok"

    assert "cannot be noted" in caplog.text
    assert (host.numbered(), host.kept(), host.hidden()) == ("2", ["1"], [])


def test_what_is_told_is_what_is_there_when_the_disk_fails_after_the_swap(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error means that nothing has changed; a sync that fails behind the swap must not lead to both."""
    host.install(1)
    real = swap.sync_directory

    def sync(path: Path) -> None:
        if path == host.sensors:
            raise OSError(errno.EIO, "Input/output error", str(path))
        real(path)

    monkeypatch.setattr(swap, "sync_directory", sync)
    try:
        told = host.install(2)["status"]
    except (Refused, OSError):
        told = "error"

    assert (told, host.numbered()) in (("ok", "2"), ("error", "1"))


def test_what_is_told_is_what_is_there_when_the_backups_cannot_be_listed(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tidying up after the swap is no reason to say that it did not happen."""
    real = os.listdir

    def listdir(path: Any = ".") -> list[Any]:
        if path == host.backups and (host.sensors / NAME).exists():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)

    assert host.install(1)["status"] == "ok"
    assert host.hidden() == []


# -- crashes --------------------------------------------------------------------------------------------------------

State = tuple[str, list[str]]
"""What stands there, and what is kept."""


def state(host: Host) -> State:
    """Every version whole, or this fails."""
    return (host.numbered() if (host.sensors / NAME).exists() else "", host.kept())


class Crashes:
    """One change, cut off at each of its steps, and what a start afterwards makes of it."""

    def __init__(
        self,
        path: Path,
        prepare: Callable[[Host], object],
        change: Callable[[Host], object],
        *,
        keep: int = 5,
        far: Path | None = None,
    ) -> None:
        self._path = path
        self._prepare = prepare
        self._change = change
        self._keep = keep
        self._far = far
        self._run = Runner().run

    def host(self, name: object) -> tuple[Host, Receipts]:
        """A fresh one, ready for the change, and where its agent keeps its receipts."""
        path = self._path / str(name)
        path.mkdir()
        receipts = Receipts(path / "receipts.json")
        host = Host(
            path,
            keep=self._keep,
            backups=None if self._far is None else self._far / str(name),
            run=self._run,
            on_done=lambda record: receipts.keep(record.token, record.outcome),
        )
        self._prepare(host)
        return host, receipts

    def everywhere(self) -> int:
        """Cut it off at every step; returns how many there are."""
        whole, _ = self.host("whole")
        before = state(whole)
        self._change(whole)
        after = state(whole)
        point, ended = 0, False
        while not ended:
            host, receipts = self.host(point)
            ended = cut_off(point, lambda host=host: self._change(host))  # type: ignore[misc]
            self.check(host, receipts, before, after)
            assert not ended or state(host) == after
            shutil.rmtree(host.path)
            point += 1
        return point

    def check(self, host: Host, receipts: Receipts, before: State, after: State) -> None:
        """After a crash anywhere: a whole version at once, everything in order after a start."""
        at_once = host.numbered() if (host.sensors / NAME).exists() else ""
        assert at_once in (before[0], after[0])
        told = {record.token for record in host.updater.recover()} | set(receipts.load())
        found = state(host)
        assert found == (after if at_once == after[0] else before)
        assert told == ({"token"} if found == after else set()), "the caller is told of what happened, and of that only"
        assert host.hidden() == []
        settled = snapshot(host.path, *([host.backups] if self._far else []))
        assert host.updater.recover() == []
        assert snapshot(host.path, *([host.backups] if self._far else [])) == settled


def install_next(host: Host) -> None:
    """The change that most crashes hit."""
    host.updater.install(NAME, package(NAME, version("new")), "token")


def restore(host: Host) -> None:
    """Going back."""
    host.updater.restore(NAME, "token")


def versions(*numbers: object) -> Callable[[Host], None]:
    """Have the last one of these installed, and the ones before as backups."""

    def prepare(host: Host) -> None:
        for age, number in enumerate(reversed(numbers)):
            place = host.sensors / NAME if age == 0 else host.backups / f"load_20{26 - age}-01-01T00:00:00"
            lay(place, version(number))

    return prepare


def test_an_update_that_is_cut_off_anywhere_leaves_the_old_or_the_new_version(tmp_path: Path) -> None:
    """Killed before and after each call that changes a disk; the next start puts everything in order."""
    assert Crashes(tmp_path, versions("older", "old"), install_next).everywhere() > 40


def test_a_first_installation_that_is_cut_off_anywhere_leaves_nothing_or_all(tmp_path: Path) -> None:
    """There is no half sensor."""
    assert Crashes(tmp_path, lambda _host: None, install_next).everywhere() > 40


def test_an_update_that_is_cut_off_while_old_backups_go_leaves_whole_ones(tmp_path: Path) -> None:
    """With as few backups as can be, each crash comes while one is removed."""
    assert Crashes(tmp_path, versions("oldest", "older", "old"), install_next, keep=1).everywhere() > 40


def test_a_restore_that_is_cut_off_anywhere_is_done_or_undone(tmp_path: Path) -> None:
    """The backup is in place, or still a whole backup."""
    assert Crashes(tmp_path, versions("older", "old", "bad"), restore).everywhere() > 40


def test_taking_back_may_be_cut_off_anywhere(tmp_path: Path) -> None:
    """The failed version ends among the backups with its mark, or stands there still."""

    def take_back(host: Host) -> None:
        host.updater.take_back(NAME, digest(version("bad")))

    crashes = Crashes(tmp_path, versions("old", "bad"), take_back)
    point, ended = 0, False
    while not ended:
        host, _ = crashes.host(point)
        ended = cut_off(point, lambda host=host: take_back(host))  # type: ignore[misc]
        host.updater.recover()
        assert state(host) in (("bad", ["old"]), ("old", ["bad"]))
        failed = [name.endswith(".failed") for name in os.listdir(host.backups)]
        assert failed == [host.numbered() == "old"]
        assert host.hidden() == []
        shutil.rmtree(host.path)
        point += 1
    assert point > 40


@pytest.mark.parametrize("change", [install_next, restore], ids=lambda change: change.__name__)
def test_backups_on_another_file_system_are_whole_after_any_crash(
    tmp_path: Path, elsewhere: Path, change: Callable[[Host], None]
) -> None:
    """Though they must be copied there."""
    assert Crashes(tmp_path, versions("older", "old"), change, keep=1, far=elsewhere).everywhere() > 40


@pytest.mark.parametrize("far", [False, True])
def test_a_start_that_is_cut_off_itself_is_finished_by_the_next(tmp_path: Path, elsewhere: Path, far: bool) -> None:
    """However often it happens."""
    crashes = Crashes(tmp_path, versions("older", "old"), install_next, keep=1, far=elsewhere if far else None)
    point, ended = 0, False
    while not ended:
        host, receipts = crashes.host(point)
        told: set[str] = set()

        def die(_record: object) -> None:
            os.kill(os.getpid(), signal.SIGKILL)

        host.updater._on_done = die
        assert not cut_off(NEVER, lambda host=host: install_next(host))  # type: ignore[misc]
        host.updater._on_done = lambda record, receipts=receipts: receipts.keep(record.token, record.outcome)
        ended = cut_off(point, host.updater.recover)
        told |= {record.token for record in host.updater.recover()} | set(receipts.load())

        assert (state(host), told, host.hidden()) == (("new", ["old"]), {"token"}, [])
        shutil.rmtree(host.path)
        point += 1
    assert point > 20


def test_the_outcome_of_an_update_that_was_cut_off_after_its_swap_comes_back(tmp_path: Path) -> None:
    """The very one that the caller would have been told, with its token."""
    host = Host(tmp_path)
    host.install(1)

    def die(_record: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    dying = Host(tmp_path, on_done=die)
    assert not cut_off(NEVER, lambda: dying.updater.install(NAME, described(NAME, version(2), "2"), "token"))
    (record,) = host.updater.recover()

    assert (record.name, record.token, record.watch) == (NAME, "token", True)
    assert record.outcome["message"].startswith("load 2 is installed in place of sha256:")
    assert record.outcome["digest"] == host.store.installed(NAME).digest
    assert record.outcome["replaced"]["backup"] in os.listdir(host.backups)
    assert host.done[-1] == record


def test_an_update_after_a_crash_needs_no_restart_between(tmp_path: Path) -> None:
    """`monagent sensor install` finishes what a killed agent left, and goes on."""
    host = Host(tmp_path)
    host.install(1)

    def die(_record: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    dying = Host(tmp_path, on_done=die)
    assert not cut_off(NEVER, lambda: dying.install(2))
    host.install(3)

    assert (host.numbered(), host.kept(), host.hidden()) == ("3", ["1", "2"], [])


def test_leftovers_of_several_sensors_are_all_put_in_order(tmp_path: Path) -> None:
    """One that was swapped, one that was not, and rubbish."""
    host = Host(tmp_path)
    host.install(1)

    def die(_record: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    dying = Host(tmp_path, on_done=die)
    assert not cut_off(NEVER, lambda: dying.install(2))
    lay(host.sensors / ".update-disk" / "disk", version(3))
    (host.sensors / ".update-empty").mkdir()
    lay(host.sensors / ".update-odd", {".record": "garbage", "odd/x": "y"})

    assert [record.name for record in host.updater.recover()] == [NAME]
    assert os.listdir(host.sensors) == [NAME]
    assert state(host) == ("2", ["1"])


def test_a_sensor_that_was_replaced_by_hand_after_a_crash_costs_no_version(tmp_path: Path) -> None:
    """The version before may be nowhere but in the workshop: it becomes a backup, and what people did stays."""
    host = Host(tmp_path)
    host.install(1)

    def die(_record: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    dying = Host(tmp_path, on_done=die)
    assert not cut_off(NEVER, lambda: dying.install(2))
    (host.sensors / NAME).rename(host.path / "aside")
    lay(host.sensors / NAME, version("by hand"))
    host.updater.recover()

    assert host.numbered() == "by hand"
    assert "1" in host.kept()
    assert host.hidden() == []


def test_a_leftover_that_cannot_be_cleared_stops_no_other_sensor(tmp_path: Path) -> None:
    """Neither their updates, nor that the changes which had taken place are told."""
    host = Host(tmp_path)
    host.install(1)

    def die(_record: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    dying = Host(tmp_path, on_done=die)
    assert not cut_off(NEVER, lambda: dying.updater.install(NAME, package(NAME, version(2)), "token"))
    (host.sensors / ".update-zombie").mkdir()
    with small_disk(host.sensors / ".update-zombie" / "mounted", "64k"):
        assert [record.token for record in host.updater.recover()] == ["token"]
        host.install(3)
        with pytest.raises(Refused, match="cannot be tidied up"):
            host.updater.install("zombie", package("zombie", version(1)))

    assert state(host) == ("3", ["1", "2"])
    host.updater.install("zombie", package("zombie", version(1)))
    assert (host.prints("zombie"), host.hidden()) == ("1", [])


def test_rubbish_that_is_too_deep_stops_no_start(tmp_path: Path) -> None:
    """A test run may have made it; nor does it stop the updates of other sensors."""
    host = Host(tmp_path)
    deep = host.sensors / ".update-zombie" / "/".join("d" * 1100)
    subprocess.run(["mkdir", "-p", deep], check=True)
    try:
        assert host.updater.recover() == []
        host.install(1)
    finally:
        subprocess.run(["rm", "-rf", host.sensors / ".update-zombie"], check=True)

    assert host.numbered() == "1"


def test_where_there_are_no_sensors_there_is_nothing_to_recover(host: Host) -> None:
    """An agent may start without that directory."""
    assert host.updater.recover() == []
    host.sensors.rmdir()
    assert host.updater.recover() == []


def test_everything_is_on_disk_before_the_swap_and_the_swap_before_the_backup(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power loss may come between any two calls, and may undo all that was not synced."""
    host.install(1)
    workshop = host.sensors / ".update-load"
    calls = Calls(monkeypatch)
    host.install(2)

    last_written = max(
        calls.made.index(("fchmod", str(workshop / NAME))), calls.at("write", workshop / NAME / "check")[-1]
    )
    (synced,) = calls.at("syncfs", workshop)
    (recorded,) = calls.at("replace", workshop / ".record.new")
    (swapped,) = calls.at("exchange", host.sensors / NAME)
    (kept,) = [index for index, (kind, _) in enumerate(calls.made) if kind == "move"]
    (forgotten,) = calls.at("unlink", workshop / ".record")
    order = [
        last_written,
        synced,
        recorded,
        next(index for index in calls.at("fsync", workshop) if index > recorded),
        swapped,
        next(index for index in calls.at("fsync", host.sensors) if index > swapped),
        kept,
        next(index for index in calls.at("fsync", host.backups) if index > kept),
        forgotten,
    ]
    assert order == sorted(order)
