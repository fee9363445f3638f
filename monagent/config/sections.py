"""The sections of `client.cfg`: each option with its reader, its default and its meaning."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from monagent.alarms.quiet import Quiet
from monagent.config import values
from monagent.config.table import option


@dataclass(frozen=True)
class SensorSection:
    """`[sensor]`: what holds for every sensor."""

    executable: str = option(values.text, "check", "program inside each sensor's directory")
    help: str = option(values.text, "options", "the argument that makes it print its help")
    path: Path = option(values.path, "sensors/", "the directory of the sensors")
    backup: Path = option(values.path, "sensors_backup/", "where a replaced sensor goes")
    keep_backups: int = option(values.count(0, 1000), "5", "how many replaced versions of each sensor are kept")
    timeout: float = option(values.duration, "30", "seconds, then the sensor's whole process group is killed")
    output_limit: int = option(values.size, "65536", "bytes that a sensor may print")
    user: str = option(values.user, "", "run sensors as this user (needs root); empty: as the agent itself")
    memory: int = option(values.size_or_none, "1G", "bytes of memory of its own that each process may use; or none")
    processes: int = option(
        values.count_or_none(1, 1_000_000),
        "4096",
        "processes and threads that a sensor's user may have in all, root excepted; or none",
    )
    files: int = option(values.count_or_none(8, 1_000_000), "1024", "files that each process may have open; or none")
    cpu: int = option(values.count_or_none(1, 1_000_000), "none", "seconds of processor time for each process; or none")
    file_size: int = option(values.size_or_none, "1G", "bytes that a sensor may write into one file; or none")
    nice: int = option(values.niceness, "0", "how willing sensors are to give way: 0 as the agent, 19 the most")
    ionice: int = option(values.io_priority, "none", "idle, best-effort:0 to best-effort:7, or none")
    public_key: bytes = option(values.public_key, "", "Ed25519; when set, only packages signed by it are installed")


@dataclass(frozen=True)
class OneSensorSection:
    """`[sensor:NAME]`: what differs for one sensor. An empty value means: as in `[sensor]`."""

    command: tuple[str, ...] = option(values.command, "", "a program elsewhere instead of sensors/NAME/check")
    format: str = option(values.choice("number", "nagios"), "number", "number, or nagios for such a plug-in")
    overlap: bool = option(values.boolean, "no", "yes: two runs with the same arguments may overlap")
    timeout: float | None = option(values.or_none(values.duration), "", "as in [sensor]")
    output_limit: int | None = option(values.or_none(values.size), "", "as in [sensor]")
    user: str | None = option(values.or_none(values.user), "", "as in [sensor]")
    memory: int | None = option(values.or_none(values.size_or_none), "", "as in [sensor]")
    processes: int | None = option(values.or_none(values.count_or_none(1, 1_000_000)), "", "as in [sensor]")
    files: int | None = option(values.or_none(values.count_or_none(8, 1_000_000)), "", "as in [sensor]")
    cpu: int | None = option(values.or_none(values.count_or_none(1, 1_000_000)), "", "as in [sensor]")
    file_size: int | None = option(values.or_none(values.size_or_none), "", "as in [sensor]")
    nice: int | None = option(values.or_none(values.niceness), "", "as in [sensor]")
    ionice: int | None = option(values.or_none(values.io_priority), "", "as in [sensor]")


@dataclass(frozen=True)
class MonitorSection:
    """`[monitor]`: the one server that results go to."""

    url: str = option(values.url, None, "where the server takes results (http://monitor.example.org:8081/xmlrpc/)")
    timeout: float = option(values.duration, "30", "seconds that one call to the server may take")
    name: str = option(values.text, "", "the host name handed to the server; empty: the system's")
    probation: float = option(values.duration, "600", "seconds a new server has before the agent goes back")
    certificate: Path | None = option(values.secret_path, "", "our certificate for mutual TLS (PEM)")
    key: Path | None = option(values.secret_path, "", "its key, in a file that others cannot read; or credential:NAME")
    ca: Path | None = option(values.optional_path, "", "the authority that signed the server; empty: the system's")


@dataclass(frozen=True)
class AgentSection:
    """`[agent]`: the listener and the work."""

    host: str = option(values.text, "127.0.0.1", "address to listen on")
    port: int = option(values.count(0, 65535), "8080", "port to listen on; 0 takes a free one")
    state: Path = option(values.path, "var/", "directory of the journal and of agent.lock, which holds the pid")
    log: Path | None = option(
        values.optional_path, "", "file to log to; empty: stderr, and var/agent.log where `monagent start` has none"
    )
    log_format: str = option(values.choice("text", "json"), "text", "text for people, or json for programs")
    grace: float = option(values.duration, "10", "seconds that running work gets when the agent is told to stop")
    user: str = option(values.user, "", "give up root and run as this user, once sensors of other users can be run")
    workers: int = option(
        values.count(1, 256), "8", "checks at the same time; a quarter more while one sensor holds up others"
    )
    journal_limit: int = option(values.size, "256M", "size at which new commands are refused")


@dataclass(frozen=True)
class SecuritySection:
    """`[security]`: who may command."""

    allow: tuple[IPv4Network | IPv6Network, ...] = option(
        values.networks, "127.0.0.0/8 ::1", "networks that may send commands"
    )
    certificate: Path | None = option(values.secret_path, "", "serve TLS with this certificate (PEM)")
    key: Path | None = option(values.secret_path, "", "its key, in a file that others cannot read; or credential:NAME")
    client_ca: Path | None = option(values.optional_path, "", "take only callers whose certificate it signed")
    peers: tuple[str, ...] = option(values.words, "", "with client_ca: certificate names that may command")
    insecure: bool = option(values.boolean, "no", "yes: listen beyond loopback without TLS; said loudly at each start")
    direct_listing: bool = option(values.boolean, "yes", "answer cmd_list_sensors() without a ticket directly")


@dataclass(frozen=True)
class BackupSection:
    """`[backup:JOB]`: one directory that is kept in step with another."""

    source: Path = option(values.path, None, "the directory to be copied")
    target: Path = option(values.path, None, "where its copy lives")
    exclude: tuple[str, ...] = option(values.patterns, "", "gitignore-style patterns, one a line")
    compare: str = option(values.choice("content", "stat"), "content", "content, or stat (type, size, mtime)")
    delete: bool = option(values.boolean, "no", "remove what the source no longer has (kept in a dated bin)")
    max_delete: str = option(values.share, "10%", "more than that is refused")
    max_shrink: str = option(values.share, "30%", "a source of which more than that is gone stops the job")
    max_age: float = option(values.duration, "26h", "a job that was not synced with success for longer is a problem")
    reflink: bool = option(
        values.boolean, "no", "yes: the copy may share its blocks with the source, and is no second copy then"
    )
    bin: Path | None = option(
        values.optional_path, "", "what was deleted or overwritten goes there; empty: beside the target, or in it"
    )
    bin_age: float = option(values.duration, "30d", "how long it is kept there")
    nice: int = option(values.niceness, "10", "how willing a run is to give way: 0 as the agent, 19 the most")
    ionice: int = option(values.io_priority, "none", "idle, best-effort:0 to best-effort:7, or none")
    bandwidth: int = option(values.size_or_none, "none", "bytes a second that may be read and written; or none")
    mail: tuple[str, str] = option(
        values.mail_when, "", "a [mail:REPORT] to send, and when: never, changes, problems or always"
    )


@dataclass(frozen=True)
class MailSection:
    """`[mail]`: how mail is sent."""

    host: tuple[tuple[str, int], ...] = option(
        values.mail_hosts, "localhost", "mail server; several are tried in order (HOST or HOST:PORT)"
    )
    port: int = option(values.count(1, 65535), "25", "its port")
    security: str = option(values.choice("none", "starttls", "tls"), "none", "none, starttls or tls")
    user: str = option(values.text, "", "login")
    password_file: Path | None = option(
        values.secret_path, "", "a file that holds the password, readable by us alone; or credential:NAME"
    )
    sender: tuple[str, str] = option(
        values.address, "", "the From address (Name <a@b.c> or a@b.c); empty: monagent@ and the host's name"
    )
    ca: Path | None = option(values.optional_path, "", "the authority that signed the mail server; empty: the system's")
    timeout: float = option(
        values.duration, "30", "seconds that one answer of the mail server may take; that to a whole mail: 600"
    )
    cap: int = option(values.count(4, 10_000), "100", "alerts that one recipient gets in a day")
    templates: Path | None = option(
        values.optional_path, "", "a directory of templates that go before the built-in ones"
    )


@dataclass(frozen=True)
class ReportSection:
    """`[mail:REPORT]`: one kind of mail."""

    to: tuple[str, ...] = option(values.recipients, "", "recipients, separated by blanks or commas")
    subject: str = option(values.text, "", "subject, a template itself ({{ host }}); empty: the template's own")
    template: str = option(
        values.text, "", "alert, report, backup, or a template of your own; empty: by what it is sent for"
    )
    language: str = option(values.choice("en", "zh"), "en", "of the template's own words: en or zh")
    period: float = option(values.duration, "1d", "how far a report looks back; the journal keeps 7 days")


@dataclass(frozen=True)
class AlertSection:
    """`[alert:NAME]`: when a reading is worth a mail."""

    sensor: str = option(values.text, "", "the sensor")
    arguments: tuple[str, ...] = option(
        values.arguments, "", "its arguments; empty: all of its checks, each watched on its own"
    )
    warning: str = option(values.threshold, "", "Nagios range (example: ~:80 warns above 80)")
    critical: str = option(values.threshold, "", "Nagios range")
    for_: int = option(values.count(1, 1000), "1", "runs in a row until it is told")
    hysteresis: float = option(values.amount, "0", "how far inside its range a number must be again to be well")
    remind: float = option(values.duration_or_none, "none", "how often a problem that lasts is told again; or none")
    quiet: Quiet | None = option(values.hours, "", "hours in which only critical is mailed (example: 22:00-07:00)")
    cap: int = option(values.count(4, 1000), "10", "mails about it in a day")
    after: float = option(values.duration, "30m", "for [alert:server]: how long nothing could be delivered")
    mail: str = option(values.text, "", "a [mail:REPORT]")


PLAIN_SECTIONS: dict[str, type] = {
    "sensor": SensorSection,
    "monitor": MonitorSection,
    "agent": AgentSection,
    "security": SecuritySection,
    "mail": MailSection,
}
NAMED_SECTIONS: dict[str, type] = {
    "sensor:": OneSensorSection,
    "backup:": BackupSection,
    "mail:": ReportSection,
    "alert:": AlertSection,
}
