"""Try what the configuration promises, one thing after the other, and say what would fail."""

from __future__ import annotations

import os
import pwd
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from monagent.agent import certificates, doctor_network
from monagent.agent.diagnosis import Diagnosis
from monagent.agent.wiring import sensor_store, sync_jobs
from monagent.config.manager import unwritable
from monagent.config.settings import Settings
from monagent.sensors.filesystem import exchange
from monagent.sensors.runner import Runner
from monagent.sync.overdue import standing

HELP_SECONDS = 10.0
_NEW_CERTIFICATE = "mend the file or put a new one in its place, then send the agent HUP (docs/how-to/tls.md)"


def examine(settings: Settings) -> Iterator[Diagnosis]:
    """Try everything, as the user who runs this; the agent may be running."""
    here = (_whoever_runs_this, _config_file, _state, _journal_room, _sensors, _backups, _backup_jobs, _certificates)
    network = (doctor_network.port, doctor_network.server, doctor_network.way_back, doctor_network.mail)
    for check in here + network:
        yield from check(settings)
    yield from _self_tests(settings)


def _whoever_runs_this(settings: Settings) -> Iterator[Diagnosis]:
    user = settings.agent.user
    if user and os.geteuid() != pwd.getpwnam(user).pw_uid:
        yield Diagnosis(
            f"what follows is tried as the agent's user, {user}",
            f"it is tried as {_user()}, and may fail for {user}",
            f"runuser -u {user} -- monagent doctor -c {settings.file}",
        )


def _config_file(settings: Settings) -> Iterator[Diagnosis]:
    problem = unwritable(settings.file)
    yield Diagnosis(
        f"{settings.file} can be written when the server says to move",
        problem,
        "let the agent's user write the directory, or move the file to one that it may write" if problem else "",
    )


def _state(settings: Settings) -> Iterator[Diagnosis]:
    yield _directory("the state directory", settings.agent.state, make="the first start makes it")


def _journal_room(settings: Settings) -> Iterator[Diagnosis]:
    place = next(path for path in (settings.agent.state, *settings.agent.state.parents) if path.exists())
    free, needed = shutil.disk_usage(place).free, settings.agent.journal_limit
    subject = f"there is room for the journal ({needed // 1024**2} MiB) on the disk of {place}"
    if free >= needed:
        yield Diagnosis(subject)
    else:
        yield Diagnosis(subject, f"{free // 1024**2} MiB are free", "make room, or set a smaller [agent] journal_limit")


def _sensors(settings: Settings) -> Iterator[Diagnosis]:
    path = settings.sensor.path
    found = _directory("the directory of the sensors", path, make="")
    yield found
    if found.problem:
        return
    subject = f"a sensor in {path} can be replaced in one step"
    try:
        _try_exchange(path)
    except OSError as error:
        yield Diagnosis(subject, error.strerror or str(error), "put the directory on ext4, xfs, btrfs or tmpfs")
    else:
        yield Diagnosis(subject)


def _try_exchange(path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix=".doctor-", dir=path) as place:
        one, other = Path(place, "one"), Path(place, "other")
        one.mkdir()
        other.mkdir()
        exchange(one, other)


def _backups(settings: Settings) -> Iterator[Diagnosis]:
    yield _directory("the directory of replaced sensors", settings.sensor.backup, make="the first update makes it")


def _directory(what: str, path: Path, make: str) -> Diagnosis:
    subject = f"{what} {path} can be written"
    if path.is_dir():
        fine = os.access(path, os.R_OK | os.W_OK | os.X_OK)
        return Diagnosis(subject) if fine else Diagnosis(subject, f"not by {_user()}", f"chown or chmod {path}")
    if path.exists():
        return Diagnosis(subject, "it is no directory", f"move {path} out of the way")
    parent = next(parent for parent in path.parents if parent.exists())
    if make and os.access(parent, os.W_OK | os.X_OK):
        return Diagnosis(f"{subject} ({make})")
    return Diagnosis(subject, "it is not there", f"mkdir {path}")


def _certificates(settings: Settings) -> Iterator[Diagnosis]:
    for found in certificates.problems(settings):
        yield Diagnosis(f"[{found.section}] {found.option} can be used", found.message, _NEW_CERTIFICATE)
    now = datetime.now(UTC)
    for which, until, soon in certificates.last_days(settings, now):
        problem = f"only {(until - now).days} days are left" if soon else ""
        yield Diagnosis(f"{which} counts until {until:%Y-%m-%d}", problem, _NEW_CERTIFICATE if soon else "")


def _backup_jobs(settings: Settings) -> Iterator[Diagnosis]:
    for name, job in settings.backups.items():
        for option, path in (("source", job.source), ("target", job.target)):
            subject = f"[backup:{name}] {option} {path} is there"
            if option == "target" and not path.exists() and path.parent.is_dir():
                yield Diagnosis(f"{subject} (a first run makes it; is its disk mounted?)")
            elif not path.is_dir():
                remedy = "mount it, or correct the path" if option == "source" else f"mount it, or mkdir {path}"
                yield Diagnosis(subject, "it is no directory, or not mounted", remedy)
            elif option == "target" and not os.access(path, os.W_OK | os.X_OK):
                yield Diagnosis(
                    subject, f"{_user()} may not write it", f"chown or chmod {path}; systemd/examples/backup.conf"
                )
            elif not any(path.iterdir()) and option == "source":
                yield Diagnosis(subject, "it is empty", "is what should be there mounted?")
            else:
                yield Diagnosis(subject)
    for name, one in sync_jobs(settings).items():
        stands = standing(one, time.time())
        problem = stands.problem
        if stands.last_success is None and not problem:
            yield Diagnosis(f"[backup:{name}] has not run yet: monagent sync {name}")
            continue
        remedy = f"monagent sync {name}, and see what it says; monagent sync {name} --history" if problem else ""
        yield Diagnosis(f"[backup:{name}] has succeeded within its max_age", problem, remedy)


def _self_tests(settings: Settings) -> Iterator[Diagnosis]:
    store, run = sensor_store(settings), Runner().run
    for name in store.names():
        sensor = store.find(name)
        if sensor is None:
            continue
        subject = f"sensor {name} starts"
        result = run(replace(sensor.run([sensor.help_argument]), timeout=min(HELP_SECONDS, sensor.timeout)))
        if result.code in sensor.help_codes and not result.error:
            yield Diagnosis(subject)
        else:
            said = result.stderr.decode("utf-8", "replace").strip()[:200]
            how = result.error or f"its help ended with {result.code}"
            yield Diagnosis(subject, f"{how}: {said}" if said else how, f"try: monagent sensor run {name}")


def _user() -> str:
    return f"uid {os.geteuid()}"
