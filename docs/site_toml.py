"""What the page about definitions says of each key beside its meaning: what it takes, with values that show its limits.

`tests/unit/docs/test_site_toml.py` reads every value here by the key's own reader, so that the page cannot go stale.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monagent.server.site.keys import KEYS, Declared

MADE = "<!-- Made by docs/make_reference.py from monagent/server/site/keys.py and docs/site_toml.py. -->\n"


@dataclass(frozen=True)
class Takes:
    """What a key takes, in words; `good` and `bad` are values at its limits. The first good one is the page's example."""

    words: str
    good: tuple[Any, ...]
    bad: tuple[Any, ...] = ()


_BOOL = Takes("true or false", (True, False), ("yes", 1))
_TEXT = Takes("text, at most 4096 characters", ("ask Ann first", "a" * 4096), ("a" * 4097, 3))
_HOSTS = Takes("list of hosts that are defined", (["web1", "web2"],), ("web1", ["web 1"]))
_GROUPS = Takes("list of names", (["web", "paris"], ["a" * 64]), ("web", ["a" * 65], ["two words"]))
_PROBES = Takes("list of probes that are defined", (["root-disk"],), ("root-disk", ["two words"]))
_MAIL = Takes("list of mail addresses", (["ops@example.org"],), ("ops@example.org", ["nobody"]))
_CRON = Takes(
    "cron expression of five fields, at most 255 characters", ("*/5 8-18 * * 1-5",), ("* * *", "0 0 31 2 *", "@daily x")
)
_ZONE = Takes("name of a time zone", ("Europe/Paris", "UTC"), ("Mars/Olympus",))
_FILE = Takes("whole path; nobody but the server may read the file", ("/etc/monserver/webhook.secret",), ("secret",))
_RANGE = Takes("Nagios range, at most 255 characters; empty: none", ("20:", "~:90", "@10:20", ""), ("20:10", "much"))
_MONTH = Takes("time span from 1m to 31d", ("4h", "1m", "31d"), ("59s", "32d"))

SAME: dict[str, Takes] = {
    "groups": _GROUPS,
    "hosts": _HOSTS,
    "probes": _PROBES,
    "everywhere": _BOOL,
    "note": _TEXT,
    "timezone": _ZONE,
    "language": Takes("`en` or `zh`", ("en", "zh"), ("de",)),
    "cron": _CRON,
    "mail": _MAIL,
    "arguments": Takes(
        "list of at most 100 texts and numbers", (["percent", "/"], [1, 2.5]), ("percent /", ["x"] * 101)
    ),
    "warning": _RANGE,
    "critical": _RANGE,
    "runs": Takes("1 to 1000", (3, 1, 1000), (0, 1001)),
    "hysteresis": Takes("number, 0 or more", (5.0, 0), (-1,)),
    "schedule": Takes("a schedule that is defined; empty: none", ("minutely", ""), ("two words",)),
}
"""Of keys that take the same in every kind."""

OWN: dict[tuple[str, str], Takes] = {
    ("host", "address"): Takes("name or address, without a port", ("192.0.2.10", "web1.example.org", "2001:db8::1"), ("web1:8080",)),
    ("host", "port"): Takes("1 to 65535", (8080, 1, 65535), (0, 65536)),
    ("host", "from"): Takes("list of networks and addresses", (["192.0.2.0/24", "2001:db8::1"],), (["192.0.2.1/24"],)),
    ("host", "server"): Takes("http or https URL", ("http://new.example.org:8081/xmlrpc/",), ("new.example.org",)),
    ("host", "tls"): _BOOL,
    ("schedule", "every"): Takes("time span from 1s to 366d", ("5m", "1s", "366d"), ("0s", "367d", "5 parsecs")),
    ("schedule", "splay"): Takes("time span from 0s to the interval; with cron to 1d", ("2m", "0s"), ("367d",)),
    ("probe", "sensor"): Takes("a sensor that is defined", ("disk",), (".disk", "two words")),
    ("probe", "nagios"): _BOOL,
    ("override", "enabled"): _BOOL,
    ("maintenance", "from"): Takes("date and time with Z or an offset", ("2026-11-22T22:00:00Z",), ("2026-11-22T22:00:00", "noon")),
    ("maintenance", "until"): Takes("date and time with Z or an offset", ("2026-11-23T02:00:00+01:00",), ("2026-11-23",)),
    ("maintenance", "duration"): _MONTH,
    ("alert", "from_state"): Takes("`warning` or `critical`", ("warning", "critical"), ("ok",)),
    ("alert", "webhook"): Takes("http or https URL", ("https://hooks.example.org/monagent",), ("hooks.example.org",)),
    ("alert", "secret_file"): _FILE,
    ("alert", "apprise_file"): _FILE,
    ("alert", "remind"): _MONTH,
    ("alert", "delay"): Takes("time span from 0s to 1d", ("2m", "0s", "1d"), ("2d",)),
    ("report", "period"): Takes("`daily`, `weekly` or `monthly`", ("weekly", "daily", "monthly"), ("yearly",)),
    ("report", "at"): Takes("hours and minutes", ("07:00", "23:59"), ("7:00", "24:00")),
}  # fmt: skip
"""Of keys that only one kind has."""

