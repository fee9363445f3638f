"""Issue tickets: written down first, sent by whichever process finds them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, insert

from monagent.models import Value
from monagent.protocol import SUBMIT_READING
from monagent.server import schema

LIFETIME_SECONDS = 7 * 86_400.0
"""Agents keep results while a server is away; whoever is away for longer has lost them."""
SENDING_SECONDS = 60.0
"""A command that cannot be sent for so long has failed: somebody is waiting for it."""


def new_ticket() -> str:
    """A ticket with 192 bits that nobody can guess."""
    return secrets.token_urlsafe(24)


def issue(
    db: Connection,
    host_id: int,
    method: str,
    arguments: Sequence[Value],
    now: float,
    *,
    send_within: float = SENDING_SECONDS,
    lifetime: float = LIFETIME_SECONDS,
) -> str:
    """Write down one command that somebody asked for; once committed, it is sent at once.

    Args:
        db: a transaction that writes.
        host_id: whose agent is to do it.
        method: like `cmd_status`.
        arguments: that follow the ticket on the wire.
        now: seconds since the epoch.
        send_within: seconds after which it has failed, if it could not be sent.
        lifetime: seconds for which its result is taken.

    Returns:
        The ticket.
    """
    ticket = new_ticket()
    row = {
        "ticket": ticket,
        "host_id": host_id,
        "method": method,
        "arguments": canonical(method, arguments),
        "state": "issued",
        "issued": now,
        "expires": now + lifetime,
        "send_at": now,
        "send_until": now + send_within,
    }
    db.execute(insert(schema.ticket), [row])
    return ticket


def canonical(method: str, arguments: Sequence[Value]) -> list[Any]:
    """The arguments as they are kept: a check always has its sensor and a list."""
    if method == SUBMIT_READING:
        return [arguments[0], list(arguments[1]) if len(arguments) > 1 else []]  # type: ignore[arg-type]
    return list(arguments)
