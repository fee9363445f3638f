"""Open, change and close incidents as there is news, and see that people are told: all in one transaction.

Whoever uses it has the rows of the hosts or probes locked, so that exactly one process sees each change.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from monagent.alarms.watch import OK, WARNING, Told
from monagent.server.alerts import incidents
from monagent.server.alerts.incidents import RANK, Incident, event
from monagent.server.alerts.memory import STALE
from monagent.server.alerts.subjects import Key, Subject, subjects
from monagent.server.alerts.telling import News, Telling

MESSAGE_LIMIT = 4_000


class Ledger:
    """Of one transaction. What it was told is all written once `finish` returns."""

    def __init__(self, db: Connection, now: float, keys: Collection[Key]) -> None:
        """
        Args:
            db: a transaction that writes, and has the rows of these hosts or probes locked.
            now: seconds since the epoch.
            keys: what there may be news of.
        """
        self._db = db
        self._now = now
        self._subjects = subjects(db, keys)
        self._open = incidents.open_incidents(db, keys)
        self._telling = Telling(db, now)
        self._events: list[dict[str, Any]] = []

    def incident(self, key: Key) -> Incident | None:
        """The open one of a subject."""
        return self._open.get(key)

    def subject(self, key: Key) -> Subject | None:
        """What is known of a subject; None: it is gone."""
        return self._subjects.get(key)

    def note(self, key: Key, news: News) -> None:
        """Write news down, and have it told where that is worth it."""
        subject, incident = self._subjects.get(key), self._open.get(key)
        if subject is None:
            return
        news = replace(news, message=_fit(news.message))
        if news.what is Told.RECOVERY:
            if incident is not None:
                self._close(incident, subject, news)
        elif incident is None:
            if subject.active and news.what is not Told.NOTHING and news.state != OK:
                self._begin(subject, news)
        else:
            self._change(incident, subject, news)

    def remove(self, key: Key, text: str) -> None:
        """Close the incident of what is not watched any more; nobody is told."""
        incident = self._open.pop(key, None)
        if incident is not None:
            self._telling.take_back(incident)
            incidents.change(self._db, incident.id, {"closed": self._now, "flapping": False, "withheld": None})
            self._events.append(event(incident.id, self._now, "removed", incident.state, text))

    def reconsider(self, key: Key) -> None:
        """Hold back what is not told yet, if something does so now; tell of what was held back, if nothing does any more."""
        subject, incident = self._subjects.get(key), self._open.get(key)
        if subject is None or incident is None:
            return
        held = self._telling.held_by(subject)
        if held == incident.withheld:
            return
        if held is not None:
            # What waits was taken back already where another thing held it back until now.
            if self._telling.take_back(incident, all_untried=True) or incident.withheld is not None:
                self._withhold(incident, held)
        elif incident.acknowledged is not None:
            self._update(incident, withheld=None)
        else:
            what = Told.FLAPPING if incident.flapping else Told.PROBLEM
            news = News(what, incident.state, incident.opened, incident.message, incident.value)
            self._tell(incident, subject, news, f"{incident.withheld} is over")

    def finish(self) -> None:
        """Write what is left to be written."""
        self._telling.flush()
        incidents.add_events(self._db, self._events)
        self._events = []

    def _begin(self, subject: Subject, news: News) -> None:
        values: dict[str, Any] = {
            "host_id": subject.host_id, "host_probe_id": subject.host_probe_id, "state": news.state,
            "worst": news.state, "message": news.message, "value": news.value, "opened": self._now, "flapping": news.what is Told.FLAPPING,
            "told": None, "withheld": None, "acknowledged": None,
        }  # fmt: skip
        incident = self._open[subject.key] = incidents.open_one(self._db, values)
        self._add_event(incident, news.what, news.message)
        self._tell(incident, subject, news)

    def _change(self, incident: Incident, subject: Subject, news: News) -> None:
        state = _bad(news.state, incident.state)
        worse = RANK[state] > RANK[incident.state]
        flapping = news.what is Told.FLAPPING or (incident.flapping and news.what is not Told.SETTLED)
        was = incident
        incident = self._update(
            incident, state=state, worst=max(incident.worst, state, key=RANK.__getitem__), message=news.message,
            value=news.value, flapping=flapping,
        )  # fmt: skip
        if news.what is Told.NOTHING:
            return
        word = news.what.value if news.what is not Told.PROBLEM else "worse" if worse else "better"
        self._add_event(incident, word, news.message)
        if was.acknowledged is not None:
            if not worse:
                return
            # Somebody had it in hand as it was, not as it is now.
            incident = self._update(incident, acknowledged=None)
        self._tell(incident, subject, news)

    def _tell(self, incident: Incident, subject: Subject, news: News, why: str = "") -> None:
        held = self._telling.held_by(subject)
        if held is not None:
            self._telling.take_back(incident, all_untried=True)
            self._withhold(incident, held)
            return
        if self._telling.problem(incident, subject, news, incident.state):
            self._update(incident, told=self._now, withheld=None)
        elif incident.withheld is not None:
            self._update(incident, withheld=None)
        if why:
            self._add_event(incident, "told", why)

    def _withhold(self, incident: Incident, held: str) -> None:
        if held != incident.withheld:
            self._update(incident, withheld=held)
            self._add_event(incident, "withheld", f"nobody is told because of {held}")

    def _close(self, incident: Incident, subject: Subject, news: News) -> None:
        told = self._telling.recovery(incident, subject, news)
        values = {
            "closed": self._now,
            "flapping": False,
            "withheld": None,
            "told": self._now if told else incident.told,
        }
        incidents.change(self._db, incident.id, values)
        self._events.append(event(incident.id, self._now, "recovery", OK, news.message))
        del self._open[subject.key]

    def _update(self, incident: Incident, **values: Any) -> Incident:
        changed = replace(incident, **values)
        if changed != incident:
            incidents.change(self._db, incident.id, values)
            self._open[incident.key] = changed
        return changed

    def _add_event(self, incident: Incident, what: str, text: str) -> None:
        self._events.append(event(incident.id, self._now, str(what), incident.state, text))


def _bad(state: str, before: str) -> str:
    """What flaps may be well for a moment; its incident says how it is when it is not."""
    if state != OK:
        return state
    return WARNING if before == STALE else before


def _fit(text: str) -> str:
    # What a sensor wrote is kept; PostgreSQL has no NUL in texts.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")[:MESSAGE_LIMIT]
