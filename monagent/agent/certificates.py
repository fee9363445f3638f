"""Find out whether the certificates, keys and passwords that a configuration names can be used, and for how long."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from monagent.agent.mailing import mail_problems
from monagent.config.manager import ConfigManager
from monagent.config.settings import Settings
from monagent.errors import ConfigError, Problem, Refused
from monagent.private_file import read_password
from monagent.rpc import pem
from monagent.rpc.tls import client_context, server_context

_FILES = {
    "monitor": ("certificate", "key", "ca"),
    "security": ("certificate", "key", "client_ca"),
    "mail": ("password_file",),
}
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
    try:
        if settings.mail.password_file:
            read_password(settings.mail.password_file)
    except Refused as refusal:
        found.append(Problem("client.cfg", None, "mail", "password_file", str(refusal)))
    return [*found, *mail_problems(settings), *_of_others(settings)]


def _of_others(settings: Settings) -> Iterator[Problem]:
    """Files that belong to somebody else, who can read and replace them whatever their mode."""
    ours = {0, os.geteuid()}
    if settings.agent.user:
        ours.add(pwd.getpwnam(settings.agent.user).pw_uid)
    for section, names in _FILES.items():
        for name in names:
            path: Path | None = getattr(getattr(settings, section), name)
            owner = path.stat().st_uid if path and path.is_file() else 0
            if owner not in ours:
                message = (
                    f"{path} belongs to another user (uid {owner}), who can read and change it: chown it to your own"
                )
                yield Problem("client.cfg", None, section, name, message)


def check(settings: Settings) -> None:
    """Refuse a configuration that names files which cannot be used.

    Raises:
        ConfigError: with every problem, where the configuration names the file.
    """
    found = problems(settings)
    if found:
        manager = ConfigManager(settings.file)
        placed = [
            replace(
                one, file=str(settings.file), line=manager.line(one.section, one.option) or manager.line(one.section)
            )
            for one in found
        ]
        raise ConfigError(sorted(placed, key=lambda problem: problem.line or 0))


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
