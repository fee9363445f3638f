"""What the mail of a quality report shows: the line, the numbers, the worst checks with plots, and tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from monagent.mail import charts
from monagent.mail.context import Cell, Report, Table
from monagent.mail.figures import Points, bars, number_text, thinned
from monagent.mail.report_view import report_view
from monagent.mail.text import one_line
from monagent.mail.views import PLOTS, Attachment, Picture, View, Words, csv_file
from monagent.server.alerts.reports.periods import Period
from monagent.server.alerts.reports.quality import Check, Happened, Quality, duration_text
from monagent.server.alerts.reports.sums import DAY_SECONDS, FINE, HOUR
from monagent.server.alerts.reports.words import words

WORST = 20
"""Checks with a plot."""
FILE = "checks"
MESSAGE_LIMIT = 80


def quality_view(
    found: Quality, period: Period, points: Mapping[int, Points], name: str, zone: ZoneInfo, language: str
) -> Callable[[int], View]:
    """What a report shows with so many rows of each table; pictures are drawn once.

    Args:
        found: what is told.
        period: of which time.
        points: of the worst checks, for their plots.
        name: of the report; "": somebody asked for it by hand.
        zone: of the times.
        language: of the words.
    """
    w = words(language)
    told = _Told(found, period, zone, w)
    worst = list(found.checks[:WORST])
    alts = {check.id: told.alt(check) for check in worst}
    drawn = {check.id: points.get(check.id, ()) for check in worst}
    plots = [
        _chart(f"plot{n}", check, drawn[check.id], alts[check.id])
        for n, check in enumerate([one for one in worst if _has_numbers(drawn[one.id])][:PLOTS])
    ]
    # One for each, be it empty: the first row decides how wide the column is.
    sparks = {
        check.id: Picture(f"spark{n}", charts.sparkline(drawn[check.id]), *charts.SPARK_SIZE, alts[check.id])
        for n, check in enumerate(worst)
    }
    attachment = checks_csv(found)
    title = w[period.kind] + (f": {one_line(name, 100)}" if name else "")
    report = Report(title=title, period=period.shown(zone), numbers=told.numbers(), tables=told.tables())

    def view_of(rows: int) -> View:
        view = report_view(report, (), "", w, rows)
        shown = worst[:rows]
        view.state = "warning" if found.unwell else "ok"
        view.variables |= {
            "line": told.line(),
            "state": view.state,
            "summary": w["all in file"].format(file=attachment.name),
            "plots": plots,
            "sensors": [_Shown(one, sparks[one.id], drawn[one.id], alts[one.id], w) for one in shown],
            "sensor_count": len(found.checks),
            "sensor_file": attachment.name,
        }
        view.pictures += [*plots, *(sparks[one.id] for one in shown)]
        view.attachments.insert(0, attachment)
        return view

    return view_of


class _Told:
    """The words and tables of one report."""

    def __init__(self, found: Quality, period: Period, zone: ZoneInfo, w: Words) -> None:
        self._found = found
        self._period = period
        self._zone = zone
        self._w = w

    def line(self) -> str:
        """What stands beside the title, and in the subject."""
        found, w = self._found, self._w
        if found.availability is None and not found.unwell:
            return w["nothing"]
        word = "went not well" if found.unwell else "went well"
        return w[word].format(
            bad=number_text(found.unwell),
            count=number_text(len(found.checks)),
            availability=availability_text(found.availability),
        )

    def numbers(self) -> tuple[tuple[str, Cell], ...]:
        """The totals."""
        found, w = self._found, self._w
        bad = sum(check.bad for check in found.checks)
        readings = w["without trust"].format(count=number_text(found.readings), bad=number_text(bad))
        length = duration_text(found.incident_seconds)
        incidents = w["in all"].format(count=number_text(found.incident_count), length=length)
        silent = sum(trouble.seconds for trouble in found.silent.values())
        hosts = w["in all"].format(count=len(found.silent), length=duration_text(silent))
        return (
            (w["availability"], availability_text(found.availability)),
            (w["hosts"], found.hosts),
            (w["checks"], len(found.checks)),
            (w["readings"], readings if bad else found.readings),
            (w["incidents"], incidents if found.incident_count else 0),
            (w["open"], found.open),
            (w["silent hosts"], hosts if found.silent else 0),
        )

    def tables(self) -> tuple[Table, ...]:
        """Silent hosts, incidents, and checks that gave nothing; those that are not empty."""
        found, w = self._found, self._w
        silent = tuple((host, duration_text(one.seconds), one.count) for host, one in found.silent.items())
        incidents = tuple(self._incident(one) for one in found.incidents)
        mute = tuple((check.host, check.probe) for check in found.mute)
        tables = (
            Table(w["were silent"], (w["host"], w["lasted"], w["times"]), silent),
            Table(
                w["incidents longest"], (w["since"], w["check"], w["worst"], w["lasted"], w["message"]), incidents
            ),
            Table(w["mute"], (w["host"], w["check"]), mute),
        )  # fmt: skip
        return tuple(table for table in tables if table.rows)

    def _incident(self, one: Happened) -> tuple[Cell, ...]:
        opened = datetime.fromtimestamp(one.opened, self._zone).strftime("%Y-%m-%d %H:%M")
        check = f"{one.host} {self._w['whole host'] if one.check is None else one.check}"
        worst = self._w.get(one.worst, one.worst).lower()
        length = duration_text(one.seconds)
        return opened, one_line(check), worst, length, one_line(one.message, MESSAGE_LIMIT)

    def alt(self, check: Check) -> str:
        """What a plot shows, in words."""
        w = self._w
        if check.low is None or check.high is None:
            return f"{one_line(check.name)}: {w['no plot']}"
        length = FINE if self._period.end - self._period.start <= DAY_SECONDS else HOUR
        said = w["plot"].format(
            length=duration_text(length), low=number_text(check.low), high=number_text(check.high)
        )  # fmt: skip
        return f"{one_line(check.name)}: {said}"


class _Shown:
    """One check in the report."""

    def __init__(self, check: Check, spark: Picture, points: Points, told: str, w: Words) -> None:
        self.name = one_line(check.name)
        self.spark = spark
        self.bars = bars(points)
        self.told = told
        figures = ((w["mean"], check.mean), (w["min"], check.low), (w["max"], check.high))
        self.figures = [(w["availability"], availability_text(check.availability))]
        self.figures += [(word, number_text(value)) for word, value in figures if value is not None]
        self.figures.append(_failures(check, w))
        if check.trouble.count:
            length = duration_text(check.trouble.seconds)
            self.figures.append((w["incidents"], w["in all"].format(count=check.trouble.count, length=length)))


def _failures(check: Check, w: Words) -> tuple[str, str]:
    if not check.readings:
        return w["readings"], "0"
    return w["failures"], w["of"].format(part=number_text(check.bad), all=number_text(check.readings))


_COLUMNS = (
    "host", "probe", "availability", "readings", "missing_or_critical", "warnings", "mean", "min", "max", "worst",
    "incidents", "incident_seconds",
)  # fmt: skip


def checks_csv(found: Quality) -> Attachment:
    """All checks, the worst first, for programs."""
    return csv_file(FILE, _COLUMNS, _rows(found))


def _rows(found: Quality) -> list[tuple[Cell, ...]]:
    return [
        (
            check.host, check.probe, check.availability, check.readings, check.bad, check.warnings, check.mean, check.low,
            check.high, check.worst, check.trouble.count, round(check.trouble.seconds, 3),
        )
        for check in found.checks
    ]  # fmt: skip


def availability_text(share: float | None) -> str:
    """In percent, rounded down: whatever was lost is not shown as 100 %."""
    if share is None:
        return "-"
    thousandths = math.floor(share * 100_000 + 1e-6) if share < 1.0 else 100_000
    return f"{min(thousandths, 99_999 if share < 1.0 else 100_000) / 1000:.3f}".rstrip("0").rstrip(".") + " %"


def _has_numbers(points: Points) -> bool:
    return any(value is not None for _, value in points)


def _chart(cid: str, check: Check, points: Points, alt: str) -> Picture:
    return Picture(cid, charts.chart(thinned(points), one_line(check.name)), *charts.CHART_SIZE, alt)


def worst_ids(checks: Sequence[Check]) -> list[int]:
    """The checks that plots are drawn of, in the order of `checks`."""
    return [check.id for check in checks[:WORST]]


def checks_json(found: Quality, period: Period) -> dict[str, Any]:
    """The same figures for programs; times are seconds since the epoch."""
    totals = ("hosts", "readings", "availability", "unwell", "incident_count", "incident_seconds", "open")
    return {
        "period": {"kind": period.kind, "start": period.start, "end": period.end},
        **{name: getattr(found, name) for name in totals},
        "silent": {host: one.seconds for host, one in found.silent.items()},
        "checks": [dict(zip(_COLUMNS, row, strict=True)) for row in _rows(found)],
    }
