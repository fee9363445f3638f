"""What the mail of a quality report shows."""
# ruff: noqa: RUF001 - that is how Chinese is written

from __future__ import annotations

import csv
import io
import re
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from monagent.errors import Refused
from monagent.mail.settings import Mailing
from monagent.server.alerts.carriers.letters import About, Letter, Letters
from monagent.server.alerts.reports.definition import definition_of, report_view_of
from monagent.server.alerts.reports.periods import Period
from monagent.server.alerts.reports.quality import Check, Quality, Trouble, duration_text, worst_first
from monagent.server.alerts.reports.view import availability_text, quality_view
from monagent.server.database import Database
from tests.unit.server.alerts.carriers.rows import add_host, add_incident, add_probe
from tests.unit.server.alerts.reports.readings import DAY, START, fill

PERIOD = Period("daily", START, START + DAY)


def _letter(view_of: Any, language: str = "en") -> Letter:
    letters = Letters(Mailing("monitor", ("", "monitor@example.org"), (), {}))
    return letters.make(About("quality", ["a@b.c"], "report", language, "b", footer="report sent by"), view_of)


def _many(count: int) -> Quality:
    checks = [
        Check(n, f"host{n // 10}.example.org", f"probe {n % 10}", True, 288, n % 7, 0, 1.5, 0.5, 9.5, "critical", Trouble(n % 3, 60.0 * n))
        for n in range(count)
    ]  # fmt: skip
    return Quality(count // 10, worst_first(checks), {}, [], 0, 0.0, 0)


def test_a_report_has_the_worst_with_plots_and_all_in_a_file(database: Database) -> None:
    """From the database to the mail."""
    web = add_host(database)
    days = {
        name: fill(database, add_probe(database, web, name), n, bad=n / 50)
        for n, name in enumerate(("fine", "bad", "worse"))
    }
    add_incident(database, web, None, opened=START + 60, closed=START + 3660, worst="silent", message="nothing came")
    content = definition_of("ops", {"period": "daily"}).content(PERIOD)
    letter = _letter(report_view_of(database)(content))

    text = letter.rendered.text
    assert letter.rendered.subject.startswith("Daily quality report: ops: 2 of 3 checks had trouble, availability 9")
    assert "period: 2026-11-22 (UTC)" in text
    assert text.index("* web1 worse") < text.index("* web1 bad") < text.index("* web1 fine")
    assert "2026-11-22 00:01" in text
    assert "1 h" in text
    assert len([one for one in letter.view.pictures if one.cid.startswith("plot")]) == 3
    assert len([one for one in letter.view.pictures if one.cid.startswith("spark")]) == 3
    rows = list(csv.DictReader(io.StringIO(letter.view.attachments[0].data.decode("utf-8-sig"))))
    assert [row["probe"] for row in rows] == ["worse", "bad", "fine"]
    assert float(rows[0]["availability"]) == pytest.approx(days["worse"].availability)


def test_ten_thousand_checks_make_a_mail_that_mail_programs_show() -> None:
    """Twenty in the mail, all in the file."""
    letter = _letter(quality_view(_many(10_000), PERIOD, {}, "all", ZoneInfo("UTC"), "en"))

    assert len(letter.rendered.html.encode()) < 90_000
    assert "The first 20 of 10000 rows; all are in the attached checks.csv." in letter.rendered.text
    assert letter.view.attachments[0].data.count(b"\r\n") == 10_001


def test_a_report_speaks_chinese(database: Database) -> None:
    """All of it."""
    fill(database, add_probe(database, add_host(database)), 1, bad=0.0)
    content = definition_of("", {"language": "zh"}).content(PERIOD)
    letter = _letter(report_view_of(database)(content), "zh")

    assert letter.rendered.subject == "每日质量报告: 1 项检查全部正常，可用率 100 %"
    assert not re.search(
        r"\b(?:availability|checks?|incidents|readings|mean)\b", letter.rendered.text.replace("checks.csv", "")
    )


def test_a_period_without_anything_is_told_as_such(database: Database) -> None:
    """Not as one in which all went well."""
    letter = _letter(report_view_of(database)(definition_of("", {}).content(PERIOD)))

    assert letter.rendered.subject == "Daily quality report: no readings in this period"


def test_what_was_lost_is_never_shown_as_all() -> None:
    """Percentages are rounded down."""
    shown = [availability_text(share) for share in (1.0, 0.9999999, 0.99999, 0.5, 0.12345678, 0.0, None)]

    assert shown == ["100 %", "99.999 %", "99.999 %", "50 %", "12.345 %", "0 %", "-"]


def test_lengths_of_time_have_two_units() -> None:
    """As people say them."""
    lengths = [duration_text(seconds) for seconds in (0, 59.6, 61, 3600, 11_530, 90_000)]

    assert lengths == ["0 s", "1 min", "1 min 1 s", "1 h", "3 h 12 min", "1 d 1 h"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"period": "yearly"}, "report ops: period must be one of daily, weekly, monthly"),
        ({"at": "25:00"}, "report ops: at must be a time of day (example: 07:00)"),
        ({"timezone": "Mars/Base"}, 'report ops: there is no time zone "Mars/Base" (example: Europe/Berlin)'),
        (
            {"timezone": "../../etc/passwd"},
            'report ops: there is no time zone "../../etc/passwd" (example: Europe/Berlin)',
        ),
    ],
)
def test_a_definition_that_is_wrong_says_where(content: dict[str, str], sentence: str) -> None:
    """And what would do."""
    with pytest.raises(Refused) as caught:
        definition_of("ops", content)
    assert str(caught.value) == sentence
