"""What the `backup` template shows, of a sync's whole report (docs/reference/backup-report.md)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from monagent.errors import Refused
from monagent.mail.figures import number_text
from monagent.mail.text import one_line, paragraph
from monagent.mail.views import View, Words, csv_file


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
