"""Find out whether the certificates and keys that a configuration names can be used, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

from monagent.config.settings import Settings
from monagent.errors import ConfigError, Problem, Refused
from monagent.rpc import pem
from monagent.rpc.tls import client_context, server_context

NOTICE = timedelta(days=14)


def problems(settings: Settings) -> list[Problem]:
    """Everything that is wrong with the files, found by loading them as a start would."""
    monitor, security = settings.monitor, settings.security
    found: list[Problem] = []
    try:
        client_context(monitor.url, ca=monitor.ca, certificate=monitor.certificate, key=monitor.key)
    except ConfigError as error:
        found += error.problems
    try:
        if security.certificate:
            server_context(security.certificate, security.key, security.client_ca)
    except ConfigError as error:
        found += error.problems
    return found


def last_days(settings: Settings, now: datetime) -> Iterator[tuple[str, datetime, bool]]:
    """For each file that counts today: which one it is, until when, and whether it is time for a new one."""
    monitor, security = settings.monitor, settings.security
    # Of several certificates the first is the host's own; of several authorities any that counts will do.
    named = (
        ("[monitor] certificate", monitor.certificate, 1),
        ("[monitor] ca", monitor.ca, None),
        ("[security] certificate", security.certificate, 1),
        ("[security] client_ca", security.client_ca, None),
    )
    for option, path, number in named:
        valid = [one for one in _validities(path)[:number] if not one.problem(now)]
        if valid:
            last = max(valid, key=lambda one: one.until)
            yield f"{option} {path}", last.until, last.runs_out(now, NOTICE)


def _validities(path: Path | None) -> list[pem.Validity]:
    try:
        return [one for one in pem.read(path).certificates if one] if path else []
    except Refused:
        return []
