"""What all commands share: the configuration file, verbosity, and how errors become exit codes."""

from __future__ import annotations

import functools
import json
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from monagent.errors import MonagentError

F = TypeVar("F", bound=Callable[..., Any])

SYSTEM_CONFIG = Path("/etc/monagent/client.cfg")
SYSTEM_SERVER_CONFIG = Path("/etc/monserver/server.cfg")

EXIT_BUG, EXIT_IO, EXIT_PERMISSION, EXIT_CONFIG = 70, 74, 77, 78


def find_config(given: str | None, variable: str, name: str, system: Path) -> Path:
    """The configuration file: as given, from the environment, in this directory, or the system-wide one."""
    named = given or os.environ.get(variable)
    if named:
        return Path(named)
    here = Path(name)
    return here if here.exists() or not system.exists() else system


def config_option(command: F) -> F:
    """Adds `-c/--config FILE`; the command gets a `config` path."""

    def found(_context: click.Context, _parameter: click.Parameter, given: str | None) -> Path:
        return find_config(given, "MONAGENT_CONFIG", "client.cfg", SYSTEM_CONFIG)

    return click.option(
        "-c",
        "--config",
        metavar="FILE",
        callback=found,
        help="Configuration file. Default: $MONAGENT_CONFIG, ./client.cfg, /etc/monagent/client.cfg.",
    )(command)


def json_option(command: F) -> F:
    """Adds `--json`; the command gets `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def print_json(data: Any) -> None:
    """Print data for programs."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def guarded(program: str, command: click.Command) -> NoReturn:
    """Run a command line; every failure ends with one clear sentence and the exit code that interface.md gives it."""
    try:
        result = command.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Exit as error:
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except MonagentError as error:
        _fail(program, str(error), error.exit_code)
    except PermissionError as error:
        reason = f"{error.filename}: no permission" if error.filename else str(error.strerror)
        _fail(program, reason, EXIT_PERMISSION)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        _fail(program, f"{error.filename or ''}: {error.strerror or error}".lstrip(": "), EXIT_IO)
    except Exception as error:  # noqa: BLE001 - the top of the program
        traceback.print_exc()
        _fail(program, f"this is a bug of {program}, please report it with the lines above: {error!r}", EXIT_BUG)


def _fail(program: str, message: str, code: int) -> NoReturn:
    for line in message.splitlines():
        click.echo(f"{program}: {line}", err=True)
    sys.exit(code)


def verbosity_options(command: F) -> F:
    """Adds `-v` and `-q`; the command gets `level`, a logging level."""

    @click.option("-v", "--verbose", is_flag=True, help="Say more.")
    @click.option("-q", "--quiet", is_flag=True, help="Say only what needs attention.")
    @functools.wraps(command)
    def wrapped(*args: Any, verbose: bool, quiet: bool, **kwargs: Any) -> Any:
        level = "DEBUG" if verbose else "WARNING" if quiet else "INFO"
        return command(*args, level=level, **kwargs)

    return wrapped  # type: ignore[return-value]
