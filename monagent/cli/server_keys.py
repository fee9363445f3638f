"""The keys of definitions as options and arguments of a command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

from monagent.server.site.keys import Declared, declared

F = TypeVar("F", bound=Callable[..., Any])

_SINGULAR = {"hosts": "host", "groups": "group", "probes": "probe", "arguments": "argument"}


def _reading(key: Declared) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """Reads what was typed for a key: the text as it is, or the number that it says where only a number will do."""

    def one(value: Any) -> Any:
        return key.read([value])[0] if key.is_list else key.read(value)

    def read(_context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        try:
            if isinstance(value, tuple):
                return tuple(_typed(one, item) for item in value)
            return None if value is None else _typed(one, value)
        except ValueError as error:
            raise click.BadParameter(str(error)) from None

    return read


def _typed(read: Callable[[Any], Any], text: str) -> Any:
    number = _number(text)
    try:
        return read(text)
    except ValueError:
        if number is text:
            raise
    return read(number)


def _number(text: str) -> Any:
    if re.fullmatch(r"[+-]?[0-9]{1,18}", text):
        return int(text)
    return float(text) if re.fullmatch(r"[+-]?[0-9]{1,18}\.[0-9]{1,18}", text) else text


def key_arguments(kind: str, names: Sequence[str]) -> Callable[[F], F]:
    """Adds arguments for keys; a list takes all that follows."""

    def add(command: F) -> F:
        for name in reversed(names):
            key = declared(kind)[name]
            metavar = f"[{_option(key).upper()}]..." if key.is_list else key.name.upper()
            command = click.argument(
                name, nargs=-1 if key.is_list else 1, callback=_reading(key), required=not key.is_list, metavar=metavar
            )(command)
        return command

    return add


def key_options(kind: str, without: Sequence[str] = (), *, required: bool = False) -> Callable[[F], F]:
    """Adds options for all keys but those; `required`: what a definition must say must be given."""

    def add(command: F) -> F:
        for key in reversed(list(declared(kind).values())):
            if key.name not in without:
                command = _key_option(key, required=required and key.required)(command)
        return command

    return add


def _key_option(key: Declared, *, required: bool) -> Callable[[F], F]:
    option = _option(key)
    meaning = f"{key.meaning[0].upper()}{key.meaning[1:]}."
    if isinstance(key.default, bool):
        return click.option(f"--{option}/--no-{option}", key.name, default=None, help=meaning)
    if key.is_list:
        meaning += " May be given several times."
    elif key.default:
        meaning += f" Default: {key.default}."
    return click.option(
        f"--{option}",
        key.name,
        multiple=key.is_list,
        required=required,
        callback=_reading(key),
        metavar=(key.names or option).replace("-", "_").upper(),
        help=meaning,
    )


def _option(key: Declared) -> str:
    return _SINGULAR.get(key.name, key.name).replace("_", "-")


def given_content(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """What was given, by key."""
    return {
        name: list(given[name]) if isinstance(given[name], tuple) else given[name]
        for name in declared(kind)
        if given.get(name) not in (None, ())
    }
