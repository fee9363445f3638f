"""Make definitions of what the original system had. Rules alone."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monagent.server.site.model import Content, Key
from monagent.server.site.original.naming import Naming
from monagent.server.site.original.records import OldHost, OldHostProbe, OldProbe, Original
from monagent.server.site.times import span

URL = "monitor_url"
_LONGEST_SECONDS = 366 * 86_400.0


@dataclass(frozen=True, slots=True)
class Adopted:
    """What is to be defined.

    Attributes:
        definitions: by kind and name.
        series: host and probe of each row of `hostprobe`: where its readings belong.
        notes: what is otherwise than it was, and what was left out, for people.
    """

    definitions: Mapping[Key, Content]
    series: Mapping[int, tuple[str, str]]
    notes: Sequence[str]


def adopt(original: Original, unit: float) -> Adopted:
    """Make definitions.

    Args:
        original: what there was.
        unit: seconds that a probe's interval was counted in.
    """
    return _Adoption(original, unit).adopted()


class _Adoption:
    def __init__(self, original: Original, unit: float) -> None:
        self._original = original
        self._unit = unit
        self._notes: list[str] = []
        self._definitions: dict[Key, dict[str, Any]] = {}

    def adopted(self) -> Adopted:
        hosts = self._adopt_hosts()
        sensors = self._adopt_sensors()
        probes = self._adopt_probes(sensors)
        series = self._adopt_host_probes(hosts, probes)
        self._note_what_is_left()
        return Adopted(self._definitions, series, self._notes)

    def _adopt_hosts(self) -> dict[Any, str]:
        naming, names = Naming("host", 255, self._notes), {}
        for one in self._original.hosts:
            names[one.id] = naming.name(one.name, one.id)
            self._definitions["host", names[one.id]] = _host(one)
        urls = {one.value for one in self._original.system_params if one.name == URL}
        for param in self._original.host_params:
            host = names.get(param.host_id)
            if host is not None and param.param == URL and param.value not in urls:
                self._definitions["host", host]["server"] = param.value
            elif param.param != URL:
                self._notes.append(
                    f"the parameter {str(param.param)[:80]!r} of host {host} is left out: nothing here reads it"
                )
        return names

    def _adopt_sensors(self) -> dict[Any, str]:
        naming, names, by_name = Naming("sensor", 64, self._notes), {}, {}
        for one in self._original.sensors:
            # Two rows of one name meant the same directory on the agents.
            if one.name not in by_name:
                by_name[one.name] = naming.name(one.name, one.id)
                if by_name[one.name] != one.name:
                    self._notes.append(f"rename the directory of sensor {by_name[one.name]} on the agents, too")
            names[one.id] = by_name[one.name]
            self._definitions["sensor", by_name[one.name]] = {}
        return names

    def _adopt_probes(self, sensors: Mapping[Any, str]) -> dict[Any, str]:
        naming, names = Naming("probe", 64, self._notes), {}
        for one in self._original.probes:
            if one.sensor_id not in sensors:
                self._notes.append(
                    f"probe {one.id} ({str(one.name)[:80]!r}) is left out: its sensor {one.sensor_id} is not there"
                )
                continue
            names[one.id] = name = naming.name(one.name, one.id)
            content: dict[str, Any] = {"sensor": sensors[one.sensor_id], "arguments": self._arguments(name, one)}
            self._definitions["probe", name] = {**content, **self._thresholds(f"probe {name}", one), "hosts": []}
        return names

    def _arguments(self, name: str, probe: OldProbe) -> list[str]:
        text = "" if probe.parameter is None else str(probe.parameter)
        try:
            return shlex.split(text)
        except ValueError:
            self._notes.append(f"probe {name}: its parameter has an unbalanced quote, and becomes one argument")
            return [text]

    def _thresholds(self, what: str, row: OldProbe | OldHostProbe) -> dict[str, str]:
        found = {}
        for key, number in (("warning", row.warning), ("critical", row.error)):
            if number is None:
                continue
            written = _above(number)
            if written is None:
                self._notes.append(f"{what}: its {key} threshold {str(number)[:40]!r} is no number, and left out")
            else:
                found[key] = written
        return found

    def _adopt_host_probes(self, hosts: Mapping[Any, str], probes: Mapping[Any, str]) -> dict[int, tuple[str, str]]:
        intervals = self._intervals()
        schedules: dict[str, dict[str, str]] = {}
        series: dict[int, tuple[str, str]] = {}
        first: dict[tuple[str, str], OldHostProbe] = {}
        for one in self._original.host_probes:
            if one.host_id not in hosts or one.probe_id not in probes:
                self._notes.append(f"hostprobe {one.id} is left out: its host or its probe is not there")
                continue
            place = series[one.id] = hosts[one.host_id], probes[one.probe_id]
            if place in first:
                self._notes.append(
                    f"hostprobe {one.id} is the same as {first[place].id}: its readings are put to that one's"
                )
                continue
            first[place] = one
            self._definitions["probe", place[1]]["hosts"].append(place[0])
            schedules.setdefault(place[1], {})[place[0]] = self._schedule(intervals.get(one.id))
        common = {probe: Counter(of_hosts.values()).most_common(1)[0][0] for probe, of_hosts in schedules.items()}
        for probe, schedule in common.items():
            self._definitions["probe", probe]["schedule"] = schedule
        for place, one in first.items():
            self._override(place, one, schedules[place[1]][place[0]])
        return series

    def _override(self, place: tuple[str, str], row: OldHostProbe, schedule: str) -> None:
        host, name = place
        probe = self._definitions["probe", name]
        said = {**self._thresholds(f"{name} on {host}", row), "schedule": schedule}
        different = {key: value for key, value in said.items() if probe.get(key, "") != value}
        if different:
            self._definitions["override", f"{host}/{name}"] = different

    def _intervals(self) -> dict[Any, float]:
        found: dict[Any, float] = {}
        for one in self._original.schedules:
            seconds = _number(one.probeinterval)
            seconds = None if seconds is None else seconds * self._unit
            if seconds is None or not 1.0 <= seconds <= _LONGEST_SECONDS:
                self._notes.append(
                    f"probingschedule {one.id} is left out: {str(one.probeinterval)[:40]!r} is no interval"
                )
                continue
            if found.get(one.hostprobe_id, seconds) != seconds:
                self._notes.append(f"hostprobe {one.hostprobe_id} has several intervals: the shortest one is taken")
            found[one.hostprobe_id] = min(seconds, found.get(one.hostprobe_id, seconds))
        return found

    def _schedule(self, seconds: float | None) -> str:
        """The name of the schedule for an interval; empty: only by hand."""
        if seconds is None:
            return ""
        every = span(seconds)
        self._definitions.setdefault(("schedule", f"every-{every}"), {"every": every})
        return f"every-{every}"

    def _note_what_is_left(self) -> None:
        for one in self._original.system_params:
            advice = ": [server] url of server.cfg says that now" if one.name == URL else ": nothing here reads it"
            self._notes.append(f"the parameter {str(one.name)[:80]} = {str(one.value)[:200]} is left out{advice}")
        if self._original.waiting:
            self._notes.append(
                f"{self._original.waiting} rows of ticketqueue are left out: those checks are not sent again"
            )


def _host(row: OldHost) -> dict[str, Any]:
    said = {"address": _plain(row.address), "port": row.port if (port := _number(row.port)) is None else int(port)}
    return {key: value for key, value in said.items() if value is not None}


def _plain(value: Any) -> Any:
    return value.strip() if isinstance(value, str) else value


def _above(number: Any) -> str | None:
    """A range that alerts above a number."""
    value = _number(number)
    return None if value is None else f"~:{written(value)}"


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def written(number: float) -> str:
    """A number as people write it."""
    return str(int(number)) if number == int(number) and abs(number) < 1e15 else repr(number)
