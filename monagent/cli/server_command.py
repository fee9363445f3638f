"""Send one command to one host, and wait for its end: what `monserver check` and `monserver send` share."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from monagent.config import server_settings
from monagent.errors import BadArguments, Unavailable
from monagent.models import Value
from monagent.server.database import Database
from monagent.server.records import Host
from monagent.server.ticket_list import TicketStory, story
from monagent.server.ticketing import issue
from monagent.server.tickets import CANCELLED, FAILED, REFUSED, SENT

POLL_SECONDS = 0.02
SENDING_SECONDS = 20.0
EXIT_LATER = 75


def command_to(config: Path, database: Database, host: Host, method: str, arguments: Sequence[Value]) -> str:
    """Write a command down for the server to send at once; its ticket."""
    lifetime = server_settings.load(config).agents.ticket_lifetime
    with database.write() as db:
        return issue(db, host.id, method, arguments, time.time(), send_within=SENDING_SECONDS, lifetime=lifetime)


def wait_for_end(
    context: click.Context,
    database: Database,
    host: Host,
    ticket: str,
    seconds: float,
    hint: Callable[[], None] = lambda: None,
) -> TicketStory:
    """Wait until a ticket has come to its end, with a result.

    When no result comes in time the program ends with 75, after `hint` has said what there is to say.

    Raises:
        BadArguments: the agent refused it, or somebody called it off.
        Unavailable: the agent could not be reached, or did not answer.
    """
    begun = time.monotonic()
    acknowledged: float | None = None
    while True:
        with database.read() as db:
            now = story(db, ticket)
        assert now is not None
        if now.finished is not None:
            return now
        _check(now, host)
        if now.acknowledged is not None:
            acknowledged = acknowledged or time.monotonic()
            if time.monotonic() - acknowledged > seconds:
                break
        elif time.monotonic() - begun > SENDING_SECONDS:
            raise Unavailable(
                f"ticket {ticket} was not sent within {SENDING_SECONDS:.0f} s; is `monserver run` at work on this database?"
            )
        time.sleep(POLL_SECONDS)
    hint()
    click.echo(
        f"monserver: the agent took ticket {ticket}, but no result came within {seconds:.0f} s; "
        "does the agent's [monitor] url lead to this server? After an outage it may also be pausing for a while.",
        err=True,
    )
    context.exit(EXIT_LATER)
    raise AssertionError


def _check(now: TicketStory, host: Host) -> None:
    """
    Raises:
        BadArguments: it is refused, or called off.
        Unavailable: the agent could not be reached, or did not answer.
    """
    if now.state == REFUSED:
        # The number of the fault is for programs.
        raise BadArguments(f"the agent of {host.name} refused: {re.sub(r'^fault -?[0-9]+: ', '', now.reason or '')}")
    if now.state == CANCELLED:
        raise BadArguments(str(now.reason))
    if now.state == FAILED or (now.state == SENT and now.reason):
        raise Unavailable(f"the agent of {host.name} at {host.address} port {host.port}: {now.reason}")
