"""`monagent check-config` and `monagent config`: what the configuration file says."""

from __future__ import annotations

import base64
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from monagent.addresses import shown
from monagent.agent.wiring import sensor_store
from monagent.cli.options import EXIT_CONFIG, config_option, json_option, print_json
from monagent.config import settings, values
from monagent.config.manager import unwritable
from monagent.config.sections import PLAIN_SECTIONS
from monagent.config.settings import Settings
from monagent.errors import ConfigError

MASK = "(masked)"
_SECRET = re.compile("(?i)pass|secret|token|community|api-?key|auth")
_SECRET_FLAGS = ("-p", "-C", "-P", "-a", "-u")
"""What plug-ins call passwords and communities when they are short of letters."""
_IN_WORD = re.compile(r"(://[^/@\s:]*:|(?i:bearer|basic)\s+|^-[pC](?=\S))[^@\s]+")
_NONE_IS_MINUS_ONE = ("memory", "processes", "files", "cpu", "file_size")


@click.command("check-config")
@config_option
@json_option
@click.pass_context
def check_config(context: click.Context, config: Path, as_json: bool) -> None:
    """Find every mistake in the configuration, with its line, and in the files of certificates and keys it names.

    Exit 0 when there is none, or 78.
    """
    from monagent.agent import certificates  # noqa: PLC0415 - no other command here needs TLS

    try:
        loaded = settings.load(config)
        certificates.check(loaded)
    except ConfigError as error:
        if as_json:
            print_json({"ok": False, "problems": [dataclasses.asdict(problem) for problem in error.problems]})
        else:
            click.echo("\n".join(str(problem) for problem in error.problems), err=True)
        context.exit(EXIT_CONFIG)
    hints = _hints(loaded)
    if as_json:
        print_json({"ok": True, "problems": [], "hints": hints})
        return
    for hint in hints:
        click.echo(f"hint: {hint}", err=True)
    click.echo(f"{config}: no problems", err=True)


def _hints(loaded: Settings) -> list[str]:
    """What is allowed, but probably not meant."""
    hints = []
    if not loaded.sensor.path.is_dir():
        hints.append(f"there is no directory {loaded.sensor.path} yet; monagent init makes one with the stock sensors")
    if problem := unwritable(loaded.file):
        hints.append(f"{problem}: the agent cannot be moved to another server from there (cmd_update_config)")
    hints += [
        f"[mail:{name}] has no to: nothing can be sent by it" for name, one in loaded.reports.items() if not one.to
    ]
    hints += [
        f"[alert:{name}] says neither what is watched nor who hears of it"
        for name, one in loaded.alerts.items()
        if not one.mail
    ]
    store = sensor_store(loaded)
    hints += [
        f"[alert:{name}] watches {one.sensor}, and there is no such sensor here"
        for name, one in loaded.alerts.items()
        if one.sensor and store.find(one.sensor) is None
    ]
    if loaded.mail.user and loaded.mail.security == "none":
        hints.append("[mail] security = none: the password is sent in the clear; set starttls or tls")
    return hints


@click.command("config")
@config_option
@json_option
def show_config(config: Path, as_json: bool) -> None:
    """Print the effective settings: what the file says, and the defaults for the rest."""
    loaded = settings.load(config)
    if as_json:
        print_json(_plain(loaded))
    else:
        click.echo(effective(loaded))


def effective(loaded: Settings, *, arguments: bool = True) -> str:
    """All settings as a file that means the same, secrets masked; without `arguments` all those of commands."""
    lines = [f"; {loaded.file}"]
    for section, options in _plain(loaded).items():
        if not arguments and options.get("command"):
            program, *rest = options["command"].split()
            options["command"] = f"{program} ({len(rest)} arguments)" if rest else program
        lines += ["", f"[{section}]", *(f"{name} = {value}".rstrip() for name, value in options.items())]
    return "\n".join(lines)


def _plain(loaded: Settings) -> dict[str, dict[str, Any]]:
    sections: dict[str, Any] = {name: getattr(loaded, name) for name in PLAIN_SECTIONS}
    named = {"sensor": loaded.sensors, "backup": loaded.backups, "mail": loaded.reports, "alert": loaded.alerts}
    for prefix, records in named.items():
        sections |= {f"{prefix}:{name}": record for name, record in records.items()}
    return {section: _options(record) for section, record in sections.items()}


def _options(record: Any) -> dict[str, Any]:
    return {
        field.name.rstrip("_"): _shown(field.name, getattr(record, field.name)) for field in dataclasses.fields(record)
    }


def _shown(name: str, value: Any) -> Any:
    """What would have to stand in a file to mean the same."""
    if name == "command" and value is not None:
        return " ".join(_masked(value))
    if name == "ionice" and value is not None:
        return values.io_priority_text(value)
    if name == "host" and isinstance(value, tuple):
        return " ".join(_mail_server(*one) for one in value)
    if name == "sender":
        return shown(*value) if value[0] else value[1]
    if name == "remind":
        return value or "none"
    return "none" if value == -1 and name in _NONE_IS_MINUS_ONE else _text(value)


def _mail_server(host: str, port: int) -> str:
    written = f"[{host}]" if ":" in host else host
    return f"{written}:{port}" if port else written


def _masked(words: Sequence[str]) -> list[str]:
    """A command without the passwords that it may be given as arguments."""
    shown: list[str] = []
    for word in words:
        before = shown[-1] if shown else ""
        after_name = (
            before.startswith("-") and "=" not in before and (_SECRET.search(before) or before in _SECRET_FLAGS)
        )
        name, equals, _ = word.partition("=")
        if after_name and not word.startswith("-"):
            shown.append(MASK)
        else:
            hidden = f"{name}={MASK}" if equals and _SECRET.search(name) else word
            shown.append(_IN_WORD.sub(lambda found: f"{found[1]}{MASK}", hidden))
    return shown


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(str(item) for item in value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return value if isinstance(value, int | float) else str(value)
