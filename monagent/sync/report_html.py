"""A report as a page that mail programs show, too: tables and attributes, nothing from elsewhere."""

from __future__ import annotations

from html import escape

from monagent.models import Outcome
from monagent.sync.report import WORDS, readable

_GOOD, _BAD = "#1a6b2d", "#a3201c"
_CELL = 'style="padding:4px 12px 4px 0;text-align:left;vertical-align:top"'


def page(outcome: Outcome) -> str:
    """The whole page, of a report's outcome."""
    title = escape(f"Backup {outcome['job']}: {outcome['result']}")
    return f"""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{title}</title></head>
<body style="margin:0;padding:16px;background:#ffffff;color:#1c1c1c;font-family:sans-serif;line-height:1.4">
{body(outcome)}
</body>
</html>"""


def body(outcome: Outcome) -> str:
    """What stands in it."""
    good = outcome["status"] == "ok"
    verdict = f'<h1 style="font-size:20px;color:{_GOOD if good else _BAD};background:#ffffff">{escape(str(outcome["job"]))}: {"the backup holds what the source holds" if good else escape(str(outcome["result"]))}</h1>'
    parts = [verdict, f"<p>{escape(str(outcome['message']))}</p>"]
    parts += [f"<p>Warning: {escape(warning)}</p>" for warning in outcome["warnings"]]
    parts.append(_table("", _facts(outcome)))
    parts.append(_table("Compared", [(word, f"{outcome['compared'][word]:,}") for word in WORDS]))
    for title, key in (("Found and done", "done"), ("Left", "left"), ("Metadata that could not be kept", "not_kept")):
        if outcome[key]:
            parts.append(_table(title, [(word, f"{count:,}") for word, count in outcome[key].items()]))
    if outcome["differences"]:
        rows = [(one["what"], ": ".join(filter(None, (one["path"], one["detail"])))) for one in outcome["differences"]]
        parts.append(_table("First items", rows))
    return "\n".join(parts)


def _facts(outcome: Outcome) -> list[tuple[str, str]]:
    return [
        ("source", str(outcome["source"])),
        ("backup", str(outcome["target"])),
        ("started", str(outcome["started"])),
        ("took", f"{outcome['duration']:.1f} s, {outcome['rounds']} rounds"),
        ("holds", f"{outcome['entries']:,} entries, {readable(int(outcome['bytes']))}"),
        ("copied", readable(int(outcome["copied_bytes"]))),
        ("last success", str(outcome["last_success"] or "never")),
        ("last full proof", str(outcome["last_full_proof"] or "never")),
    ]


def _table(title: str, rows: list[tuple[str, str]]) -> str:
    head = f'<h2 style="font-size:16px">{escape(title)}</h2>' if title else ""
    cells = "".join(
        f'<tr><th {_CELL} scope="row">{escape(word)}</th><td {_CELL}><span style="overflow-wrap:anywhere">{escape(value)}</span></td></tr>'
        for word, value in rows
    )
    return f'{head}<table role="presentation" cellspacing="0">{cells}</table>'
