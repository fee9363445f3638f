"""Keep a session with a mail server, and find the next server where that one cannot help."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence

from monagent.errors import Unavailable
from monagent.mail.settings import Server
from monagent.mail.transport import LoginRefused, Session, connect

log = logging.getLogger(__name__)

HOLD_SECONDS = 300.0
"""Between logins, once one was refused: some servers shut out who tries too often."""


class Servers:
    """Used by one thread."""

    def __init__(self, servers: Sequence[Server], join: Callable[[Server], Session] = connect) -> None:
        """
        Args:
            servers: to be tried in this order.
            join: connects to one.
        """
        self._servers = tuple(servers)
        self._join = join
        self._session: Session | None = None
        self._shut: dict[Server, tuple[float, LoginRefused | None]] = {}

    def use(self, servers: Sequence[Server]) -> None:
        """From now on these; what was known of the former ones is forgotten."""
        self.part()
        self._servers = tuple(servers)
        self._shut.clear()

    @property
    def is_connected(self) -> bool:
        """Whether there is a session."""
        return self._session is not None

    def part(self) -> None:
        """End the session, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def sessions(self) -> Iterator[Session]:
        """The session there is, then one with each server that lets us in. Whoever finds one broken parts with it.

        Raises:
            LoginRefused, Unavailable: none did.
        """
        tried: Server | None = None
        if self._session is not None:
            server = self._session.server
            yield self._session
            # One that had broken in the meantime says nothing of the server.
            tried = server if self._session is not None else None
        refused: LoginRefused | None = None
        away: list[str] = []
        joined = tried is not None
        for server in self._servers:
            if server == tried:
                continue
            try:
                session = self._joined(server)
            except LoginRefused as error:
                refused = refused or error
            except Unavailable as error:
                away.append(str(error))
            else:
                self.part()
                self._session, joined = session, True
                yield session
        if not joined:
            raise refused or Unavailable("; ".join(away) or "no mail server is configured")

    def _joined(self, server: Server) -> Session:
        """A session with a server; one that has refused our login is left alone for a while.

        Raises:
            LoginRefused, Unavailable: it does not let us in.
        """
        until, refusal = self._shut.get(server, (0.0, None))
        if refusal is not None and time.monotonic() < until:
            raise refusal
        try:
            session = self._join(server)
        except LoginRefused as error:
            if refusal is None:
                log.error("%s; see [mail] user and password_file", error)  # noqa: TRY400 - the server's answer says it all
            self._shut[server] = (time.monotonic() + HOLD_SECONDS, error)
            raise
        self._shut.pop(server, None)
        return session
