"""What may be defined, and what is said about the rest."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from monagent.server.site import rules
from monagent.server.site.model import Site, WrongSite
from monagent.server.site.together import doubts
from tests.unit.server.site.site import small_site, whole_site


def complaints(kind: str, name: str, content: dict[str, Any]) -> list[str]:
    """What is wrong with one more definition in the small site."""
    try:
        rules.checked(small_site().having(kind, name, content))
    except WrongSite as wrong:
        return [str(problem) for problem in wrong.problems]
    return []


GOOD_PROBE = {"sensor": "disk"}
GOOD_MAINTENANCE = {"everywhere": True, "cron": "0 1 * * *", "duration": "1h"}


def test_a_good_site_stays_as_it_is() -> None:
    """What was read once reads the same again."""
    site = whole_site()

    assert rules.checked(site) == site


@pytest.mark.parametrize(
    ("kind", "given", "kept"),
    [
        ("schedule", {"every": 60, "splay": "1m"}, {"every": "1m"}),
        ("schedule", {"every": "90", "splay": 0}, {"every": "90s", "splay": "0s"}),
        ("schedule", {"cron": " 0  1 * * * ", "timezone": "UTC", "splay": "0s"}, {"cron": "0 1 * * *"}),
        (
            "host",
            {"address": "a", "port": 8080, "tls": False, "groups": ["b", "a", "b"]},
            {"address": "a", "groups": ["a", "b"]},
        ),
        (
            "probe",
            {"sensor": "disk", "warning": 80, "runs": 1, "hysteresis": 2},
            {"sensor": "disk", "warning": "80", "hysteresis": 2.0},
        ),
        ("alert", {"mail": ["a@b.org"], "delay": "0s", "remind": "240m"}, {"mail": ["a@b.org"], "remind": "4h"}),
        (
            "maintenance",
            {"probes": ["root"], "from": datetime(2026, 1, 1, tzinfo=UTC), "until": "2026-01-01T02:00:00+01:00"},
            {"probes": ["root"], "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T01:00:00Z"},
        ),
    ],
)
def test_the_same_meaning_has_one_form(kind: str, given: dict[str, Any], kept: dict[str, Any]) -> None:
    """Defaults are left out, spans have the largest unit that fits."""
    assert kept == rules.checked(small_site().having(kind, "x", given)).content(kind, "x")


@pytest.mark.parametrize(
    ("kind", "name", "content", "complaint"),
    [
        ("host", "web 2", {"address": "a"}, 'host web 2: "web 2" is no host\'s name'),
        ("host", "x", {}, "host x address: must be given"),
        ("host", "x", {"address": "a:8080"}, "its port goes with port"),
        ("host", "x", {"address": "a b"}, "neither a name nor an address"),
        ("host", "x", {"address": "a", "port": True}, "port: must be a whole number from 1 to 65535"),
        ("host", "x", {"address": "a", "port": 70000}, "which 70000 is not"),
        ("host", "x", {"address": "a", "adress": "b"}, "adress: there is no such key; did you mean address?"),
        ("host", "x", {"address": "a", "tls": 1}, "tls: must be true or false, not a whole number"),
        ("host", "x", {"address": "a", "from": ["10.0.0.1/8"]}, '"10.0.0.1/8" is not a network'),
        ("host", "x", {"address": "a", "server": "ftp://b"}, "not an http or https URL"),
        ("host", "x", {"address": "a", "groups": "web"}, "groups: must be a list, not a text"),
        ("host", "x", {"address": "a", "groups": ["a b"]}, '"a b" is no name'),
        ("host", "x", {"address": "a\0"}, "holds a character that no text can hold"),
        ("sensor", "-x", {}, "is no sensor's name"),
        ("schedule", "x", {}, "must have either every"),
        ("schedule", "x", {"every": "1m", "cron": "* * * * *"}, "must have either every"),
        ("schedule", "x", {"every": "0.5s"}, "must be from 1s to 366d"),
        ("schedule", "x", {"every": "often"}, '"often" is not a duration'),
        ("schedule", "x", {"every": "1m", "splay": "2m"}, "splay: must not be longer than the interval, 1m"),
        ("schedule", "x", {"every": "1m", "timezone": "Europe/Paris"}, "timezone: is for cron"),
        ("schedule", "x", {"cron": "61 * * * *"}, "is no cron expression: bad minute"),
        ("schedule", "x", {"cron": "0 0 31 2,4 1"}, ""),
        ("schedule", "x", {"cron": "0 0 30 2 *"}, "cron"),
        ("schedule", "x", {"cron": "0 1 * * *", "timezone": "Europe/Pariss"}, "did you mean Europe/Paris?"),
        ("schedule", "x", {"cron": "0 1 * * *", "timezone": "../../etc/passwd"}, "is no time zone"),
        ("probe", "x", {"sensor": "dsk"}, "sensor: there is no sensor dsk; did you mean disk?"),
        ("probe", "x", GOOD_PROBE | {"schedule": "minutly"}, "did you mean minutely?"),
        ("probe", "x", GOOD_PROBE | {"hosts": ["web2"]}, "hosts: there is no host web2; did you mean web1?"),
        ("probe", "x", GOOD_PROBE | {"warning": "90:80"}, "a range begins with its lower end"),
        ("probe", "x", GOOD_PROBE | {"warning": "40:50", "hysteresis": 6}, "leaves no number that is good again"),
        ("probe", "x", GOOD_PROBE | {"arguments": [True]}, "an argument is a text or a number"),
        ("probe", "x", GOOD_PROBE | {"arguments": ["\x1b"]}, "control character"),
        ("probe", "x", GOOD_PROBE | {"arguments": [1] * 101}, "has 101 items, 100 at most"),
        (
            "probe",
            "x",
            GOOD_PROBE | {"everywhere": True, "hosts": ["web1"]},
            "leave out hosts and groups, or everywhere",
        ),
        ("override", "root", {"runs": 2}, 'must be named "HOST/PROBE"'),
        ("override", "web1/rot", {"runs": 2}, "there is no probe rot; did you mean root?"),
        ("override", "web2/root", {"runs": 2}, "there is no host web2; did you mean web1?"),
        ("override", "web1/root", {}, "says nothing"),
        ("override", "web1/root", {"sensor": "disk"}, "sensor: there is no such key"),
        ("maintenance", "x", {"cron": "0 1 * * *", "duration": "1h"}, "must say what it is for"),
        ("maintenance", "x", GOOD_MAINTENANCE | {"duration": ""}, "duration: must be given"),
        ("maintenance", "x", GOOD_MAINTENANCE | {"from": "2026-01-01T00:00:00Z"}, "must have either"),
        ("maintenance", "x", {"everywhere": True, "from": "2026-01-01T00:00:00"}, "must say which time is meant"),
        ("maintenance", "x", {"everywhere": True, "from": "2026-01-01T00:00:00Z"}, "until: must be given"),
        (
            "maintenance",
            "x",
            {"everywhere": True, "from": "2026-01-02T00:00:00Z", "until": "2026-01-02T00:00:00Z"},
            "until: must be later",
        ),
        ("alert", "x", {}, "somebody must be told"),
        ("alert", "x", {"mail": ["nobody"]}, "is not a mail address"),
        ("alert", "x", {"mail": ["a@b.org"], "secret_file": "/x"}, "is for a webhook"),
        ("alert", "x", {"webhook": "https://b.org", "secret_file": "x"}, "must be a whole path"),
        ("alert", "x", {"webhook": "https://b.org"}, "webhook: needs secret_file"),
        ("alert", "x", {"mail": ["a@b.org"], "from_state": "warn"}, "did you mean warning?"),
        ("report", "x", {"mail": ["a@b.org"]}, "period: must be given"),
        ("report", "x", {"mail": [], "period": "daily"}, "mail: must not be empty"),
        ("report", "x", {"mail": ["a@b.org"], "period": "daily", "at": "25:00"}, "is no time of the day"),
        ("hots", "x", {}, "there is no such kind of definition; did you mean host?"),
    ],
)
def test_what_is_wrong_is_told(kind: str, name: str, content: dict[str, Any], complaint: str) -> None:
    """By the definition, the key, and what would do; no complaint means that there is none."""
    found = complaints(kind, name, content)

    assert len(found) == bool(complaint), found
    assert not complaint or complaint in found[0]


def test_all_problems_are_told_together() -> None:
    """Those within definitions, and those between others."""
    broken = (
        small_site(schedule="")
        .having("host", "web1", {"address": "a b", "port": 0})
        .having("probe", "p", {"sensor": "dis"})
    )
    with pytest.raises(WrongSite) as caught:
        rules.checked(broken)

    assert [(one.kind, one.key) for one in caught.value.problems] == [
        ("host", "address"),
        ("host", "port"),
        ("probe", "sensor"),
    ]


def test_two_groups_that_differ_about_a_host_are_told_unless_the_host_settles_it() -> None:
    """The order of groups means nothing."""
    site = small_site().having("host", "web1", {"address": "a", "groups": ["web", "big"]})
    both = site.having("override", "group:web/root", {"runs": 2, "warning": "5"}).having(
        "override", "group:big/root", {"runs": 3, "critical": "9"}
    )
    with pytest.raises(WrongSite, match=r"runs: differs from group:\w+/root, and web1 is in both groups"):
        rules.checked(both)

    assert rules.checked(both.having("override", "web1/root", {"runs": 4}))


def test_what_is_mostly_a_slip_is_noted_and_taken() -> None:
    """A group that no host is in, a probe that runs nowhere."""
    site = small_site(everywhere=False).having("alert", "x", {"mail": ["a@b.org"], "groups": ["wbe"]})

    assert [str(one) for one in doubts(rules.checked(Site(site.definitions)))] == [
        "probe root: it runs nowhere: hosts, groups or everywhere say where",
        "alert x groups: no host is in the group wbe; did you mean web?",
    ]
