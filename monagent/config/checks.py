"""What the options of `client.cfg` mean for each other, and which of them do not go together."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from monagent.alarms.ranges import parse as parse_range
from monagent.config.sections import (
    AlertSection,
    BackupSection,
    MailSection,
    MonitorSection,
    ReportSection,
    SecuritySection,
    SensorSection,
)
from monagent.config.table import Collector
from monagent.models import is_sensor_name


def check_together(
    plain: Mapping[str, Any], named: Mapping[str, Mapping[str, Any]], hosts: Collection[str], found: Collector
) -> None:
    """Complain about what no option can know alone.

    Args:
        plain: the records of the sections with one name; one with a problem of its own is None and left out.
        named: those of the others, by prefix and name.
        hosts: addresses that are listened on already, instead of `[agent] host`.
        found: takes the complaints.
    """
    for name in named["sensor:"]:
        if not is_sensor_name(name):
            found.complain(f"sensor:{name}", "", "is not a sensor's name (letters, digits, _ - . and at most 64)")
    for name, job in named["backup:"].items():
        _check_backup(name, job, found)
    _check_targets(named["backup:"], found)
    _check_mails(plain, named["backup:"], named["mail:"], named["alert:"], found)
    sensor: SensorSection | None = plain["sensor"]
    if sensor and ("/" in sensor.executable or not sensor.executable):
        found.complain("sensor", "executable", "must be a file name without a slash (example: check)")
    if plain["monitor"]:
        _check_monitor(plain["monitor"], found)
    security: SecuritySection | None = plain["security"]
    if security:
        _check_security(security, found)
        for host in hosts or ([plain["agent"].host] if plain["agent"] else []):
            if not _is_loopback(host):
                _check_exposed(host, security, found)


def _check_monitor(monitor: MonitorSection, found: Collector) -> None:
    """What the options of TLS need."""
    if urlsplit(monitor.url).scheme == "http":
        for name in ("ca", "certificate", "key"):
            if getattr(monitor, name):
                found.complain("monitor", name, "is for https, and the url is http: nothing would be protected")
    if monitor.key and not monitor.certificate:
        found.complain("monitor", "key", "needs the certificate that belongs to it")


def _check_backup(name: str, job: BackupSection | None, found: Collector) -> None:
    """A job's state has its name, and neither root may stand in the other."""
    section = f"backup:{name}"
    if not is_sensor_name(name):
        found.complain(section, "", "is not a job's name (letters, digits, _ - . and at most 64)")
    if job is None:
        return
    source, target = Path(os.path.realpath(job.source)), Path(os.path.realpath(job.target))
    if source == target:
        found.complain(section, "target", f"is the source itself: {source}")
    elif source in target.parents:
        found.complain(
            section, "target", f"{job.target} is inside the source {job.source}: it would be copied into itself"
        )
    elif target in source.parents:
        found.complain(section, "source", f"{job.source} is inside the target {job.target}")
    place = job.bin and Path(os.path.realpath(job.bin))
    if place and (source in (place, *place.parents) or target in (place, *place.parents)):
        found.complain(section, "bin", f"{job.bin} is inside the source or the target: leave it out, or put it beside")


RESERVED_REPORTS = ("test", "queue")
SERVER_ALERT = "server"


def _check_mails(
    plain: Mapping[str, Any],
    backups: Mapping[str, BackupSection | None],
    reports: Mapping[str, ReportSection | None],
    alerts: Mapping[str, AlertSection | None],
    found: Collector,
) -> None:
    """A mail needs a report, and that needs somebody to get it."""
    mail: MailSection | None = plain["mail"]
    if mail and mail.user and not mail.password_file:
        found.complain("mail", "password_file", "must be given: a login is a user and a password_file")
    known = f"known: {', '.join(reports) or 'there is no [mail:REPORT] section'}"
    for name, report in reports.items():
        _check_report(name, report, found)
    for name, job in backups.items():
        if job and job.mail[0] and job.mail[0] not in reports:
            found.complain(f"backup:{name}", "mail", f"there is no [mail:{job.mail[0]}] ({known})")
        elif job and job.mail[0] and (report := reports[job.mail[0]]) and not report.to:
            found.complain(f"backup:{name}", "mail", f"nobody would get it: [mail:{job.mail[0]}] has no to")
    for name, alert in alerts.items():
        if alert:
            _check_alert(name, alert, reports, known, found)


