"""What each built-in template shows, of the record that a context was made into."""

from __future__ import annotations

import csv
import io
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from monagent.alarms import ranges
from monagent.errors import Refused
from monagent.mail import charts
from monagent.mail.charts import Threshold
from monagent.mail.context import STATES, Alert, Cell, Report, Table
from monagent.mail.figures import Points, Summary, bars, number_text, thinned
from monagent.mail.text import one_line, paragraph

CSV_NAME_LIMIT = 60
PLOTS, SPARKLINES = 3, 20
"""In one mail. A sparkline takes milliseconds to draw."""
Words = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A plot in the mail; `alt` has its numbers, `bars` is the same as text."""

    cid: str
    data: bytes
    width: int
    height: int
    alt: str
    bars: str = ""


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file beside the mail."""

    name: str
    data: bytes


@dataclass(slots=True)
class View:
    """What a template is filled in with, and what goes with it."""

    variables: dict[str, Any]
    state: str
    pictures: list[Picture] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)


def moment(when: float) -> str:
    """A time as it is shown: local, with its distance from UTC."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(when))


# -- alerts -------------------------------------------------------------------------------------------------------


def alert_view(alerts: Sequence[Alert], recent: Callable[[Alert], Points], w: Words, host: str, rows: int) -> View:
    """Of one alert or many, the worst first; at most `rows` of them are shown."""
    shown = alerts[:rows]
    pictures, views = [], []
    for number, alert in enumerate(shown):
        plot = None
        if number < PLOTS:
            points = alert.readings if alert.readings is not None else recent(alert)
            plot = _alert_plot(f"plot{number}", alert, points, w) if points else None
        if plot:
            pictures.append(plot)
        views.append(_AlertShown(alert, plot, _advice(alert, plot, w) if number < PLOTS else []))
    variables: dict[str, Any] = {
        "alerts": list(alerts),
        "shown": views,
        "verdict": lambda one: _verdict(one, w),
        "facts": lambda one: _alert_facts(one, w, host),
        "file": "alerts.csv",
    }
    attachments = [_alerts_csv(alerts)] if len(alerts) > len(shown) else []
    return View(variables, alerts[0].state, pictures, attachments)


class _AlertShown:
    """An alert with what is shown beside its members."""

    def __init__(self, alert: Alert, plot: Picture | None, advice: list[str]) -> None:
        self._alert = alert
        self.plot = plot
        self.advice = advice

    def __getattr__(self, name: str) -> Any:
        return getattr(self._alert, name)


def _verdict(alert: Any, w: Words) -> str:
    state = w[alert.state]
    if not alert.sensor:
        return w["verdict alone"].format(subject=alert.subject, state=state)
    if alert.value is None:
        return w["verdict"].format(subject=alert.subject, state=state)
    return w["verdict with value"].format(subject=alert.subject, state=state, value=_value(alert))


def _value(alert: Any) -> str:
    return f"{number_text(alert.value)}{' ' if len(alert.unit) > 2 else ''}{alert.unit}"


def _alert_facts(alert: Any, w: Words, host: str) -> list[tuple[str, str]]:
    facts = [(w["value"], w["no number"] if alert.value is None else _value(alert))] if alert.sensor else []
    facts += [(w["warning at"], _limits(alert.warning, w)), (w["critical at"], _limits(alert.critical, w))]
    facts += [(w["since"], moment(alert.since) if alert.since is not None else ""), (w["host"], alert.host or host)]
    facts += [
        (w["sensor"], alert.subject if alert.sensor else ""),
        (w["message"], alert.message if alert.message != alert.subject else ""),
    ]
    return [(name, value) for name, value in facts if value]


def _limits(text: str, w: Words) -> str:
    """Which numbers are bad, in words; a text that is no range stays as it is."""
    try:
        limits = ranges.parse(text)
    except ValueError:
        return text
    if limits is None:
        return ""
    low, high = number_text(limits.low), number_text(limits.high)
    if limits.inside:
        word = "within"
    elif limits.low == float("-inf"):
        word = "above"
    else:
        word = "below" if limits.high == float("inf") else "outside"
    return w[word].format(low=low, high=high)


def _advice(alert: Alert, plot: Picture | None, w: Words) -> list[str]:
    if alert.state == "ok":
        return [w["advice ok"]]
    # It will be copied into a root shell.
    command = shlex.join(("monagent", "sensor", "run", alert.sensor, *alert.argv))
    by_hand = [w["advice critical"].format(command=command)] if alert.sensor else []
    if alert.state == "unknown":
        return [w["advice unknown"], *by_hand]
    return [w["advice value"], *by_hand] if plot else by_hand


def _alert_plot(cid: str, alert: Alert, points: Points, w: Words) -> Picture:
    label = f"{alert.subject} @ {alert.host}".strip(" @")
    data = charts.chart(thinned(points), label, _thresholds(alert), alert.unit)
    return Picture(cid, data, *charts.CHART_SIZE, _told(points, len(points), w), bars(points, 60))


def _thresholds(alert: Alert) -> list[Threshold]:
    found = []
    for text, colour in ((alert.warning, charts.WARN_LINE), (alert.critical, charts.BAD_LINE)):
        try:
            limits = ranges.parse(text)
        except ValueError:  # a context may say it in other words
            continue
        ends = [limits.low, limits.high] if limits else []
        found += [
            Threshold(end, colour) for end in ends if abs(end) < float("inf") and (end or text.strip() in ("0:", "@0"))
        ]
    return found


def _told(points: Points, count: int, w: Words) -> str:
    numbers = [value for _, value in points if value is not None]
    if not numbers:
        return w["only failures"].format(count=number_text(count))
    last = points[-1][1]
    return w["readings told"].format(
        count=number_text(count),
        first=moment(points[0][0]),
        last=moment(points[-1][0]),
        low=number_text(min(numbers)),
        high=number_text(max(numbers)),
        now=w["no number"] if last is None else number_text(last),
    )


def _alerts_csv(alerts: Sequence[Alert]) -> Attachment:
    columns = ("state", "host", "sensor", "arguments", "value", "unit", "warning", "critical", "since", "message")
    rows = [
        tuple(moment(one.since) if name == "since" and one.since else getattr(one, name) for name in columns)
        for one in alerts
    ]
    return csv_file("alerts", columns, rows)


# -- reports ------------------------------------------------------------------------------------------------------


def report_view(report: Report, sums: Sequence[Summary], period: str, w: Words, rows: int) -> View:
    """Of a period; at most `rows` rows of each table are shown, the worst checks first."""
    ordered = sorted(sums, key=lambda one: (one.availability, one.name))
    bad = sum(one.failures > 0 for one in ordered)
    shown = ordered[:rows]
    drawn = [one for one in shown if one.low is not None][:PLOTS]
    pictures = [_report_plot(f"plot{number}", one, w) for number, one in enumerate(drawn)]
    sparks = {one.name: _spark(f"spark{n}", one, w) for n, one in enumerate(shown[:SPARKLINES]) if one.points}
    variables: dict[str, Any] = {
        "title": report.title,
        "line": _line(report, ordered, bad, w),
        "state": "ok" if not bad else "warning",
        "period": report.period or period,
        "summary": report.summary,
        "numbers": report.numbers,
        "plots": pictures,
        "sensors": [_SummaryShown(one, sparks.get(one.name), w) for one in shown],
        "sensor_count": len(ordered),
        "sensor_file": "sensors.csv",
        "tables": [_TableShown(table, number, rows) for number, table in enumerate(report.tables)],
    }
    attachments = [_table_csv(table, number) for number, table in enumerate(report.tables) if len(table.rows) > rows]
    if len(ordered) > len(shown):
        attachments.append(_sums_csv(ordered))
    return View(variables, variables["state"], pictures + list(sparks.values()), attachments)


def _line(report: Report, sums: Sequence[Summary], bad: int, w: Words) -> str:
    if not sums:
        first = report.numbers[:3]
        return ", ".join(f"{name} {number_text(value)}" for name, value in first) or w["no checks"]
    return (w["not well"] if bad else w["all well"]).format(bad=bad, count=len(sums))


class _SummaryShown:
    """One check in a report."""

    def __init__(self, one: Summary, spark: Picture | None, w: Words) -> None:
        self.name = one.name
        self.spark = spark
        self.bars = bars(one.points)
        self.told = _told(one.points, one.count, w)
        figures = (
            ("last", one.last), ("min", one.low), ("mean", one.mean), ("max", one.high),
            ("median", one.median), ("p95", one.p95), ("p99", one.p99),
        )  # fmt: skip
        self.figures = [(w[word], "-" if value is None else number_text(value)) for word, value in figures]
        self.figures.append((w["availability"], f"{number_text(one.availability * 100)} %"))
        self.figures.append((w["failures"], w["of"].format(part=one.failures, all=one.count)))


class _TableShown:
    """The first rows of a table, with how wide its columns are (in percent) and at which side their cells stand."""

    def __init__(self, table: Table, number: int, rows: int) -> None:
        self.title, self.columns = table.title, table.columns
        self.rows = table.rows[:rows]
        self.count = len(table.rows)
        self.file = _csv_name(table, number)
        cells = [[row[at] for row in self.rows] for at in range(len(self.columns))]
        lengths = [
            min(max([len(name), *(len(number_text(cell)) for cell in column)]), 40) + 2
            for name, column in zip(self.columns, cells, strict=True)
        ]
        self.widths = [round(100 * length / sum(lengths)) for length in lengths]
        self.sides = ["right" if column and all(map(_is_number, column)) else "left" for column in cells]


def _is_number(cell: Cell) -> bool:
    return cell is None or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _report_plot(cid: str, one: Summary, w: Words) -> Picture:
    return Picture(
        cid, charts.chart(one.points, one.name), *charts.CHART_SIZE, f"{one.name}: {_told(one.points, one.count, w)}"
    )


def _spark(cid: str, one: Summary, w: Words) -> Picture:
    return Picture(cid, charts.sparkline(one.points), *charts.SPARK_SIZE, _told(one.points, one.count, w))


def _sums_csv(sums: Sequence[Summary]) -> Attachment:
    columns = ("name", "last", "low", "mean", "high", "median", "p95", "p99", "availability", "failures", "count")
    return csv_file("sensors", columns, [tuple(getattr(one, name) for name in columns) for one in sums])


def _table_csv(table: Table, number: int) -> Attachment:
    made = csv_file("", table.columns, table.rows)
    return Attachment(_csv_name(table, number), made.data)


def _csv_name(table: Table, number: int) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in table.title).strip()
    return f"{kept[:CSV_NAME_LIMIT] or 'table'}{f'-{number + 1}' if number else ''}.csv"


def csv_file(name: str, columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Attachment:
    """A table as a file that spreadsheets open, in any language, without taking text for a formula."""
    stream = io.StringIO()
    writer = csv.writer(stream)
    writer.writerow([_harmless(name) for name in columns])
    writer.writerows([[_harmless(cell) for cell in row] for row in rows])
    return Attachment(f"{name}.csv", stream.getvalue().encode("utf-8-sig"))


def _harmless(cell: Cell) -> Cell:
    """What a spreadsheet would compute gets an apostrophe (https://owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell


# -- backups ------------------------------------------------------------------------------------------------------

_COMPARED = ("left_only", "right_only", "common", "same_files", "diff_files", "funny_files")


def backup_view(run: Mapping[str, Any], now: float, w: Words, rows: int) -> View:
    """Of a sync's whole report, see docs/reference/backup-report.md. What it lacks is left out."""
    good = run.get("status") == "ok"
    differences = [one for one in run.get("differences") or () if isinstance(one, Mapping)]
    blocks = [("", _backup_facts(run, now, w))]
    blocks.append((w["compared"], _counts(run.get("compared"), w)))
    blocks += [
        (w[word], _counts(run.get(key), w))
        for word, key in (("done", "done"), ("left", "left"), ("not kept", "not_kept"))
    ]
    blocks.append((w["differences"], [_difference(one) for one in differences[:rows]]))
    left = len(differences) - rows
    file = "differences.csv"
    variables: dict[str, Any] = {
        "job": one_line(run.get("job", "")),
        "state": "ok" if good else "critical",
        "line": w["backup good"] if good else one_line(run.get("result") or w["backup bad"]),
        "message": paragraph(run.get("message", "")),
        "warnings": [one_line(one) for one in run.get("warnings") or ()],
        "blocks": [(title, facts) for title, facts in blocks if facts],
        "left_over": w["more rows"].format(shown=rows, count=len(differences), file=file) if left > 0 else "",
    }
    attachments = (
        [csv_file("differences", ("what", "path"), [_difference(one) for one in differences])] if left > 0 else []
    )
    return View(variables, variables["state"], [], attachments)


def checked_run(run: Mapping[str, Any]) -> Mapping[str, Any]:
    """Make sure that a whole run's members have the types that they are shown by.

    Raises:
        Refused: one has not; says which.
    """
    for kinds, what, names in (
        (str, "a string", ("status", "result", "source", "target", "started", "message")),
        (int | float, "a number", ("duration", "rounds")),
        (Mapping, "a struct", ("compared", "done", "left", "not_kept")),
        (list | tuple, "an array", ("differences", "warnings")),
    ):
        for name in names:
            if run.get(name) is not None and not isinstance(run[name], kinds):
                raise Refused(f"the context's {name} must be {what}")
    for number, one in enumerate(run.get("differences") or ()):
        if not isinstance(one, Mapping):
            raise Refused(f"the context's differences[{number}] must be a struct")
    return run


def _backup_facts(run: Mapping[str, Any], now: float, w: Words) -> list[tuple[str, str]]:
    def said(key: str) -> str:
        return one_line(run.get(key) or "")

    facts = [
        (w["result"], said("result")),
        (w["source"], said("source")),
        (w["target"], said("target")),
        (w["started"], said("started")),
    ]
    if isinstance(duration := run.get("duration"), int | float):
        facts.append((w["took"], w["seconds"].format(count=number_text(duration))))
    if "entries" in run:
        size = _bytes(run.get("bytes"))
        facts.append((w["holds"], w["entries"].format(count=number_text(run["entries"]), size=size)))
        facts.append((w["copied"], _bytes(run.get("copied_bytes"))))
    facts += [
        (w[word], _with_age(said(key), now, w) or w["never"])
        for word, key in (("last success", "last_success"), ("last full proof", "last_full_proof"))
        if key in run
    ]
    return [(name, value) for name, value in facts if value]


def _with_age(when: str, now: float, w: Words) -> str:
    """A time with how long ago it was."""
    try:
        moment_then = datetime.fromisoformat(when)
    except ValueError:
        return when
    hours = (now - (moment_then if moment_then.tzinfo else moment_then.replace(tzinfo=UTC)).timestamp()) / 3600
    if hours < 0:
        return when
    return (w["hours ago"] if hours < 48 else w["days ago"]).format(
        when=when, count=round(hours if hours < 48 else hours / 24)
    )


def _bytes(value: Any) -> str:
    try:
        size = float(value)
    except (TypeError, ValueError, OverflowError):
        return one_line(value or "")
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(size) < 1024:
            return f"{number_text(size)} {unit}"
        size /= 1024
    return f"{number_text(size)} TiB"


def _counts(counts: Any, w: Words) -> list[tuple[str, str]]:
    if not isinstance(counts, Mapping):
        return []
    return [
        (w.get(str(word), one_line(word)), number_text(count))
        for word, count in counts.items()
        if isinstance(count, int | float)
    ]


def _difference(one: Mapping[str, Any]) -> tuple[str, str]:
    said = [one_line(one.get(key) or "") for key in ("path", "detail")]
    return one_line(one.get("what", "")), ": ".join(filter(None, said))


def worst(states: Sequence[str]) -> str:
    """The worst of several."""
    return min(states, key=STATES.index)
