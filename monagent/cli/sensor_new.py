"""`monagent sensor new`: make a sensor that works, from an example."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import click

from monagent.cli.options import config_option
from monagent.config import settings
from monagent.errors import Refused
from monagent.models import is_sensor_name
from monagent.sensors.filesystem import move

_SHELL = """\
#!/bin/sh
# Tell how many entries a directory has. An example: put your own reading in its place.

options() {
    cat <<END
check [DIRECTORY]
How many files and directories lie in DIRECTORY (default: /tmp).
END
}

fail() {
    printf '@NAME@: %s\\n' "$1" >&2
    exit 1
}

[ $# -le 1 ] || fail 'too many arguments ("check @HELP@" explains)'
case ${1-} in
    @HELP@) options; exit ;;
esac

directory=${1:-/tmp}
entries=$(ls -A -- "$directory") || fail "cannot read $directory"

# One number on stdout, exit 0. When there is none to trust: the reason on stderr, and another exit code.
if [ -n "$entries" ]; then
    printf '%s\\n' "$entries" | wc -l
else
    echo 0
fi
"""

_PYTHON = '''\
#!/usr/bin/env python3
"""Tell how many entries a directory has. An example: put your own reading in its place."""

import os
import sys

HELP = """\\
check [DIRECTORY]
How many files and directories lie in DIRECTORY (default: /tmp)."""


def main(arguments):
    if arguments == ["@HELP@"]:
        print(HELP)
        return
    if len(arguments) > 1:
        sys.exit('@NAME@: too many arguments ("check @HELP@" explains)')
    directory = arguments[0] if arguments else "/tmp"
    try:
        entries = os.listdir(directory)
    except OSError as error:
        sys.exit(f"@NAME@: cannot read {directory}: {error.strerror}")
    # One number on stdout, exit 0. When there is none to trust: the reason on stderr, and another exit code.
    print(len(entries))


main(sys.argv[1:])
'''

_EXAMPLES = {"sh": _SHELL, "python": _PYTHON}


@click.command()
@click.argument("name")
@click.option("--language", type=click.Choice(list(_EXAMPLES)), default="sh", show_default=True, help="Of the example.")
@click.option(
    "--directory",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where to make it. Default: [sensor] path of the configuration.",
)
@config_option
def new(name: str, language: str, directory: Path | None, config: Path) -> None:
    """Make a sensor NAME that works, to be changed into your own.

    It is a directory with an executable check, which prints a number, or its help when it is called with `options`.

    \b
    Example:
      monagent sensor new queue --language python --directory .
      queue/check options
      queue/check /var/spool/mqueue
    """  # noqa: D301 - click wants the backspace itself
    if not is_sensor_name(name):
        raise click.BadParameter("letters, digits, _ - . and at most 64; not - or . first", param_hint="NAME")
    executable, help_argument = "check", "options"
    if directory is None:
        section = settings.load(config).sensor
        directory, executable, help_argument = section.path, section.executable, section.help
    if not directory.is_dir():
        raise Refused(f"there is no directory {directory}; monagent init makes one, --directory names another")
    target = directory / name
    if os.path.lexists(target):
        raise Refused(f"{target} exists, and stays as it is")
    text = _EXAMPLES[language].replace("@NAME@", name).replace("@HELP@", help_argument)
    _make_sensor(target, executable, text)
    click.echo(target)
    click.echo(f"next: edit {target / executable}, then monagent sensor lint {target}", err=True)


def _make_sensor(target: Path, executable: str, text: str) -> None:
    """A running agent sees the whole sensor or none: names with a dot in front are no sensors."""
    with tempfile.TemporaryDirectory(prefix=".new-", dir=target.parent) as work:
        made = Path(work, target.name)
        made.mkdir()
        program = made / executable
        program.write_text(text, encoding="utf-8")
        for path in (program, made):
            path.chmod(0o755)
        move(made, target)
