"""Keep the tokens that programs read this server with, and tell a good one from a wrong one.

The database has their SHA-256 alone: a token is 256 random bits, so nothing slower is needed, and nobody who reads the
database can use it.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

from sqlalchemy import Connection, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError

from monagent.errors import Refused, StoreAway
from monagent.server.database import Database
from monagent.server.schema import token as table

log = logging.getLogger(__name__)

PREFIX = "mon_"
"""So that people, and programs that look for lost secrets, know one when they see it."""
LIMIT = 1_000
USED_SECONDS = 60.0
"""Its last use is written down so often at most: reading must not become writing."""
_NAME = re.compile(r"[A-Za-z0-9_.@-]{1,64}")
_TOKEN = re.compile(r"mon_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Kept:
    """A token as it is kept; times are seconds since the epoch, `used` None: never."""

    name: str
    created: float
    used: float | None


def add(database: Database, name: str, now: float) -> str:
    """Make a token. It is given back here and never again.

    Raises:
        Refused: the name is taken or no name, or there are too many.
    """
    if not _NAME.fullmatch(name):
        raise Refused(f"{name[:80]!r} is no name for a token: 1 to 64 of the letters A-Z a-z 0-9 _ . @ - would do")
    made = PREFIX + secrets.token_urlsafe(32)
    try:
        with database.write() as db:
            if (db.scalar(select(func.count()).select_from(table)) or 0) >= LIMIT:
                raise Refused(f"there are {LIMIT} tokens already; monserver token remove takes one away")
            db.execute(insert(table).values(name=name, digest=_digest(made), created=now))
    except IntegrityError:
        raise Refused(
            f"there is a token {name!r} already; choose another name, or monserver token remove {name}"
        ) from None
    return made


def remove(database: Database, name: str) -> None:
    """Take a token away; it is good for nothing from now on.

    Raises:
        Refused: there is none of that name.
    """
    with database.write() as db:
        if not db.execute(delete(table).where(table.c.name == name)).rowcount:
            raise Refused(f"there is no token {name[:80]!r}; monserver token list names them all")


def listing(db: Connection) -> list[Kept]:
    """All of them, by name."""
    return [
        Kept(*row) for row in db.execute(select(table.c.name, table.c.created, table.c.used).order_by(table.c.name))
    ]


class Tokens:
    """Judges tokens. Any thread may ask."""

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        """
        Args:
            database: where they are.
            clock: seconds since the epoch.
        """
        self._database = database
        self._clock = clock

    def knows(self, given: str) -> bool:
        """Whether a token is good; its use is written down now and then.

        Raises:
            StoreAway: the database cannot be asked.
        """
        if not _TOKEN.fullmatch(given):
            return False
        digest = _digest(given)
        with self._database.read() as db:
            rows = db.execute(select(table.c.id, table.c.digest, table.c.used)).all()
        # Each is compared, in constant time: how long it takes tells nothing.
        found = [row for row in rows if hmac.compare_digest(row.digest, digest)]
        for row in found:
            self._note_use(row.id, row.used)
        return bool(found)

    def _note_use(self, number: int, used: float | None) -> None:
        now = self._clock()
        if used is not None and 0 <= now - used < USED_SECONDS:
            return
        again = or_(table.c.used.is_(None), table.c.used == used)  # not by somebody else meanwhile
        # Who may read may do so when nothing can be written, too.
        with contextlib.suppress(StoreAway), self._database.write() as db:
            db.execute(update(table).where(table.c.id == number, again).values(used=now))


def _digest(given: str) -> str:
    return sha256(given.encode("ascii")).hexdigest()
