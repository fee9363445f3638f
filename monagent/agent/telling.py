"""Tell people of alarms' events: who has room for one more mail, one mail for many alarms, and what is remembered with it."""

from __future__ import annotations

import copy
import logging
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from monagent.agent.alarm import Alarm, Event
from monagent.agent.mails import Mails
from monagent.alarms import caps
from monagent.alarms.watch import CRITICAL, OK, UNKNOWN, WARNING
from monagent.errors import Busy, JournalError

if TYPE_CHECKING:
    from monagent.mail.queue import Mail

log = logging.getLogger(__name__)

RECIPIENT = "recipient"
"""What each recipient got is remembered under this word and the address, after a NUL."""
_GRAVITY = (CRITICAL, UNKNOWN, WARNING, OK)


class Telling:
    """Used by the thread that watches. `recipients` tells when each of them got something."""

    def __init__(self, host: str, mails: Mails, clock: Callable[[], float]) -> None:
        self.host = host
        self._mails = mails
        self._clock = clock
        self.recipients: dict[str, tuple[float, ...]] = {}

    def tell(self, report: str, known: dict[str, Alarm]) -> None:
        """Mail all events of a report; those of one alarm one after the other, those of many in one mail.

        Args:
            report: by which.
            known: the alarms by key; those that were told are replaced once that is on disk.

        Raises:
            Busy, JournalError: it cannot be written; what was not told yet is still to be told.
        """
        if not self.to(report):  # other settings are on their way
            return
        while alarms := [one for one in known.values() if one.settings.report == report and one.pending]:
            now = self._clock()
            groups: dict[tuple[str, ...], list[tuple[Alarm, Event]]] = defaultdict(list)
            for alarm in map(copy.deepcopy, alarms):
                event = alarm.pending.pop(0)
                audience = alarm.audience(event, self.to(report), now)
                free = self.with_room(audience, now, grave=event.grave, ends=event.ends)
                if audience and not free and not event.ends:
                    alarm.held_back += 1
                groups[("ends" if event.ends else "begins", *free)].append((alarm, event))
            for (_, *free), group in groups.items():
                self._tell_group(report, free, group, known, now)

    def with_room(self, recipients: Sequence[str], now: float, *, grave: bool, ends: bool) -> list[str]:
        """Those of them who may get one more; see `caps.room`."""
        cap = self._mails.mailing.cap
        return [one for one in recipients if caps.room(self.recipients.get(one, ()), cap, now, grave=grave, ends=ends)]

    def to(self, report: str) -> tuple[str, ...]:
        """Who gets a report; nobody where there is none of that name."""
        settings = self._mails.mailing.reports.get(report)
        return settings.to if settings else ()

    def _tell_group(
        self, report: str, to: list[str], group: list[tuple[Alarm, Event]], known: dict[str, Alarm], now: float
    ) -> None:
        """One mail about several alarms, and what is remembered of them, in one commit; no mail where nobody gets one."""
        # What was told a moment ago counts, too.
        ends, grave = group[0][1].ends, any(event.grave for _, event in group)
        to = self.with_room(to, now, grave=grave, ends=ends)
        mail = self._mail(report, to, group) if to else None
        memory: dict[str, Any] = {}
        counted = {one: (*caps.lately(self.recipients.get(one, ()), now), now) for one in to} if mail else {}
        for alarm, event in group:
            if mail is not None:
                alarm.was_told(event, to, now, self._incident(alarm, event))
                log.warning("alert %s %s: %s", alarm.settings.name, " ".join(alarm.arguments), event.kind)
            memory[alarm.key] = alarm.plain()
        memory |= {f"{RECIPIENT}\0{one}": list(times) for one, times in counted.items()}
        self._mails.put([mail] if mail else [], memory)
        self.recipients |= counted
        known |= {alarm.key: alarm for alarm, _ in group}

    def _incident(self, alarm: Alarm, event: Event) -> str:
        words = (self.host, alarm.settings.name, " ".join(alarm.arguments), f"{event.since:.3f}")
        return alarm.incident or "/".join(words)

    def _mail(self, report: str, to: list[str], group: list[tuple[Alarm, Event]]) -> Mail | None:
        from monagent.agent.alert_text import context_of  # noqa: PLC0415 - a mail is being made

        language = self._mails.mailing.reports[report].language
        group = sorted(group, key=lambda one: _GRAVITY.index(one[1].level))
        incidents = [self._incident(alarm, event) for alarm, event in group]
        held_back = sum(alarm.held_back for alarm, _ in group)
        context = {"alerts": [context_of(alarm, event, self.host, language) for alarm, event in group]}
        return self.made(report, "alert", context, to=to, incidents=incidents, held_back=held_back)

    def made(self, report: str, template: str, context: dict[str, Any], **more: Any) -> Mail | None:
        """The mail; by the built-in template where the site's own cannot show this: nobody is to miss it for that."""
        for built_in in (False, True):
            try:
                return self._mails.make(report, template, context, built_in=built_in, **more)
            except (Busy, JournalError):
                raise
            except Exception:  # whatever is wrong with one mail must not keep the others
                log.exception("a mail of [mail:%s] cannot be made", report)
        return None
