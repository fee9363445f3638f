"""What the `report` template shows: numbers, checks with the worst first, free tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from monagent.mail import charts
from monagent.mail.context import Cell, Report, Table
from monagent.mail.figures import Summary, bars, number_text
from monagent.mail.views import PLOTS, Attachment, Picture, View, Words, csv_file, told

CSV_NAME_LIMIT = 60
SPARKLINES = 20
"""In one mail: each takes milliseconds to draw."""


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
        self.told = told(one.points, one.count, w)
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
        cid, charts.chart(one.points, one.name), *charts.CHART_SIZE, f"{one.name}: {told(one.points, one.count, w)}"
    )


def _spark(cid: str, one: Summary, w: Words) -> Picture:
    return Picture(cid, charts.sparkline(one.points), *charts.SPARK_SIZE, told(one.points, one.count, w))


def _sums_csv(sums: Sequence[Summary]) -> Attachment:
    columns = ("name", "last", "low", "mean", "high", "median", "p95", "p99", "availability", "failures", "count")
    return csv_file("sensors", columns, [tuple(getattr(one, name) for name in columns) for one in sums])


def _table_csv(table: Table, number: int) -> Attachment:
    made = csv_file("", table.columns, table.rows)
    return Attachment(_csv_name(table, number), made.data)


def _csv_name(table: Table, number: int) -> str:
    kept = "".join(letter if letter.isalnum() or letter in "-_ " else "_" for letter in table.title).strip()
    return f"{kept[:CSV_NAME_LIMIT] or 'table'}{f'-{number + 1}' if number else ''}.csv"
