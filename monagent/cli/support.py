"""`monagent support-bundle`: what somebody who helps needs to know, without secrets."""

from __future__ import annotations

import errno
import io
import json
import os
import platform
import sqlite3
import ssl
import sys
import tarfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import click

import monagent
from monagent.agent import doctor
from monagent.agent.spool import Spool
from monagent.cli.config import effective
from monagent.cli.options import config_option
from monagent.config import settings
from monagent.errors import ConfigError, MonagentError

LOG_BYTES = 1 << 20
_LIBRARIES = ("CherryPy", "cheroot", "click", "ConfigUpdater", "cryptography", "prometheus-client", "python-daemon")


@click.command("support-bundle")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False), required=False)
@config_option
def support_bundle(file: Path | None, config: Path) -> None:
    """Gather what a bug report needs into FILE (a tar.gz; default: monagent-support-TIME.tar.gz).

    Versions, the effective settings without the arguments of commands, what doctor says, what the journal holds (tickets, commands
    and states, no results), and the end of the log. Look into it before you hand it on: the log names hosts and tickets.
    """
    target = file or Path(time.strftime("monagent-support-%Y%m%d-%H%M%S.tar.gz"))
    parts = {
        "versions.json": _versions,
        "settings.txt": _settings,
        "doctor.txt": _doctor,
        "journal.json": _journal,
        "log.txt": _log,
    }
    if target.exists():
        raise FileExistsError(errno.EEXIST, "is there already", str(target))
    begun = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(begun, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream, tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, part in parts.items():
                click.echo(f"monagent: {name} …", err=True)
                _add(archive, name, _text_of(part, config))
        begun.rename(target)
    finally:
        begun.unlink(missing_ok=True)
    click.echo(str(target))


def _text_of(part: Callable[[Path], str], config: Path) -> str:
    """A part that cannot be had says why; the others are worth having all the same."""
    try:
        return part(config)
    except ConfigError as error:
        return "\n".join(str(problem) for problem in error.problems)
    except (MonagentError, OSError) as error:
        return f"not to be had: {error}"


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode("utf-8", "replace")
    member = tarfile.TarInfo(f"monagent-support/{name}")
    member.size, member.mtime, member.mode = len(data), int(time.time()), 0o600
    archive.addfile(member, io.BytesIO(data))


def _versions(_config: Path) -> str:
    found = {"monagent": monagent.__version__, "python": sys.version, "system": platform.platform()}
    found |= {"sqlite": sqlite3.sqlite_version, "openssl": ssl.OPENSSL_VERSION}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not there"
    return json.dumps(found, indent=2)


def _settings(config: Path) -> str:
    return effective(settings.load(config), arguments=False)


def _doctor(config: Path) -> str:
    return "\n".join(
        f"{'FAIL' if found.problem else 'ok  '} {found.subject}{': ' + found.problem if found.problem else ''}"
        for found in doctor.examine(settings.load(config))
    )


def _journal(config: Path) -> str:
    with Spool(settings.agent_section(config).state) as spool:
        entries = [
            {"ticket": one.ticket, "state": one.state, "method": one.method, "received": one.received, "attempts": one.attempts, "refusal": one.refusal}
            for one in spool.entries()
        ]  # fmt: skip
    return json.dumps(entries, indent=1)


def _log(config: Path) -> str:
    agent = settings.agent_section(config)
    path = agent.log or agent.state / "agent.log"
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - LOG_BYTES))
        return stream.read().decode("utf-8", "replace")