def _check_report(name: str, report: ReportSection | None, found: Collector) -> None:
    section = f"mail:{name}"
    if not is_sensor_name(name):
        found.complain(section, "", "is not a report's name (letters, digits, _ - . and at most 64)")
    elif name in RESERVED_REPORTS:
        found.complain(section, "", f"cannot be a report's name: `monagent mail {name}` is something else")
    if report and not report.to and (report.subject or report.template):
        found.complain(section, "to", "must be given: who gets it")
    if report and report.template and not is_sensor_name(report.template):
        found.complain(section, "template", f'"{report.template}" is not a template\'s name (example: report)')


def _check_alert(
    name: str, alert: AlertSection, reports: Mapping[str, ReportSection | None], known: str, found: Collector
) -> None:
    section = f"alert:{name}"
    if found.is_frame(section):  # nobody relies on it yet
        return
    if not alert.mail:
        found.complain(section, "mail", f"must be given: the report that it is mailed by ({known})")
    elif alert.mail not in reports:
        found.complain(section, "mail", f"there is no [mail:{alert.mail}] ({known})")
    elif (report := reports[alert.mail]) and not report.to:
        found.complain(section, "mail", f"nobody would get it: [mail:{alert.mail}] has no to")
    if name == SERVER_ALERT:
        if alert.sensor or alert.warning or alert.critical:
            found.complain(section, "", "is about the monitoring server alone: it has after and mail, and no sensor")
        return
    if not is_sensor_name(name):
        found.complain(section, "", "is not an alert's name (letters, digits, _ - . and at most 64)")
    if not is_sensor_name(alert.sensor):
        found.complain(section, "sensor", "must be given: the sensor whose readings are watched (example: load)")
    _check_margin(section, alert, found)
    if not alert.warning and not alert.critical:
        found.complain(section, "critical", "or warning must be given: a range that is good (example: ~:90)")


def _check_margin(section: str, alert: AlertSection, found: Collector) -> None:
    for level in ("warning", "critical"):
        text = getattr(alert, level)
        limits = parse_range(text)
        if limits is not None and not limits.leaves_room(alert.hysteresis):
            found.complain(section, "hysteresis", f"leaves no number that is good again: {level} = {text}")


def _check_targets(backups: Mapping[str, BackupSection | None], found: Collector) -> None:
    """No two jobs write to the same place: each would delete what the other one keeps."""
    seen: dict[Path, str] = {}
    for name, job in backups.items():
        if job is None:
            continue
        target = Path(os.path.realpath(job.target))
        for other, owner in seen.items():
            if target == other or target in other.parents or other in target.parents:
                found.complain(
                    f"backup:{name}", "target", f"{job.target} is the target of [backup:{owner}], or inside it"
                )
        seen[target] = name


def _check_security(security: SecuritySection, found: Collector) -> None:
    """What the options of TLS mean for each other."""
    if not security.certificate:
        for name in ("key", "client_ca", "peers"):
            if getattr(security, name):
                found.complain("security", name, "needs a certificate: without one TLS is not served")
    elif security.insecure:
        found.complain("security", "insecure", "says yes, and the certificate says TLS: leave one of them out")
    if security.peers and security.certificate and not security.client_ca:
        found.complain("security", "peers", "needs client_ca: names count only when an authority has signed them")
    for name in security.peers:
        if "*" in name:
            found.complain("security", "peers", f'"{name}" must be written in full (example: monitor.example.org)')


def _check_exposed(host: str, security: SecuritySection, found: Collector) -> None:
    """What others can reach must be protected, and open to somebody."""
    if not security.certificate and not security.insecure:
        found.complain(
            "agent",
            "host",
            f'"{host}" can be reached by others: serve TLS ([security] certificate, key), listen on loopback, '
            "or set [security] insecure = yes where the network itself is protected",
        )
    if all(network.is_loopback for network in security.allow):
        found.complain(
            "security",
            "allow",
            f"lets nobody in but this host, and [agent] host = {host} is for others: name the server or its network "
            "(example: 192.0.2.10)",
        )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
