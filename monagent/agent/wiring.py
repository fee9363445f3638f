"""Cut the values that parts need out of the settings."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monagent.agent.alarm import AlertSettings
from monagent.agent.alerting import Alerting
from monagent.agent.history import Trusted, readings
from monagent.agent.spool import JOURNAL_FILE
from monagent.alarms import ranges
from monagent.alarms.watch import Rule
from monagent.config.checks import SERVER_ALERT
from monagent.config.sections import OneSensorSection, SensorSection
from monagent.config.settings import Settings
from monagent.models import NAGIOS, Bounds, Run, RunResult
from monagent.sensors.backups import Backups
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.probation import Probation
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore
from monagent.sensors.swap import Record
from monagent.sensors.updater import Updater
from monagent.sync.job import SyncJob
from monagent.sync.manifest import history as past_runs

if TYPE_CHECKING:
    from monagent.mail.compose import Sources
    from monagent.mail.context import Alert
    from monagent.mail.figures import Points, Series

RECENT_SECONDS = 86_400.0
"""How far the plot of an alert looks back."""
PROBATION_FILE = "new-sensors.json"
SYNC_DIRECTORY = "sync"
"""Below the state directory: one directory for each backup job."""


def sensor_store(settings: Settings) -> SensorStore:
    """The sensors that a configuration defines."""
    sensor = settings.sensor
    defaults = SensorDefaults(
        sensor.path,
        sensor.executable,
        sensor.timeout,
        sensor.output_limit,
        sensor.user,
        sensor.help,
        _bounds(sensor, sensor),
    )
    overrides = {
        name: SensorOverride(
            one.command or None,
            one.timeout,
            one.output_limit,
            one.user,
            one.format,
            _bounds(one, sensor),
            one.overlap,
        )
        for name, one in settings.sensors.items()
    }
    return SensorStore(defaults, overrides)


def _bounds(section: SensorSection | OneSensorSection, default: SensorSection) -> Bounds:
    def of(name: str) -> int:
        value = getattr(section, name)
        return int(getattr(default, name) if value is None else value)

    return Bounds(
        memory=of("memory"),
        processes=of("processes"),
        files=of("files"),
        cpu_seconds=of("cpu"),
        file_size=of("file_size"),
        nice=of("nice"),
        io=of("ionice"),
    )


def sensor_updater(
    settings: Settings,
    sensors: SensorStore,
    occupancy: Occupancy,
    run: Callable[[Run], RunResult],
    probation: Probation,
    on_done: Callable[[Record], None] = lambda _record: None,
) -> Updater:
    """What changes those sensors; new versions are watched from the moment they are in place."""

    def done(record: Record) -> None:
        if record.watch:
            probation.watch(record.name, record.outcome["digest"])
        else:
            probation.forget(record.name)
        on_done(record)

    sensor = settings.sensor
    backups = Backups(sensor.backup, sensor.keep_backups)
    return Updater(sensors, backups, occupancy, run, public_key=sensor.public_key, on_done=done)


def sensor_probation(settings: Settings) -> Probation:
    """The watch over new versions."""
    return Probation(settings.agent.state / PROBATION_FILE)


_PLUGIN_CODES = 4
"""Plug-ins end with 0 to 3."""


def trusted_by(settings: Settings) -> Trusted:
    """Says whether a number counts: plug-ins tell with their code what they think of it, other sensors that they failed."""
    plugins = {name for name, one in settings.sensors.items() if one.format == NAGIOS}
    return lambda name, code: code == 0 or (0 < code < _PLUGIN_CODES and name in plugins)


def alerting(settings: Settings) -> Alerting:
    """What the agent watches by itself."""
    own = [
        AlertSettings(
            name,
            one.mail,
            one.sensor,
            one.arguments,
            Rule(ranges.parse(one.warning), ranges.parse(one.critical), one.for_, one.hysteresis, one.remind),
            one.warning,
            one.critical,
            one.quiet,
            one.cap,
        )
        for name, one in settings.alerts.items()
        if name != SERVER_ALERT and one.mail
    ]
    server = settings.alerts.get(SERVER_ALERT)
    server = server if server and server.mail else None
    rule = Rule(remind=server.remind) if server else Rule()
    return Alerting(
        settings.host_name,
        own,
        (AlertSettings(SERVER_ALERT, server.mail, rule=rule, quiet=server.quiet, cap=server.cap), server.after)
        if server
        else None,
        {name: job.mail for name, job in settings.backups.items() if job.mail[0]},
    )


def mail_sources(state: Path, trusted: Trusted, jobs: Callable[[], Mapping[str, SyncJob]]) -> Sources:
    """Where mails get what their contexts leave out."""
    from monagent.mail.compose import Sources  # noqa: PLC0415 - only where mail is made

    def history(names: Sequence[str] | None, since: float) -> Sequence[Series]:
        return readings(state / JOURNAL_FILE, names, since, trusted)

    def recent(alert: Alert) -> Points:
        if not alert.sensor:
            return ()
        found = readings(state / JOURNAL_FILE, [alert.sensor], time.time() - RECENT_SECONDS, trusted)
        return next((one.points for one in found if " ".join(one.arguments) == alert.arguments), ())

    def last_run(name: str) -> Mapping[str, Any] | None:
        job = jobs().get(name)
        runs, _ = past_runs(job.state, 1) if job else ([], {})
        return {**runs[0].report, "job": name} if runs else None

    return Sources(history, recent, last_run)


def sync_jobs(settings: Settings) -> dict[str, SyncJob]:
    """The backup jobs that a configuration defines, by name."""
    return {
        name: SyncJob(
            name=name,
            source=section.source,
            target=section.target,
            state=settings.agent.state / SYNC_DIRECTORY / name,
            exclude=section.exclude,
            compare=section.compare,
            delete=section.delete,
            max_delete=section.max_delete,
            max_shrink=section.max_shrink,
            max_age=section.max_age,
            reflink=section.reflink,
            bin=section.bin,
            bin_age=section.bin_age,
            nice=section.nice,
            io=section.ionice,
            bandwidth=max(section.bandwidth, 0),
        )
        for name, section in settings.backups.items()
    }
