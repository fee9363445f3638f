"""Install a sensor's package, or put a backup back: make ready, test, swap, keep the old one.

At every instant the sensor is the whole old or the whole new version. Whatever goes wrong before the swap leaves
nothing behind; whatever is cut off after it is finished by `recover()`.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from monagent.errors import PackageRefused, Refused
from monagent.models import Outcome, Run, RunResult
from monagent.sensors import manifest, tree
from monagent.sensors.archive import read_members
from monagent.sensors.backups import FAILED, Backups
from monagent.sensors.filesystem import lock_directory
from monagent.sensors.inventory import UNKNOWN, Installed, installed
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.store import SensorStore
from monagent.sensors.swap import Record, Workshop, put_away

log = logging.getLogger(__name__)

TURN_SECONDS = 60.0
"""How long an update waits for another one."""
MARGIN_SECONDS = 5.0
"""What a run may take beyond its time-out until it is cleared away."""
BUSY_SECONDS = 5.0
"""How long a program that was just written may be open elsewhere."""
_POLL_SECONDS = 0.01


class Updater:
    """Changes what is installed, one sensor at a time; any thread may call it."""

    def __init__(
        self,
        sensors: SensorStore,
        backups: Backups,
        occupancy: Occupancy,
        run: Callable[[Run], RunResult],
        *,
        public_key: bytes = b"",
        on_done: Callable[[Record], None] = lambda _record: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """
        Args:
            sensors: what is installed, and under which limits it runs.
            backups: where replaced versions go.
            occupancy: who runs what.
            run: runs the test of a new version.
            public_key: Ed25519; when given, only packages signed by it are installed.
            on_done: told of each change when it is in place, before its record is thrown away.
            clock: seconds since the epoch.
        """
        self._sensors = sensors
        self._backups = backups
        self._occupancy = occupancy
        self._run = run
        self._public_key = public_key
        self._on_done = on_done
        self._clock = clock
        self._changing = threading.Lock()

    def install(self, name: str, package: bytes, token: str = "") -> Outcome:
        """Install a package.

        Returns:
            The outcome: what is installed now, and what it replaced.

        Raises:
            Refused: with the reason; nothing has changed.
            OSError: the disk, or a permission; nothing has changed.
        """
        with self._workshop(name) as workshop:
            before = self._before(name)
            if self._public_key and before == UNKNOWN:
                # Without its version nothing would keep an older package out.
                raise Refused(
                    f"the version that is installed in {workshop.target} cannot be told; is its {tree.MANIFEST} damaged?"
                )
            tree.write(read_members(package, name), workshop.version)
            content = tree.content_of(workshop.version)
            described = manifest.read(workshop.version)
            manifest.authenticate(
                described,
                name=name,
                content=content,
                public_key=self._public_key or None,
                installed_version=before.version if before else None,
            )
            seal = self._test(name, workshop.version)
            new = Installed(described.version if described else "", content.digest)
            return self._put_in_place(workshop, before, new, seal, token, watch=True)

    def knows(self, name: str) -> bool:
        """Whether a sensor is here, or a backup of one that was."""
        return self._sensors.find(name) is not None or self._backups.newest(name) is not None

    def restore(self, name: str, token: str = "") -> Outcome:
        """Put the newest backup back; what stands there now becomes a backup.

        Raises:
            Refused: there is none, or it does not work; nothing has changed.
            OSError: the disk, or a permission; nothing has changed.
        """
        with self._workshop(name) as workshop:
            return self._restore(workshop, token)

    def take_back(self, name: str, digest: str) -> Outcome:
        """Put the newest backup back in the place of a version that could not start.

        Args:
            name: the sensor.
            digest: of the version that could not start.

        Raises:
            Refused: that version is not there any more; or as `restore()` does.
            OSError: as `restore()` does.
        """
        with self._workshop(name) as workshop:
            here = self._before(name)
            if here is None or here.digest != digest:
                raise Refused("what stands there is not that version any more")
            return self._restore(workshop, "", failed=FAILED)

    def recover(self) -> list[Record]:
        """Finish or undo what a crash left.

        Returns:
            The changes that had taken place; their callers may not have been told yet.

        Raises:
            Refused: another update is under way.
            OSError: the disk, or a permission.
        """
        if not self._sensors.path.is_dir():
            return []
        with self._turn():
            return self._recover()

    # -- steps --------------------------------------------------------------------------------------------------

    def _recover(self) -> list[Record]:
        done = []
        for workshop in Workshop.left_behind(self._sensors.path):
            record = workshop.record()
            try:
                if record is not None and workshop.is_done(record):
                    log.warning("update of sensor %s was cut off after its swap; finished now", workshop.name)
                    done.append(record)
                    self._finish(workshop, record)
                else:
                    log.warning("update of sensor %s was cut off before its swap; undone", workshop.name)
                    workshop.clear()
            except OSError as error:
                # One that cannot be tidied must not keep the others from being.
                log.error("%s cannot be tidied up: %s", workshop.path, error)  # noqa: TRY400
        return done

    @contextlib.contextmanager
    def _workshop(self, name: str) -> Iterator[Workshop]:
        """A clean place to work in, alone among all threads and processes."""
        self._require_ours(name)
        with self._turn():
            self._recover()
            workshop = Workshop(self._sensors.path, name)
            if os.path.lexists(workshop.path):
                raise Refused(f"what the last update left in {workshop.path} cannot be tidied up: see the log")
            try:
                workshop.open()
                yield workshop
            finally:
                record = workshop.record()
                if record is None or not workshop.is_done(record):
                    with contextlib.suppress(OSError):
                        workshop.clear()

    def _require_ours(self, name: str) -> None:
        target = self._sensors.path / name
        if self._sensors.is_elsewhere(name):
            raise Refused(
                f"sensor {name} runs a command that client.cfg names; a package in the sensors directory would not be used"
            )
        if os.path.lexists(target) and not target.is_dir():
            raise Refused(f"{target} is not a directory")
        if not self._sensors.path.is_dir():
            raise Refused(f"there is no directory {self._sensors.path}")

    @contextlib.contextmanager
    def _turn(self) -> Iterator[None]:
        busy = Refused("another update is under way; try again later")
        if not self._changing.acquire(timeout=TURN_SECONDS):
            raise busy
        try:
            descriptor = lock_directory(self._sensors.path, TURN_SECONDS)
            if descriptor is None:
                raise busy
            try:
                yield
            finally:
                os.close(descriptor)
        finally:
            self._changing.release()

    def _before(self, name: str) -> Installed | None:
        target = self._sensors.path / name
        if not target.is_dir():
            return None
        return installed(target)

    def _test(self, name: str, version: Path) -> str:
        """Run the new version's help as it will run in production; the tree must come out of it as it went in.

        Returns:
            The seal of the tree that was tested.
        """
        seal = tree.seal(version)
        sensor = self._sensors.at(name, version)
        program = Path(sensor.command[0])
        try:
            mode = program.lstat().st_mode
        except OSError:
            raise PackageRefused(f"there is no program {program.name} in it") from None
        if not stat.S_ISREG(mode) or not mode & stat.S_IXUSR:
            raise PackageRefused(f"its {program.name} is not an executable file")
        result = self._run_when_closed(sensor.run([sensor.help_argument]))
        if result.code not in sensor.help_codes or result.error:
            raise PackageRefused(f"its test run ({program.name} {sensor.help_argument}) failed: {_how(result)}")
        if tree.seal(version) != seal:
            raise PackageRefused("its test run changed the sensor's own files")
        return seal

    def _run_when_closed(self, run: Run) -> RunResult:
        """A process that another thread starts inherits the program while it is written, until it has begun itself."""
        until = time.monotonic() + BUSY_SECONDS
        while (result := self._run(run)).errno == errno.ETXTBSY and time.monotonic() < until:
            time.sleep(_POLL_SECONDS)
        return result

    def _restore(self, workshop: Workshop, token: str, failed: str = "") -> Outcome:
        source = self._backups.newest(workshop.name)
        if source is None:
            raise Refused(f"there is no backup of sensor {workshop.name}")
        tree.copy(source, workshop.version)
        content = tree.content_of(workshop.version)
        seal = self._test(workshop.name, workshop.version)
        before = self._before(workshop.name)
        new = Installed(installed(workshop.version).version, content.digest)
        return self._put_in_place(workshop, before, new, seal, token, consumes=source.name, failed=failed)

    def _put_in_place(
        self,
        workshop: Workshop,
        before: Installed | None,
        new: Installed,
        seal: str,
        token: str,
        *,
        watch: bool = False,
        consumes: str = "",
        failed: str = "",
    ) -> Outcome:
        name = workshop.name
        if before:
            self._backups.require_room()
        backup = self._backups.next(name, self._clock()) + failed if before else ""
        outcome = _outcome(name, new, before, backup, restored=bool(consumes))
        inode = workshop.version.stat().st_ino
        record = Record(name, token, inode, backup, consumes, watch, outcome=outcome)
        workshop.write_record(record)
        patience = self._sensors.at(name, workshop.target).timeout + MARGIN_SECONDS
        try:
            with self._occupancy.alone(workshop.target, patience):
                if tree.seal(workshop.version) != seal:
                    raise PackageRefused("something that its test run left behind changed the sensor's own files")
                workshop.exchange()
        except (Refused, OSError):
            # Nothing has happened; but a new version that is gone would look as if it had.
            with contextlib.suppress(OSError):
                workshop.clear()
            raise
        self._finish(workshop, record)
        log.info("sensor %s: %s", name, outcome["message"])
        return outcome

    def _finish(self, workshop: Workshop, record: Record) -> None:
        """What follows a swap. It may be cut off anywhere, and is then done again."""
        told = record.told or self._tell(record)
        if record.backup:
            try:
                put_away(workshop.version, self._backups.path / record.backup)
            except (OSError, Refused) as error:
                # It stays where it is, with its record: the next update, or the next start, tries again.
                log.error("the old version of sensor %s waits in %s: %s", record.name, workshop.path, error)  # noqa: TRY400
                with contextlib.suppress(OSError):
                    workshop.write_record(replace(record, told=told))
                return
        if record.consumes:
            with contextlib.suppress(OSError):
                tree.remove(self._backups.path / record.consumes)
        try:
            self._backups.prune(record.name, at_least=1 if record.watch else 0)
        except OSError as error:
            log.warning("old backups of sensor %s cannot be removed: %s", record.name, error)
        workshop.clear()

    def _tell(self, record: Record) -> bool:
        try:
            self._on_done(record)
        except OSError as error:
            log.warning("it cannot be noted that sensor %s is done: %s", record.name, error)
            return False
        return True


def _how(result: RunResult) -> str:
    said = result.stderr.decode("utf-8", "replace").strip().splitlines()
    how = result.error or f"it ended with {result.code}"
    return f"{how} ({said[-1][:200]})" if said else how


def _outcome(name: str, new: Installed, before: Installed | None, backup: str, *, restored: bool) -> Outcome:
    replaced = {"version": before.version, "digest": before.digest, "backup": backup} if before else {}
    verb = "put back" if restored else "installed"
    over = f" in place of {_named(before)}" if before else ""
    return {
        "status": "ok",
        "message": f"{name} {_named(new)} is {verb}{over}",
        "sensor": name,
        "version": new.version,
        "digest": new.digest,
        "replaced": replaced,
    }


def _named(version: Installed) -> str:
    return version.version or version.digest[:19] or "a version that cannot be told"
