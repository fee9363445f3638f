"""What the keys of a definition, and the definitions of a site, mean for each other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from collections.abc import Set as AbstractSet

from monagent.alarms import ranges
from monagent.server.site.keys import declared
from monagent.server.site.members import Members
from monagent.server.site.model import Content, Key, Site, SiteProblem
from monagent.server.site.names import hint
from monagent.server.site.overrides import Overrides, target_of
from monagent.server.site.references import groups_of, references_of
from monagent.server.site.times import seconds_of

NEAR = 50
"""Problems that name what may have been meant: looking for it among ten thousand names takes its time."""

_Complaints = Iterator[tuple[str, str]]
"""Each a key and a message."""


def problems(site: Site, spoilt: Collection[Key], known: AbstractSet[Key]) -> list[SiteProblem]:
    """What does not go together.

    Args:
        site: definitions that were read.
        spoilt: those with a problem of their own: what follows from that is not told.
        known: all definitions that there are, also those that could not be read.
    """
    found: list[SiteProblem] = []
    for (kind, name), content in site.definitions.items():
        if (kind, name) not in spoilt and kind in _CHECKS:
            found += [SiteProblem(kind, name, key, message) for key, message in _CHECKS[kind](content)]
        found += _unknown(kind, name, content, known, near=len(found) < NEAR)
    if not found and not spoilt:
        found += _of_overrides(site)
    return found


def doubts(site: Site) -> list[SiteProblem]:
    """What may well be meant, but mostly is a slip: a site with these is taken all the same."""
    groups, found = groups_of(site), []
    for kind, name in site.ordered():
        content = site.definitions[kind, name]
        if kind != "host":
            for item, group in enumerate(content.get("groups", ())):
                if group not in groups:
                    found.append(
                        SiteProblem(kind, name, "groups", f"no host is in the group {group}{hint(group, groups)}", item)
                    )
        if kind == "override" and target_of(name).is_group and target_of(name).owner not in groups:
            group = target_of(name).owner
            found.append(SiteProblem(kind, name, "", f"no host is in the group {group}{hint(group, groups)}"))
        if kind == "probe" and not any(content.get(key) for key in ("hosts", "groups", "everywhere")):
            found.append(SiteProblem(kind, name, "", "it runs nowhere: hosts, groups or everywhere say where"))
    return found


def _unknown(kind: str, name: str, content: Content, known: AbstractSet[Key], *, near: bool) -> Iterator[SiteProblem]:
    for one in references_of(kind, name, content):
        if one.target not in known:
            target_kind, target = one.target
            others = [other for known_kind, other in known if known_kind == target_kind]
            meant = hint(target, others) if near else ""
            yield SiteProblem(kind, name, one.key, f"there is no {target_kind} {target}{meant}", one.item)


def _of_schedule(content: Content) -> _Complaints:
    every, splay = content.get("every"), content.get("splay")
    if bool(every) == bool(content.get("cron")):
        yield "", 'must have either every (example: "5m") or cron (example: "*/5 * * * *")'
    if every and content.get("timezone"):
        yield "timezone", "is for cron: an interval is the same everywhere"
    if every and splay and seconds_of(splay) > seconds_of(every):
        yield "splay", f"must not be longer than the interval, {every}"
    if content.get("cron") and splay and seconds_of(splay) > 86_400:
        yield "splay", "must not be longer than a day"


def _of_probe(content: Content) -> _Complaints:
    if content.get("everywhere") and (content.get("hosts") or content.get("groups")):
        yield "everywhere", "says all hosts: leave out hosts and groups, or everywhere"
    yield from _of_thresholds(content)


def _of_thresholds(content: Content) -> _Complaints:
    margin = content.get("hysteresis", 0.0)
    for level in ("warning", "critical"):
        limits = ranges.parse(content.get(level, ""))
        if limits is not None and not limits.leaves_room(margin):
            yield "hysteresis", f"leaves no number that is good again: {level} is {content[level]}"


def _of_maintenance(content: Content) -> _Complaints:
    if content.get("everywhere") and (content.get("hosts") or content.get("groups")):
        yield "everywhere", "says all hosts: leave out hosts and groups, or everywhere"
    if not any(content.get(key) for key in ("everywhere", "hosts", "groups", "probes")):
        yield "", "must say what it is for: hosts, groups, probes, or everywhere = true"
    once, again = bool(content.get("from") or content.get("until")), bool(content.get("cron"))
    if once == again:
        yield "", "must have either from and until, or cron and duration"
    elif once:
        yield from _of_span(content)
    elif not content.get("duration"):
        yield "duration", 'must be given: how long each one lasts (example: "2h")'


def _of_span(content: Content) -> _Complaints:
    for key in ("from", "until"):
        if not content.get(key):
            yield key, "must be given (example: 2026-11-22T22:00:00Z)"
    for key in ("duration", "timezone"):
        if content.get(key):
            yield key, "is for cron: from and until say it all"
    # One form, so that texts are in the order of times.
    if content.get("from", "") >= content.get("until", "9") != "9":
        yield "until", f"must be later than from, {content['from']}"


def _of_alert(content: Content) -> _Complaints:
    if not any(content.get(key) for key in ("mail", "webhook", "apprise_file")):
        yield "mail", "or webhook or apprise_file must be given: somebody must be told"
    if content.get("webhook") and not content.get("secret_file"):
        yield "webhook", "needs secret_file, to sign what is posted (example: /etc/monagent/webhook.secret)"
    if content.get("secret_file") and not content.get("webhook"):
        yield "secret_file", "is for a webhook, and there is none"


_CHECKS: dict[str, Callable[[Content], _Complaints]] = {
    "schedule": _of_schedule,
    "probe": _of_probe,
    "maintenance": _of_maintenance,
    "alert": _of_alert,
}


def _of_overrides(site: Site) -> Iterator[SiteProblem]:
    overrides, members = Overrides(site), Members(site)
    for name, content in site.of_kind("override"):
        probe = site.definitions["probe", target_of(name).probe]
        if not content:
            yield SiteProblem("override", name, "", f"says nothing (it can say: {', '.join(declared('override'))})")
        for key, message in _of_thresholds({**probe, **content}):
            yield SiteProblem("override", name, key if key in content else "", message)
    for name, content in site.of_kind("probe"):
        if len(overrides.of_groups(name)) > 1:
            yield from _clashes(site, overrides, name, members.hosts(content))


def _clashes(site: Site, overrides: Overrides, probe: str, hosts: Collection[str]) -> Iterator[SiteProblem]:
    for host in sorted(hosts):
        clash = overrides.clash(probe, host, site.definitions["host", host].get("groups", ()))
        if clash:
            one, other = clash.groups
            yield SiteProblem(
                "override",
                f"group:{other}/{probe}",
                clash.key,
                f"differs from group:{one}/{probe}, and {host} is in both groups: "
                f'an override "{host}/{probe}" can settle it',
            )
            return
