"""Turn what a caller hands in for a template into records, or say which member of it is wrong."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeAlias

from monagent.errors import Refused
from monagent.mail.text import one_line, paragraph

STATES = ("critical", "unknown", "warning", "ok")
"""Worst first."""
LIMIT = 100_000
"""Members of one array; cells of one table."""
Cell: TypeAlias = "str | int | float | bool | None"


@dataclass(frozen=True, slots=True)
class Alert:
    """One alarm, or its end. Times are seconds since the epoch; `None` and "" mean that nobody said."""

    host: str = ""
    sensor: str = ""
    arguments: str = ""
    state: str = "unknown"
    value: Cell = None
    unit: str = ""
    warning: str = ""
    critical: str = ""
    since: float | None = None
    message: str = ""
    readings: tuple[tuple[float, float | None], ...] | None = None
    incident: str = ""
    argv: tuple[str, ...] = ()

    @property
    def subject(self) -> str:
        """What it is about: the check, or what is said where there is none."""
        return " ".join(filter(None, (self.sensor, self.arguments))) or self.message.split("\n")[0] or "alert"


@dataclass(frozen=True, slots=True)
class Table:
    """A free table; every row has as many cells as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True, slots=True)
class Report:
    """A period's report. `sensors` None means all."""

    title: str = ""
    period: str = ""
    summary: str = ""
    numbers: tuple[tuple[str, Cell], ...] = ()
    tables: tuple[Table, ...] = ()
    sensors: tuple[str, ...] | None = None


def alerts_of(context: Mapping[str, Any]) -> list[Alert]:
    """The alerts of an `alert` context, worst first: itself, and those in its member `alerts`.

    Raises:
        Refused: a member is wrong; says which.
    """
    place = _Place("", context)
    place.only(*_ALERT, "alerts", "language")
    more = place.structs("alerts")
    found = [_alert(one) for one in more]
    if not more or any(name in context for name in _ALERT):
        found.insert(0, _alert(place))
    return sorted(found, key=lambda alert: STATES.index(alert.state))


_ALERT = tuple(name for name in Alert.__dataclass_fields__ if name != "argv")


def _alert(place: _Place) -> Alert:
    place.only(*_ALERT, "alerts", "language")
    return Alert(
        host=place.line("host"),
        sensor=place.line("sensor"),
        arguments=place.words("arguments"),
        state=place.choice("state", STATES, "unknown"),
        value=place.cell("value"),
        unit=place.line("unit"),
        warning=place.line("warning"),
        critical=place.line("critical"),
        since=place.time("since"),
        message=place.text("message"),
        readings=place.readings("readings"),
        incident=place.line("incident"),
        argv=place.argv("arguments"),
    )


def report_of(context: Mapping[str, Any]) -> Report:
    """The record of a `report` context.

    Raises:
        Refused: a member is wrong; says which.
    """
    place = _Place("", context)
    place.only(*Report.__dataclass_fields__, "language")
    numbers = _Place("numbers", place.struct("numbers"))
    sensors = place.array("sensors")
    return Report(
        title=place.line("title"),
        period=place.line("period"),
        summary=place.text("summary"),
        numbers=tuple((one_line(name), numbers.cell(name)) for name in numbers.members),
        tables=tuple(_table(one) for one in place.structs("tables")),
        sensors=None
        if sensors is None
        else tuple(place.string_in("sensors", number, one) for number, one in enumerate(sensors)),
    )


def _table(place: _Place) -> Table:
    place.only("title", "columns", "rows")
    columns = tuple(place.string_in("columns", n, one) for n, one in enumerate(place.array("columns") or ()))
    rows = []
    for number, row in enumerate(place.array("rows") or ()):
        where = f"rows[{number}]"
        if not isinstance(row, list | tuple):
            raise place.wrong(where, "an array", row)
        if len(row) != len(columns):
            raise place.problem(where, f"has {len(row)} cells, and there are {len(columns)} columns")
        rows.append(tuple(place.cell_in(f"{where}[{n}]", cell) for n, cell in enumerate(row)))
    if len(rows) * len(columns) > LIMIT:
        raise place.problem("rows", f"has more than {LIMIT} cells in all")
    return Table(place.line("title"), columns, tuple(rows))


