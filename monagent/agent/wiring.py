"""Cut the values that parts need out of the settings."""

from __future__ import annotations

from collections.abc import Callable

from monagent.config.settings import OneSensorSection, SensorSection, Settings
from monagent.models import Bounds, Run, RunResult
from monagent.sensors.backups import Backups
from monagent.sensors.occupancy import Occupancy
from monagent.sensors.probation import Probation
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore
from monagent.sensors.swap import Record
from monagent.sensors.updater import Updater
from monagent.sync.job import SyncJob

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
