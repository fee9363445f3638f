"""Write the reference pages from what the programs themselves say: `python docs/make_reference.py`."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click

from monagent.cli.main import cli as monagent_cli
from monagent.cli.server import cli as monserver_cli
from monagent.config import sections, server_settings
from monagent.config.table import options_of
from monagent.sensors.spawning import clean_environment
from monagent.sensors.stock import stock_directory

HERE = Path(__file__).parent / "reference"
MADE = "<!-- Made by docs/make_reference.py; change the declarations, not this page. -->\n"


_INI = (
    "An INI file, edited by people. Relative paths start at the file. Lines that begin with `;` or `#` are comments, and so is "
    "what follows ` ;` on a line. `%(name)s` stands for another option of the same section or of `[DEFAULT]`. Unknown "
    "sections and options are errors. "
)


def client_cfg() -> str:
    """The page about the agent's configuration."""
    parts = [
        f"# client.cfg\n\n{MADE}",
        f"{_INI}`monagent check-config` finds every mistake.\n",
        *[_section(name, cls) for name, cls in sections.PLAIN_SECTIONS.items()],
        *[_section(f"{prefix}NAME", cls) for prefix, cls in sections.NAMED_SECTIONS.items()],
        "A section of which nothing is set is allowed anywhere, and does nothing. How mails and alerts are set up: [Send mail](../how-to/mail.md).\n",
    ]
    return "\n".join(parts)


def server_cfg() -> str:
    """The page about the server's configuration."""
    parts = [
        f"# server.cfg\n\n{MADE}",
        f"{_INI}Everything may be left out, and so may the file. The server reads it when it starts, and tells every mistake with its line; "
        "a wrong file ends it with exit code 78. What is checked, and who is told, does not stand here but in "
        "[definitions](site-toml.md). How to use it: [Run a server](../how-to/run-a-server.md).\n",
        *[_section(name, cls) for name, cls in server_settings.SECTIONS.items()],
    ]
    return "\n".join(parts)


def site_toml() -> str:
    """The page about definitions."""
    return str(_beside("site_toml").page())


def _beside(name: str) -> ModuleType:
    """A module of this directory, which is no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _section(name: str, cls: type) -> str:
    rows = [f"## [{name}]\n", "| option | default | meaning |", "| --- | --- | --- |"]
    for option in options_of(cls).values():
        default = "*must be given*" if option.default is None else f"`{option.default}`" if option.default else ""
        rows.append(f"| `{option.name}` | {default} | {option.meaning} |")
    return "\n".join(rows) + "\n"


_CODES = (
    "Exit codes: 0 done · 1 a negative answer · 2 usage · 69 the other side is unavailable · 70 our bug · 74 I/O · "
    "75 try again later · 77 permission · 78 configuration. Data goes to stdout, talk to stderr.\n"
)
_SIGNALS = (
    "Signals to a running agent: TERM and INT drain (new tickets are refused, running work gets `[agent] grace` seconds, the "
    "rest stays in the journal); a second one quits at once. HUP loads the configuration again.\n"
)


def monagent() -> str:
    """The page about the agent's program."""
    return f"# monagent\n\n{MADE}\n{_CODES}\n{_SIGNALS}\n" + _help(monagent_cli, "monagent")


def monserver() -> str:
    """The page about the server's program."""
    return f"# monserver\n\n{MADE}\n{_CODES}\n" + _help(monserver_cli, "monserver")


def _help(command: click.Command, name: str) -> str:
    names = ["-h", "--help"]
    command._help_option = None  # noqa: SLF001 - click remembers the names of whoever asked first
    context = click.Context(command, info_name=name, terminal_width=100, max_content_width=100, help_option_names=names)
    text = f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for key in sorted(command.list_commands(context)):
            inner = command.get_command(context, key)
            assert inner is not None
            text += "\n" + _help(inner, f"{name} {key}")
    return text


def stock_sensors() -> str:
    """The page about the sensors that come with monagent: what each prints for `check options`."""
    parts = [f"# Stock sensors\n\n{MADE}", "What each one prints for `check options`.\n"]
    for program in sorted(stock_directory().glob("*/check")):
        ran = subprocess.run(
            [program, "options"], capture_output=True, text=True, check=True, timeout=10, env=clean_environment()
        )
        parts.append(f"## {program.parent.name}\n\n```text\n{ran.stdout.rstrip()}\n```\n")
    return "\n".join(parts)


PAGES = {
    "client-cfg.md": client_cfg,
    "monagent.md": monagent,
    "monserver.md": monserver,
    "server-cfg.md": server_cfg,
    "site-toml.md": site_toml,
    "stock-sensors.md": stock_sensors,
}


if __name__ == "__main__":
    for name, make in PAGES.items():
        (HERE / name).write_text(make(), encoding="utf-8")
