"""Cut the values that parts need out of the settings."""

from __future__ import annotations

from monagent.config.settings import SensorSection, Settings
from monagent.sensors.store import SensorDefaults, SensorOverride, SensorStore


def sensor_store(settings: Settings) -> SensorStore:
    """The sensors that a configuration defines."""
    sensor: SensorSection = settings.sensor
    defaults = SensorDefaults(sensor.path, sensor.executable, sensor.timeout, sensor.output_limit, sensor.user)
    overrides = {
        name: SensorOverride(one.command or None, one.timeout, one.output_limit, one.user)
        for name, one in settings.sensors.items()
    }
    return SensorStore(defaults, overrides)