ABOUT: dict[str, str] = {
    "host": 'A host with an agent. A name has at most 255 letters, digits, `_`, `.` and `-`; one with dots stands in quotes: `[host."web1.example.org"]`. '
    "Agents ask by that name where to go (`[monitor] name` of their `client.cfg`), so it should be the same.",
    "sensor": "A sensor that probes run: the directory of that name on the hosts.",
    "schedule": "Either `every` or `cron`. An interval counts from 1970-01-01T00:00:00Z, so neither late runs nor restarts make it drift. "
    "`timezone` is for `cron` alone.",
    "probe": "A check: a sensor with its arguments, on the hosts that `hosts` and `groups` say, or on all of them with `everywhere`. "
    "A number outside of `warning` or `critical` is bad; these are "
    "[ranges as Nagios plug-ins have them](https://www.monitoring-plugins.org/doc/guidelines.html#THRESHOLDFORMAT).",
    "override": 'What a probe is otherwise on one host, `[override."HOST/PROBE"]`, or on the hosts of a group, `[override."group:GROUP/PROBE"]`. '
    "What it does not say stays as it is. A host goes before its groups. Two groups of one host must not say different things, unless the host's own override settles it.",
    "maintenance": "Nobody is told of trouble meanwhile. Either `from` and `until`, or `cron` and `duration`. One of `hosts`, `groups`, "
    "`probes` and `everywhere` must say what it is for: hosts or groups, and of these only the probes, if any are named.",
    "alert": "Who is told of which incidents. At least one of `mail`, `webhook` and `apprise_file`; a webhook needs `secret_file`. Without `hosts`, `groups` and "
    "`probes` it is for everything.",
    "report": "Who gets a report on quality, and when. Without `hosts` and `groups` it is about all hosts.",
}

EXAMPLE = """\
[host.web1]
address = "192.0.2.10"
port = 8443
groups = ["paris", "web"]
from = ["192.0.2.0/24"]
server = "http://new.example.org:8081/xmlrpc/"
tls = true

[host."web2.example.org"]
address = "2001:db8::2"

[sensor.disk]
note = "free space"

[schedule.minutely]
every = "1m"
splay = "30s"

[schedule.office-hours]
cron = "*/5 8-18 * * 1-5"
timezone = "Europe/Paris"

[probe.root-disk]
sensor = "disk"
arguments = ["percent", "/"]
warning = "20:"
critical = "10:"
runs = 3
hysteresis = 2.0
schedule = "minutely"
groups = ["web"]
hosts = ["web2.example.org"]

[probe.mounts]
sensor = "disk"
nagios = true
schedule = "office-hours"
everywhere = true

[override."group:paris/root-disk"]
warning = "30:"
critical = "15:"
runs = 2
hysteresis = 1.0
arguments = ["percent", "/srv"]
schedule = "office-hours"

[override."web2.example.org/mounts"]
enabled = false

[maintenance.patching]
groups = ["web"]
probes = ["root-disk"]
cron = "0 22 * * 0"
timezone = "Europe/Paris"
duration = "2h"
note = "the updates of the week"

[maintenance.moving]
everywhere = true
from = "2026-11-22T22:00:00Z"
until = "2026-11-23T02:00:00Z"

[maintenance.new-disk]
hosts = ["web1"]
from = "2026-11-24T22:00:00Z"
until = "2026-11-24T23:00:00Z"

[alert.ops]
hosts = ["web2.example.org"]
groups = ["web"]
probes = ["root-disk"]
from_state = "critical"
mail = ["ops@example.org"]
webhook = "https://hooks.example.org/monagent"
secret_file = "/etc/monserver/webhook.secret"
apprise_file = "/etc/monserver/apprise.urls"
remind = "4h"
delay = "2m"
language = "zh"

[report.weekly]
period = "weekly"
hosts = ["web2.example.org"]
groups = ["web"]
mail = ["boss@example.org"]
at = "06:30"
timezone = "Europe/Paris"
language = "zh"
"""
"""Every kind and every key once, no value at its default."""


def takes(kind: str, key: str) -> Takes:
    """What a key takes."""
    return OWN.get((kind, key)) or SAME[key]


def page() -> str:
    """The page about the file of definitions."""
    parts = [
        f"# site.toml: the definitions\n\n{MADE}",
        "What `monserver apply FILE` reads and `monserver export` writes: [TOML](https://toml.io), UTF-8, at most 16 MiB. Each table is one "
        "definition, `[KIND.NAME]`. `monserver KIND add`, `set` and `remove` change the same definitions one by one.\n",
        "- Names are at most 64 letters, digits, `_`, `.` and `-`, unless a kind says otherwise.\n"
        '- Time spans are a number with `s`, `m`, `h` or `d`: `"90s"`, `"5m"`. A list has at most 100000 items.\n'
        "- What is at its default is left out by `export`; lists whose order means nothing are sorted.\n"
        "- All definitions are checked together: whatever one names must be there. A file with anything wrong in it changes nothing, and "
        "every problem is told with its line (the first fifty).\n",
        "How to use it: [Define what is checked](../how-to/define-what-is-checked.md).\n",
        *[_section(kind, keys) for kind, keys in KEYS.items()],
        f"## An example with every key\n\n```toml\n{EXAMPLE}```\n",
    ]
    return "\n".join(parts)


def _section(kind: str, keys: tuple[Declared, ...]) -> str:
    rows = [
        f"## {kind}\n",
        f"{ABOUT[kind]}\n",
        "| key | takes | default | example | meaning |",
        "| --- | --- | --- | --- | --- |",
    ]
    for key in keys:
        about = takes(kind, key.name)
        cells = (f"`{key.name}`", about.words, _default(key), f"`{_toml(about.good[0])}`", key.meaning)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def _default(key: Declared) -> str:
    if key.required:
        return "*must be given*"
    return "" if key.default in (None, "", []) else f"`{_toml(key.default)}`"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if isinstance(value, str) else repr(value)
