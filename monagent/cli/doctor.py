"""`monagent doctor`: will it work here?"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from monagent.cli.options import config_option, json_option, print_json
from monagent.config import settings


@click.command()
@config_option
@json_option
@click.pass_context
def doctor(context: click.Context, config: Path, as_json: bool) -> None:
    """Try what the configuration promises, and say what would fail and what would mend it.

    Run it as the user that the agent runs as. Exit 0 when all is well, 1 when something is not.
    """
    from monagent.agent.doctor import examine  # noqa: PLC0415 - loads what no other command needs

    problems = 0
    found = []
    for diagnosis in examine(settings.load(config)):
        problems += bool(diagnosis.problem)
        found.append(dataclasses.asdict(diagnosis))
        if not as_json:
            click.echo(f"{'PROBLEM' if diagnosis.problem else 'ok     '} {diagnosis.subject}")
            if diagnosis.problem:
                click.echo(f"        {diagnosis.problem}\n        mend it: {diagnosis.remedy}")
    if as_json:
        print_json({"ok": not problems, "found": found})
    else:
        click.echo(f"{len(found)} things tried, {problems} problems", err=True)
    context.exit(1 if problems else 0)
