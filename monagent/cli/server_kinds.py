"""The commands that every kind of definition has: add, set, list, show and remove."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from monagent.cli.options import json_option, print_json
from monagent.cli.server_keys import given_content, key_arguments, key_options
from monagent.cli.server_options import config_option, open_database
from monagent.errors import Refused
from monagent.server.database import Database
from monagent.server.site import store
from monagent.server.site.difference import Difference
from monagent.server.site.keys import declared
from monagent.server.site.model import Content, Site
from monagent.server.site.references import references_to
from monagent.server.site.together import doubts
from monagent.server.site.writing import table

Tell = Callable[[str, Content], str]
"""Makes of a name and what was defined the line that `add` ends with."""


def kind_group(
    kind: str, meaning: str, example: str, *, positional: Sequence[str] = (), tell: Tell | None = None
) -> click.Group:
    """The commands of one kind.

    Args:
        kind: like `probe`.
        meaning: one sentence of help.
        example: of what `add` is given.
        positional: keys that `add` takes by their place; a list takes all that follows.
        tell: says what was added.
    """
    group = click.Group(kind, help=f"{meaning}\n\nExample: monserver {kind} add {example}")
    tell = tell or (lambda name, _content: f"added {kind} {name}")
    for command in (_add(kind, positional, tell), _set(kind), _list(kind), _show(kind), _remove(kind)):
        group.add_command(command)
    return group


def _add(kind: str, positional: Sequence[str], tell: Tell) -> click.Command:
    @click.command("add", help=f"Define {_a(kind)} NAME.")
    @click.argument("name")
    @key_arguments(kind, positional)
    @key_options(kind, positional, required=True)
    @config_option
    def add(name: str, config: Path, **given: Any) -> None:
        content = given_content(kind, given)

        def edit(site: Site) -> Site:
            if site.content(kind, name) is not None:
                raise Refused(f"there is {_a(kind)} {name!r} already")
            return site.having(kind, name, content)

        done = _change(open_database(config, create=True), edit)
        click.echo(tell(name, done.after.definitions[kind, name]), err=True)
        _tell_doubts(kind, name, done.after)

    return add


def _set(kind: str) -> click.Command:
    @click.command("set", help=f"Change what {_a(kind)} says; what is not given stays. A list is replaced as a whole.")
    @click.argument("name")
    @key_options(kind)
    @click.option(
        "--unset",
        multiple=True,
        metavar="KEY",
        type=click.Choice(list(declared(kind))),
        help="Put KEY back to its default.",
    )
    @config_option
    def change(name: str, config: Path, unset: tuple[str, ...], **given: Any) -> None:
        content = given_content(kind, given)
        if not content and not unset:
            raise click.UsageError("nothing is to be changed: no option says what")

        def edit(site: Site) -> Site:
            old = {key: value for key, value in known(site, kind, name).items() if key not in unset}
            return site.having(kind, name, {**old, **content})

        done = _change(open_database(config), edit)
        for line in done.told():
            click.echo(line, err=True)
        if not done:
            click.echo(f"{kind} {name} says so already", err=True)
        _tell_doubts(kind, name, done.after)

    return change


def _list(kind: str) -> click.Command:
    @click.command("list", help=f"List the {kind}s.")
    @config_option
    @json_option
    def listing(config: Path, *, as_json: bool) -> None:
        site = load(config)
        found = [(name, site.definitions[kind, name]) for name in site.names(kind)]
        if as_json:
            print_json([{"name": name, **content} for name, content in found])
            return
        if not found:
            click.echo(f"no {kind}s yet; monserver {kind} add defines one", err=True)
        width = max((len(name) for name, _ in found), default=0)
        for name, content in found:
            said = "  ".join(f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in content.items())
            click.echo(f"{name:{width}}  {said}".rstrip())

    return listing


def _show(kind: str) -> click.Command:
    @click.command("show", help=f"Show one {kind} as it stands in a file of definitions.")
    @click.argument("name")
    @config_option
    @json_option
    def show(name: str, config: Path, *, as_json: bool) -> None:
        content = known(load(config), kind, name)
        if as_json:
            print_json({"name": name, **content})
        else:
            click.echo(table(kind, name, content), nl=False)

    return show


def _remove(kind: str) -> click.Command:
    loss = " with its tickets, readings and incidents" if kind == "host" else ""

    @click.command("remove", help=f"Forget {kind} NAME{loss}. Refused while other definitions name it.")
    @click.argument("name")
    @config_option
    def remove(name: str, config: Path) -> None:
        def edit(site: Site) -> Site:
            known(site, kind, name)
            naming = references_to(site, (kind, name))
            if naming:
                sources = [f"{' '.join(one.source)}{one.key and f' ({one.key})'}" for one in naming]
                shown = ", ".join(sources[:10]) + (f" and {len(sources) - 10} more" if len(sources) > 10 else "")
                raise Refused(f"{kind} {name} is named by {shown}: change or remove that first")
            return site.without(kind, name)

        _change(open_database(config), edit)
        click.echo(f"removed {kind} {name}", err=True)

    return remove


def load(config: Path) -> Site:
    """All definitions of the database that the configuration names."""
    with open_database(config).read() as db:
        return store.load(db)


def known(site: Site, kind: str, name: str) -> Content:
    """What a definition says.

    Raises:
        Refused: there is none of that name.
    """
    content = site.content(kind, name)
    if content is None:
        raise Refused(f"there is no {kind} {name!r}; monserver {kind} list names them all")
    return content


def _change(database: Database, edit: Callable[[Site], Site]) -> Difference:
    return store.change(database, edit, time.time())


def _tell_doubts(kind: str, name: str, site: Site) -> None:
    for doubt in doubts(site):
        if (doubt.kind, doubt.name) == (kind, name):
            click.echo(f"note: {doubt}", err=True)


def _a(kind: str) -> str:
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"
