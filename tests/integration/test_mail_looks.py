"""What the mails look like in a browser: readable in the light, in the dark and on a telephone, whatever is in them."""

from __future__ import annotations

import math
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, sync_playwright

from monagent.mail.compose import HTML_LIMIT, Composer, Made, Sources
from monagent.mail.example import EXAMPLES, example
from monagent.mail.figures import Series
from monagent.mail.settings import ReportSettings
from monagent.mail.words import LANGUAGES
from tests.support.rights import needs_program

pytestmark = needs_program("chromium")
HOSTILE = [
    "<script>document.title='gone'</script>",
    '"><img src=x onerror="document.title=\'gone\'">',
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)//" + "x" * 300,
    "\u202egnp.exe\x07\x00\ud800",
    "名" * 200,
    "</td></tr></table><h1>",
]
LOOK = """() => {
  const seen = [];
  const channels = colour => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (let one = element; one; one = one.parentElement) {
      const colour = channels(getComputedStyle(one).backgroundColor);
      if (colour.length < 4 || colour[3] > 0) return colour;
    }
    return [255, 255, 255];
  };
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let worst = 21, where = "";
  while (texts.nextNode()) {
    if (!texts.currentNode.textContent.trim()) continue;
    const element = texts.currentNode.parentElement;
    const [a, b] = [light(channels(getComputedStyle(element).color)), light(behind(element))].sort((x, y) => y - x);
    const contrast = (a + 0.05) / (b + 0.05);
    if (contrast < worst) { worst = contrast; where = texts.currentNode.textContent.trim().slice(0, 60); }
  }
  return {
    contrast: worst, where, wide: document.documentElement.scrollWidth, title: document.title,
    outside: [...document.querySelectorAll("[src],[href],[background],link,script,iframe")]
      .map(one => one.getAttribute("src") || one.getAttribute("href") || one.tagName).filter(url => !url.startsWith("data:image/png")),
    unnamed: [...document.querySelectorAll("img")].filter(one => !one.alt || !one.complete || !one.naturalWidth).length,
  };
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        yield browser
        browser.close()


def looked_at(browser: Browser, html: str, name: str) -> None:
    """It is as readable as it should be, at each width and in each light."""
    pictures = os.environ.get("MONAGENT_LOOKS")
    asked: list[str] = []
    page = browser.new_page()
    page.on("request", lambda request: asked.append(request.url))
    page.set_content(html)
    for width in (360, 720):
        page.set_viewport_size({"width": width, "height": 900})
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
            found: dict[str, Any] = page.evaluate(LOOK)
            if pictures:
                page.screenshot(path=Path(pictures, f"{name}-{width}-{scheme}.png"), full_page=True)

            assert found["contrast"] >= 4.5, (width, scheme, found["where"], found["contrast"])
            assert found["wide"] <= width, (width, scheme)
            assert (found["outside"], found["unnamed"]) == ([], 0)
            assert found["title"] != "gone"
    page.close()
    assert [url for url in asked if not url.startswith(("data:", "about:"))] == []


def series(name: str, *arguments: str, count: int = 300, bad: int = 0) -> Series:
    """Readings of a day."""
    made, now = Series(name, arguments), time.time()
    for number in range(count):
        failed = bool(bad) and number % bad == 0
        made.add(now - (count - number) * 60, None if failed else 50 + 30 * math.sin(number / 20), failed=failed)
    return made


def made_of(template: str, context: dict[str, Any], language: str = "en", checks: list[Series] | None = None) -> Made:
    """A mail of it."""
    sources = Sources(history=lambda _names, _since: checks or [])
    return Composer("web1", ("", "mon@b.c"), None, sources).compose(
        ReportSettings("ops", ("a@b.c",), template=template, language=language), context
    )


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", EXAMPLES)
def test_the_examples_are_readable(browser: Browser, name: str, language: str) -> None:
    """Each template, in each language; the text says all that the HTML says."""
    checks = [series("load"), series("disk", "/var", bad=9), series("http", "https://www.example.org/", bad=50)]
    made = made_of(EXAMPLES[name], example(name, language), language, checks)

    looked_at(browser, made.page, f"{name}-{language}")
    assert everything_in(made) == set()


def everything_in(made: Made) -> set[str]:
    """The words of the HTML that the text does not have."""
    body = re.sub(r"<style>.*?</style>|<title>.*?</title>", "", made.rendered.html, flags=re.DOTALL)
    alts = " ".join(re.findall(r'alt="([^"]*)"', body))
    words = re.sub(r"<[^>]*>|&nbsp;|&middot;", " ", body) + alts
    for entity, letter in (("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"), ("&#34;", '"'), ("&#39;", "'")):
        words = words.replace(entity, letter)
    text = set(re.split(r"[\s:,]+", made.rendered.text))
    return {word for word in re.split(r"[\s:,]+", words) if word not in text}


@pytest.mark.parametrize("rows", [0, 1, 50, 5000])
def test_any_number_of_rows_is_readable(browser: Browser, rows: int) -> None:
    """The worst first, the rest in a table beside it, and never more than mail programs show."""
    checks = [series("check", str(number), count=20, bad=number % 7) for number in range(min(rows, 300))]
    table = {
        "title": "Pages",
        "columns": ["page", "views", "share"],
        "rows": [[f"/p/{n}/{'x' * 40}", n, n / 7] for n in range(rows)],
    }
    made = made_of("report", {"tables": [table]}, checks=checks)
    looked_at(browser, made.page, f"report-{rows}")

    assert len(made.rendered.html.encode()) <= HTML_LIMIT
    assert len(made.mail.whole) < 2_000_000
    names = [one.name for one in made.view.attachments]
    assert names == ([] if rows <= 50 else ["Pages.csv", "sensors.csv"])
    if names:
        data = made.view.attachments[0].data.decode("utf-8-sig")
        assert data.count("\r\n") == rows + 1

    alerts = [
        {"sensor": "load", "arguments": [str(n)], "state": ("critical", "warning")[n % 2], "value": n}
        for n in range(rows)
    ]
    if alerts:
        made = made_of("alert", {"alerts": alerts})
        looked_at(browser, made.page, f"alert-{rows}")
        assert len(made.rendered.html.encode()) <= HTML_LIMIT
        assert [one.name for one in made.view.attachments] == ([] if rows <= 50 else ["alerts.csv"])

    differences = [{"what": "different", "path": f"a/{n}/{'y' * 60}", "detail": ""} for n in range(rows)]
    made = made_of("backup", {**example("backup", "en"), "differences": differences})
    looked_at(browser, made.page, f"backup-{rows}")
    assert len(made.rendered.html.encode()) <= HTML_LIMIT


def test_hostile_names_are_only_text(browser: Browser) -> None:
    """In every place of every template."""
    table = {"title": HOSTILE[0], "columns": [HOSTILE[1], "b"], "rows": [[name, name] for name in HOSTILE]}
    wide = {"title": HOSTILE[1], "columns": HOSTILE, "rows": [HOSTILE]}
    for number, name in enumerate(HOSTILE):
        tables = [table, wide] if number == 0 else []
        report = {"title": name, "period": name, "summary": name, "numbers": {name: name}, "tables": tables}
        checks = [series(one, one, count=10) for one in HOSTILE] if number == 0 else []
        looked_at(browser, made_of("report", report, checks=checks).page, f"hostile-report-{number}")
    members = ("host", "sensor", "arguments", "unit", "warning", "critical", "message", "value")
    alerts = [
        {**dict.fromkeys(members, name), "state": "critical", "readings": [[1, 2], [3, None]]} for name in HOSTILE
    ]
    looked_at(browser, made_of("alert", {"alerts": alerts}).page, "hostile-alert")
    run = example("backup", "en") | {
        "job": HOSTILE[0], "message": HOSTILE[1], "source": HOSTILE[3], "warnings": HOSTILE,
        "done": dict.fromkeys(HOSTILE, 1), "differences": [{"what": name, "path": name} for name in HOSTILE],
    }  # fmt: skip
    looked_at(browser, made_of("backup", run).page, "hostile-backup")
