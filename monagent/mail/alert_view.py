"""What the `alert` template shows: the worst first, with a plot and what to look at."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from monagent.alarms import ranges
from monagent.mail import charts
from monagent.mail.charts import Threshold
from monagent.mail.context import Alert
from monagent.mail.figures import Points, bars, number_text, thinned
from monagent.mail.views import PLOTS, Attachment, Picture, View, Words, csv_file, moment, told


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
    return Picture(cid, data, *charts.CHART_SIZE, told(points, len(points), w), bars(points, 60))


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


def _alerts_csv(alerts: Sequence[Alert]) -> Attachment:
    columns = ("state", "host", "sensor", "arguments", "value", "unit", "warning", "critical", "since", "message")
    rows = [
        tuple(moment(one.since) if name == "since" and one.since else getattr(one, name) for name in columns)
        for one in alerts
    ]
    return csv_file("alerts", columns, rows)
