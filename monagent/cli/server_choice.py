"""What the `monserver` commands for many hosts share: how hosts are chosen, how lists are printed."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click
from sqlalchemy import Connection

from monagent.errors import BadArguments
from monagent.server.records import Host
from monagent.server.site.hosts import hosts, hosts_in

F = TypeVar("F", bound=Callable[..., Any])


def group_options(command: F) -> F:
    """Adds `--group`, which may be given several times, and `--all`; the command gets `groups` and `everybody`."""
    command = click.option("--all", "everybody", is_flag=True, help="All hosts.")(command)
    return click.option(
        "-g",
        "--group",
        "groups",
        multiple=True,
        metavar="GROUP",
        help="The hosts of a group. May be given several times.",
    )(command)


def chosen(db: Connection, names: Sequence[str], groups: Sequence[str], *, everybody: bool) -> list[Host]:
    """The hosts that somebody named: each once; those named by themselves first, the others by name.

    Raises:
        BadArguments: there is no such host, or nobody is in such a group.
    """
    if everybody:
        return hosts(db)
    named = {one.name: one for one in hosts_in(db, names, ())}
    for name in names:
        if name not in named:
            raise BadArguments(f"there is no host {name!r}; monserver host list names them all")
    found = {name: named[name] for name in names}
    for group in groups:
        among = hosts_in(db, (), (group,))
        if not among:
            raise BadArguments(f"no host is in the group {group!r}; monserver host list shows the groups")
        found |= {one.name: one for one in among if one.name not in found}
    return list(found.values())


def require_choice(names: Sequence[str], groups: Sequence[str], *, everybody: bool) -> None:
    """
    Raises:
        click.UsageError: nobody is named, or all and some.
    """
    if everybody and (names or groups):
        raise click.UsageError("--all means all hosts: name no others beside it")
    if not (everybody or names or groups):
        raise click.UsageError("name hosts, --group GROUP, or --all")


def operator() -> str:
    """Who is at the keyboard, for the record."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "somebody"


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows below their headings, for people; the last column may be as long as it is."""
    widths = [max(map(len, column)) for column in zip(columns, *rows, strict=True)]
    for row in (columns, *rows):
        click.echo("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
