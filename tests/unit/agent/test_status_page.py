"""The status page: what it says, and that nothing from outside becomes HTML."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import deque
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree as ET

import pytest
from prometheus_client.parser import text_string_to_metric_families

from monagent.agent.metrics import Exposition, Figures
from monagent.agent.status_page import SECURITY_HEADERS, render, sparkline
from monagent.agent.vitals import Check, Totals
from monagent.rpc.audit import Refusal

NOW = 1_000_000.0
WELL = Figures(
    totals=Totals({("disk", "ok"): 3}, {"disk": 1.5}, (0, 1, *(0,) * 8, 2, 0, 0), {("cmd_status", "ok"): 1}),
    calls={"accepted": 4}, refused={"403": 2}, started=NOW - 7300, waiting=0, running=1,
    journaled={"accepted": 1, "finished": 0, "rejected": 0}, oldest=None, journal_bytes=1000, journal_limit=100_000,
    delivered=4, refusals=0, last_delivery=NOW - 5, away_since=None, connections=2, backups={}, mails={"waiting": 3, "sent": 4, "problem": ""},
)  # fmt: skip
EVIL = "<script>alert('x')</script>\" onload=\"1"


def page(
    figures: Figures = WELL, checks: tuple[Check, ...] = (), refusals: tuple[Refusal, ...] = (), **problems: str
) -> str:
    """The page at a fixed time."""
    return render("web1", "http://monitor/xmlrpc/", figures, checks, refusals, problems, NOW)


class Tags(HTMLParser):
    """Which tags there are, with their attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.attributes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_when_all_is_well_it_says_so_in_words() -> None:
    """Not by a colour alone."""
    assert "all is well" in page()
    assert "up for 2 h" in page()
    assert "5 s ago" in page()


@pytest.mark.parametrize(
    ("figures", "problems", "sentence"),
    [
        (replace(WELL, away_since=NOW - 600), {}, "the server has been away for 10 min"),
        (replace(WELL, journaled={"rejected": 3}), {}, "3 results were rejected"),
        (WELL, {"relay": "it has stood still for 900 s"}, "relay: it has stood still for 900 s"),
    ],
)
def test_trouble_comes_first(figures: Figures, problems: dict[str, str], sentence: str) -> None:
    """And then it does not say that all is well."""
    text = page(figures, **problems)

    assert sentence in text
    assert "all is well" not in text


def test_failing_checks_are_counted_at_the_top() -> None:
    """An agent that is well may have bad news."""
    good, bad = Check("load", (), deque([(NOW, 1.0)])), Check("disk", (), deque([(NOW, None)]), error="timeout")

    assert "1 of 2 checks fail" in page(checks=(good, bad))
    assert "all is well" not in page(checks=(good, bad))


def test_nothing_from_outside_becomes_html() -> None:
    """Neither arguments nor readings nor what a stranger sent."""
    check = Check("disk", (EVIL,), deque([(NOW, 1.0), (NOW, 2.0)]), data=EVIL, code=1, error=EVIL)
    refusal = Refusal(NOW - 3, EVIL, EVIL, EVIL, EVIL)
    tags = Tags(page(checks=(check,), refusals=(refusal,), relay=EVIL))

    assert "script" not in tags.found
    assert not any(name.startswith("on") for name in tags.attributes)


def test_nothing_is_loaded_from_elsewhere() -> None:
    """And the browser is told to load nothing; the style is the one that the policy names."""
    text = page()
    (style,) = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    policy = dict(SECURITY_HEADERS)["Content-Security-Policy"]

    assert not re.findall(r"(?:src|href)=|url\(|@import", text)
    assert f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'")


def test_a_sparkline_has_gaps_and_a_name() -> None:
    """It is well-formed, within its box, and says its range."""
    drawn = ET.fromstring(sparkline([1.0, 3.0, None, 2.0, 2.5]))
    points = [line.get("points", "").split() for line in drawn]
    heights = [float(point.split(",")[1]) for line in points for point in line]

    assert [len(line) for line in points] == [2, 2]
    assert all(0 <= height <= 24 for height in heights)
    assert drawn.get("aria-label") == "4 readings from 1 to 3"


@pytest.mark.parametrize("values", [[], [1.0], [None, None], [None, 5.0]])
def test_too_little_for_a_line_is_none(values: list[float | None]) -> None:
    """Nothing to see yet."""
    assert sparkline(values) == ""


@pytest.mark.parametrize("values", [[5.0, 5.0], [1e308, -1e308], [0.0, 1e-300]])
def test_odd_ranges_are_drawn(values: list[float]) -> None:
    """No difference, and more than a number can hold."""
    assert "nan" not in sparkline(values).replace("aria", "")


# -- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_are_what_prometheus_reads() -> None:
    """By its own parser, with help and type for each."""
    exposition = Exposition(lambda: replace(WELL, oldest=NOW - 30), lambda: NOW)
    for _ in range(2):
        text = exposition.render().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    ours = {name: family for name, family in families.items() if name.startswith("monagent_")}

    assert all(family.documentation and family.type != "unknown" for family in ours.values())
    (run,) = ours["monagent_runs"].samples
    assert (run.labels, run.value) == ({"sensor": "disk", "result": "ok"}, 3.0)
    assert ours["monagent_oldest_undelivered_seconds"].samples[0].value == 30.0
    buckets = {one.labels.get("le"): one.value for one in ours["monagent_run_duration_seconds"].samples}
    assert (buckets["0.005"], buckets["0.01"], buckets["5.0"], buckets["10.0"], buckets["+Inf"]) == (0, 1, 1, 3, 3)
    assert ours["monagent_server_up"].samples[0].value == 1.0


def test_labels_from_outside_are_quoted() -> None:
    """A sensor's name cannot hold such things, and if it could they would do no harm."""
    totals = Totals({('a"\n}', "ok"): 1}, {}, (0,) * 13, {})
    text = Exposition(lambda: replace(WELL, totals=totals), lambda: NOW).render().decode()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]

    assert any(sample.labels.get("sensor") == 'a"\n}' for sample in samples)
