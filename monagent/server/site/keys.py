"""What each kind of definition can say: its keys, how they are read, what they default to and what they mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monagent.mail.words import LANGUAGES
from monagent.server.site import readers as read
from monagent.server.site import times
from monagent.server.site.readers import Reader

_DAY = 86_400.0
_YEAR = 366 * _DAY


@dataclass(frozen=True, slots=True)
class Declared:
    """One key of a definition.

    Attributes:
        name: in the file.
        read: makes of a value what is kept.
        meaning: for people.
        default: what it is when it is not given; never kept.
        required: it must be given.
        names: the kind that its value, or each of its values, is a name of.
    """

    name: str
    read: Reader
    meaning: str
    default: Any = None
    required: bool = False
    names: str = ""

    @property
    def is_list(self) -> bool:
        """Whether it takes any number of values."""
        return isinstance(self.default, list) or self.read is read.arguments


def _lists(*names: str) -> tuple[Declared, ...]:
    known = {
        "hosts": Declared("hosts", read.many(read.host_name), "hosts that it is for", [], names="host"),
        "groups": Declared("groups", read.many(read.word), "groups of hosts that it is for", []),
        "probes": Declared("probes", read.many(read.word), "probes that it is for", [], names="probe"),
    }
    return tuple(known[name] for name in names)


_EVERYWHERE = Declared("everywhere", read.boolean, "for all hosts", default=False)
_NOTE = Declared("note", read.text, "what people should know about it", "")
_TIMEZONE = Declared("timezone", times.timezone, "time zone of the clock that is meant", "UTC")
_LANGUAGE = Declared("language", read.choice(*LANGUAGES), "language of the mails", "en")
_ARGUMENTS = Declared("arguments", read.arguments, "what the sensor is given", [])
_RUNS = Declared("runs", read.whole(1, 1000), "bad readings in a row until it is believed", 1)
_HYSTERESIS = Declared("hysteresis", read.amount, "how much better than its threshold a number must get again", 0.0)
_WARNING = Declared("warning", read.threshold, "range (as Nagios has it) of numbers that are no warning", "")
_CRITICAL = Declared("critical", read.threshold, "range (as Nagios has it) of numbers that are not critical", "")
_SCHEDULE = Declared(
    "schedule", read.or_empty(read.word), "when it runs; without one only by hand", "", names="schedule"
)

KEYS: dict[str, tuple[Declared, ...]] = {
    "host": (
        Declared("address", read.filled(read.address), "where its agent listens", required=True),
        Declared("port", read.whole(1, 65535), "the agent's port", 8080),
        Declared("groups", read.many(read.word), "groups that it belongs to", []),
        Declared(
            "from",
            read.many(read.network, ordered=True),
            "networks that its results may come from, when that is not its address itself",
            [],
        ),
        Declared("server", read.url, "the server that its agent is told to use, when that is not this one", ""),
        Declared("tls", read.boolean, "its agent speaks https", default=False),
    ),
    "sensor": (_NOTE,),
    "schedule": (
        Declared("every", times.duration(1.0, _YEAR), "a time span", ""),
        Declared("cron", times.cron, "a cron expression", ""),
        _TIMEZONE,
        Declared(
            "splay", times.duration(0.0, _YEAR), "how long hosts are spread over; default: the interval, none for cron"
        ),
    ),
    "probe": (
        Declared("sensor", read.sensor_name, "the sensor that it runs", required=True, names="sensor"),
        _ARGUMENTS, _WARNING, _CRITICAL, _RUNS, _HYSTERESIS,
        Declared("nagios", read.boolean, "its exit status tells a state as a Nagios plug-in's does", default=False),
        _SCHEDULE, *_lists("hosts", "groups"), _EVERYWHERE,
    ),
    "override": (
        # What is not given stays as the group, or the probe, has it: but for the last one there are no defaults.
        *(
            Declared(one.name, one.read, one.meaning, names=one.names)
            for one in (_ARGUMENTS, _WARNING, _CRITICAL, _RUNS, _HYSTERESIS, _SCHEDULE)
        ),
        Declared("enabled", read.boolean, "false: it does not run there", default=True),
    ),
    "maintenance": (
        *_lists("hosts", "groups", "probes"), _EVERYWHERE,
        Declared("from", times.moment, "when it begins", ""),
        Declared("until", times.moment, "when it ends", ""),
        Declared("cron", times.cron, "when it begins, again and again", ""),
        _TIMEZONE,
        Declared("duration", times.duration(60.0, 31 * _DAY), "how long each one lasts", ""),
        _NOTE,
    ),
    "alert": (
        *_lists("hosts", "groups", "probes"),
        Declared("from_state", read.choice("warning", "critical"), "the state from which on it is told", "warning"),
        Declared("mail", read.many(read.mail, ordered=True), "who gets a mail", []),
        Declared("webhook", read.url, "a URL that it is posted to", ""),
        Declared("secret_file", read.absolute_path, "file with the secret that the webhook's posts are signed with", ""),
        Declared("apprise_file", read.absolute_path, "file with the URLs of Apprise", ""),
        Declared("remind", times.duration(60.0, 31 * _DAY), "how often it is told again while it goes on", ""),
        Declared("delay", times.duration(0.0, _DAY), "how long it must go on before it is told", "0s"),
        _LANGUAGE,
    ),
    "report": (
        Declared("period", read.choice("daily", "weekly", "monthly"), "what it covers", required=True),
        *_lists("hosts", "groups"),
        Declared("mail", read.filled(read.many(read.mail, ordered=True)), "who gets it", [], required=True),
        Declared("at", times.time_of_day, "when it is sent", "07:00"),
        _TIMEZONE, _LANGUAGE,
    ),
}  # fmt: skip


def declared(kind: str) -> dict[str, Declared]:
    """The keys of a kind by name, in the order of a file."""
    return _BY_NAME[kind]


_BY_NAME = {kind: {key.name: key for key in keys} for kind, keys in KEYS.items()}
