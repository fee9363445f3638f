"""`monserver notification` and `monserver report`, as an operator uses them."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from sqlalchemy import insert

from monagent.cli.server_notification import notification
from monagent.cli.server_report import report
from monagent.errors import BadArguments
from monagent.server.alerts.carriers.parcels import FAILED, SENT, Verdict
from monagent.server.alerts.carriers.shelf import Shelf
from monagent.server.database import Database
from monagent.server.schema import definition
from tests.unit.server.alerts.carriers.rows import add_host, add_probe, notifications, put
from tests.unit.server.alerts.reports.readings import fill


@pytest.fixture
def run(database: Database, database_url: str, tmp_path: Path) -> Any:
    """Runs a command with a configuration that names the database."""
    config = tmp_path / "server.cfg"
    config.write_text(f"[database]\nurl = {database_url}\n[mail]\nsender = monitor@example.org\n")

    def run(group: click.Group, *arguments: str) -> Result:
        result = CliRunner().invoke(
            group, [*arguments, "-c", str(config)], catch_exceptions=False, standalone_mode=True
        )
        assert result.exit_code == 0, result.output
        return result

    return run


def _failed(database: Database, count: int = 1, **members: Any) -> None:
    shelf, now = Shelf(database), time.time()
    for _ in range(count):
        put(database, **members)
    parcel, _ = shelf.claim(now + 10)
    assert parcel is not None
    shelf.settle(parcel, Verdict(FAILED, "550 no such user"), now, 0.0)


def test_the_list_says_what_waits_and_what_failed(database: Database, run: Any) -> None:
    """Why, and since when; what was sent only when asked for. No webhook's path is shown: it may be a password."""
    _failed(database)
    put(database, channel="webhook", target="https://chat.example.org/hooks/hush", rule="chat")
    put(database, state=SENT, sent=time.time(), rule="gone")
    text = run(notification, "list").output

    failed, waiting = sorted(text.splitlines(), key=lambda line: int(line.split()[0]))
    assert "failed after 1 try" in failed
    assert failed.endswith("ops  mail ops@example.org  problem web1 root disk  (550 no such user)")
    assert "waiting" in waiting
    assert "chat  webhook https://chat.example.org/…  problem" in waiting
    assert "hush" not in text
    found = json.loads(run(notification, "list", "--all", "--json").output)
    assert [(one["state"], one["rule"]) for one in found] == [("sent", "gone"), ("waiting", "chat"), ("failed", "ops")]


def test_what_failed_together_is_tried_again_together(database: Database, run: Any) -> None:
    """Under the identity that it had."""
    _failed(database, 7)
    batch = notifications(database)[0].batch
    assert {row.batch for row in notifications(database)} == {batch}

    assert "tried again by the running server: 7;" in run(notification, "retry", "3").stderr
    parcel, _ = Shelf(database).claim(time.time() + 1)
    assert parcel is not None
    assert (parcel.batch, len(parcel.notes)) == (batch, 7)


def test_what_was_sent_or_is_not_there_is_not_tried_again(database: Database, run: Any) -> None:
    """It says which."""
    put(database, state=SENT)
    with pytest.raises(BadArguments, match="notification 1 was sent already"):
        run(notification, "retry", "1")
    with pytest.raises(BadArguments, match="there is no notification 99"):
        run(notification, "retry", "99")


def test_what_is_being_sent_is_left_to_who_sends_it(database: Database, run: Any) -> None:
    """A second one must not begin."""
    put(database)
    Shelf(database).claim(time.time())
    before = notifications(database)[0].next_try
    run(notification, "retry", "1")

    assert notifications(database)[0].next_try == before


def test_a_test_goes_to_each_target_of_an_alert(database: Database, run: Any) -> None:
    """And says how to see how it went."""
    rule = {
        "mail": ["a@b.c", "d@e.f"],
        "webhook": "http://x/y",
        "secret_file": "/s",
        "apprise_file": "/u",
        "everywhere": True,
    }
    with database.write() as db:
        db.execute(insert(definition).values(kind="alert", name="ops", content=rule))
    said = run(notification, "test", "ops").stderr

    assert "queued as 1, 2, 3; monserver notification list --all" in said
    rows = notifications(database)
    assert [(row.channel, row.target) for row in rows] == [
        ("mail", "a@b.c,d@e.f"),
        ("webhook", "http://x/y"),
        ("apprise", "/u"),
    ]
    assert {(row.what, row.state, row.content["secret_file"]) for row in rows} == {("test", "waiting", "/s")}
    with pytest.raises(BadArguments, match="there is no alert 'opps'; monserver alert list"):
        run(notification, "test", "opps")


def test_a_report_is_printed_written_or_sent(database: Database, run: Any, tmp_path: Path) -> None:
    """Text on a terminal, HTML with its plots in a file, figures for programs."""
    web = add_host(database, groups=("web",))
    fill(database, add_probe(database, web), 1)
    file = tmp_path / "report.html"

    assert run(report, "daily").stdout.startswith("Daily quality report\n")
    assert "'Daily quality report: " in run(report, "daily", "--html", str(file)).stderr
    assert file.read_text().startswith("<!DOCTYPE html>")
    assert run(report, "weekly", "--to-stdout", "csv", "--group", "web").stdout.startswith("host,probe,availability,")
    assert json.loads(run(report, "monthly", "--json").stdout)["checks"][0]["probe"] == "root disk"
    assert "queued as 1;" in run(report, "daily", "--mail", "a@b.c", "--mail", "d@e.f", "--host", "web1").stderr
    (row,) = notifications(database)
    assert (row.what, row.rule, row.target) == ("report", "daily", "a@b.c,d@e.f")
    assert row.content["hosts"] == ["web1"]


def test_a_misspelt_host_or_group_is_said(database: Database, run: Any) -> None:
    """It would be a report of nothing."""
    add_host(database, groups=("web",))
    with pytest.raises(BadArguments, match="there is no host 'web9'"):
        run(report, "daily", "--host", "web9")
    with pytest.raises(BadArguments, match="there is no group 'wep'"):
        run(report, "daily", "--group", "wep")


@pytest.mark.parametrize(
    ("group", "arguments", "why"),
    [
        (report, ["daily", "--timezone", "Nope/Zone"], 'there is no time zone "Nope/Zone"'),
        (notification, ["retry", "99999999999999999999"], "is not in the range 1<=x<=2147483647"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(group: click.Group, arguments: list[str], why: str) -> None:
    """No database is asked."""
    result = CliRunner().invoke(group, arguments)

    assert (result.exit_code, why in result.stderr) == (2, True)