def cleaned(value: Any, depth: int = 0) -> Any:
    """Any context, for a template of the site's own: every text in it is fit to be shown."""
    if depth > 20:
        raise Refused("the context is nested more than 20 deep")
    if isinstance(value, str):
        return paragraph(value)
    if isinstance(value, Mapping):
        return {one_line(name): cleaned(one, depth + 1) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [cleaned(one, depth + 1) for one in value]
    return value


class _Place:
    """A struct with where it stands in the context, for sentences that name the place."""

    def __init__(self, path: str, members: Any) -> None:
        if not isinstance(members, Mapping):
            raise Refused(f"the context{f', {path},' if path else ''} must be a struct, and is {_kind(members)}")
        self._path = path
        self.members: Mapping[str, Any] = members

    def problem(self, member: str, what: str) -> Refused:
        """The error to be raised."""
        return Refused(f"the context's {one_line(f'{self._path}.{member}' if self._path else member, 100)} {what}")

    def wrong(self, member: str, wanted: str, value: Any) -> Refused:
        """The same, for a wrong type."""
        return self.problem(member, f"must be {wanted}, and is {_kind(value)}")

    def only(self, *known: str) -> None:
        """Complain about members that no template shows: a misspelt one would be missing without a word."""
        for name in self.members:
            if name not in known:
                raise self.problem(str(name), f"is not known here (known: {', '.join(known)})")

    def line(self, name: str) -> str:
        value = self.members.get(name)
        if value is None:
            return ""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(name, "a string", value)
        return one_line(value)

    def text(self, name: str) -> str:
        value = self.members.get(name)
        if value is not None and not isinstance(value, str):
            raise self.wrong(name, "a string", value)
        return paragraph(value or "")

    def words(self, name: str) -> str:
        return " ".join(self.argv(name))

    def argv(self, name: str) -> tuple[str, ...]:
        value = self.members.get(name)
        if isinstance(value, list | tuple):
            return tuple(self.string_in(name, number, one) for number, one in enumerate(value))
        return tuple(self.line(name).split())

    def choice(self, name: str, allowed: Sequence[str], default: str) -> str:
        value = self.line(name) or default
        if value not in allowed:
            raise self.problem(name, f'must be one of {", ".join(allowed)}, and is "{value[:40]}"')
        return value

    def cell(self, name: str) -> Cell:
        return self.cell_in(name, self.members.get(name))

    def cell_in(self, where: str, value: Any) -> Cell:
        if isinstance(value, str):
            return one_line(value)
        if isinstance(value, datetime):
            return value.isoformat(sep=" ", timespec="seconds")
        if value is None or isinstance(value, bool | int | float):
            return value
        raise self.wrong(where, "a string or a number", value)

    def time(self, name: str) -> float | None:
        value = self.members.get(name)
        return None if value is None or value == "" else self._time(name, value)

    def _time(self, where: str, value: Any) -> float:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 253_402_300_800:
            return float(value)
        if isinstance(value, str):
            try:
                value = datetime.fromisoformat(value)
            except ValueError:
                raise self.problem(
                    where, f'"{one_line(value, 40)}" is no time (example: 2026-11-23T08:00:00Z)'
                ) from None
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
        raise self.wrong(where, "a time: seconds since 1970, or 2026-11-23T08:00:00Z", value)

    def array(self, name: str) -> Sequence[Any] | None:
        value = self.members.get(name)
        if value is None:
            return None
        if not isinstance(value, list | tuple):
            raise self.wrong(name, "an array", value)
        if len(value) > LIMIT:
            raise self.problem(name, f"has more than {LIMIT} members")
        return value

    def struct(self, name: str) -> Mapping[str, Any]:
        value = self.members.get(name)
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            raise self.wrong(name, "a struct", value)
        return value

    def structs(self, name: str) -> list[_Place]:
        found = []
        for number, one in enumerate(self.array(name) or ()):
            where = f"{name}[{number}]"
            if not isinstance(one, Mapping):
                raise self.wrong(where, "a struct", one)
            found.append(_Place(where, one))
        return found

    def string_in(self, name: str, number: int, value: Any) -> str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.wrong(f"{name}[{number}]", "a string", value)
        return one_line(value)

    def readings(self, name: str) -> tuple[tuple[float, float | None], ...] | None:
        value = self.array(name)
        if value is None:
            return None
        found = []
        for number, one in enumerate(value):
            where = f"{name}[{number}]"
            if not isinstance(one, list | tuple) or len(one) != 2:
                raise self.wrong(where, "an array [time, value]", one)
            when, reading = one
            if reading is not None and (isinstance(reading, bool) or not isinstance(reading, int | float)):
                raise self.wrong(f"{where}[1]", "a number or nil", reading)
            found.append((self._time(f"{where}[0]", when), _finite(reading)))
        return tuple(sorted(found, key=lambda pair: pair[0]))


def _finite(value: float | None) -> float | None:
    try:
        number = math.nan if value is None else float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "a boolean"
    kinds = ((str, "a string"), (int | float, "a number"), (Mapping, "a struct"), (list | tuple, "an array"))
    return next(
        (words for kind, words in kinds if isinstance(value, kind)), "nil" if value is None else "something else"
    )
