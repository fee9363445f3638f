"""The status page: one look at one agent. HTML and SVG alone, nothing from elsewhere, no script."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Iterable, Sequence
from html import escape

import monagent
from monagent.agent.metrics import Figures
from monagent.agent.vitals import Check
from monagent.rpc.audit import Refusal

WIDTH, HEIGHT = 120, 24

_STYLE = """
:root { color-scheme: light dark; font: 15px/1.45 system-ui, sans-serif }
body { max-width: 64rem; margin: 1.5rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem; margin: 0 } h2 { font-size: 1.05rem; margin: 1.6rem 0 .4rem }
p { margin: .2rem 0 } small, .dim { opacity: .75 }
.bad { color: #b3261e } .good { color: #18703a }
@media (prefers-color-scheme: dark) { .bad { color: #ff8a80 } .good { color: #7ddc9c } }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem; margin: 1rem 0 }
dl div { border: 1px solid #8885; border-radius: .4rem; padding: .4rem .7rem }
dt { font-size: .85rem; opacity: .75 } dd { margin: 0; font-size: 1.15rem; font-variant-numeric: tabular-nums }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th, td { text-align: left; padding: .25rem .5rem; border-bottom: 1px solid #8884; vertical-align: middle }
td.n { text-align: right; font-variant-numeric: tabular-nums } td.words { word-break: break-word }
svg { display: block } polyline { fill: none; stroke: currentColor; stroke-width: 1.5 }
"""
_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
SECURITY_HEADERS = (
    ("Content-Security-Policy", f"default-src 'none'; style-src 'sha256-{_HASH}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"),
    ("Referrer-Policy", "no-referrer"),
    ("X-Frame-Options", "DENY"),
)  # fmt: skip


def render(
    host: str,
    server: str,
    figures: Figures,
    checks: Sequence[Check],
    refusals: Sequence[Refusal],
    problems: dict[str, str],
    now: float,
) -> str:
    """The page.

    Args:
        host: what the host calls itself.
        server: the URL that results go to.
        figures: counters and gauges.
        checks: with their newest readings.
        refusals: the newest ones, the last first.
        problems: what is wrong with which part.
        now: seconds since the epoch.
    """
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="10"><title>{escape(host)}: monagent</title><style>{_STYLE}</style></head><body>
<h1>{escape(host)}</h1>
{_verdict(figures, checks, problems, now)}
<p class="dim">monagent {monagent.__version__}, up for {_span(now - figures.started)}; results go to {escape(server)}</p>
{_queues(figures, now)}
<h2>Checks</h2>
{_checks(checks, now)}
<h2>Refused lately</h2>
{_refusals(refusals, now)}
<p><small>All times in UTC, {_clock(now)} now; this page loads itself again every ten seconds. For machines: /metrics, /healthz, /readyz.</small></p>
</body></html>
"""


def _verdict(figures: Figures, checks: Sequence[Check], problems: dict[str, str], now: float) -> str:
    told = [f"{name}: {problem}" for name, problem in problems.items()]
    if figures.away_since is not None:
        told.append(f"the server has been away for {_span(now - figures.away_since)}; results are kept")
    if figures.journaled.get("rejected"):
        told.append(f"{figures.journaled['rejected']} results were rejected by the server: monagent spool list")
    if failing := sum(bool(one.error or one.code) for one in checks):
        told.append(f"{failing} of {len(checks)} checks fail")
    if not told:
        return '<p class="good">✓ all is well</p>'
    return "\n".join(f'<p class="bad">✗ {escape(sentence)}</p>' for sentence in told)


def _queues(figures: Figures, now: float) -> str:
    last = "none yet" if figures.last_delivery is None else f"{_span(now - figures.last_delivery)} ago"
    oldest = "none" if figures.oldest is None else _span(now - figures.oldest)
    share = 100 * figures.journal_bytes / figures.journal_limit
    pairs = (
        ("running", figures.running), ("waiting", figures.waiting), ("undelivered", figures.journaled.get("finished", 0)),
        ("oldest undelivered", oldest), ("rejected", figures.journaled.get("rejected", 0)), ("last delivery", last),
        ("delivered", figures.delivered), ("journal", f"{share:.1f} % full"),
    )  # fmt: skip
    return "<dl>" + "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in pairs) + "</dl>"


def _checks(checks: Sequence[Check], now: float) -> str:
    if not checks:
        return '<p class="dim">None since the agent began.</p>'
    rows = "\n".join(
        f"<tr><td class=words>{escape(' '.join((one.sensor, *one.arguments)))}</td><td class=n>{escape(one.data)}</td>"
        f"<td>{_state(one)}</td><td>{sparkline([number for _, number in one.readings])}</td>"
        f"<td class=n>{_span(now - one.readings[-1][0])}</td></tr>"
        for one in checks
    )
    return _table(("Check", "Reading", "State", "Newest readings", "Age"), rows)


def _state(check: Check) -> str:
    if check.error:
        return f'<span class="bad">✗ {escape(check.error)}</span>'
    return (
        '<span class="good">✓ ok</span>' if check.code == 0 else f'<span class="bad">✗ ended with {check.code}</span>'
    )


def _refusals(refusals: Sequence[Refusal], now: float) -> str:
    if not refusals:
        return '<p class="dim">None.</p>'
    rows = "\n".join(
        f"<tr><td class=n>{_span(now - one.when)} ago</td><td>{escape(one.peer)}</td><td class=words>{escape(one.command)}</td>"
        f"<td class=n>{escape(one.verdict)}</td><td class=words>{escape(one.reason)}</td></tr>"
        for one in refusals
    )
    return _table(("When", "Who", "Command", "Code", "Why"), rows)


def _table(columns: Iterable[str], rows: str) -> str:
    head = "".join(f"<th>{name}</th>" for name in columns)
    return f"<div class=scroll><table><thead><tr>{head}</tr></thead><tbody>\n{rows}\n</tbody></table></div>"


def sparkline(numbers: Iterable[float | None]) -> str:
    """A small line of the numbers, with gaps where there is none; the range is told to those who cannot see it."""
    values = list(numbers)
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step = WIDTH / (len(values) - 1)
    half = (high / 2 - low / 2) or 1.0  # the whole may be more than a number can hold
    lines: list[list[str]] = [[]]
    for index, value in enumerate(values):
        if value is None:
            lines.append([])
        else:
            lines[-1].append(f"{index * step:.1f},{HEIGHT - 2 - (value / 2 - low / 2) / half * (HEIGHT - 4):.1f}")
    drawn = "".join(f'<polyline points="{" ".join(points)}"/>' for points in lines if len(points) > 1)
    label = f"{len(known)} readings from {low:g} to {high:g}"
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{label}">{drawn}</svg>'


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.gmtime(when))


def _span(seconds: float) -> str:
    whole = max(0, round(seconds))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if whole >= 2 * size:
            return f"{whole // size} {unit}"
    return f"{whole} s"
